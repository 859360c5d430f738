#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the data of tools/demo_life: documents for pretraining and extension, conversations, problems.

usage: make_life.py [--seed N] [--share X] [--easy] FOLDER

  words.txt            what the tokenizer is trained on: stories and the manual, both without digits, so that numbers are spelt
                       digit by digit
  stories/*.txt        sentences of the kind that eval's haystacks are made of
  facts.jsonl          products of two digits, sums of two products
  recall.jsonl         stories of up to 128 tokens in which people get numbers and are asked for; some lines said twice
  recall_long.jsonl    the same, many times as long
  chats.jsonl          problems a * b + c * d, answered at once, in short steps or in words; recall in a conversation
  problems.jsonl       such problems with their answers, for grpo and for the teacher
  test/problems.jsonl  held-out ones: none of these four digits, in this order, stands in any other file

The parts of a problem are learnt in pretraining; the conversations show that it can be taken in steps, but most of them do
not do so. The same seed gives the same bytes. --share 0.1 writes a tenth.
"""
import argparse
import hashlib
import json
import random
import re
from pathlib import Path

WHO = ["The ferryman", "A young clerk", "The miller", "Our neighbour", "The old pilot", "A gardener", "The teacher",
       "The mapmaker", "A tall sailor", "The baker", "The watchman", "A quiet farmer", "The smith", "A student",
       "The captain", "The weaver", "A surveyor", "The doctor", "The fisherman", "A carpenter", "The keeper", "The tailor",
       "A messenger", "The cook"]
DID = ["carried", "mended", "counted", "painted", "forgot", "measured", "sold", "found", "borrowed", "polished", "hid",
       "returned", "repaired", "weighed", "washed", "described", "wrapped", "lifted", "sorted", "drew", "lost", "stored",
       "bought", "opened"]
WHAT = ["a wooden box", "two lamps", "the long rope", "a grey coat", "some apples", "the brass clock", "an empty sack",
        "a small boat", "the tin roof", "a basket of nuts", "the green door", "three letters", "a heavy chain",
        "the old bench", "a jar of honey", "the north gate", "a broken oar", "four candles", "the blue jug",
        "a pair of boots", "a bundle of hay", "the mill stone", "a paper kite", "the warm bread"]
WHERE = ["near the harbour", "before noon", "behind the barn", "in the rain", "at the market", "on the bridge",
         "after supper", "beside the well", "under the oak", "along the canal", "in early spring", "by the church wall",
         "across the meadow", "on the stairs", "at the crossing", "in the back room", "before the storm", "by lamp light",
         "near the quarry", "at low tide", "on the east shore", "in the orchard", "behind the station", "on market day"]
NAMES = ["Arlen", "Borvik", "Cadmoor", "Delphen", "Estrad", "Falkirn", "Gorwin", "Hallow", "Ivelo", "Jorund", "Kestrin",
         "Lomar", "Mirfel", "Norvale", "Ostred", "Pellan", "Quorin", "Rastel", "Sorvino", "Tarbeck", "Ulmera", "Vintor",
         "Wexley", "Xanther", "Yorvil", "Zembra", "Aldous", "Brimley", "Corrin", "Dunmere", "Elvast", "Fenwick"]


def sentence(draw):
    return f"{draw.choice(WHO)} {draw.choice(DID)} {draw.choice(WHAT)} {draw.choice(WHERE)}."


def told(name, value):
    return f"The number of {name} is {value}."


def number(draw):
    return str(draw.randint(10, 99))


def story(draw, sentences):
    return " ".join(sentence(draw) for _ in range(sentences))


def recall_long(draw):
    """Sentences with numbers among them, first and last places more often than others, all asked for at the end: how far back they
    stand is anything up to a thousand tokens."""
    values = {name: number(draw) for name in draw.sample(NAMES, draw.randint(4, 10))}
    sentences = max(draw.randint(4, 90), draw.randint(4, 90))
    events = [(draw.betavariate(0.5, 0.5), told(*item)) for item in values.items()]
    events += [((i + 0.5) / sentences, sentence(draw)) for i in range(sentences)]
    asked = [told(*item) for item in draw.sample(list(values.items()), len(values))]
    return " ".join([line for _, line in sorted(events)] + asked)


def recall(draw):
    """A few sentences, and the numbers of one to four people, each told again and again: near repetitions are how a model
    begins to look back."""
    lines, names, known = [], draw.sample(NAMES, draw.randint(1, 4)), {}
    for _ in range(draw.randint(2, 6)):
        lines.append(sentence(draw))
        while draw.random() < 0.77:
            if len(known) < len(names) and draw.random() < 0.5:
                known[names[len(known)]] = number(draw)
                lines.append(told(*list(known.items())[-1]))
            elif known:
                lines.append(told(*draw.choice(list(known.items()))))
    return " ".join(lines + [told(*item) for item in draw.sample(list(known.items()), len(known))])


def echo(draw):
    """A few lines, twice: every token of the second time can be found in the first."""
    lines = [sentence(draw) if draw.random() < 0.5 else told(draw.choice(NAMES), number(draw)) for _ in range(draw.randint(2, 5))]
    return " ".join(lines + lines)


def recall_dense(draw):
    """Some people's numbers among sentences, then all of them asked for."""
    values = {name: number(draw) for name in draw.sample(NAMES, draw.randint(2, 6))}
    lines = [told(name, value) for name, value in values.items()] + [sentence(draw) for _ in range(draw.randint(0, 4))]
    draw.shuffle(lines)
    asked = [told(name, value) for name, value in values.items()]
    return " ".join(lines + draw.sample(asked, len(asked)))


def facts(draw, easy):
    """Products of two digits, sums of two such products; easy: sums of two digits."""
    out = []
    for _ in range(draw.randint(6, 12)):
        a, b, c, d = (draw.randint(2, 9) for _ in range(4))
        out.append(f"{a} + {b} = {a + b}" if easy and not held_out((a, b)) else
                   f"{a} * {b} = {a * b}" if draw.random() < 0.4 else f"{a * b} + {c * d} = {a * b + c * d}")
    return ", ".join(out) + "."


def held_out(terms):
    return hashlib.sha256(repr(terms).encode()).digest()[0] < 26  # a tenth


class Problem:
    """a * b + c * d, or a + b, of digits from 2 to 9."""

    def __init__(self, draw, easy, test):
        while True:
            self.terms = tuple(draw.randint(2, 9) for _ in range(2 if easy else 4))
            if held_out(self.terms) == test:
                break
        self.easy = easy
        self.question = draw.choice(["What is {}?", "{} = ?", "Please work out {}."]).format(self.text())

    def text(self):
        return "{} + {}".format(*self.terms) if self.easy else "{} * {} + {} * {}".format(*self.terms)

    def value(self):
        return sum(self.terms) if self.easy else self.terms[0] * self.terms[1] + self.terms[2] * self.terms[3]

    def steps(self):
        if self.easy:
            return f"{self.text()} = {self.value()}."
        a, b, c, d = self.terms
        return f"{a} * {b} = {a * b}, {c} * {d} = {c * d}, {a * b} + {c * d} = {self.value()}."

    def words(self):
        if self.easy:
            return "We add {} and {} and get {}.".format(*self.terms, self.value())
        a, b, c, d = self.terms
        return (f"First we multiply {a} by {b} and get {a} * {b} = {a * b}. Then we multiply {c} by {d} and get {c} * {d} = {c * d}. "
                f"Then we add {a * b} and {c * d} and get {a * b} + {c * d} = {self.value()}.")


def answer(draw, problem):
    style = draw.random()
    return f"{problem.value()}." if style < 0.6 else problem.steps() if style < 0.8 else problem.words()


def chat(draw, easy):
    if draw.random() < 0.85:
        problem = Problem(draw, easy, False)
        asked, said = problem.question, answer(draw, problem)
    else:
        values = {name: number(draw) for name in draw.sample(NAMES, 3)}
        name = draw.choice(list(values))
        lines = [told(n, v) for n, v in values.items()] + [sentence(draw)]
        draw.shuffle(lines)
        asked, said = " ".join(lines) + f" What is the number of {name}?", told(name, values[name])
    return {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]}


def row(problem):
    return {"prompt": problem.question, "answer": str(problem.value())}


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--easy", action="store_true", help="sums of two digits")
    parser.add_argument("folder", type=Path)
    a = parser.parse_args()
    draw = random.Random(a.seed)

    def count(n):
        return max(2, round(n * a.share))

    pages = sorted((Path(__file__).resolve().parents[2] / "docs").glob("*.md"))
    words = [f"{story(draw, 2)} " + " ".join(told(name, "") for name in draw.sample(NAMES, 4)) + " First we multiply by and get . Then we add and get . What is *"
             " + = ? Please work out + ." for _ in range(2000)]
    manual = "\n".join(re.sub(r"\d+", "", page.read_text(encoding="utf-8")) for page in pages)
    (a.folder / "stories").mkdir(parents=True, exist_ok=True)
    (a.folder / "test").mkdir(exist_ok=True)
    (a.folder / "words.txt").write_text("\n".join(words) + manual, encoding="utf-8")
    for i in range(count(40)):
        lines = [story(draw, draw.randint(4, 9)) + " " + told(draw.choice(NAMES), number(draw)) for _ in range(30)]
        (a.folder / "stories" / f"{i:03}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    write_lines(a.folder / "facts.jsonl", ({"text": facts(draw, a.easy)} for _ in range(count(20000))))
    write_lines(a.folder / "recall.jsonl",
                ({"text": draw.choices((recall, recall_dense, echo), (0.4, 0.4, 0.2))[0](draw)} for _ in range(count(40000))))
    write_lines(a.folder / "recall_long.jsonl",
                ({"text": recall_long(draw)} for _ in range(count(2500))))
    write_lines(a.folder / "chats.jsonl", (chat(draw, a.easy) for _ in range(count(6000))))
    write_lines(a.folder / "problems.jsonl", (row(Problem(draw, a.easy, False)) for _ in range(count(4000))))
    write_lines(a.folder / "test" / "problems.jsonl", (row(Problem(draw, a.easy, True)) for _ in range(300)))


if __name__ == "__main__":
    main()
