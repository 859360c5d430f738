// SPDX-License-Identifier: Apache-2.0
#include "eval/synthetic.hpp"

#include <algorithm>
#include <array>
#include <set>

#include <fmt/ranges.h>

#include "base/error.hpp"
#include "eval/draw.hpp"

namespace eval {

using base::Exit, base::UserError;

namespace {

constexpr std::array<std::string_view, 24> kWho = {
    "The ferryman", "A young clerk",  "The miller",   "Our neighbour", "The old pilot",
    "A gardener",   "The teacher",    "The mapmaker", "A tall sailor", "The baker",
    "The watchman", "A quiet farmer", "The smith",    "A student",     "The captain",
    "The weaver",   "A surveyor",     "The doctor",   "The fisherman", "A carpenter",
    "The keeper",   "The tailor",     "A messenger",  "The cook"};
constexpr std::array<std::string_view, 24> kDid = {
    "carried",  "mended",   "counted", "painted",  "forgot",   "measured", "sold",   "found",
    "borrowed", "polished", "hid",     "returned", "repaired", "weighed",  "washed", "described",
    "wrapped",  "lifted",   "sorted",  "drew",     "lost",     "stored",   "bought", "opened"};
constexpr std::array<std::string_view, 24> kWhat = {
    "a wooden box",    "two lamps",      "the long rope", "a grey coat",   "some apples",
    "the brass clock", "an empty sack",  "a small boat",  "the tin roof",  "a basket of nuts",
    "the green door",  "three letters",  "a heavy chain", "the old bench", "a jar of honey",
    "the north gate",  "a broken oar",   "four candles",  "the blue jug",  "a pair of boots",
    "a bundle of hay", "the mill stone", "a paper kite",  "the warm bread"};
constexpr std::array<std::string_view, 24> kWhere = {
    "near the harbour",  "before noon",     "behind the barn",    "in the rain",
    "at the market",     "on the bridge",   "after supper",       "beside the well",
    "under the oak",     "along the canal", "in early spring",    "by the church wall",
    "across the meadow", "on the stairs",   "at the crossing",    "in the back room",
    "before the storm",  "by lamp light",   "near the quarry",    "at low tide",
    "on the east shore", "in the orchard",  "behind the station", "on market day"};
constexpr std::array<std::string_view, 32> kNames = {
    "Arlen",  "Borvik", "Cadmoor", "Delphen", "Estrad", "Falkirn", "Gorwin", "Hallow",
    "Ivelo",  "Jorund", "Kestrin", "Lomar",   "Mirfel", "Norvale", "Ostred", "Pellan",
    "Quorin", "Rastel", "Sorvino", "Tarbeck", "Ulmera", "Vintor",  "Wexley", "Xanther",
    "Yorvil", "Zembra", "Aldous",  "Brimley", "Corrin", "Dunmere", "Elvast", "Fenwick"};
constexpr std::array<std::string_view, 40> kSyllables = {
    "ba",  "re",  "mi", "to", "lu", "ka",  "ne", "sho", "vi",  "gra", "do",  "pe", "fi", "ra",
    "su",  "ten", "mo", "li", "ho", "ju",  "za", "ki",  "bel", "cor", "da",  "en", "fo", "gi",
    "ham", "ir",  "jo", "ka", "lo", "mar", "nu", "os",  "pi",  "qua", "rin", "sel"};

// Numbers of one prompt, in order.
class Draws {
public:
  Draws(std::uint64_t seed, std::string what) : seed_(seed), what_(std::move(what)) {}
  std::uint64_t below(std::uint64_t n) { return draw(seed_, what_, next_++) % n; }
  std::string digits(std::int64_t n) {
    std::string out;
    for (std::int64_t i = 0; i < n; ++i)
      out += static_cast<char>('0' + (i == 0 ? 1 + below(9) : below(10)));
    return out;
  }
  std::string word() {
    std::string out;
    for (std::uint64_t i = 0, n = 2 + below(2); i < n; ++i) out += kSyllables[below(40)];
    return out;
  }

private:
  std::uint64_t seed_;
  std::string what_;
  std::uint64_t next_ = 0;
};

// Names that do not repeat: a word of the list with a number behind it where the list is used up.
std::string name(std::uint64_t first, std::uint64_t index) {
  const std::string plain(kNames[(first + index) % kNames.size()]);
  return index < kNames.size() ? plain : fmt::format("{} {}", plain, index / kNames.size() + 1);
}

struct Puzzled {
  std::string text; // without the question
  std::string question;
  std::vector<std::string> golds;
};

// Sentences, `pieces` of them, with the lines of `inserts` at their depths (0 .. 1).
std::string with_inserts(std::uint64_t seed, std::int64_t pieces,
                         const std::vector<std::pair<double, std::string>> &inserts) {
  std::string out;
  std::size_t next = 0;
  for (std::int64_t i = 0; i <= pieces; ++i) {
    for (; next < inserts.size() &&
           (i == pieces ||
            inserts[next].first * static_cast<double>(pieces) <= static_cast<double>(i));
         ++next)
      out += (out.empty() ? "" : " ") + inserts[next].second;
    if (i < pieces)
      out += (out.empty() ? "" : " ") + filler_sentence(seed, static_cast<std::uint64_t>(i));
  }
  return out;
}

const Record kNoRecord{data::Json{data::Json::Object{}}, "synthetic"};

std::string default_question(Puzzle puzzle) {
  if (puzzle == Puzzle::needle)
    return "\n\nWhat is the secret number of {{name}}? The secret number of {{name}} is";
  if (puzzle == Puzzle::variables)
    return "\n\nQuestion: Which variables have the value {{value}}?\nAnswer: The variables with "
           "the "
           "value {{value}} are";
  return "\n\nQuestion: What are the {{common}} most frequent words of the list?\nAnswer: The "
         "{{common}} most frequent words are:";
}

Template question_of(const Task &task) {
  return task.question.empty() ? Template(default_question(task.synthetic.puzzle), task.file)
                               : task.question;
}

Puzzled needle(const Task &task, Draws draws, double depth, std::uint64_t seed,
               std::int64_t pieces) {
  const SyntheticTable &s = task.synthetic;
  const std::uint64_t first = draws.below(kNames.size());
  std::vector<std::pair<double, std::string>> inserts;
  Extras asked;
  std::set<std::string> taken; // values: a distractor must not be the answer
  for (std::int64_t i = 0; i <= s.distractors; ++i) {
    std::string value = draws.digits(s.digits);
    while (taken.size() < 9 && taken.contains(value)) value = draws.digits(s.digits);
    taken.insert(value);
    const Extras extras = {{"name", name(first, static_cast<std::uint64_t>(i))}, {"value", value}};
    const double at = i == 0 ? depth : static_cast<double>(draws.below(1000)) / 1000;
    inserts.emplace_back(at, task.needle.render(kNoRecord, extras));
    if (i == 0) asked = extras;
  }
  std::stable_sort(inserts.begin(), inserts.end(),
                   [](const auto &a, const auto &b) { return a.first < b.first; });
  return {with_inserts(seed, pieces, inserts),
          question_of(task).render(kNoRecord, asked),
          {asked[1].second}};
}

Puzzled variables(const Task &task, Draws draws, std::uint64_t seed, std::int64_t pieces) {
  const SyntheticTable &s = task.synthetic;
  Puzzled p;
  std::set<std::string> names;
  const auto fresh = [&] {
    std::string one;
    do
      for (one.clear(); one.size() < 5;) one += static_cast<char>('A' + draws.below(26));
    while (!names.insert(one).second);
    return one;
  };
  std::vector<std::pair<double, std::string>> inserts;
  std::string value_asked;
  for (std::int64_t chain = 0; chain < s.chains; ++chain) {
    const std::string value = draws.digits(s.digits);
    if (chain == 0) value_asked = value;
    std::vector<double> places;
    for (std::int64_t i = 0; i <= s.hops; ++i)
      places.push_back(static_cast<double>(draws.below(1000)) / 1000);
    std::sort(places.begin(), places.end()); // an assignment stands behind the one it reads
    std::string last;
    for (const double place : places) {
      const std::string variable = fresh();
      inserts.emplace_back(place, last.empty() ? fmt::format("VAR {} = {}.", variable, value)
                                               : fmt::format("VAR {} = VAR {}.", variable, last));
      last = variable;
      if (chain == 0) p.golds.push_back(variable);
    }
  }
  std::stable_sort(inserts.begin(), inserts.end(),
                   [](const auto &a, const auto &b) { return a.first < b.first; });
  p.text = with_inserts(seed, pieces, inserts);
  p.question = question_of(task).render(kNoRecord, {{"value", value_asked}});
  return p;
}

Puzzled frequent_words(const Task &task, Draws draws, std::int64_t pieces) {
  const SyntheticTable &s = task.synthetic;
  Puzzled p;
  std::set<std::string> taken;
  std::vector<std::string> bag;
  const auto fresh = [&] {
    std::string word = draws.word();
    while (!taken.insert(word).second) word += draws.word();
    return word;
  };
  for (std::int64_t i = 0; i < s.common; ++i) {
    p.golds.push_back(fresh());
    bag.insert(bag.end(), static_cast<std::size_t>(s.often), p.golds.back());
  }
  for (std::int64_t i = 0; i < pieces; ++i)
    bag.insert(bag.end(), static_cast<std::size_t>(s.rare), fresh());
  for (std::size_t i = bag.size() - 1; i > 0; --i) std::swap(bag[i], bag[draws.below(i + 1)]);
  for (std::size_t i = 0; i < bag.size(); ++i)
    p.text += fmt::format("{}{}. {}", i == 0 ? "" : " ", i + 1, bag[i]);
  p.question = question_of(task).render(kNoRecord, {{"common", fmt::format("{}", s.common)}});
  return p;
}

Puzzled puzzle(const Task &task, const Draws &draws, double depth, std::uint64_t seed,
               std::int64_t pieces) {
  switch (task.synthetic.puzzle) {
  case Puzzle::needle: return needle(task, draws, depth, seed, pieces);
  case Puzzle::variables: return variables(task, draws, seed, pieces);
  case Puzzle::words: return frequent_words(task, draws, pieces);
  }
  return {};
}

// The most pieces with which the prompt has at most `length` tokens.
Puzzled fitted(const Task &task, const Draws &draws, double depth, std::uint64_t seed,
               std::int64_t length, const CountTokens &count) {
  const auto tokens = [&](std::int64_t pieces) {
    const Puzzled p = puzzle(task, draws, depth, seed, pieces);
    return count(p.text + p.question);
  };
  const std::int64_t least = tokens(0);
  if (least > length)
    throw UserError(Exit::deck, "E312", task.file, fmt::format("length = {}", length),
                    fmt::format("The question alone has {} tokens.", least));
  std::int64_t low = 0, high = 1;
  while (tokens(high) <= length) low = high, high *= 2;
  while (high - low > 1) {
    const std::int64_t middle = (low + high) / 2;
    (tokens(middle) <= length ? low : high) = middle;
  }
  return puzzle(task, draws, depth, seed, low);
}

} // namespace

std::string filler_sentence(std::uint64_t seed, std::uint64_t index) {
  Draws draws(seed, fmt::format("filler/{}", index));
  const auto of = [&](const auto &list) { return list[draws.below(list.size())]; };
  const std::string_view who = of(kWho), did = of(kDid), what = of(kWhat), where = of(kWhere);
  return fmt::format("{} {} {} {}.", who, did, what, where);
}

std::vector<Question> make_puzzles(const Task &task, const Asking &asking, const CountTokens &count,
                                   std::int64_t longest) {
  const SyntheticTable &s = task.synthetic;
  const bool deep = s.puzzle == Puzzle::needle;
  const std::vector<double> depths = deep ? s.depths : std::vector<double>{0};
  const std::int64_t samples = asking.limit > 0 ? std::min(asking.limit, s.samples) : s.samples;
  std::vector<Question> questions;
  for (const double length : s.lengths) {
    const auto tokens = static_cast<std::int64_t>(length);
    if (longest > 0 && tokens + task.generate.max_tokens > longest)
      throw UserError(Exit::deck, "E312", task.file, fmt::format("length = {}", tokens),
                      fmt::format("With {} tokens of answer the model's limit of {} is passed "
                                  "(evaluate.max_length).",
                                  task.generate.max_tokens, longest));
    for (const double depth : depths)
      for (std::int64_t i = 0; i < samples; ++i) {
        const std::string what = fmt::format("{}/{}/{}/{}", task.task.name, tokens, depth, i);
        const std::uint64_t text_seed = draw(asking.seed, what, 1ULL << 32);
        Puzzled p = fitted(task, Draws(asking.seed, what), depth, text_seed, tokens, count);
        Question q;
        q.group = deep ? fmt::format("length={} depth={}", tokens, depth)
                       : fmt::format("length={}", tokens);
        q.place = what, q.golds = std::move(p.golds);
        q.record = kNoRecord;
        q.contexts = {p.text + p.question};
        questions.push_back(std::move(q));
      }
  }
  return questions;
}

} // namespace eval
