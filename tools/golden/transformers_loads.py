#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Exports a checkpoint by `hadal convert to-hf --dtype f32`, loads it with transformers and compares all logits.

usage: transformers_loads.py HADAL CHECKPOINT [--positions 200] [--seed 1] [--bound 2e-5] [--keep DIRECTORY]
Run with: pip install torch==2.15.0 transformers==5.23.0 safetensors==0.8.0 numpy==2.4.6

HADAL is the program, CHECKPOINT a step or run directory with a tokenizer. Prints a table; exit code 1 when tensors are missing,
others than those of MTP modules are unexpected, or the logits of `hadal generate --tokens --logits` differ by more than the bound
and by more than twice what transformers' FP32 differs from its own equations in double precision (positions beyond some hundred:
their angles are FP32 products).
"""
import argparse
import json
import pathlib
import re
import subprocess
import sys
import tempfile

import numpy
import torch
import transformers

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import double_model  # noqa: E402
import versions  # noqa: E402


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("hadal")
    parser.add_argument("checkpoint")
    parser.add_argument("--positions", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--bound", type=float, default=2e-5)
    parser.add_argument("--keep", help="a new folder for the export; otherwise it is scratch")
    return parser.parse_args()


def run(*words):
    print("+", " ".join(str(w) for w in words), flush=True)
    done = subprocess.run([str(w) for w in words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"exit code {done.returncode}:\n{done.stderr}")


def load(folder):
    """The model and what loading had to say, in eager attention and FP32."""
    model, info = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", experts_implementation="eager",
        output_loading_info=True)
    return model.eval(), info


def check_names(folder, info):
    """Every tensor of theirs is there; what they do not know belongs to MTP modules."""
    layers = json.loads((folder / "config.json").read_text())["num_hidden_layers"]
    unexpected = sorted(info["unexpected_keys"])
    foreign = []
    for name in unexpected:
        found = re.match(r"model\.layers\.(\d+)\.", name)
        if not found or int(found.group(1)) < layers:
            foreign.append(name)
    print(f"| missing | {len(info['missing_keys'])} |")
    print(f"| unexpected | {len(unexpected)}, of MTP modules {len(unexpected) - len(foreign)} |")
    print(f"| other shapes | {len(info['mismatched_keys'])} |")
    for name in sorted(info["missing_keys"]) + foreign + [str(k) for k in info["mismatched_keys"]]:
        print("   ", name)
    return not (info["missing_keys"] or foreign or info["mismatched_keys"])


def check_logits(ours, theirs, exact, bound):
    worst = float(numpy.abs(ours - theirs).max())
    own = float(numpy.abs(theirs - exact).max())
    same = (ours.argmax(-1) == theirs.argmax(-1)).mean()
    a, b = (torch.log_softmax(torch.tensor(x, dtype=torch.float64), -1) for x in (theirs, ours))
    divergence = (a.exp() * (a - b)).sum(-1)
    print(f"| positions, vocabulary | {ours.shape[0]}, {ours.shape[1]} |")
    print(f"| largest logit | {numpy.abs(theirs).max():.2f} |")
    print(f"| max difference of logits | {worst:.1e} (bound {max(bound, 2 * own):.0e}) |")
    print(f"| theirs, from their equations in double | {own:.1e} |")
    print(f"| ours, from the same | {numpy.abs(ours - exact).max():.1e} |")
    print(f"| same most probable token | {100 * same:.1f} % |")
    print(f"| KL, largest | {divergence.max():.1e} |")
    return worst <= max(bound, 2 * own)


def main():
    a = arguments()
    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        folder = pathlib.Path(a.keep) if a.keep else scratch / "hf"
        run(a.hadal, "convert", "to-hf", a.checkpoint, "--out", folder, "--dtype", "f32")
        model, info = load(folder)
        width = model.config.vocab_size
        # Added tokens lie at the end and tokens without a text may follow: any row of the embedding will do.
        ids = numpy.random.default_rng(a.seed).integers(0, width, a.positions)
        (scratch / "ids.txt").write_text(" ".join(map(str, ids)) + "\n")
        run(a.hadal, "generate", a.checkpoint, "--tokens", scratch / "ids.txt", "--logits", scratch / "logits.f32",
            "--precision", "f32", "--max-tokens", "1", "--temperature", "0")
        ours = numpy.fromfile(scratch / "logits.f32", dtype="<f4").reshape(-1, width)
        if len(ours) != len(ids):
            raise SystemExit(f"{len(ours)} rows of logits for {len(ids)} tokens")
        with torch.no_grad():
            theirs = model(torch.tensor(ids)[None]).logits[0].numpy()
            exact = double_model.load(folder)(torch.tensor(ids)[None]).logits[0].numpy()
        used = versions.used()
        print("\n| what | result |\n|---|---|")
        print(f"| versions | {', '.join(f'{k} {v}' for k, v in used.items())} |")
        good = check_names(folder, info)
        good = check_logits(ours, theirs, exact, a.bound) and good
    print("equal within the bound" if good else "DIFFERENT")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
