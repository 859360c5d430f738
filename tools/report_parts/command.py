# SPDX-License-Identifier: Apache-2.0
"""The command line of tools/report. Exit codes: 0 done, 2 the command line, 3 the folder cannot be written, 6 nothing to draw."""
import argparse
import sys
import warnings
from pathlib import Path

from . import figures, history, page


def draw(run, out, width):
    """All pictures that this run has something for: (title, caption, file)."""
    drawn = []
    for name, title, picture in figures.ALL:
        file = out / f"{name}.png"
        result = picture(run, width)
        if result is None:
            file.unlink(missing_ok=True)  # of an earlier report
            continue
        board, caption = result
        board.save(file)
        drawn.append((title, caption, file))
    return drawn


def default_width(steps):
    """Running means over about a fiftieth of the run."""
    return max(1, min(200, steps // 50))


def main(arguments, text):
    parser = argparse.ArgumentParser(prog="tools/report", description=text, formatter_class=argparse.RawDescriptionHelpFormatter, add_help=True, usage=argparse.SUPPRESS)
    parser.add_argument("run", metavar="RUN", type=Path)
    parser.add_argument("--out", metavar="FOLDER", type=Path)
    parser.add_argument("--smooth", metavar="STEPS", type=int, default=0, help="steps in the running means; default: a fiftieth of the run")
    options = parser.parse_args(arguments)
    warnings.filterwarnings("ignore", category=RuntimeWarning)  # means of nothing
    try:
        run = history.read_run(options.run)
        out = options.out or run.folder / "report"
        out.mkdir(parents=True, exist_ok=True)
        width = options.smooth if options.smooth > 0 else default_width(len(run["step"]))
        pictures = draw(run, out, width)
        page.write(run, pictures, out / "index.html", figures.short)
    except history.Fault as fault:
        print(f"report: {fault}", file=sys.stderr)
        return 6
    except OSError as error:
        print(f"report: {error.filename or options.run}: {error.strerror}. Is there space, and may it be written? --out names another folder.", file=sys.stderr)
        return 3
    for note in run.notes:
        print(f"note: {note}")
    for name, value in page.facts(run, figures.short):
        print(f"{name:<16} {value}")
    print(f"{len(pictures)} pictures and {out / 'index.html'}")
    return 0
