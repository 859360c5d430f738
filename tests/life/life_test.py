#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The short demo of a life in an empty folder: every phase ends, the summary has a line for each, the model learns to add digits.
Called again it does nothing anew; another seed is refused there. Usage: life_test.py HADAL"""
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def demo(hadal, folder, *more):
    done = subprocess.run([str(ROOT / "tools" / "demo_life"), "--in", folder, *more], text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, env={**os.environ, "HADAL": hadal}, check=False)
    return done.returncode, done.stdout


def expect(holds, what, output=""):
    if not holds:
        sys.exit(f"{output[-6000:]}\nlife_test: {what}")


def main():
    hadal = sys.argv[1]
    with tempfile.TemporaryDirectory() as folder:
        code, output = demo(hadal, folder, "--short")
        expect(code == 0, f"exit code {code}", output)
        life = Path(folder) / "checkpoints" / "life"
        summary = json.loads((life / "summary.json").read_text())
        stages = summary["lives"][0]["stages"]
        names = ["base", "long", "sft", "grpo", "grpo_short", "student_sft", "student_distil"]
        expect(list(stages) == names, f"stages {list(stages)}", output)
        right = {name: stage["right"] for name, stage in stages.items()}
        expect(right["sft"] >= right["base"] + 0.1, f"fine-tuning taught nothing: {right}", output)
        expect(len(summary["goals"]) == 5 and all(goal["reached"] is not None for goal in summary["goals"]), "goals", output)
        for picture in ("life.png", "needles.png", "grpo.png"):
            expect((life / picture).stat().st_size > 5000, picture)
        hashes = {path: path.read_bytes() for path in life.glob("*/history.csv")}
        code, output = demo(hadal, folder, "--short")
        expect(code == 0, f"called again: exit code {code}", output)
        expect(hashes == {path: path.read_bytes() for path in life.glob("*/history.csv")}, "called again it trained anew", output)
        code, output = demo(hadal, folder, "--short", "--seed", "2")
        expect(code == 3 and "holds a demo of seed 1 short, not of seed 2 short" in output, "another seed was not refused", output)
    print(f"life: {right}")


if __name__ == "__main__":
    main()
