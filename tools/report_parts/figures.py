# SPDX-License-Identifier: Apache-2.0
"""The pictures of a run. Each function draws one and gives its caption, or None when the run has nothing to show there."""
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import TwoSlopeNorm
from matplotlib.ticker import FuncFormatter, MaxNLocator

from . import trace

BLUE, ORANGE, GREEN, RED, VIOLET, GREY = "#0b6fb8", "#d95f02", "#1b8a5a", "#c8304b", "#7a5195", "#6b7280"
CYCLE = [BLUE, ORANGE, GREEN, VIOLET, RED, "#a6761d", "#17a2b8", GREY]
SUFFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))

plt.rcParams.update(
    {
        "figure.dpi": 100,
        "savefig.dpi": 130,
        "font.size": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": "#9ca3af",
        "axes.labelcolor": "#374151",
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.titlesize": 11,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "grid.color": "#e5e7eb",
        "grid.linewidth": 0.8,
        "xtick.color": "#4b5563",
        "ytick.color": "#4b5563",
        "legend.frameon": False,
        "axes.prop_cycle": plt.cycler(color=CYCLE),
    }
)


def short(value, _=None):
    """12300000 -> 12.3M"""
    for size, suffix in SUFFIXES:
        if abs(value) >= size:
            return f"{value / size:.3g}{suffix}"
    return f"{value:.3g}"


def smooth(values, width):
    """Mean over the last `width` finite values (fewer at the beginning); NaN stays out of it."""
    good = np.isfinite(values)
    sums, counts = np.cumsum(np.where(good, values, 0.0)), np.cumsum(good)
    before_sums = np.concatenate([np.zeros(min(width, len(values))), sums[:-width]])
    before_counts = np.concatenate([np.zeros(min(width, len(values))), counts[:-width]])
    n = counts - before_counts
    return np.where(n > 0, (sums - before_sums) / np.maximum(n, 1), np.nan)


def line_through(x, y):
    """The broken line through the origin and (x, y), going on with the mean slope: matplotlib asks behind the end too."""
    x, y = np.append(0, x), np.append(0, y)
    return lambda at: np.interp(at, x, y) + np.maximum(np.asarray(at) - x[-1], 0) * y[-1] / x[-1]


class Board:
    """A figure whose panels share the axis of steps, marked where the run was restarted."""

    def __init__(self, run, panels, height=3.4, width=9.0):
        self.run = run
        self.figure, axes = plt.subplots(panels, 1, figsize=(width, height * panels), sharex=True, squeeze=False, constrained_layout=True)
        self.axes = [row[0] for row in axes]
        steps = run["step"]
        for axis in self.axes:
            for step in run.restarts:
                axis.axvline(step + 0.5, color=GREY, linewidth=0.8, linestyle=(0, (2, 3)), zorder=0)
            if len(steps) > 1:
                axis.set_xlim(min(0, steps[0]), steps[-1])
            else:
                axis.set_xlim(steps[0] - 1, steps[0] + 1)
            axis.xaxis.set_major_formatter(FuncFormatter(short))
            axis.xaxis.set_major_locator(MaxNLocator(8, integer=True, steps=[1, 2, 5, 10]))
        self.axes[-1].set_xlabel("step")
        tokens = run["tokens"]
        if len(steps) > 1 and run.has("tokens") and (np.diff(tokens) > 0).all():
            top = self.axes[0].secondary_xaxis("top", functions=(line_through(steps, tokens), line_through(tokens, steps)))
            top.set_xlabel("tokens", fontsize=9, color=GREY)
            top.xaxis.set_major_formatter(FuncFormatter(short))
            top.spines["top"].set_visible(False)
            top.tick_params(length=0, labelsize=8)

    def save(self, path):
        self.figure.savefig(path)
        plt.close(self.figure)


def mark(values):
    """A lone point has no line: it gets a marker."""
    return "o" if np.isfinite(values).sum() < 3 else None


def noisy(axis, steps, values, width, colour, label):
    """A quantity that jumps: pale as it is, strong as running mean."""
    if len(steps) > 3 * width > 3:
        axis.plot(steps, values, color=colour, linewidth=0.7, alpha=0.25)
        axis.plot(steps, smooth(values, width), color=colour, linewidth=1.7, label=f"{label} (mean of {width} steps)")
    else:
        axis.plot(steps, values, color=colour, linewidth=1.4, label=label, marker=mark(values), markersize=4)


