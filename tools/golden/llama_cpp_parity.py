#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Holds the program against llama.cpp: exports a checkpoint as an F32 GGUF file, runs the same tokens through both and compares.

  llama_cpp_parity.py HADAL CHECKPOINT --positions 500        logits of all positions: argmax and KL divergence
  llama_cpp_parity.py HADAL CHECKPOINT --speak TEXT           text of --tokens-out tokens, the most probable token always

HADAL is the program. Several checkpoints give a table. Needs numpy and llama-cpp-python (docs/interop.md names the version that
was compared). llama.cpp runs with an F32 cache and without flash attention: with its F16 cache a router may choose other experts.
Exit code 1 when an argmax differs or the KL divergence of a position reaches 1e-6, or when texts differ."""
import argparse
import ctypes
import os
import subprocess
import sys
import tempfile

import llama_cpp
import numpy as np

WORST_KL = 1e-6
F32 = 0  # ggml's number of the type


def run(words):
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(words)}\n{done.stdout}{done.stderr}exit code {done.returncode}")
    return done.stdout


@ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
def quiet(level, text, data):
    if level == 4:  # errors
        sys.stderr.write(text.decode(errors="replace"))


class Llama:
    """A GGUF file in llama.cpp, through its C interface."""

    def __init__(self, path, positions, threads):
        llama_cpp.llama_log_set(quiet, None)
        how = llama_cpp.llama_model_default_params()
        how.n_gpu_layers = 0
        self.model = llama_cpp.llama_model_load_from_file(path.encode(), how)
        if not self.model:
            sys.exit(f"{path}: llama.cpp does not load it")
        how = llama_cpp.llama_context_default_params()
        how.n_ctx = positions
        how.n_batch = how.n_ubatch = positions
        how.n_threads = how.n_threads_batch = threads
        how.type_k = how.type_v = F32
        how.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED
        self.context = llama_cpp.llama_init_from_model(self.model, how)
        if not self.context:
            sys.exit(f"{path}: llama.cpp gives no context of {positions} positions")
        self.vocabulary = llama_cpp.llama_model_get_vocab(self.model)
        self.words = llama_cpp.llama_vocab_n_tokens(self.vocabulary)

    def logits(self, tokens, first=0):
        """[T, W] of tokens at positions first, first + 1, ..."""
        batch = llama_cpp.llama_batch_init(len(tokens), 0, 1)
        for i, token in enumerate(tokens):
            batch.token[i], batch.pos[i], batch.n_seq_id[i] = token, first + i, 1
            batch.seq_id[i][0], batch.logits[i] = 0, 1
        batch.n_tokens = len(tokens)
        code = llama_cpp.llama_decode(self.context, batch)
        if code != 0:
            sys.exit(f"llama_decode says {code}")
        out = [np.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(self.context, i), (self.words,)).copy()
               for i in range(len(tokens))]
        llama_cpp.llama_batch_free(batch)
        return np.stack(out)

    def piece(self, token):
        buffer = (ctypes.c_char * 512)()
        size = llama_cpp.llama_token_to_piece(self.vocabulary, token, buffer, len(buffer), 0, True)
        return bytes(buffer[:size])

    def tokenize(self, text):
        data = text.encode()
        tokens = (llama_cpp.llama_token * (len(data) + 8))()
        count = llama_cpp.llama_tokenize(self.vocabulary, data, len(data), tokens, len(tokens), False, False)
        return list(tokens[:count])


def export(hadal, checkpoint, folder):
    path = os.path.join(folder, "model.gguf")
    run([hadal, "convert", "to-gguf", checkpoint, "--out", path, "--type", "f32"])
    return path


def log_softmax(x):
    x = x.astype(np.float64)
    x = x - x.max(axis=1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=1, keepdims=True))


def compare(a, checkpoint, folder):
    """One row of the table: positions, share of equal argmax, KL (max, mean), largest difference of probabilities and of logits."""
    llama = Llama(export(a.hadal, checkpoint, folder), a.positions, a.threads)
    tokens = np.random.default_rng(a.seed).integers(0, llama.words, a.positions)
    words = os.path.join(folder, "tokens.txt")
    with open(words, "w", encoding="ascii") as out:
        out.write("\n".join(map(str, tokens)) + "\n")
    file = os.path.join(folder, "logits.f32")
    run([a.hadal, "generate", checkpoint, "--tokens", words, "--logits", file, "--max-tokens", "0", "--precision", "f32"])
    ours = np.fromfile(file, np.float32).reshape(a.positions, llama.words)
    theirs = llama.logits(tokens)
    p, q = log_softmax(ours), log_softmax(theirs)
    kl = (np.exp(p) * (p - q)).sum(axis=1)
    agree = (ours.argmax(axis=1) == theirs.argmax(axis=1)).mean()
    return agree, kl.max(), kl.mean(), np.abs(np.exp(p) - np.exp(q)).max(), np.abs(ours - theirs).max()


def table(a):
    good = True
    print(f"| checkpoint | positions | argmax | KL max | KL mean | probability | logit |\n|{'---|' * 7}")
    for checkpoint in a.checkpoints:
        with tempfile.TemporaryDirectory() as folder:
            agree, most, mean, probability, logit = compare(a, checkpoint, folder)
        name = os.path.basename(os.path.normpath(checkpoint))
        print(f"| {name} | {a.positions} | {100 * agree:.1f} % | {most:.1e} | {mean:.1e} | {probability:.1e} | {logit:.1e} |",
              flush=True)
        good = good and agree == 1 and most < WORST_KL
    return good


def speak(a, checkpoint):
    """Greedy texts of both. Before a text stands what the program puts there: the begin token where the tokenizer's settings
    ask for it, otherwise the end of another text."""
    ours = subprocess.run([a.hadal, "generate", checkpoint, "--prompt", a.speak, "--max-tokens", str(a.tokens_out),
                           "--temperature", "0", "--precision", "f32", "--no-stop"], capture_output=True)
    if ours.returncode != 0:
        sys.exit(ours.stderr.decode())
    with tempfile.TemporaryDirectory() as folder:
        llama = Llama(export(a.hadal, checkpoint, folder), a.tokens_out + 8 * len(a.speak) + 64, a.threads)
    tokens = llama.tokenize(a.speak)
    if llama_cpp.llama_vocab_get_add_bos(llama.vocabulary):
        tokens.insert(0, llama_cpp.llama_vocab_bos(llama.vocabulary))
    elif not a.without_end:
        tokens.insert(0, llama_cpp.llama_vocab_eos(llama.vocabulary))
    text, length, margin = a.speak.encode(), 0, np.inf
    for _ in range(a.tokens_out):
        row = llama.logits(tokens, length)[-1]
        length += len(tokens)
        best = np.sort(row)[-2:]
        margin = min(margin, best[1] - best[0])
        tokens = [int(row.argmax())]
        text += llama.piece(tokens[0])
    theirs = text.decode(errors="replace") + "\n"
    same = ours.stdout.decode(errors="replace") == theirs
    print(ours.stdout.decode(errors="replace"), end="")
    print(f"{checkpoint}: {a.tokens_out} tokens, {'the same text' if same else 'OTHER TEXT THERE:'}; "
          f"least margin of a choice {margin:.1e}")
    if not same:
        print(theirs, end="")
    return same


def versions():
    """Of the Python package, and what the libraries in it say of themselves."""
    said = [f"llama-cpp-python {llama_cpp.__version__}"]
    folder = os.path.join(os.path.dirname(llama_cpp.__file__), "lib")
    for library, function in (("libllama.so", "llama_version"), ("libggml-base.so", "ggml_version"),
                              ("libggml-base.so", "ggml_commit")):
        try:
            call = getattr(ctypes.CDLL(os.path.join(folder, library)), function)
        except (OSError, AttributeError):  # older or elsewhere
            continue
        call.restype = ctypes.c_char_p
        said.append(f"{function} {call().decode()}")
    return ", ".join(said)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("hadal")
    parser.add_argument("checkpoints", nargs="+", metavar="CHECKPOINT")
    parser.add_argument("--positions", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1, help="of the random tokens")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--speak", metavar="TEXT")
    parser.add_argument("--tokens-out", type=int, default=200)
    parser.add_argument("--without-end", action="store_true",
                        help="of models trained with documents masked from each other: no end token before the text")
    a = parser.parse_args()
    llama_cpp.llama_backend_init()
    print(versions())
    good = all([speak(a, c) for c in a.checkpoints]) if a.speak is not None else table(a)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
