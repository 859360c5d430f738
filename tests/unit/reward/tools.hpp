// SPDX-License-Identifier: Apache-2.0
#pragma once
// Rules from the text of a deck, and numbers of errors.
#include <gtest/gtest.h>

#include <string>

#include "base/error.hpp"
#include "reward/rules.hpp"

namespace reward_test {

inline reward::Options options(const std::string &deck) {
  deck::Deck one = deck::Deck::parse(deck, "test.toml");
  reward::Options out = reward::read_options(one);
  one.finish();
  return out;
}

template <class F>
void expect_error(const F &f, const std::string &number, const std::string &text) {
  try {
    f();
    ADD_FAILURE() << "no " << number;
  } catch (const base::UserError &error) {
    EXPECT_EQ(error.number(), number) << error.what();
    EXPECT_NE(std::string(error.what()).find(text), std::string::npos) << error.what();
  }
}

inline reward::Item item(const data::Json &problem, const std::string &answer,
                         std::size_t tokens = 0, bool ended = true, std::int64_t group = 0) {
  reward::Item one;
  one.problem = &problem, one.place = "file.jsonl:7", one.answer = answer;
  for (std::size_t i = 0; i < tokens; ++i) one.tokens.push_back(static_cast<data::Token>(i));
  one.ended = ended, one.group = group;
  return one;
}

// The value of one rule for one answer.
inline double value(const std::string &deck, const std::string &problem, const std::string &answer,
                    std::size_t tokens = 0, bool ended = true) {
  const data::Json row = data::Json::parse(problem);
  const reward::Rules rules(options(deck));
  return rules.score({item(row, answer, tokens, ended)}).at(0).parts.at(0);
}

} // namespace reward_test