def window(values, from_share=0.02):
    """Limits of the axis that the first few steps and single spikes do not spoil."""
    good = values[np.isfinite(values)]
    if len(good) < 20:
        return None
    late = good[max(1, int(len(good) * from_share)) :]
    low, high = np.min(late), np.percentile(late, 99.7)
    pad = 0.06 * max(high - low, 1e-9)
    return low - pad, high + pad


def losses(run, width):
    if not run.has("loss"):
        return None
    extra = run.has("balance_loss") and np.nanmax(np.abs(run["balance_loss"])) > 0
    board, steps = Board(run, 2 if extra else 1, 3.9 if not extra else 3.3), run["step"]
    axis = board.axes[0]
    noisy(axis, steps, run["loss"], width, BLUE, "training")
    if run.has("mtp_loss") and np.nanmax(np.abs(run["mtp_loss"])) > 0:
        noisy(axis, steps, run["mtp_loss"], width, ORANGE, "multi-token prediction")
    if run.has("validation_loss"):
        good = np.isfinite(run["validation_loss"])
        axis.plot(steps[good], run["validation_loss"][good], color=RED, marker="o", markersize=4, linewidth=1.2, label="validation")
    all_losses = np.concatenate([run[name] for name in ("loss", "mtp_loss", "validation_loss")])
    limits = window(all_losses[all_losses != 0], 0.0)
    if limits:
        axis.set_ylim(limits)
    axis.set_ylabel("nats a token")
    axis.set_title("Loss")
    axis.legend()
    if extra:
        noisy(board.axes[1], steps, run["balance_loss"], width, VIOLET, "sequence-wise balance loss")
        board.axes[1].set_ylabel("nats")
        board.axes[1].legend()
    return board, "Loss of each step, its running mean, and the loss on text that was held out. Dotted lines: restarts."


def bits_per_byte(run, width):
    if not run.has("validation_bits_per_byte"):
        return None
    board = Board(run, 1, 3.9)
    axis = board.axes[0]
    values = run["validation_bits_per_byte"]
    good = np.isfinite(values)
    steps, values = run["step"][good], values[good]
    axis.plot(steps, values, color=BLUE, marker="o", markersize=4, linewidth=1.6)
    axis.annotate(f"{values[-1]:.3f}", (steps[-1], values[-1]), textcoords="offset points", xytext=(-4, 8), ha="right", color=BLUE, fontweight="bold")
    top = max([values[min(1, len(values) - 1)] * 1.05, values.min() * 1.1] + [value * 1.15 for _, value in run.baselines])
    bottom = min([values.min()] + [value for _, value in run.baselines]) * 0.9
    axis.set_ylim(bottom, top)
    # Names stand above their lines; where the line before is too close, below, and the next one further left.
    room, before, place = 0.07 * (top - bottom), np.inf, 0
    for (name, value), colour in zip(sorted(run.baselines, key=lambda b: -b[1]), [GREY, VIOLET, ORANGE, GREEN, RED] * 9):
        place = place + 1 if before - value < room else 0
        before, below, right = value, place % 2 == 1, 0.995 - 0.14 * (place // 2 % 5)
        axis.axhline(value, color=colour, linewidth=1.2, linestyle="--")
        axis.annotate(f"{name}  {value:.2f}", (right, value), xycoords=("axes fraction", "data"), textcoords="offset points", xytext=(0, -3 if below else 2), ha="right", va="top" if below else "bottom", fontsize=9, color=colour)
    axis.set_ylabel("bits a byte")
    axis.set_title("Held-out text: bits per byte")
    below = [name for name, value in run.baselines if values[-1] < value]
    caption = f"The last value is {values[-1]:.3f} bits a byte."
    if run.baselines:
        caption += f" Below {', '.join(below)}." if below else " Above all compressors."
    return board, caption


def learning_rate(run, width):
    if not run.has("learning_rate"):
        return None
    board = Board(run, 1, 2.8)
    axis = board.axes[0]
    axis.plot(run["step"], run["learning_rate"], color=GREEN, linewidth=1.6, marker=mark(run["learning_rate"]))
    axis.set_ylim(bottom=0)
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.2g}"))
    axis.set_title("Learning rate")
    return board, "Learning rate of the optimiser."


