// SPDX-License-Identifier: Apache-2.0
// The split rules of DeepSeek-V3 by hand: one look at a character's class decides which alternative
// can match. A test compares it with PCRE2 on random text. Letters in comments are those of
// splitter.hpp.
#include "data/splitter.hpp"
#include "data/unicode.hpp"

namespace data {

namespace {

using unicode::Class;

struct Char {
  Class kind;
  int length;
};

class Scanner {
public:
  Scanner(std::string_view text, std::vector<std::uint32_t> &ends)
      : text_(text.data()), size_(text.size()), ends_(ends), table_(unicode::ClassTable::get()),
        ascii_(table_.ascii()) {}

  void run() {
    std::size_t at = 0;
    while (at < size_) {
      const Char c = look(at);
      if (c.kind == Class::number) {
        at = numbers(at);
        push(at);
      } else {
        const bool cjk = is_cjk(at);
        const std::size_t end = cjk ? cjk_end(at) : gap_end(at);
        words(at, end);
        at = end;
      }
    }
  }

private:
  unsigned char byte(std::size_t at) const { return static_cast<unsigned char>(text_[at]); }
  void push(std::size_t end) { ends_.push_back(static_cast<std::uint32_t>(end)); }

  Char look(std::size_t at) const {
    const unsigned char first = byte(at);
    if (first < 0x80) return {ascii_[first], 1};
    const unicode::Decoded d = unicode::decode(text_ + at);
    return {table_.of(d.code_point), d.length};
  }

  bool is_cjk(std::size_t at) const {
    if (byte(at) < 0xE3 || byte(at) > 0xE9) return false;
    const char32_t c = unicode::decode(text_ + at).code_point;
    return (c >= 0x4E00 && c <= 0x9FA5) || (c >= 0x3040 && c <= 0x30FF);
  }

  std::size_t numbers(std::size_t at) const {
    for (int taken = 0; taken < 3 && at < size_; ++taken) {
      const Char c = look(at);
      if (c.kind != Class::number) break;
      at += static_cast<std::size_t>(c.length);
    }
    return at;
  }

  std::size_t cjk_end(std::size_t at) const {
    while (at < size_ && is_cjk(at)) at += 3;
    return at;
  }

  // End of the text that rules 1 and 2 leave alone.
  std::size_t gap_end(std::size_t at) const {
    while (at < size_) {
      const unsigned char first = byte(at);
      if (first < 0x80) {
        if (first >= '0' && first <= '9') break;
        ++at;
        continue;
      }
      const Char c = look(at);
      if (c.kind == Class::number || is_cjk(at)) break;
      at += static_cast<std::size_t>(c.length);
    }
    return at;
  }

  // Rule 3 on [at, end): matches, and the gaps between them.
  void words(std::size_t at, std::size_t end) {
    bool gap = false;
    while (at < end) {
      const Char c = look(at);
      const std::size_t match = match_at(at, c, end);
      if (match == at) {
        gap = true;
        at += static_cast<std::size_t>(c.length);
        continue;
      }
      if (gap) push(at);
      gap = false;
      push(match);
      at = match;
    }
    if (gap) push(end);
  }

  static bool is_word(Class kind) { return kind == Class::letter || kind == Class::mark; }

  // End of the match of rule 3 that begins at `at`, or `at`.
  std::size_t match_at(std::size_t at, Char c, std::size_t end) const {
    const std::size_t next = at + static_cast<std::size_t>(c.length);
    switch (c.kind) {
    case Class::letter:
    case Class::mark:
      return letters(
          next,
          // (b): whether it is the optional character or the first of the letters, the end is the
          // same
          end);
    case Class::punct:
      if (c.length == 1 && next < end && ascii_letter(byte(next)))
        return ascii_letters(next, end); // (a)
      return punctuation(next, end);     // (c)
    case Class::space:
      if (next < end) {
        const Char follows = look(next);
        const std::size_t after = next + static_cast<std::size_t>(follows.length);
        if (is_word(follows.kind)) return letters(after, end);                                // (b)
        if (text_[at] == ' ' && follows.kind == Class::punct) return punctuation(after, end); // (c)
      }
      return white_space(at, end);
    case Class::newline: return white_space(at, end);
    case Class::number:
    case Class::other: break;
    }
    return next < end && is_word(look(next).kind) ? letters(next, end) : at; // (b)
  }

  static bool ascii_letter(unsigned char byte) {
    return static_cast<unsigned char>((byte | 0x20) - 'a') < 26;
  }

  std::size_t ascii_letters(std::size_t at, std::size_t end) const {
    while (at < end && ascii_letter(byte(at))) ++at;
    return at;
  }

  std::size_t letters(std::size_t at, std::size_t end) const {
    while (at < end) {
      if (ascii_letter(byte(at))) {
        ++at;
        continue;
      }
      const Char c = look(at);
      if (!is_word(c.kind)) break;
      at += static_cast<std::size_t>(c.length);
    }
    return at;
  }

  std::size_t punctuation(std::size_t at, std::size_t end) const {
    while (at < end) {
      const Char c = look(at);
      if (c.kind != Class::punct) break;
      at += static_cast<std::size_t>(c.length);
    }
    while (at < end && (text_[at] == '\r' || text_[at] == '\n')) ++at;
    return at;
  }

  std::size_t white_space(std::size_t at, std::size_t end) const {
    const std::size_t begin = at;
    std::size_t line_end = 0, last = at;
    while (at < end) {
      const Char c = look(at);
      if (c.kind != Class::space && c.kind != Class::newline) break;
      last = at;
      at += static_cast<std::size_t>(c.length);
      if (c.kind == Class::newline) line_end = at;
    }
    if (line_end != 0) return line_end;            // (d)
    return at == end || last == begin ? at : last; // (e), or (f) where there is only one
  }

  const char *text_;
  std::size_t size_;
  std::vector<std::uint32_t> &ends_;
  const unicode::ClassTable &table_;
  const Class *ascii_;
};

} // namespace

void deepseek_split(std::string_view text, std::vector<std::uint32_t> &ends) {
  Scanner(text, ends).run();
}

} // namespace data
