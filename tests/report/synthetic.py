# SPDX-License-Identifier: Apache-2.0
"""Writes a run directory such as the program leaves it, with made-up numbers: for the tests of tools/report."""
import json
import math
import random
from pathlib import Path

COLUMNS = (
    "step,tokens,samples,loss,mtp_loss,balance_loss,grad_norm,learning_rate,step_seconds,tokens_per_second,peak_share,memory_bytes,"
    "max_violation,max_expert_load,clipped,skipped,validation_loss,validation_bits_per_byte,stall_seconds"
)
UNITS = "# steps,tokens,sequences,nats a token,nats a token,nats,1,1,s,tokens/s,share,bytes,1,1,0 or 1,0 or 1,nats a token,bits a byte,s"


def row(step, steps, sources, random):
    tokens = step * 4096
    loss = 1.6 + 6.5 * math.exp(-step / (0.12 * steps + 1)) + 1.2 * math.exp(-step / (0.7 * steps + 1)) + random.gauss(0, 0.06)
    rate = 2e-3 * min(1, step / (0.05 * steps + 1)) * (0.55 + 0.45 * math.cos(math.pi * step / steps))
    seconds = 0.31 + abs(random.gauss(0, 0.02))
    norm = 0.6 + 3 * math.exp(-step / (0.05 * steps + 1)) + abs(random.gauss(0, 0.15))
    validation = step % max(1, steps // 20) == 0 or step == steps
    violation = 0.25 + 2.5 * math.exp(-step / (0.1 * steps + 1)) + abs(random.gauss(0, 0.05))
    cells = [step, tokens, step * 8, loss, loss + 0.7, 1e-4 * (1 + violation / 5), norm, rate, seconds, 4096 / seconds, 0.6 + random.gauss(0, 0.02)]
    cells += [int(1.6e9 + 1e5 * step), violation, 1.2 + 1.5 * violation, int(norm > 1), int(random.random() < 0.002)]
    cells += [loss + 0.05 if validation else "", (loss + 0.05) / math.log(2) / 2.6 if validation else "", 0.012 if step % 100 == 0 else 0]
    return ",".join(str(c) for c in cells + [int(tokens * share) for share in sources.values()])


def write(folder, steps=600, layers=4, experts=16, back_at=(), seed=1, sources=None, head=True):
    """back_at: (step, to): after `step` the run went on from step `to`."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    numbers = random.Random(seed)
    sources = {"documentation": 0.7, "code": 0.3} if sources is None else sources
    lines = [COLUMNS + "".join(f",tokens_{name}" for name in sources), UNITS + ",tokens" * len(sources)] if head else []
    loads = ["step,layer" + "".join(f",e{e}" for e in range(experts))]
    jumps, step = dict(back_at), 0
    while step < steps:
        step += 1
        lines.append(row(step, steps, sources, numbers))
        if step % 10 == 0:
            for layer in range(1, layers + 1):
                spread = 0.15 + 0.9 * math.exp(-step / (0.15 * steps))
                loads.append(f"{step},{layer}," + ",".join(str(int(512 * math.exp(spread * math.sin(1.7 * e + layer) + numbers.gauss(0, 0.1)))) for e in range(experts)))
        if step in jumps:
            step = jumps.pop(step)
    (folder / "history.csv").write_text("\n".join(lines) + "\n")
    if layers:
        (folder / "expert_load.csv").write_text("\n".join(loads) + "\n")
    (folder / "baselines.csv").write_text("name,bits_per_byte\ngzip -9,2.31\nbzip2 -9,1.93\nxz -9,2.02\n")
    (folder / "deck.toml").write_text("[run]\nphase = \"pretrain\"  # <made up>\n")
    (folder / "run.log").write_text("2026-11-23T12:00:00Z info restart from checkpoints/step-00000300 (step 300, state hash 00)\nstopped: all steps done | state hash 0123456789abcdef0123456789abcdef\n")


def trace_of(rank, pairs=6, layers=3):
    """A rank's traced steps (two of them): lone passes, then pairs whose passes take turns; messages of which a part is waited for."""
    events = [{"ph": "M", "name": "process_name", "pid": rank, "tid": 0, "args": {"name": f"rank {rank}"}}]
    events += [{"ph": "M", "name": "thread_name", "pid": rank, "tid": tid, "args": {"name": name}} for tid, name in ((1, "compute"), (101, "waiting"), (201, "communication"), (202, "communication 2"))]

    def add(lane, tid, name, begin, duration, **arguments):
        events.append({"ph": "X", "name": name, "cat": lane, "pid": rank, "tid": tid, "ts": round(begin, 3), "dur": round(duration, 3), "args": arguments})

    at = 40.0 * rank
    for _ in range(2):
        start = at
        for layer in range(layers):
            add("compute", 1, "attention F", at, 50, micro_batch=0, layer=layer)
            add("compute", 1, "experts F", at + 60, 40, micro_batch=0, layer=layer)
            at += 100
        for pair in range(pairs):
            for layer in range(layers):
                for name, length in (("attention F", 30), ("experts B", 40), ("experts W", 20), ("experts F", 30), ("attention B", 50), ("attention W", 20)):
                    add("compute", 1, name, at, length, micro_batch=pair, layer=layer)
                    at += length
                add("communication", 201, "dispatch F", at - 160, 100, micro_batch=pair, layer=layer, bytes=4096)
                add("communication", 202, "combine B", at - 100, 80, micro_batch=pair, layer=layer, bytes=4096)
                add("waiting", 101, "dispatch F", at - 62, 2)
        add("communication", 201, "receive activation", at, 30, micro_batch=9, bytes=9)
        add("waiting", 101, "receive activation", at, 30)
        at += 30
        add("compute", 1, "step", start, at - start)
    flight, wait = 2e-6 * (pairs * layers * 140 + 30), 2e-6 * (pairs * layers * 2 + 30)
    return {"displayTimeUnit": "ms", "otherData": {"rank": rank, "in_flight_seconds": flight, "exposed_seconds": wait}, "traceEvents": events}


def write_trace(folder, ranks):
    (folder / "trace").mkdir(parents=True, exist_ok=True)
    for rank in range(ranks):
        (folder / f"trace/rank-{rank:05}.json").write_text(json.dumps(trace_of(rank)))


if __name__ == "__main__":
    import sys

    write(sys.argv[1], back_at=((310, 300), (450, 400)))
