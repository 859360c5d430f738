// SPDX-License-Identifier: Apache-2.0
#include "eval/task.hpp"

#include <algorithm>
#include <cctype>

#include <fmt/ranges.h>

#include "base/files.hpp"
#include "data/regex.hpp"

namespace eval {

using base::Exit;

namespace {

void check_data(const deck::Deck &deck, const Task &t) {
  if (t.task.kind == Kind::synthetic) return;
  if (t.data.files.empty())
    deck.fail("data", "files", "E307", "The files of the questions are missing.");
  if (t.data.reader == Layout::csv && !t.data.header && t.data.columns.empty())
    deck.fail("data", "columns", "E307", "A csv without a header needs the names of its columns.");
  if (t.task.kind == Kind::text) return;
  if (t.context.empty()) deck.fail("prompt", "context", "E307", "The template is missing.");
}

void check_answers(const deck::Deck &deck, const Task &t) {
  const Kind kind = t.task.kind;
  if (t.has_choices() && !t.choice_texts.empty() && !t.choices.list.empty())
    deck.fail("choices", "list", "E307", "Give texts or list, not both.");
  if (kind == Kind::choice && !t.has_choices())
    deck.fail("choices", "texts", "E307", "kind = \"choice\" needs [choices].");
  const bool answered = !t.value.empty() || !t.answer.list.empty();
  const bool wanted =
      kind == Kind::choice || (kind == Kind::generate && t.score.compare != Compare::instructions &&
                               t.score.compare != Compare::program);
  if (wanted && !answered)
    deck.fail("answer", "value", "E307", "The right answer is needed: value or list.");
  if (t.task.shots > 0 && !t.can_show_answers())
    deck.fail("task", "shots", "E307", "Without [answer] or continuation there are no examples.");
  if (t.has_choices() && t.value.empty())
    deck.fail("answer", "value", "E307", "With choices the right one is named by value.");
  if (!t.has_choices() && t.answer.is != AnswerIs::text)
    deck.fail("answer", "is", "E307", "Without [choices] the answer is a text.");
}

std::vector<std::string> metrics_of(const Task &t) {
  if (t.task.kind == Kind::choice) return {"acc", "acc_norm"};
  if (t.task.kind == Kind::text) return {"bits_per_byte", "byte_perplexity", "word_perplexity"};
  switch (t.score.compare) {
  case Compare::normalised:
  case Compare::drop: return {"exact_match", "f1"};
  case Compare::contains: return {"contains"};
  case Compare::instructions:
    return {"prompt_level_strict_acc", "inst_level_strict_acc", "prompt_level_loose_acc",
            "inst_level_loose_acc"};
  case Compare::program: {
    std::vector<std::string> names;
    for (const double k : t.score.k) names.push_back(fmt::format("pass@{:.0f}", k));
    return names;
  }
  default: return {"exact_match"};
  }
}

void check_score(const deck::Deck &deck, const Task &t) {
  const std::vector<std::string> known = metrics_of(t);
  for (const std::string &metric : t.score.metrics)
    if (std::find(known.begin(), known.end(), metric) == known.end())
      deck.fail(
          "score", "metrics", "E307",
          fmt::format("{} is not among those of this task: {}.", metric, fmt::join(known, ", ")));
  if (t.task.kind == Kind::generate && t.score.compare == Compare::program) {
    if (t.program.empty()) deck.fail("score", "program", "E307", "What is to be run is missing.");
    for (const double k : t.score.k)
      if (k != static_cast<double>(static_cast<std::int64_t>(k)) ||
          k > static_cast<double>(t.generate.samples))
        deck.fail("score", "k", "E307", "Whole numbers up to generate.samples are allowed.");
  } else if (t.generate.samples > 1 && t.task.kind != Kind::generate) {
    deck.fail("generate", "samples", "E307", "Only kind = \"generate\" draws several answers.");
  }
  for (std::size_t i = 0; i < t.filters.size(); ++i) {
    const FilterTable &filter = t.filters[i];
    const std::string table = fmt::format("filter.{}", i);
    for (std::size_t j = 0; j < i; ++j)
      if (t.filters[j].name == filter.name)
        deck.fail(table, "name", "E307", "Two filters have this name.");
    if (filter.extract != Extract::regex) continue;
    try {
      data::Regex::compile(filter.pattern);
    } catch (const data::PatternError &error) {
      deck.fail(table, "pattern", "E316", fmt::format("{}.", error.what()));
    }
  }
}

void parse_templates(const deck::Deck &deck, Task &t) {
  const auto parse = [&](const std::string &text, const char *table, const char *key) {
    return Template(text, fmt::format("{}: {}", deck.where(table, key), key));
  };
  t.group = parse(t.data.group, "data", "group");
  t.shot_group =
      parse(t.data.shot_group.empty() ? t.data.group : t.data.shot_group, "data", "shot_group");
  t.description = parse(t.prompt.description, "prompt", "description");
  t.context = parse(t.prompt.context, "prompt", "context");
  t.continuation = parse(t.prompt.continuation, "prompt", "continuation");
  t.choice_line = parse(t.prompt.choice_line, "prompt", "choice_line");
  t.value = parse(t.answer.value, "answer", "value");
  t.program = parse(t.score.program, "score", "program");
  t.needle = parse(t.synthetic.needle, "synthetic", "needle");
  t.question = parse(t.synthetic.question, "synthetic", "question");
  for (const std::string &text : t.choices.texts)
    t.choice_texts.push_back(parse(text, "choices", "texts"));
}

bool good_name(const std::string &name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '-' || c == '_';
  });
}

} // namespace

Task read_task(const std::filesystem::path &file) {
  Task t;
  t.file = file.string();
  t.source = base::read_file(file, Exit::deck, "E300", std::size_t{1} << 20);
  deck::Deck deck = deck::Deck::parse(t.source, t.file);
  deck.read_table("task", t.task);
  deck.read_table("data", t.data);
  deck.read_table("choices", t.choices);
  deck.read_table("answer", t.answer);
  deck.read_table("prompt", t.prompt);
  deck.read_table("generate", t.generate);
  deck.read_table("score", t.score);
  deck.read_table("synthetic", t.synthetic);
  t.filters = deck.read_list<FilterTable>("filter");
  deck.finish();
  if (!good_name(t.task.name))
    deck.fail("task", "name", "E307", "Letters, digits, - and _ make a name.");
  if (t.filters.empty()) t.filters.push_back({"none", "", Extract::none});
  if (t.task.kind == Kind::synthetic) t.score.compare = Compare::contains;
  parse_templates(deck, t);
  check_data(deck, t);
  check_answers(deck, t);
  check_score(deck, t);
  return t;
}

std::vector<std::pair<std::string, std::vector<deck::KeyInfo>>> declared_task_keys() {
  return {{"task", deck::declare<TaskTable>("task")},
          {"data", deck::declare<DataTable>("data")},
          {"choices", deck::declare<ChoicesTable>("choices")},
          {"answer", deck::declare<AnswerTable>("answer")},
          {"prompt", deck::declare<PromptTable>("prompt")},
          {"generate", deck::declare<GenerateTable>("generate")},
          {"score", deck::declare<ScoreTable>("score")},
          {"filter", deck::declare<FilterTable>("filter")},
          {"synthetic", deck::declare<SyntheticTable>("synthetic")}};
}

} // namespace eval
