// SPDX-License-Identifier: Apache-2.0
#include "reward/options.hpp"

#include <algorithm>
#include <map>
#include <set>

#include <fmt/ranges.h>

#include "base/error.hpp"
#include "base/text.hpp"
#include "reward/pattern.hpp"
#include "reward/show.hpp"

namespace reward {

namespace {

struct KindInfo {
  Kind kind;
  bool judge;
  std::vector<std::string> keys; // beside name, kind, weight
};

const std::map<std::string, KindInfo> &kinds() {
  static const std::map<std::string, KindInfo> all = {
      {"math", {Kind::math, true, {"truth", "find", "pattern"}}},
      {"exact", {Kind::exact, true, {"truth", "find", "pattern", "ignore_case"}}},
      {"contains", {Kind::contains, true, {"truth", "find", "pattern", "ignore_case"}}},
      {"program",
       {Kind::program,
        true,
        {"find", "pattern", "language", "before", "tests", "cases", "partial"}}},
      {"vote", {Kind::vote, true, {"find", "pattern", "quorum"}}},
      {"model", {Kind::model, false, {"model", "show"}}},
      {"format", {Kind::format, false, {"pattern", "match"}}},
      {"length", {Kind::length, false, {"free", "limit", "penalty", "only_correct"}}},
      {"repetition", {Kind::repetition, false, {"ngram"}}},
      {"language", {Kind::language, false, {"script"}}},
      {"ended", {Kind::ended, false, {}}}};
  return all;
}

bool usable_name(const std::string &name) {
  return !name.empty() && name.size() <= 64 && name.front() != '-' &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '-' || c == '_';
         });
}

[[noreturn]] void refuse(const char *number, const std::string &where, const std::string &read,
                         const std::string &advice) {
  throw base::UserError(base::Exit::deck, number, where, read, advice);
}

Kind kind_of(const RuleOptions &rule, const std::string &where) {
  const auto found = kinds().find(rule.kind_name);
  if (found != kinds().end()) return found->second.kind;
  std::vector<std::string> names;
  for (const auto &[name, info] : kinds()) names.push_back(name);
  const std::string near = base::text::nearest(rule.kind_name, names);
  refuse("E331", where, fmt::format("[[reward]] {}: kind = \"{}\"", rule.name, rule.kind_name),
         fmt::format("No such kind of reward{} There are: {}.",
                     near.empty() ? "." : fmt::format("; did you mean {}?", near),
                     fmt::join(names, ", ")));
}

void check_rule(const RuleOptions &rule, bool any_judge, const std::string &where) {
  const auto read = [&](const std::string &key) {
    return fmt::format("[[reward]] {}: {}", rule.name, key);
  };
  if (rule.kind == Kind::length && rule.limit <= rule.free)
    refuse(
        "E331", where, read(fmt::format("free = {}, limit = {}", rule.free, rule.limit)),
        "The limit must be above what is free; between them the value falls from 0 to -penalty.");
  if (rule.only_correct && !any_judge)
    refuse(
        "E331", where, read("only_correct = true"),
        "No rule says what is correct; one of kind math, exact, contains, program or vote does.");
  if (rule.kind == Kind::model && rule.model.empty())
    refuse("E331", where, read("kind = \"model\""),
           "model is missing: the directory of the reward model.");
  if (rule.per == Per::step && (rule.kind == Kind::vote || rule.kind == Kind::ended))
    refuse("E331", where, read("per = \"step\""),
           "vote and ended are about whole answers; a step has the other kinds.");
  if (const std::string fault = rule.show.empty() ? "" : fault_of_show(rule.show); !fault.empty())
    refuse("E331", where, read(fmt::format("show = '{}'", base::text::readable(rule.show))),
           fmt::format("{}. Fields stand in double braces: {{{{prompt}}}}.", fault));
  const bool wants = rule.kind == Kind::format || rule.find == Find::pattern;
  if (wants != !rule.pattern.empty())
    refuse("E331", where, read("pattern"),
           wants ? "A pattern is missing." : "A pattern needs find = \"pattern\".");
  if (!wants) return;
  try {
    Pattern(rule.pattern, rule.kind == Kind::format && rule.match == Match::whole);
  } catch (const data::PatternError &error) {
    refuse("E332", where, read(fmt::format("pattern = '{}'", base::text::readable(rule.pattern))),
           fmt::format("This is no regular expression of use here: {}.", error.what()));
  }
}

} // namespace

