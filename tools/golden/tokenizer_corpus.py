#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares all ids of `hadal tokenizer encode --special` with Hugging Face tokenizers on mixed text.

usage: tokenizer_corpus.py HADAL [--genuine tokenizer.json] [--megabytes 10] [--seed 7] [--characters] [--golden DIRECTORY]
Run with: pip install tokenizers==0.23.3 xxhash==4.1.0

Text: source and documents of this tree, then code, Chinese, Japanese, emoji, right-to-left, controls and more by chance
(mixed_text.py). Tokenizers: the published file where it is given, and one that `hadal tokenizer train` makes of a part of the text.
Exit code 1: ids differ. The text leaves out letters that came after Unicode 14, which the libraries know or do not:
--characters compares every character by itself and lists those that differ. --golden writes lines.json, for the tests: lines of the
text with the XXH3-128 of their ids.
"""
import argparse
import importlib.metadata
import json
import pathlib
import subprocess
import sys
import tempfile

import tokenizers
import xxhash

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import mixed_text  # noqa: E402

PIECE = 250_000  # characters of a file that is encoded at once
ADDED = ["<｜User｜>", "<｜Assistant｜>", "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜fim▁hole｜>", "<|EOT|>",
         "<｜tool▁calls▁begin｜>", "<｜tool▁sep｜>", "<｜User", "｜>"]
GOLDEN_VOCABULARY = 700


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("hadal")
    parser.add_argument("--genuine")
    parser.add_argument("--megabytes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--characters", action="store_true")
    parser.add_argument("--golden")
    return parser.parse_args()


def real_text():
    """Sources and documents of this tree; about 2 MB."""
    root = pathlib.Path(__file__).parents[2]
    files = sorted(f for folder in ("src", "docs", "tests", "tools") for f in (root / folder).rglob("*")
                   if f.suffix in (".cpp", ".hpp", ".md", ".py", ".txt", ".cmake"))
    return "".join(f.read_text(encoding="utf-8") for f in files)


def run(*words, binary=False):
    return subprocess.run([str(w) for w in words], check=True, stdout=subprocess.PIPE, text=not binary).stdout


class Pair:
    """The same tokenizer.json in both programs."""

    def __init__(self, hadal, path, scratch):
        self.hadal, self.path, self.scratch = hadal, path, scratch
        self.theirs = tokenizers.Tokenizer.from_file(str(path))

    def ours(self, text):
        file = self.scratch / "text"
        file.write_bytes(text.encode())
        return list(map(int, run(self.hadal, "tokenizer", "encode", self.path, file, "--special").split()))

    def foreign(self, text):
        return self.theirs.encode(text, add_special_tokens=False).ids

    def first_difference(self, text, ours, theirs):
        at = next((i for i, (a, b) in enumerate(zip(ours, theirs)) if a != b), min(len(ours), len(theirs)))
        begin = self.theirs.encode(text, add_special_tokens=False).offsets
        where = begin[at][0] if at < len(begin) else len(text)
        around = text[max(0, where - 12):where + 12]
        return f"token {at}, ours {ours[at:at + 5]}, theirs {theirs[at:at + 5]}, at {ascii(around)}"

    def compare(self, name, texts):
        tokens = size = differ = 0
        for text in texts:
            ours, theirs = self.ours(text), self.foreign(text)
            tokens, size = tokens + len(theirs), size + len(text.encode())
            if ours != theirs:
                differ += 1
                print(f"    {name}: {self.first_difference(text, ours, theirs)}", flush=True)
        print(f"| {self.path.parent.name}/{self.path.name} | {name} | {len(texts)} texts, {size / 1e6:.2f} MB | "
              f"{tokens} ids | {'identical' if differ == 0 else f'{differ} texts differ'} |", flush=True)
        return differ


def pieces_of(text):
    return [text[i:i + PIECE] for i in range(0, len(text), PIECE)]


def corpus(megabytes, seed):
    """Texts by kind; together of the size asked for."""
    writer = mixed_text.Writer(seed, ADDED)
    real = real_text()
    mixed, size = [], len(real.encode())
    while size < megabytes * 1e6:
        mixed.append(writer.text(PIECE // 2))
        size += len(mixed[-1].encode())
    return {"code and documents": pieces_of(real), "mixed": mixed}


def train(hadal, scratch, texts, name, vocabulary):
    folder = scratch / "trained"
    folder.mkdir(exist_ok=True)
    files = []
    for i, text in enumerate(texts):
        files.append(scratch / f"{name}-{i:04}.txt")
        files[-1].write_bytes(text.encode())
    run(hadal, "tokenizer", "train", *files, "--output", folder / f"{name}.json", "--vocabulary", vocabulary)
    return folder / f"{name}.json"


def split(ids, marker):
    """Ids between the markers."""
    groups = [[]]
    for i in ids:
        if i == marker:
            groups.append([])
        else:
            groups[-1].append(i)
    return groups


def byte_letters():
    """The letter that stands for each byte in a byte-level vocabulary."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in plain]
    return {**{b: chr(b) for b in plain}, **{b: chr(256 + i) for i, b in enumerate(others)}}


