#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the small sets of conversations and of pairs that the tests and the tiny decks use: arithmetic, recall from a
list, small talk; some with a system message, some of several turns, some with a tool's call. The same seed gives the same
bytes. Usage: make_chats.py [--seed N] [--sft FOLDER] [--pairs FOLDER]"""
import argparse
import json
import random
from pathlib import Path

NAMES = "Ana Ben Cleo Dan Eva Finn Gus Hana Ivo Jun Kira Leo".split()
THINGS = "lamp rope shell coin map drum kite bell boat pear stone flag".split()
COLOURS = "red blue green white black yellow".split()
SYSTEMS = [
    "Answer with the number alone.",
    "You are a calm helper. Say little.",
    "Reply in one short sentence.",
]
TALK = [
    ("Hello!", "Hello. What can I do for you?"),
    ("Good morning.", "Good morning to you."),
    ("How are you?", "I have no moods, but I am ready to help."),
    ("Thank you.", "You are welcome."),
    ("Who are you?", "A small model that was trained on this set."),
    ("Tell me a fact about the sea.", "Most of the deep sea has never been seen by anyone."),
    ("What is a good way to rest?", "A short walk, then some water and quiet."),
    ("Good night.", "Sleep well."),
]


def arithmetic(draw):
    """Question, right answer, an answer that is wrong."""
    a, b = draw.randrange(2, 60), draw.randrange(2, 60)
    sign, value = draw.choice([("+", a + b), ("-", a - b), ("x", (a % 12) * (b % 12))])
    if sign == "x":
        a, b = a % 12, b % 12
    form = draw.choice(["{} {} {} = ?", "What is {} {} {}?", "Please work out {} {} {}."])
    return form.format(a, sign, b), str(value), str(value + draw.choice([-10, -2, -1, 1, 2, 10]))


def recall(draw):
    people = draw.sample(NAMES, 3)
    things = [f"{draw.choice(COLOURS)} {thing}" for thing in draw.sample(THINGS, 3)]
    told = " ".join(f"{person} has a {thing}." for person, thing in zip(people, things))
    one = draw.randrange(3)
    return f"{told} What does {people[one]} have?", f"A {things[one]}.", f"A {things[(one + 1) % 3]}."


def turn(role, content):
    return {"role": role, "content": content}


def question(draw):
    kind = draw.random()
    if kind < 0.5:
        return arithmetic(draw)
    if kind < 0.8:
        return recall(draw)
    asked, answer = draw.choice(TALK)
    return asked, answer, "No."


def conversation(draw):
    messages = []
    if draw.random() < 0.3:
        messages.append(turn("system", draw.choice(SYSTEMS)))
    for _ in range(draw.choice([1, 1, 1, 2, 3])):
        asked, answer, _ = question(draw)
        messages += [turn("user", asked), turn("assistant", answer)]
    if draw.random() < 0.05:
        a, b = draw.randrange(100, 999), draw.randrange(100, 999)
        call = {"id": "c1", "type": "function",
                "function": {"name": "add", "arguments": json.dumps({"a": a, "b": b})}}
        messages += [turn("user", f"Use the tool: {a} + {b}"),
                     {"role": "assistant", "content": None, "tool_calls": [call]},
                     {"role": "tool", "tool_call_id": "c1", "content": str(a + b)},
                     turn("assistant", f"The tool says {a + b}.")]
    return messages


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8")
    print(f"{path}: {len(rows)} lines, {len(text.encode())} bytes")


def main():
    root = Path(__file__).resolve().parents[2]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sft", type=Path, default=root / "input/sft/samples")
    parser.add_argument("--pairs", type=Path, default=root / "input/reward/samples")
    options = parser.parse_args()
    draw = random.Random(options.seed)
    write(options.sft / "chats.jsonl", [{"messages": conversation(draw)} for _ in range(240)])
    sums = []
    for number in range(160):
        asked, answer, _ = arithmetic(draw)
        sums.append({"id": f"sum-{number}", "messages": [turn("user", asked), turn("assistant", answer)]})
    write(options.sft / "sums.jsonl", sums)
    pairs = []
    for _ in range(200):
        asked, chosen, rejected = question(draw)
        if draw.random() < 0.2:
            asked = [turn("system", draw.choice(SYSTEMS)), turn("user", asked)]
        pairs.append({"prompt": asked, "chosen": chosen, "rejected": rejected})
    write(options.pairs / "pairs.jsonl", pairs)


if __name__ == "__main__":
    main()