def gradient_norm(run, width):
    if not run.has("grad_norm"):
        return None
    board = Board(run, 1, 3.2)
    axis, steps, norm = board.axes[0], run["step"], run["grad_norm"].copy()
    norm[norm <= 0] = np.nan
    noisy(axis, steps, norm, width, BLUE, "norm of all gradients")
    clipped, skipped = run["clipped"] == 1, run["skipped"] == 1
    if np.isfinite(norm).any():
        axis.set_yscale("log")
        low, high = np.nanmin(norm), np.nanmax(norm)
        axis.set_ylim(low / 1.4, high * 1.5)
        axis.yaxis.set_major_formatter(FuncFormatter(short))
        if high / low < 20:
            axis.yaxis.set_minor_formatter(FuncFormatter(short))
            axis.tick_params(axis="y", which="minor", labelsize=8)
    if clipped.any():
        axis.plot(steps[clipped], np.full(clipped.sum(), 0.03), "|", color=ORANGE, markersize=7, transform=axis.get_xaxis_transform(), label=f"clipped ({clipped.sum()} of {len(steps)} steps)")
    if skipped.any():
        axis.plot(steps[skipped], np.full(skipped.sum(), 0.09), "x", color=RED, markersize=6, transform=axis.get_xaxis_transform(), label=f"skipped ({skipped.sum()})")
    axis.set_title("Gradient norm")
    axis.legend()
    return board, "Euclidean norm of all gradients before clipping. Marks below: steps whose gradient was scaled down, and steps that were dropped."


def throughput(run, width):
    if not run.has("tokens_per_second"):
        return None
    panels = [("tokens_per_second", 1, BLUE, "tokens/s", "Throughput"), ("peak_share", 100, GREEN, "% of GEMM peak", "Model FLOPs, share of the measured GEMM peak"), ("memory_bytes", 2**-30, VIOLET, "GiB", "Memory of the process")]
    panels = [panel for panel in panels if run.has(panel[0])]
    board, steps = Board(run, len(panels), 2.5), run["step"]
    for axis, (name, scale, colour, unit, title) in zip(board.axes, panels):
        values = run[name] * scale
        axis.plot(steps, values, color=colour, linewidth=1.2, marker=mark(values), markersize=4)
        axis.set_ylim(0, (np.nanpercentile(values, 99.5) if len(values) > 50 else np.nanmax(values)) * 1.15 or 1)
        axis.set_ylabel(unit)
        axis.set_title(title)
        axis.yaxis.set_major_formatter(FuncFormatter(short))
    stalls = run["stall_seconds"]
    stalled = np.isfinite(stalls) & (stalls > 0)
    caption = f"Median {short(np.nanmedian(run['tokens_per_second']))} tokens/s, {np.nanmedian(run['step_seconds']):.3g} s a step."
    if stalled.any():
        board.axes[0].plot(steps[stalled], np.full(stalled.sum(), 0.04), "^", color=ORANGE, markersize=4, transform=board.axes[0].get_xaxis_transform(), label="checkpoint")
        board.axes[0].legend(loc="lower right")
        caption += f" Checkpoints held the training up for {stalls[stalled].sum():.2f} s in all ({stalled.sum()} times)."
    return board, caption


def violation(run, width):
    if not (run.has("max_violation") and np.nanmax(run["max_violation"]) > 0):
        return None
    board, steps = Board(run, 1, 3.2), run["step"]
    axis = board.axes[0]
    noisy(axis, steps, run["max_violation"], width, BLUE, "maximal violation, mean over layers")
    if run.has("max_expert_load"):
        noisy(axis, steps, run["max_expert_load"] - 1, width, ORANGE, "maximal violation, worst layer")
    axis.set_ylim(bottom=0)
    axis.set_ylabel("(max - mean) / mean")
    axis.set_title("Balance of the experts")
    axis.legend()
    return board, "How much the busiest expert of a layer exceeds the mean: 0 is perfect balance."


