// SPDX-License-Identifier: Apache-2.0
#pragma once
// The reward of answers: every rule of a deck gives each answer a value, and the weighted sum is the reward. More is always better.
// The same answers get the same numbers, whatever else is scored with them, votes apart (they are of a group) and programs whose time
// is short.
#include <memory>
#include <string>
#include <vector>

#include "data/json.hpp"
#include "data/tokenizer.hpp"
#include "reward/options.hpp"
#include "sandbox/sandbox.hpp"

namespace reward {

// One answer to one problem.
struct Item {
  const data::Json *problem = nullptr; // an object: the row that the prompt was made of
  std::string place;                   // "file:line" of it, for messages
  std::string answer;                  // any bytes
  std::vector<data::Token> tokens;     // of the answer
  bool ended = false;                  // by itself, not by a limit of tokens
  std::int64_t group = 0;              // answers to the same prompt
};

struct Scores {
  double total = 0;
  std::vector<double> parts;      // values without weights, in the order of the deck
  std::vector<std::string> notes; // of each part: what was found, how a program ended; may be ""
  bool correct =
      false; // every judge (math, exact, contains, program, vote) gives 1; false where there is none
};

// What rules cannot know by themselves.
class Outside {
public:
  virtual ~Outside() = default;
  // Of a reward model (rule.model), one number for each item.
  virtual std::vector<double> model(const RuleOptions &rule, const std::vector<Item> &items) = 0;
};

class Rules {
public:
  // Checked options; compiles patterns.
  explicit Rules(Options options);
  ~Rules();
  Rules(const Rules &) = delete;
  const std::vector<RuleOptions> &rules() const { return options_.rules; }
  bool has_judge() const;
  // Tries the sandbox where a rule needs it (E340-E344), before anything is generated; says what it found.
  void check_machine() const;
  // Has the problem the fields that the rules read? Error E333 names it, the rule and the field.
  void check_problem(const data::Json &problem, const std::string &place) const;
  // Errors E333, E334 (no Outside where one is needed, or one that gives no finite numbers), E340-E344. A pattern that takes too many steps on
  // a text does not match it, and there is a warning.
  std::vector<Scores> score(const std::vector<Item> &items, Outside *outside = nullptr) const;

private:
  struct Prepared;
  struct Column;
  Column column(std::size_t rule, const std::vector<Item> &items, Outside *outside) const;
  Options options_;
  std::vector<std::unique_ptr<Prepared>> prepared_;
};

} // namespace reward
