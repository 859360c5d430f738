#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The parts of the style guide that a program can check: the SPDX line, files within 400 lines, functions within 60,
no tabs, and the formatting (clang-format 14, where it is installed). Exit code 1 when a fault is found.
Usage: check_style.py [--fix] [ROOT]      --fix lets clang-format rewrite the files"""
import re
import shutil
import subprocess
import sys
from pathlib import Path

CODE = {".cpp", ".hpp", ".cu", ".cuh"}
MAX_FILE, MAX_FUNCTION = 400, 60
SPDX = "SPDX-License-Identifier: Apache-2.0"
# Types, namespaces and tables may be longer than a function; in formatted code they open and end in the first column too.
NOT_A_FUNCTION = re.compile(r"^(inline |export )?(namespace|struct|class|enum|union|extern)\b|=\s*\{$|^template <[^>]*>\s*(struct|class)\b")


def files(root):
    for folder in ("src", "tests"):
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in CODE and "bad_tree" not in path.relative_to(root).parts:
                yield path


def function_faults(name, lines):
    """Namespaces are not indented, so a function runs from a line of the first column that ends in { to a lone }."""
    begin = None
    for number, line in enumerate(lines, 1):
        if line.endswith("{") and line[0] not in " #/}" and not NOT_A_FUNCTION.search(line):
            begin = number
        elif line.startswith("}"):
            if begin and number - begin + 1 > MAX_FUNCTION:
                yield f"{name}:{begin}: a function of {number - begin + 1} lines (at most {MAX_FUNCTION})"
            begin = None


def text_faults(root, path):
    name = path.relative_to(root).as_posix()
    lines = path.read_text(encoding="utf-8").splitlines()
    if not lines or SPDX not in lines[0]:
        yield f"{name}:1: the first line is not // {SPDX}"
    if len(lines) > MAX_FILE:
        yield f"{name}: {len(lines)} lines (at most {MAX_FILE})"
    for number, line in enumerate(lines, 1):
        if "\t" in line:
            yield f"{name}:{number}: a tab"
    yield from function_faults(name, lines)


def format_faults(root, paths, fix):
    tool = shutil.which("clang-format-14") or shutil.which("clang-format")
    version = subprocess.run([tool, "--version"], capture_output=True, text=True).stdout if tool else ""
    if "version 14." not in version:
        print(f"FORMATTING NOT CHECKED: needs clang-format 14, found {version.strip() or 'none'}")
        return
    command = [tool, "--style=file", "-i"] if fix else [tool, "--style=file", "--dry-run", "--Werror"]
    for first in range(0, len(paths), 40):
        done = subprocess.run(command + paths[first : first + 40], capture_output=True, text=True, cwd=root)
        for path in sorted(set(re.findall(r"^(\S+?):\d+:\d+: error", done.stderr, re.M))):
            yield f"{path}: not formatted (tools/check_style.py --fix)"
        if done.returncode and "-Wclang-format-violations" not in done.stderr:
            yield f"clang-format failed: {done.stderr.strip()}"


def main():
    arguments = [argument for argument in sys.argv[1:] if argument != "--fix"]
    root = Path(arguments[0] if arguments else Path(__file__).resolve().parent.parent).resolve()
    paths = list(files(root))
    faults = [fault for path in paths for fault in text_faults(root, path)]
    faults += format_faults(root, [path.relative_to(root).as_posix() for path in paths], "--fix" in sys.argv)
    print("\n".join(faults + [f"style: {len(paths)} files, {len(faults)} faults"]))
    return 1 if faults or not paths else 0


if __name__ == "__main__":
    sys.exit(main())