bool is_judge(Kind kind) {
  for (const auto &[name, info] : kinds())
    if (info.kind == kind) return info.judge;
  return false;
}

void check_options(Options &options, const std::string &where) {
  if (options.rules.empty())
    refuse("E330", where, "no [[reward]]", "Give at least one rule, with its name and kind.");
  std::set<std::string> names;
  for (RuleOptions &rule : options.rules) {
    const std::string read =
        fmt::format("[[reward]] name = \"{}\"", base::text::readable(rule.name));
    if (!usable_name(rule.name))
      refuse("E330", where, read,
             "A name has 1 to 64 letters, digits, - and _, and does not begin with -.");
    if (!names.insert(rule.name).second)
      refuse("E330", where, read, "Two rules have this name; give each its own.");
    rule.kind = kind_of(rule, where);
  }
  const auto any_judge = [&](Per per) {
    return std::any_of(options.rules.begin(), options.rules.end(), [&](const RuleOptions &rule) {
      return rule.per == per && is_judge(rule.kind);
    });
  };
  for (const RuleOptions &rule : options.rules) check_rule(rule, any_judge(rule.per), where);
}

Options with(const Options &options, Per per) {
  Options some = options;
  std::erase_if(some.rules, [&](const RuleOptions &rule) { return rule.per != per; });
  return some;
}

void require_plain(const Options &options, const std::string &where) {
  for (const RuleOptions &rule : options.rules) {
    if (rule.kind == Kind::model)
      refuse("E334", where, fmt::format("[[reward]] {}: kind = \"model\"", rule.name),
             "Reward models are asked in phase grpo only; leave the rule out.");
    if (rule.per == Per::step)
      refuse("E359", where, fmt::format("[[reward]] {}: per = \"step\"", rule.name),
             "Steps are rewarded in phase grpo only; leave the key out.");
  }
}

sandbox::Options read_sandbox(deck::Deck &deck) {
  sandbox::Options options;
  deck.read_table("sandbox", options);
  for (sandbox::Language &one : deck.read_list<sandbox::Language>("sandbox.language"))
    options.languages.push_back(std::move(one));
  return options;
}

Options read_options(deck::Deck &deck) {
  Options options;
  options.rules = deck.read_list<RuleOptions>("reward");
  options.sandbox = read_sandbox(deck);
  check_options(options, deck.path());
  std::set<std::string> all;
  for (const auto &[name, info] : kinds()) all.insert(info.keys.begin(), info.keys.end());
  for (std::size_t i = 0; i < options.rules.size(); ++i) {
    const std::string table = fmt::format("reward.{}", i);
    const auto &own = kinds().at(options.rules[i].kind_name).keys;
    for (const std::string &key : all)
      if (std::find(own.begin(), own.end(), key) == own.end() && deck.has(table, key))
        deck.fail(
            table, key, "E331",
            fmt::format("A reward of kind {} has no key {}. It has: name, kind, weight, per{}{}.",
                        options.rules[i].kind_name, key, own.empty() ? "" : ", ",
                        fmt::join(own, ", ")));
  }
  return options;
}

std::vector<std::pair<std::string, std::vector<deck::KeyInfo>>> declared_keys() {
  return {{"reward", deck::declare<RuleOptions>("reward")},
          {"sandbox", deck::declare<sandbox::Options>("sandbox")},
          {"sandbox.language", deck::declare<sandbox::Language>("sandbox.language")}};
}

} // namespace reward
