#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs a checker on a tree laid out with faults: it must fail, print every expected line, and find nothing else.
A line that begins with "? " depends on a tool that may not be installed.
Usage: must_find.py CHECKER TREE EXPECTED"""
import subprocess
import sys
from pathlib import Path

checker, tree, expected = sys.argv[1:]
done = subprocess.run([sys.executable, checker, tree], capture_output=True, text=True)
found = [line for line in done.stdout.splitlines() if line.strip()]
lines = Path(expected).read_text(encoding="utf-8").splitlines()
wanted = [line.removeprefix("? ") for line in lines]
missing = [line for line in lines if not line.startswith("? ") and not any(line in other for other in found)]
surplus = [line for line in found if not any(other in line for other in wanted)]
print(f"exit code {done.returncode}, {len(found)} lines, {len(wanted)} expected")
for line in missing:
    print(f"not found: {line}")
for line in surplus:
    print(f"not expected: {line}")
sys.exit(0 if done.returncode == 1 and not missing and not surplus else 1)