def showing_cuts(path):
    """Changes a tokenizer.json such that a cut between any two characters of the probes shows in the ids: the bytes that meet there
    would merge."""
    file = json.loads(path.read_text())
    letter = byte_letters()
    first, last = range(0xC2, 0xF5), range(0x80, 0xC0)
    pairs = [(x, y) for x in b"ab1! " for y in first] + [(x, y) for x in last for y in b"ab1! "]
    pairs += [(x, y) for x in last for y in first]
    words = list(file["model"]["vocab"])[:3] + list(letter.values()) + [letter[x] + letter[y] for x, y in pairs]
    file["model"]["vocab"] = {word: i for i, word in enumerate(words)}
    file["model"]["merges"] = [f"{letter[x]} {letter[y]}" for x, y in pairs]
    following = len(words)
    for token in file["added_tokens"]:
        if token["content"] in file["model"]["vocab"]:
            token["id"] = file["model"]["vocab"][token["content"]]
        else:
            token["id"], following = following, following + 1
    path.write_text(json.dumps(file, ensure_ascii=False))


def compare_characters(a, scratch):
    """Every scalar value beside letters, spaces, digits and itself. Added tokens part the probes: no rule sees across them."""
    path = train(a.hadal, scratch, [mixed_text.Writer(a.seed).text(20_000)], "cuts", 300)
    showing_cuts(path)
    pair = Pair(a.hadal, path, scratch)
    marker = pair.theirs.token_to_id(ADDED[0])
    differ = []
    for begin in range(0, 0x110000, 0x8000):
        some = [c for c in range(begin, begin + 0x8000) if not 0xD800 <= c <= 0xDFFF]
        if not some:
            continue
        text = ADDED[0].join(f"a{c}b {c}{c}1{c}! {c}" for c in map(chr, some))
        ours, theirs = split(pair.ours(text), marker), split(pair.foreign(text), marker)
        assert len(ours) == len(theirs) == len(some)
        differ += [c for c, x, y in zip(some, ours, theirs) if x != y]
    ranges = []
    for c in differ:
        if ranges and ranges[-1][1] == c - 1:
            ranges[-1][1] = c
        else:
            ranges.append([c, c])
    print(f"{len(differ)} characters of {0x110000 - 0x800} differ, in {len(ranges)} ranges:")
    print(" ".join(f"{low:X}" if low == high else f"{low:X}-{high:X}" for low, high in ranges))


def digest(ids):
    return xxhash.xxh3_128_hexdigest(b"".join(i.to_bytes(4, "little") for i in ids))


def write_golden(a, scratch):
    """Lines of mixed text; ids by tokenizers, of the published file and of one trained on these very lines."""
    writer = mixed_text.Writer(a.seed + 1, ADDED)
    lines = [writer.text(60) for _ in range(200)]
    trained = Pair(a.hadal, train(a.hadal, scratch, ["\n".join(lines)], "golden", GOLDEN_VOCABULARY), scratch)
    pairs = {"trained": trained}
    if a.genuine:
        pairs["published"] = Pair(a.hadal, pathlib.Path(a.genuine), scratch)
    golden = {
        "versions": {"tokenizers": importlib.metadata.version("tokenizers")},
        "vocabulary": GOLDEN_VOCABULARY,
        "trained_file": xxhash.xxh3_128_hexdigest(trained.path.read_bytes()),
        "lines": [],
    }
    for line in lines:
        entry = {"text": line}
        for name, pair in pairs.items():
            ids = pair.foreign(line)
            entry[name] = {"count": len(ids), "xxh3_128": digest(ids)}
        golden["lines"].append(entry)
    out = pathlib.Path(a.golden)
    out.mkdir(parents=True, exist_ok=True)
    (out / "lines.json").write_text(json.dumps(golden, indent=0) + "\n")
    print(f"{out / 'lines.json'}: {len(lines)} lines, {(out / 'lines.json').stat().st_size} bytes")


def main():
    a = arguments()
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        if a.golden:
            write_golden(a, scratch)
            return
        if a.characters:
            compare_characters(a, scratch)
            return
        texts = corpus(a.megabytes, a.seed)
        pairs = [Pair(a.hadal, train(a.hadal, scratch, texts["mixed"][:8] + texts["code and documents"][:2], "8000", 8000),
                      scratch)]
        if a.genuine:
            pairs.insert(0, Pair(a.hadal, pathlib.Path(a.genuine), scratch))
        print(f"tokenizers {importlib.metadata.version('tokenizers')}")
        differ = 0
        for pair in pairs:
            for name, some in texts.items():
                differ += pair.compare(name, some)
    sys.exit(1 if differ else 0)


if __name__ == "__main__":
    main()
