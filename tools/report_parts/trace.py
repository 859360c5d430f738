# SPDX-License-Identifier: Apache-2.0
"""The traced steps of a run (run.trace): what every rank did when, from trace/rank-*.json, and the picture of one step."""
import json
from collections import Counter
from dataclasses import dataclass, field

import matplotlib.pyplot as plt
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

LANES = ("compute", "waiting", "communication")
# As in the drawings of schedules (docs/schedules.md): forward, backward of the activations, of the weights.
COLOURS = {"F": "#f6c35b", "B": "#2f7f8f", "W": "#7a5ba6", "": "#9ca3af"}
MEANINGS = {"F": "forward", "B": "backward, activations", "W": "backward, weights", "": "other work"}
WAITING, STAGES, EXPERTS = "#c8304b", "#6b7280", "#17a2b8"
MOST_RANKS = 16
STEP = "step"  # name of the span round a whole step


@dataclass
class Span:
    name: str
    begin: float  # milliseconds
    end: float
    micro_batch: int = -1
    layer: int = -1
    row: int = 0  # of the lane

    @property
    def kind(self):
        """F, B or W: the last word of names such as "attention F"."""
        word = self.name.rsplit(" ", 1)[-1]
        return word if word in ("F", "B", "W") else ""


@dataclass
class Rank:
    number: int
    name: str
    in_flight: float  # seconds
    exposed: float
    lanes: dict = field(default_factory=lambda: {lane: [] for lane in LANES})


def read_rank(path):
    data = json.loads(path.read_text(encoding="utf-8"))
    other, rank, rows = data["otherData"], None, {}
    rank = Rank(int(other["rank"]), f"rank {other['rank']}", float(other["in_flight_seconds"]), float(other["exposed_seconds"]))
    for event in data["traceEvents"]:
        if event["ph"] == "M" and event["name"] == "process_name":
            rank.name = str(event["args"]["name"])
        if event["ph"] == "X" and event.get("cat") in LANES:
            arguments, lane = event.get("args", {}), event["cat"]
            row = rows.setdefault((lane, event["tid"]), len([key for key in rows if key[0] == lane]))
            begin = event["ts"] / 1e3
            rank.lanes[lane].append(Span(str(event["name"]), begin, begin + event["dur"] / 1e3, int(arguments.get("micro_batch", -1)), int(arguments.get("layer", -1)), row))
    for spans in rank.lanes.values():
        spans.sort(key=lambda span: (span.begin, -span.end))
    return rank


def read(folder, notes):
    """The ranks of a run's trace, in order; what cannot be read is noted."""
    ranks = []
    for path in sorted((folder / "trace").glob("rank-*.json")):
        try:
            ranks.append(read_rank(path))
        except (OSError, ValueError, KeyError, TypeError) as error:
            notes.append(f"trace/{path.name}: cannot be read: {error}")
    return sorted(ranks, key=lambda rank: rank.number)


def hidden_share(ranks):
    """Of the time in which messages were under way, the share in which their rank did not wait; None without messages."""
    in_flight = sum(rank.in_flight for rank in ranks)
    return 1 - sum(rank.exposed for rank in ranks) / in_flight if in_flight > 0 else None


def last_step(ranks):
    """Begin and end of the last whole step: from the first rank that starts it to the last one that ends it."""
    steps = [[span for span in rank.lanes["compute"] if span.name == STEP] for rank in ranks]
    if all(steps) and steps:
        return min(spans[-1].begin for spans in steps), max(spans[-1].end for spans in steps)
    every = [span for rank in ranks for spans in rank.lanes.values() for span in spans]
    return (min(span.begin for span in every), max(span.end for span in every)) if every else (0.0, 0.0)


def inside(spans, begin, end):
    return [span for span in spans if span.end > begin and span.begin < end and span.name != STEP]


def busiest_window(ranks, begin, end, share=16):
    """Where a forward and a backward pass take turns most often: (rank, begin, end), or None where they never do."""
    width, best, found = (end - begin) / share, 3, None
    for rank in ranks:
        work = [span for span in inside(rank.lanes["compute"], begin, end) if span.kind]
        turns = [span.begin for before, span in zip(work, work[1:]) if (before.kind == "F") != (span.kind == "F")]
        first = 0
        for last, at in enumerate(turns):
            while at - turns[first] > width:
                first += 1
            if last - first + 1 > best:
                best, found = last - first + 1, (rank, turns[first], max(at, turns[first] + width))
    return found


