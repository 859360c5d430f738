# SPDX-License-Identifier: Apache-2.0
"""Mixed text of many scripts, the same for a seed on every machine: nothing here asks a Unicode database."""
import random

HAN, KANA, HANGUL = [(0x4E00, 0x9FA5)], [(0x3040, 0x309F), (0x30A0, 0x30FF)], [(0xAC00, 0xD7A3)]
RARE_HAN = [(0x3400, 0x4DBF), (0x9FA6, 0x9FFC), (0x20000, 0x2A6D6), (0x2F800, 0x2FA1D), (0xF900, 0xFA6D)]
CJK_MARKS = "，。、；：？！“”‘’（）《》【】…—　·「」『』"
EMOJI = [(0x1F300, 0x1F64F), (0x1F680, 0x1F6C5), (0x1F900, 0x1F9FF), (0x2600, 0x27BF)]
JOINED = ["\U0001F468\u200D\U0001F469\u200D\U0001F467\u200D\U0001F466", "\U0001F44D\U0001F3FD", "\u2764\uFE0F",
          "\U0001F1E9\U0001F1EA", "1\uFE0F\u20E3", "\U0001F3F4\U000E0067\U000E0062\U000E007F", "\u263A\uFE0E"]
ARABIC, HEBREW, DIRECTION = [(0x0621, 0x064A)], [(0x05D0, 0x05EA)], "\u200E\u200F\u202A\u202B\u202C\u2066\u2067\u2069"
MARKS = [(0x0300, 0x036F), (0x064B, 0x0652), (0x0591, 0x05BD), (0x093A, 0x094F), (0x0E31, 0x0E3A)]
SCRIPTS = [[(0x41, 0x5A), (0x61, 0x7A), (0xC0, 0x24F)], [(0x391, 0x3C9)], [(0x400, 0x45F)], [(0x905, 0x939)],
           [(0xE01, 0xE2E)], [(0x10D0, 0x10F0)], [(0x531, 0x556), (0x561, 0x586)], [(0x1200, 0x1248)], [(0x985, 0x9B9)],
           [(0x1E00, 0x1EFF)], [(0x10400, 0x1044F)], [(0x1D400, 0x1D454)], [(0xFF21, 0xFF5A)], [(0x13A0, 0x13F5)]]
DIGITS = [(0x30, 0x39), (0x660, 0x669), (0x966, 0x96F), (0xFF10, 0xFF19), (0x2160, 0x2188), (0xB2, 0xB3), (0xBC, 0xBE),
          (0x2460, 0x2473), (0x1D7CE, 0x1D7FF), (0x3007, 0x3007), (0x3021, 0x3029)]
SPACES = [" ", "  ", "    ", "\t", "\n", "\n\n", "\r\n", " \n", "\n ", "\u00A0", "\u3000", "\u2003", "\u2028", "\u2029", "\x85",
          "\v", "\f", "\u200B", "\uFEFF", "\u1680", "\u202F", "\u180E", "\r", "\x1c", "\x1f"]
PUNCTUATION = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~¡§«»¿€£¥©®°±×÷†•‰′″‹›⁄№™←→∀∑√≤≥─│█■◆"
KEYWORDS = ("if else for while return def class import from lambda const auto int float void template struct std::vector<int> "
            "== != <= >= -> => += ++ // /* */ # {{ }} [] () ; : , . __init__ self.x x_1 0xFF 1e-5 3.14159 \"text\\n\" 'c' "
            "don't we'll I'M it's").split()
