// SPDX-License-Identifier: Apache-2.0
#include "distil/harvest.hpp"

#include <filesystem>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/clock.hpp"
#include "base/error.hpp"
#include "base/files.hpp"
#include "base/output_file.hpp"
#include "data/chat_messages.hpp"
#include "distil/choose.hpp"

namespace distil {
namespace {

using base::Exit, base::UserError;
namespace fs = std::filesystem;

std::string asking_of(const Options &o, const Teacher &teacher) {
  return nlohmann::json{{"teacher", teacher.name()},
                        {"system", o.system},
                        {"temperature", o.temperature},
                        {"top_p", o.top_p},
                        {"max_tokens", o.max_tokens},
                        {"seed", o.seed},
                        {"stop", o.stop}}
      .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

void make_folder(const fs::path &folder) {
  std::error_code error;
  if (!folder.empty()) fs::create_directories(folder, error);
  if (error)
    throw UserError(Exit::machine, "E374", folder.string(), error.message(),
                    "the folders of distil.directory and distil.output must be writable");
}

std::int64_t ask(const Options &o, const std::vector<Question> &questions, Teacher &teacher,
                 Journal &journal, const Say &say) {
  std::vector<Asked> missing;
  for (const Question &q : questions)
    for (std::int64_t s = 0; s < o.samples; ++s)
      if (!journal.find({q.key, s})) missing.push_back({&q, s});
  say(fmt::format("{} questions, {} answers each; {} are in the journal, {} are asked",
                  questions.size(), o.samples,
                  static_cast<std::int64_t>(questions.size()) * o.samples -
                      static_cast<std::int64_t>(missing.size()),
                  missing.size()));
  if (missing.empty()) return 0;
  const std::int64_t before = journal.size();
  const base::Stopwatch watch;
  double told = 0;
  teacher.answer(missing, journal, [&](std::int64_t size) {
    if (watch.seconds() < told + 10) return;
    told = watch.seconds();
    say(fmt::format("{} of {} answers, {:.0f} s", size - before, missing.size(), told));
  });
  return journal.size() - before;
}

std::string sample_line(const Question &q, const std::string &answer) {
  auto messages = nlohmann::ordered_json::array();
  for (const data::chat::Message &m : q.messages)
    messages.push_back(
        {{"role", data::chat::name_of(m.role)}, {"content", m.content.value_or("")}});
  messages.push_back({{"role", "assistant"}, {"content", answer}});
  return nlohmann::ordered_json{{"messages", messages}, {"source", q.problem->source}}.dump() +
         "\n";
}

// Answers of one question: rewards, choice, lines of the output.
class Sieve {
public:
  Sieve(const Options &o, const reward::Rules &rules, const data::Tokenizer *tokenizer)
      : o_(o), rules_(rules), tokenizer_(tokenizer) {}

  std::string pick(const Question &q, std::int64_t group, const Journal &journal, Counts &counts) {
    std::vector<reward::Item> items;
    std::vector<Candidate> candidates;
    for (std::int64_t s = 0; s < o_.samples; ++s) {
      const Given *given = journal.find({q.key, s});
      HADAL_CHECK(given, "no answer {} to {}", s, q.key);
      reward::Item item{&q.problem->fields, q.problem->place, given->text, {}, given->ended, group};
      if (tokenizer_) item.tokens = tokenizer_->encode(given->text);
      const auto length = tokenizer_ ? item.tokens.size() : given->text.size();
      candidates.push_back({s, given->text, static_cast<std::int64_t>(length), 0, false});
      items.push_back(std::move(item));
    }
    const auto scores = rules_.score(items);
    for (std::size_t i = 0; i < items.size(); ++i) {
      Candidate &c = candidates[i];
      c.reward = scores[i].total;
      const bool right = scores[i].correct || !rules_.has_judge();
      c.passes = items[i].ended && right && c.reward >= o_.threshold && !normalised(c.text).empty();
      ++counts.answers, counts.ended += items[i].ended, counts.correct += scores[i].correct;
      counts.passed += c.passes, counts.reward += c.reward;
      counts.length += static_cast<double>(c.length);
    }
    std::string question;
    for (const data::chat::Message &m : q.messages)
      question += normalised(m.content.value_or("")) + '\0';
    const auto kept = choose(candidates, o_.choose, o_.keep, question, seen_, counts.repeated);
    std::string lines;
    for (const std::size_t i : kept) {
      lines += sample_line(q, candidates[i].text);
      counts.kept_length += static_cast<double>(candidates[i].length);
    }
    counts.kept += static_cast<std::int64_t>(kept.size());
    counts.with_kept += kept.empty() ? 0 : 1;
    return lines;
  }

private:
  const Options &o_;
  const reward::Rules &rules_;
  const data::Tokenizer *tokenizer_;
  std::set<std::string> seen_;
};

void add_sum(std::vector<Counts> &sources) {
  Counts all;
  all.source = "all";
  for (const Counts &c : sources) {
    all.problems += c.problems, all.answers += c.answers, all.ended += c.ended;
    all.correct += c.correct, all.passed += c.passed, all.repeated += c.repeated;
    all.kept += c.kept, all.with_kept += c.with_kept;
    all.reward += c.reward, all.length += c.length, all.kept_length += c.kept_length;
  }
  sources.push_back(all);
}

double per(double sum, std::int64_t n) { return n > 0 ? sum / static_cast<double>(n) : 0.0; }

void write_stats(const Options &o, const Harvest &h) {
  nlohmann::ordered_json sources = nlohmann::ordered_json::array();
  for (const Counts &c : h.sources)
    sources.push_back({{"source", c.source},
                       {"problems", c.problems},
                       {"answers", c.answers},
                       {"ended", c.ended},
                       {"correct", c.correct},
                       {"passed", c.passed},
                       {"repeated", c.repeated},
                       {"kept", c.kept},
                       {"questions_with_kept", c.with_kept},
                       {"mean_reward", per(c.reward, c.answers)},
                       {"mean_length", per(c.length, c.answers)},
                       {"mean_length_kept", per(c.kept_length, c.kept)}});
  const nlohmann::ordered_json stats = {{"asked_now", h.asked},
                                        {"repeated_problems", h.repeated_problems},
                                        {"length_unit", h.tokens ? "tokens" : "bytes"},
                                        {"sources", sources}};
  base::write_file_atomic(fs::path(o.directory) / "stats.json", stats.dump(2) + "\n", Exit::machine,
                          "E374");
}

} // namespace

Harvest harvest(const Options &o, const reward::Rules &rules, Teacher &teacher,
                const data::Tokenizer *tokenizer, const Say &say) {
  for (const reward::RuleOptions &rule : rules.rules())
    if (!tokenizer && (rule.kind == reward::Kind::length || rule.kind == reward::Kind::repetition))
      throw UserError(Exit::deck, "E377", "[[reward]]", rule.name,
                      "this rule counts tokens: give distil.tokenizer, a tokenizer.json");
  const Problems problems = read_problems(o);
  for (const Problem &p : problems.all) rules.check_problem(p.fields, p.place);
  rules.check_machine();
  make_folder(o.directory), make_folder(fs::path(o.output).parent_path());
  const base::DirectoryLock lock(o.directory);
  Journal journal(fs::path(o.directory) / "answers.jsonl", asking_of(o, teacher),
                  o.existing == Existing::replace);
  const std::vector<Question> questions = questions_of(problems, o);
  Harvest h;
  h.asked = ask(o, questions, teacher, journal, say);
  h.repeated_problems = problems.repeated, h.tokens = tokenizer != nullptr;
  for (const SourceOptions &source : o.sources) h.sources.emplace_back().source = source.name;
  for (const Problem &p : problems.all)
    for (Counts &c : h.sources) c.problems += c.source == p.source;
  Sieve sieve(o, rules, tokenizer);
  base::OutputFile out(o.output, Exit::machine, "E374");
  for (std::size_t i = 0; i < questions.size(); ++i)
    for (Counts &c : h.sources)
      if (c.source == questions[i].problem->source)
        out.write(sieve.pick(questions[i], static_cast<std::int64_t>(i), journal, c));
  add_sum(h.sources);
  write_stats(o, h);
  if (h.sources.back().kept == 0)
    throw UserError(
        Exit::data, "E378", o.directory,
        fmt::format("none of {} answers was kept\n{}", h.sources.back().answers, table(h)),
        "answers.jsonl has them all; look at the rules, at distil.threshold and max_tokens");
  out.finish();
  return h;
}

std::string table(const Harvest &h) {
  std::string text = fmt::format("{:<16}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}{:>10}\n", "source",
                                 "problems", "answers", "ended", "correct", "passed", "repeated",
                                 "kept", "reward", h.tokens ? "tokens" : "bytes");
  for (const Counts &c : h.sources)
    text += fmt::format("{:<16}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9.3f}{:>10.1f}\n", c.source,
                        c.problems, c.answers, c.ended, c.correct, c.passed, c.repeated, c.kept,
                        per(c.reward, c.answers), per(c.length, c.answers));
  return text;
}

} // namespace distil