def bars(axis, spans, y, height, colour, **more):
    axis.broken_barh([(span.begin, span.end - span.begin) for span in spans], (y, height), facecolors=[colour(span) for span in spans], **more)


def is_stage(span):
    return span.name.startswith(("receive ", "send "))


def draw_rank(axis, rank, y, begin, end, labels=False):
    """From y downwards: work and waiting (0.5 high), messages (0.35)."""
    work = inside(rank.lanes["compute"], begin, end)
    bars(axis, work, y - 0.5, 0.5, lambda span: COLOURS[span.kind], edgecolor="white", linewidth=0.8 if labels else 0.15)
    bars(axis, inside(rank.lanes["waiting"], begin, end), y - 0.5, 0.12 if labels else 0.5, lambda span: WAITING, alpha=1 if labels else 0.55)
    messages = inside(rank.lanes["communication"], begin, end)
    rows = max([span.row for span in messages], default=0) + 1
    height = 0.35 / max(rows, 2)
    for row in range(rows):
        bars(axis, [span for span in messages if span.row == row], y - 0.54 - (row + 1) * height, 0.8 * height, lambda span: STAGES if is_stage(span) else EXPERTS)
    if labels:
        for span in work:
            write(axis, span, y - 0.25, begin, end, "#3a2a00" if span.kind == "F" else "white", span.kind)
        for span in messages:
            write(axis, span, y - 0.54 - (span.row + 0.6) * height, begin, end, "white")


def write(axis, span, y, begin, end, colour, short=""):
    """Its name in the box, or something shorter, where there is room."""
    left, right, letter = max(span.begin, begin), min(span.end, end), (end - begin) / 90
    for text in (span.name, short):
        if text and right - left > (len(text) + 0.5) * letter:
            return axis.text((left + right) / 2, y, text, ha="center", va="center", fontsize=8, color=colour)
    return None


def style(axis, begin, end, zero, title):
    axis.set_xlim(begin, end)
    axis.grid(False)
    axis.set_xlabel("ms")
    axis.xaxis.set_major_formatter(FuncFormatter(lambda at, _: f"{at - zero:.4g}"))
    step = MaxNLocator(10).tick_values(begin - zero, end - zero)
    axis.set_xticks([zero + at for at in step if begin <= zero + at <= end])
    axis.set_title(title)


class StepBoard:
    """One step of all ranks and, where passes take turns, a close-up."""

    def __init__(self, ranks, begin, end, window):
        shown = ranks[:MOST_RANKS]
        heights = [0.9 + 0.55 * len(shown)] + ([2.2] if window else []) + [0.3]
        self.figure, axes = plt.subplots(len(heights), 1, figsize=(11.0, sum(heights) + 0.6), gridspec_kw={"height_ratios": heights}, squeeze=False, constrained_layout=True)
        axis = axes[0][0]
        for i, rank in enumerate(shown):
            draw_rank(axis, rank, -i, begin, end)
        axis.set_yticks([-i - 0.45 for i in range(len(shown))])
        axis.set_yticklabels([rank.name for rank in shown])
        axis.set_ylim(-len(shown) + 0.05, 0.1)
        style(axis, begin, end, begin, f"One step of {len(ranks)} rank{'s' if len(ranks) > 1 else ''}" + (f", the first {MOST_RANKS}" if len(ranks) > MOST_RANKS else ""))
        if window:
            rank, first, last = window
            draw_rank(axes[1][0], rank, 0, first, last, labels=True)
            axes[1][0].set_ylim(-0.95, 0.1)
            axes[1][0].set_yticks([-0.25, -0.72])
            axes[1][0].set_yticklabels(["work", "messages"])
            style(axes[1][0], first, last, begin, f"{rank.name}: where passes take turns")
            axis.axvspan(first, last, ymin=0, ymax=1, color="#000000", alpha=0.06, linewidth=0)
        seen = Counter(span.kind for rank in shown for span in inside(rank.lanes["compute"], begin, end))
        patches = [Patch(color=COLOURS[kind], label=MEANINGS[kind]) for kind in COLOURS if seen[kind]]
        patches += [Patch(color=WAITING, label="waiting"), Patch(color=EXPERTS, label="messages of experts"), Patch(color=STAGES, label="messages of stages")]
        axes[-1][0].axis("off")
        axes[-1][0].legend(handles=patches, loc="center", ncol=len(patches), fontsize=8)

    def save(self, path):
        self.figure.savefig(path)
        plt.close(self.figure)
