# SPDX-License-Identifier: Apache-2.0
"""Needles found over length and depth: reads grid_<task>.csv of an evaluation and draws it."""
import csv

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

HEAD = ["length", "depth", "samples", "value", "stderr"]


def read(path):
    """{(length, depth): value}; ValueError names what is wrong."""
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    if not rows or rows[0] != HEAD:
        raise ValueError(f"the first line is not {','.join(HEAD)}")
    cells = {}
    for number, row in enumerate(rows[1:], 2):
        try:
            cells[int(row[0]), float(row[1])] = float(row[3])
        except (ValueError, IndexError):
            raise ValueError(f"line {number} is not a cell: {','.join(row)}") from None
    if not cells:
        raise ValueError("no cell")
    return cells


def draw(cells, name, path):
    lengths = sorted({length for length, _ in cells})
    depths = sorted({depth for _, depth in cells})
    values = np.array([[cells.get((length, depth), np.nan) for length in lengths] for depth in depths])
    size = (max(4.0, 1.6 + 0.75 * len(lengths)), max(2.6, 1.5 + 0.42 * len(depths)))
    figure, axis = plt.subplots(figsize=size, constrained_layout=True)
    image = axis.imshow(values, vmin=0, vmax=1, cmap="RdYlGn", aspect="auto")
    axis.set_xticks(range(len(lengths)), [f"{length:,}" for length in lengths])
    axis.set_yticks(range(len(depths)), [f"{100 * depth:g} %" for depth in depths])
    axis.set_xlabel("length of the prompt (tokens)")
    axis.set_ylabel("depth of the needle")
    axis.set_title(f"{name}: {100 * np.nanmean(values):.0f} % found", loc="left", fontsize=11, fontweight="bold")
    for y, row in enumerate(values):
        for x, value in enumerate(row):
            if np.isfinite(value):
                axis.text(x, y, f"{100 * value:.0f}", ha="center", va="center", fontsize=8)
    figure.colorbar(image, ax=axis, label="share found")
    figure.savefig(path, dpi=130)
    plt.close(figure)
