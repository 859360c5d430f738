# SPDX-License-Identifier: Apache-2.0
"""One HTML page that needs no other file."""
import base64
import html

import numpy as np

from . import trace

STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1f2937; background: #f9fafb; margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 60rem; }
h1 { font-size: 1.5rem; margin: 0 0 .2rem; } h2 { font-size: 1.05rem; margin: 0 0 .4rem; }
section { background: #fff; border: 1px solid #e5e7eb; border-radius: 8px; padding: 1rem 1.2rem; margin: 1rem 0; }
img { width: 100%; height: auto; } p { margin: .3rem 0; color: #4b5563; }
table { border-collapse: collapse; } td { padding: .1rem 1.2rem .1rem 0; vertical-align: top; } td:first-child { color: #6b7280; white-space: nowrap; }
pre { overflow-x: auto; font-size: 12px; } .note { color: #92400e; } summary { cursor: pointer; }
"""


def last(values):
    good = values[np.isfinite(values)]
    return good[-1] if len(good) else float("nan")


def facts(run, short):
    """Rows of the table at the head: name, text."""
    steps = run["step"]
    rows = [("steps", f"{int(steps[-1])}" + (f", {len(run.restarts)} restart{'s' if len(run.restarts) > 1 else ''} on the way" if run.restarts else ""))]
    if run.has("tokens"):
        rows.append(("tokens", short(last(run["tokens"]))))
    if run.has("loss"):
        rows.append(("training loss", f"{last(run['loss']):.4f} nats a token"))
    if run.has("validation_loss"):
        rows.append(("validation loss", f"{last(run['validation_loss']):.4f} nats a token"))
    if run.has("validation_bits_per_byte"):
        others = ", ".join(f"{name} {value:.2f}" for name, value in sorted(run.baselines, key=lambda b: b[1]))
        rows.append(("bits per byte", f"{last(run['validation_bits_per_byte']):.3f}" + (f" ({others})" if others else "")))
    if run.has("tokens_per_second"):
        share = f", {100 * np.nanmedian(run['peak_share']):.0f} % of the GEMM peak" if run.has("peak_share") else ""
        rows.append(("speed", f"{short(np.nanmedian(run['tokens_per_second']))} tokens/s{share} (medians)"))
    if run.has("step_seconds"):
        rows.append(("time in steps", f"{np.nansum(run['step_seconds']) / 60:.1f} min"))
    if run.has("memory_bytes"):
        rows.append(("memory", f"{np.nanmax(run['memory_bytes']) / 2**30:.2f} GiB at most"))
    traced = trace.hidden_share(run.trace)
    if run.hidden or traced is not None:
        parts = [run.hidden] if run.hidden else []
        parts += [f"{100 * traced:.0f} % in the traced steps"] if traced is not None else []
        rows.append(("communication", "hidden: " + "; ".join(parts)))
    if run.has("skipped") and np.nansum(run["skipped"]) > 0:
        rows.append(("skipped steps", f"{int(np.nansum(run['skipped']))}"))
    if run.stopped:
        rows.append(("stopped", run.stopped))
    return rows


def write(run, pictures, path, short):
    """pictures: (title, caption, PNG file)."""
    say = html.escape
    parts = [f"<!doctype html><html lang='en'><head><meta charset='utf-8'><meta name='viewport' content='width=device-width'><title>{say(run.name)}</title><style>{STYLE}</style></head><body>"]
    parts.append(f"<h1>{say(run.name)}</h1><p>{say(str(run.folder))}</p><section><table>")
    parts += [f"<tr><td>{say(name)}</td><td>{say(text)}</td></tr>" for name, text in facts(run, short)]
    parts.append("</table>" + "".join(f"<p class='note'>{say(note)}</p>" for note in run.notes) + "</section>")
    for title, caption, file in pictures:
        image = base64.b64encode(file.read_bytes()).decode("ascii")
        parts.append(f"<section><h2>{say(title)}</h2><img alt='{say(title)}' src='data:image/png;base64,{image}'><p>{say(caption)}</p></section>")
    if run.deck:
        parts.append(f"<section><details><summary>The deck, resolved</summary><pre>{say(run.deck)}</pre></details></section>")
    parts.append("</body></html>\n")
    path.write_text("\n".join(parts), encoding="utf-8")
