#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the problems of the tiny GRPO deck: small sums and differences with their answers, in the words of the conversations of
make_chats.py. The same seed gives the same bytes. Usage: make_problems.py [--seed N] [--count N] [--most N] FILE"""
import argparse
import json
import random
from pathlib import Path


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--count", type=int, default=200)
    arguments.add_argument("--most", type=int, default=20, help="largest number in a problem")
    arguments.add_argument("file", type=Path)
    a = arguments.parse_args()
    draw = random.Random(a.seed)
    lines = []
    for i in range(a.count):
        x, y = draw.randint(2, a.most), draw.randint(2, a.most)
        sign, value = draw.choice([("+", x + y), ("-", x - y)])
        form = draw.choice(["{} {} {} = ?", "What is {} {} {}?", "Please work out {} {} {}."])
        lines.append(json.dumps({"id": f"problem-{i}", "prompt": form.format(x, sign, y), "answer": str(value)}))
    a.file.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
