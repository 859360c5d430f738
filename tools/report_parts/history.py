# SPDX-License-Identifier: Apache-2.0
"""Reads what a run tells of itself: history.csv, expert_load.csv, baselines.csv, run.log, trace/ (docs/history.md).

Runs are interrupted, restarted and rolled back: a row supersedes all rows before it in the file with the same or a later
step. A last line that was cut off in the middle is left out. Columns are found by name, so that older and newer files can
be read; what is missing is NaN."""
import csv
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from . import trace


class Fault(Exception):
    """Something that the user can mend; the text says what."""


@dataclass
class Run:
    name: str
    folder: Path
    columns: dict  # name -> array, one value a step
    units: dict  # name -> text
    sources: list  # names of the data sources
    loads: dict = field(default_factory=dict)  # layer -> (steps, array of loads: step x expert)
    baselines: list = field(default_factory=list)  # (name, bits per byte)
    restarts: list = field(default_factory=list)  # steps
    stopped: str = ""
    hidden: str = ""  # share of the messages' time, of the whole run
    trace: list = field(default_factory=list)  # ranks of the traced steps
    deck: str = ""
    notes: list = field(default_factory=list)  # what was left out, for the reader

    def __getitem__(self, name):
        """The column, or NaN everywhere."""
        steps = self.columns["step"]
        return self.columns.get(name, np.full(len(steps), np.nan))

    def has(self, name):
        return name in self.columns and bool(np.isfinite(self.columns[name]).any())


def number(text):
    """A number, NaN for an empty cell; None when it is neither."""
    if text.strip() == "":
        return float("nan")
    try:
        return float(text)
    except ValueError:
        return None


def read_lines(path):
    """All complete lines; the rest of a line that was never finished does not count."""
    try:
        text = path.read_bytes().decode("utf-8", errors="replace")
    except OSError as error:
        raise Fault(f"{path}: cannot be read: {error.strerror}") from error
    lines = text.split("\n")
    return lines[:-1], bool(lines[-1].strip())


def read_rows(path, notes):
    """Rows as dictionaries, and the units."""
    lines, cut_off = read_lines(path)
    names, units, rows, bad = [], {}, [], 0
    for line in csv.reader(lines):
        if not line:
            continue
        if line[0].lstrip().startswith("#"):
            cells = [line[0].lstrip("# ")] + line[1:]
            units.update(zip(names, (cell.strip() for cell in cells)))
            continue
        if line[0].strip() == "step":
            names = [cell.strip() for cell in line]
            continue
        if not names:
            raise Fault(f"{path}: the first line does not name the columns (step,...). Is it the right file?")
        values = [number(cell) for cell in line]
        if len(values) != len(names) or None in values or not np.isfinite(values[0]):
            bad += 1
            continue
        rows.append(dict(zip(names, values)))
    if cut_off:
        notes.append(f"{path.name}: the last line was cut off and is left out")
    if bad:
        notes.append(f"{path.name}: {bad} line{'s' if bad > 1 else ''} that cannot be read left out")
    return names, units, rows


def keep_latest(rows, notes, what):
    """Rows after a restart point supersede what was written before it. Returns them and the steps where that happened."""
    kept, back = [], []
    for row in rows:
        if kept and row["step"] <= kept[-1]["step"]:
            back.append(int(row["step"]) - 1)
            while kept and kept[-1]["step"] >= row["step"]:
                kept.pop()
        kept.append(row)
    if len(kept) < len(rows):
        notes.append(f"{what}: {len(rows) - len(kept)} rows were superseded by restarts or roll-backs")
    return kept, back


def read_loads(path, notes):
    """expert_load.csv: step, layer, load of each expert. A later row of the same layer and an equal or earlier step supersedes."""
    if not path.exists():
        return {}
    names, _, rows = read_rows(path, notes)
    experts = [name for name in names if re.fullmatch(r"e\d+", name)]
    layers = {}
    for row in rows:
        if "layer" not in row or not np.isfinite(row["layer"]):
            continue
        steps = layers.setdefault(int(row["layer"]), [])
        while steps and steps[-1][0] >= row["step"]:
            steps.pop()
        steps.append((row["step"], [row.get(name, float("nan")) for name in experts]))
    return {layer: (np.array([s for s, _ in steps]), np.array([l for _, l in steps])) for layer, steps in sorted(layers.items())}


def read_baselines(path, notes):
    if not path.exists():
        return []
    found = []
    lines, cut_off = read_lines(path)
    if cut_off:
        lines, _ = read_lines_with_rest(path)
    for line in csv.reader(lines):
        if len(line) < 2 or line[0].startswith("#") or line[0].strip() == "name":
            continue
        value = number(line[1])
        if value is None or not np.isfinite(value):
            notes.append(f"{path.name}: {','.join(line)} is no name and number")
        else:
            found.append((line[0].strip(), value))
    return found


def read_lines_with_rest(path):
    return path.read_text(encoding="utf-8", errors="replace").splitlines(), False


def read_log(path):
    """Steps at which the run was restarted, the last line that says why it stopped, and the last that says what was hidden."""
    if not path.exists():
        return [], "", ""
    restarts, stopped, hidden = [], "", ""
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        if match := re.search(r"restart from .*\(step (\d+)", line):
            restarts.append(int(match.group(1)))
        if match := re.search(r"rolled back to step (\d+)", line):
            restarts.append(int(match.group(1)))
        if match := re.search(r"stopped: (.*)", line):
            stopped = match.group(1).strip()
        if match := re.search(r"communication hidden: (.*)", line):
            hidden = match.group(1).strip()
    return restarts, stopped, hidden


def read_run(place):
    """Reads a run directory; Fault when there is nothing to draw."""
    place = Path(place)
    folder = place.parent if place.is_file() else place
    path = place if place.is_file() else folder / "history.csv"
    if not folder.is_dir():
        raise Fault(f"{place}: no such folder. Give a run directory (the folder with history.csv).")
    if not path.exists():
        raise Fault(f"{folder}: holds no history.csv. Is it a run directory, and has the run made its first step?")
    notes = []
    names, units, rows = read_rows(path, notes)
    rows, back = keep_latest(rows, notes, path.name)
    if not rows:
        raise Fault(f"{path}: has no rows yet. The first one appears after the first step.")
    columns = {name: np.array([row.get(name, float("nan")) for row in rows]) for name in names}
    restarts, stopped, hidden = read_log(folder / "run.log")
    first, last = columns["step"][0], columns["step"][-1]
    deck = folder / "deck.toml"
    return Run(
        name=folder.resolve().name,
        folder=folder,
        columns=columns,
        units=units,
        sources=[name[len("tokens_") :] for name in names if name.startswith("tokens_") and name != "tokens_per_second"],
        loads=read_loads(folder / "expert_load.csv", notes),
        baselines=read_baselines(folder / "baselines.csv", notes),
        restarts=sorted({step for step in restarts + back if first <= step < last}),
        stopped=stopped,
        hidden=hidden,
        trace=trace.read(folder, notes),
        deck=deck.read_text(encoding="utf-8", errors="replace") if deck.exists() else "",
        notes=notes,
    )
