// SPDX-License-Identifier: Apache-2.0
#pragma once
// A deck's list [[reward]] (docs/rewards.md): each entry is a rule that gives an answer a number; their weighted sum is the reward.
// And the tables of the sandbox, whose room knows no decks.
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "deck/deck.hpp"
#include "sandbox/options.hpp"

namespace reward {

enum class Kind {
  math,
  exact,
  contains,
  program,
  vote,
  model,
  format,
  length,
  repetition,
  language,
  ended
};
enum class Find { usual, whole, last_line, boxed, number, boxed_or_number, pattern, code };
enum class Match { whole, part };
enum class Script { latin, cjk };
enum class Per { answer, step }; // what a rule judges

struct RuleOptions {
  std::string name, kind_name, truth, pattern, tests, before, cases, language, model, show;
  Kind kind = Kind::math; // what kind_name says
  double weight = 1, penalty = 1, quorum = 0;
  Find find = Find::usual;
  Match match = Match::whole;
  Script script = Script::latin;
  Per per = Per::answer;
  bool ignore_case = false, partial = false, only_correct = false;
  std::int64_t free = 0, limit = 0, ngram = 8;

  template <class R> void keys(R &r) {
    r.required(name, "name", "column in history and samples: letters, digits, - and _");
    r.required(kind_name, "kind",
               "math, exact, contains, program, vote, model, format, length, repetition, language "
               "or ended");
    r.key(weight, "weight", 1.0, -1e6, 1e6, "", "times the value; the sum is the reward");
    r.template choice<Per>(per, "per", Per::answer, {{"answer", Per::answer}, {"step", Per::step}},
                           "grpo: what gets the value, a whole answer, or each of its steps "
                           "(grpo.step_end), for the text up to the step's end");
    r.key(truth, "truth", "answer",
          "math, exact, contains: field of the problem with the right answer, or an array of them");
    r.template choice<Find>(find, "find", Find::usual,
                            {{"usual", Find::usual},
                             {"whole", Find::whole},
                             {"last_line", Find::last_line},
                             {"boxed", Find::boxed},
                             {"number", Find::number},
                             {"boxed_or_number", Find::boxed_or_number},
                             {"pattern", Find::pattern},
                             {"code", Find::code}},
                            "where the answer stands in the text: all of it, the last line, the "
                            "last \\boxed{}, the last number, the last match of pattern, the last "
                            "``` block; usual: boxed_or_number of math and vote, code of program, "
                            "else whole");
    r.key(pattern, "pattern", "",
          "format, or find = pattern: regular expression (PCRE2); before \\K stands what is not "
          "the answer");
    r.template choice<Match>(match, "match", Match::whole,
                             {{"whole", Match::whole}, {"part", Match::part}},
                             "format: the whole text matches, or a part of it");
    r.key(ignore_case, "ignore_case", false, "exact, contains: of ASCII letters");
    r.key(language, "language", "python", "program: of the sandbox");
    r.key(before, "before", "", "program: field with what stands before the answer's code");
    r.key(tests, "tests", "tests",
          "program: field with code that fails if the answer is wrong, or an array of such codes");
    r.key(cases, "cases", "", "program, in place of tests: field with an array of {input, output}");
    r.key(partial, "partial", false, "program: share of tests passed; else all or nothing");
    r.key(free, "free", 0, 0, std::int64_t{1} << 40, "tokens", "length: up to here without loss");
    r.key(limit, "limit", 0, 0, std::int64_t{1} << 40, "tokens",
          "length: from here on the whole penalty");
    r.key(penalty, "penalty", 1.0, 0.0, 1e6, "", "length: what is taken at the limit");
    r.key(only_correct, "only_correct", false,
          "length: answers that are not correct lose nothing for it");
    r.key(ngram, "ngram", 8, 1, 1 << 16, "tokens", "repetition: of a run that is seen again");
    r.template choice<Script>(script, "script", Script::latin,
                              {{"latin", Script::latin}, {"cjk", Script::cjk}},
                              "language: letters that are wanted");
    r.key(model, "model", "", "model: the run or step directory of the reward model");
    r.key(show, "show", "",
          "model: what it is shown as the question, with {{field}} for fields of the problem; "
          "empty: the question as it was asked");
    r.key(quorum, "quorum", 0.0, 0.0, 1.0, "",
          "vote: share of the group's answers that the most frequent one needs to count");
  }
};

struct Options {
  std::vector<RuleOptions> rules;
  sandbox::Options sandbox;
};

// Reads [[reward]], [sandbox] and [[sandbox.language]]. Errors E330 (no rule, a bad name, one twice), E331 (a kind that does not
// exist, keys that a kind lacks or does not know), E332 (a pattern that is no regular expression).
Options read_options(deck::Deck &deck);
sandbox::Options read_sandbox(deck::Deck &deck);
// What can be said of rules alone; sets their kinds. where: deck path for messages.
void check_options(Options &options, const std::string &where);
// The rules that judge whole answers, or those that judge steps.
Options with(const Options &options, Per per);
// Where there are neither steps (E359) nor reward models (E334).
void require_plain(const Options &options, const std::string &where);
// Is a rule of this kind about being right? Its best value is 1 then.
bool is_judge(Kind kind);
// Lists to be named to deck::reference: "reward", "sandbox.language".
std::vector<std::pair<std::string, std::vector<deck::KeyInfo>>> declared_keys();

} // namespace reward
