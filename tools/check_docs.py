#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""docs/ against the rest: every error number of the source stands in docs/errors.md and the reverse; every link
of README.md and docs/ leads somewhere, to its heading too. Exit code 1 when a fault is found.
Usage: check_docs.py [ROOT]"""
import re
import sys
from pathlib import Path

LINK = re.compile(r"(?<!\!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")


def sources(root):
    for path in sorted((root / "src").rglob("*")):
        if path.suffix in {".cpp", ".hpp", ".cu", ".cuh"}:
            yield path


def without_comments(text):
    return re.sub(r"//[^\n]*", "", text)


def error_faults(root):
    """Numbers are written as "E014" in the source and open a row, | E014 |, in docs/errors.md."""
    used = {}
    for path in sources(root):
        for number in re.findall(r'"(E\d{3})"', without_comments(path.read_text(encoding="utf-8"))):
            used.setdefault(number, path.relative_to(root))
    page = root / "docs/errors.md"
    rows = re.findall(r"^\|\s*`?(E\d{3})`?\s*\|", page.read_text(encoding="utf-8"), re.M) if page.exists() else []
    for number in sorted(set(used) - set(rows)):
        yield f"{used[number]}: {number} is not in docs/errors.md"
    for number in sorted(set(rows) - set(used)):
        yield f"docs/errors.md: {number} is used nowhere in src/"
    for number in sorted({number for number in rows if rows.count(number) > 1}):
        yield f"docs/errors.md: {number} has more than one row"


def anchors(page):
    """Heading anchors as the usual renderers make them: lower case, spaces to -, other marks dropped."""
    found = set()
    for heading in re.findall(r"^#+\s+(.*)$", page.read_text(encoding="utf-8"), re.M):
        slug = re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
        found.add(slug)
    return found


def without_code(text):
    """Blanks code, so that brackets in it are no links; line numbers stay."""
    text = re.sub(r"^```.*?^```", lambda match: "\n" * match.group(0).count("\n"), text, flags=re.M | re.S)
    return re.sub(r"`[^`\n]*`", "", text)


def link_faults(root):
    pages = sorted((root / "docs").rglob("*.md")) + sorted(root.glob("*.md")) + sorted((root / "checkpoints").glob("*.md"))
    for page in pages:
        text = without_code(page.read_text(encoding="utf-8"))
        for match in LINK.finditer(text):
            target = match.group(1) or match.group(2)
            if re.match(r"[a-z]+:", target):
                continue  # another site
            where = f"{page.relative_to(root)}:{text.count(chr(10), 0, match.start()) + 1}"
            name, _, anchor = target.partition("#")
            file = (page.parent / name).resolve() if name else page
            if not file.exists():
                yield f"{where}: {target} does not exist"
            elif not file.is_relative_to(root.resolve()):
                yield f"{where}: {target} leads out of the repository"
            elif anchor and file.suffix == ".md" and anchor not in anchors(file):
                yield f"{where}: {target}: no such heading"


def main():
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent).resolve()
    faults = list(error_faults(root)) + list(link_faults(root))
    print("\n".join(faults + [f"docs: {len(faults)} faults"]))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