def tokens_by_source(run, width):
    names = [name for name in run.sources if run.has("tokens_" + name)]
    if not names:
        return None
    board, steps = Board(run, 1, 3.2), run["step"]
    axis = board.axes[0]
    values = [np.nan_to_num(run["tokens_" + name]) for name in names]
    total = values[0] * 0 + sum(v[-1] for v in values)
    labels = [f"{name}  {short(v[-1])} ({100 * v[-1] / max(total[-1], 1):.1f} %)" for name, v in zip(names, values)]
    if len(steps) > 1:
        axis.stackplot(steps, values, labels=labels, alpha=0.8, colors=(CYCLE * (len(names) // len(CYCLE) + 1))[: len(names)])
    else:
        for value, label in zip(values, labels):
            axis.plot(steps, value, "o", label=label)
    axis.set_ylim(bottom=0)
    axis.yaxis.set_major_formatter(FuncFormatter(short))
    axis.set_ylabel("tokens")
    axis.set_title("Tokens seen, by source")
    axis.legend(loc="upper left", ncol=1 + len(names) // 9)
    return board, "Tokens that the run has read from each source so far."


def edges(steps):
    """Borders of the cells round the steps."""
    if len(steps) == 1:
        return np.array([steps[0] - 0.5, steps[0] + 0.5])
    middle = (steps[1:] + steps[:-1]) / 2
    return np.concatenate([[steps[0] - (middle[0] - steps[0])], middle, [steps[-1] + (steps[-1] - middle[-1])]])


class LoadMap:
    """Heat maps of the load over its mean, a panel a layer."""

    def __init__(self, run):
        layers = list(run.loads)
        columns = 1 if len(layers) == 1 else 2 if len(layers) <= 12 else 4
        rows = -(-len(layers) // columns)
        self.figure, axes = plt.subplots(rows, columns, figsize=(9.0 if columns < 4 else 12.0, 0.6 + rows * (2.6 if columns == 1 else 1.75)), sharex=True, sharey=True, squeeze=False, constrained_layout=True)
        # log2 of load / mean: white is balance, twice and half the mean are equally strong.
        norm, image = TwoSlopeNorm(0, -2, 2), None
        for axis, layer in zip(axes.flat, layers):
            steps, loads = run.loads[layer]
            mean = np.nanmean(loads, axis=1, keepdims=True)
            with np.errstate(divide="ignore", invalid="ignore"):
                relative = np.clip(np.log2(np.where(mean > 0, loads / mean, np.nan)), -2, 2)
            image = axis.pcolormesh(edges(steps), np.arange(loads.shape[1] + 1) - 0.5, relative.T, cmap="RdBu_r", norm=norm, rasterized=True)
            axis.set_title(f"layer {layer}", fontsize=9)
            axis.grid(False)
            axis.yaxis.set_major_locator(MaxNLocator(4, integer=True, steps=[1, 2, 4, 5, 10]))
            axis.set_facecolor("#d1d5db")
            axis.xaxis.set_major_formatter(FuncFormatter(short))
        for axis in list(axes.flat)[len(layers) :]:
            axis.set_visible(False)
        for axis in axes[:, 0]:
            axis.set_ylabel("expert")
        for axis in axes[-1]:
            axis.set_xlabel("step")
        bar = self.figure.colorbar(image, ax=axes, shrink=min(1.0, 3.2 / (0.6 + rows * 1.75)), pad=0.015, ticks=[-2, -1, 0, 1, 2])
        bar.ax.set_yticklabels(["≤ 1/4", "1/2", "mean", "2 x", "≥ 4 x"])
        bar.outline.set_visible(False)

    def save(self, path):
        self.figure.savefig(path)
        plt.close(self.figure)


def expert_load(run, width):
    if not run.loads:
        return None
    return LoadMap(run), "Token copies sent to each expert, relative to the mean of its layer. Red: more than its share; blue: less."


def traced_step(run, width):
    begin, end = trace.last_step(run.trace)
    if end <= begin:
        return None
    share, window = trace.hidden_share(run.trace), trace.busiest_window(run.trace, begin, end)
    caption = f"The last traced step, {end - begin:.1f} ms. Upper half of a rank: its work; lower half: messages under way."
    if share is not None:
        caption += f" {100 * share:.0f} % of the time in which a message was under way its rank did not wait."
    return trace.StepBoard(run.trace, begin, end, window), caption


# File name, title on the page, picture.
ALL = (
    ("loss", "Loss", losses),
    ("bits_per_byte", "Bits per byte", bits_per_byte),
    ("learning_rate", "Learning rate", learning_rate),
    ("gradient_norm", "Gradient norm", gradient_norm),
    ("throughput", "Throughput and memory", throughput),
    ("violation", "Balance of the experts", violation),
    ("expert_load", "Load of the experts", expert_load),
    ("sources", "Tokens by source", tokens_by_source),
    ("traced_step", "One step, rank by rank", traced_step),
)