# What came after Unicode 14 (15.0, 15.1, 16.0), as tokenizer_corpus.py --characters finds it: libraries differ in what they know.
NEW = [(0x897, 0x897), (0xCF3, 0xCF3), (0xECE, 0xECE), (0x1B4E, 0x1B4F), (0x1B7F, 0x1B7F), (0x1C89, 0x1C8A),
       (0x2427, 0x2429), (0x2FFC, 0x2FFF), (0x31E4, 0x31E5), (0x31EF, 0x31EF), (0xA7CB, 0xA7CD), (0xA7DA, 0xA7DC),
       (0x105C0, 0x105F3), (0x10D40, 0x10D65), (0x10D69, 0x10D85), (0x10D8E, 0x10D8F), (0x10EC2, 0x10EC4),
       (0x10EFC, 0x10EFF), (0x1123F, 0x11241), (0x11380, 0x11389), (0x1138B, 0x1138B), (0x1138E, 0x1138E),
       (0x11390, 0x113B5), (0x113B7, 0x113C0), (0x113C2, 0x113C2), (0x113C5, 0x113C5), (0x113C7, 0x113CA),
       (0x113CC, 0x113D5), (0x113D7, 0x113D8), (0x113E1, 0x113E2), (0x116D0, 0x116E3), (0x11B00, 0x11B09),
       (0x11BC0, 0x11BE1), (0x11BF0, 0x11BF9), (0x11F00, 0x11F10), (0x11F12, 0x11F3A), (0x11F3E, 0x11F5A),
       (0x1342F, 0x1342F), (0x13440, 0x13455), (0x13460, 0x143FA), (0x16100, 0x16139), (0x16D40, 0x16D79),
       (0x18CFF, 0x18CFF), (0x1B132, 0x1B132), (0x1B155, 0x1B155), (0x1CC00, 0x1CCF9), (0x1CD00, 0x1CEB3),
       (0x1D2C0, 0x1D2D3), (0x1DF25, 0x1DF2A), (0x1E030, 0x1E06D), (0x1E08F, 0x1E08F), (0x1E4D0, 0x1E4F9),
       (0x1E5D0, 0x1E5FA), (0x1E5FF, 0x1E5FF), (0x1F6DC, 0x1F6DC), (0x1F774, 0x1F776), (0x1F77B, 0x1F77F),
       (0x1F7D9, 0x1F7D9), (0x1F8B2, 0x1F8BB), (0x1F8C0, 0x1F8C1), (0x1FA75, 0x1FA77), (0x1FA87, 0x1FA89),
       (0x1FA8F, 0x1FA8F), (0x1FAAD, 0x1FAAF), (0x1FABB, 0x1FABF), (0x1FAC6, 0x1FAC6), (0x1FACE, 0x1FACF),
       (0x1FADA, 0x1FADC), (0x1FADF, 0x1FADF), (0x1FAE8, 0x1FAE9), (0x1FAF7, 0x1FAF8), (0x1FBCB, 0x1FBEF),
       (0x2B739, 0x2B739), (0x2EBF0, 0x2EE5D), (0x31350, 0x323AF)]


class Writer:
    def __init__(self, seed, added=()):
        self.r = random.Random(seed)
        self.added = list(added)

    def one(self, ranges):
        low, high = self.r.choice(ranges)
        return chr(self.r.randint(low, high))

    def some(self, ranges, most):
        return "".join(self.one(ranges) for _ in range(self.r.randint(1, most)))

    def chinese(self):
        return self.some(HAN, 12) + (self.r.choice(CJK_MARKS) if self.r.random() < 0.6 else "")

    def japanese(self):
        return self.some(KANA, 5) + self.some(HAN, 2) + (self.r.choice(CJK_MARKS) if self.r.random() < 0.3 else "")

    def rare_han(self):
        return self.some(RARE_HAN, 3) + self.some(HAN, 2) + self.some(HANGUL, 4)

    def emoji(self):
        return self.r.choice(JOINED) if self.r.random() < 0.4 else self.some(EMOJI, 3)

    def right_to_left(self):
        word = self.some(self.r.choice([ARABIC, HEBREW]), 8)
        if self.r.random() < 0.3:
            word = word[:2] + self.one(MARKS) + word[2:]
        return self.r.choice(DIRECTION) + word if self.r.random() < 0.2 else word

    def word(self):
        word = self.some(self.r.choice(SCRIPTS), 9)
        if self.r.random() < 0.15:
            word += self.one(MARKS) + self.some(SCRIPTS[0], 2)
        return word

    def code(self):
        return self.r.choice(KEYWORDS) + self.r.choice(["", " ", "\n    ", "\n\t", "(", ");\n", " = "])

    def number(self):
        return self.some([self.r.choice(DIGITS[:4])] if self.r.random() < 0.6 else DIGITS, 7)

    def controls(self):
        return self.some([(0x00, 0x1F), (0x7F, 0x9F), (0x200B, 0x200F), (0xFFF9, 0xFFFD), (0xE000, 0xE010)], 4)

    def anything(self):
        """Any scalar value that was assigned, or is not, in every version since 14: no letters that came later."""
        while True:
            c = self.r.choice([self.r.randint(0, 0x2FFF), self.r.randint(0, 0xFFFF), self.r.randint(0, 0x10FFFF)])
            if not 0xD800 <= c <= 0xDFFF and not any(low <= c <= high for low, high in NEW):
                return chr(c)

    def piece(self):
        kinds = [(self.chinese, 18), (self.japanese, 5), (self.rare_han, 3), (self.emoji, 9), (self.right_to_left, 12),
                 (self.word, 20), (self.code, 16), (self.number, 7), (self.controls, 4), (self.anything, 3)]
        kind = self.r.choices([k for k, _ in kinds], [w for _, w in kinds])[0]
        text = kind()
        chance = self.r.random()
        if chance < 0.12:
            text += "".join(self.r.choice(PUNCTUATION) for _ in range(self.r.randint(1, 4)))
        if chance > 0.995 and self.added:
            text += self.r.choice(self.added)
        spaces = self.r.random()
        return text + ("" if spaces < 0.3 else " " if spaces < 0.75 else self.r.choice(SPACES))

    def text(self, characters):
        pieces, length = [], 0
        while length < characters:
            pieces.append(self.piece())
            length += len(pieces[-1])
        return "".join(pieces)
