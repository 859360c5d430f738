// SPDX-License-Identifier: Apache-2.0
#include "train/grpo/options.hpp"

#include "base/error.hpp"

namespace train::grpo {

Options read_options(deck::Deck &deck) {
  Options o;
  deck.read_table("grpo", o);
  o.sources = deck.read_list<PromptSource>("grpo.source");
  if (o.sources.empty())
    deck.fail("grpo", "", "E350", "no problems: give a [[grpo.source]] with name and paths");
  if (o.ratio == Options::Ratio::sequence && o.mean != Mean::answer)
    deck.fail("grpo", "mean", "E351",
              "a ratio of whole answers has no mean over tokens: leave it at \"answer\", or take "
              "ratio = \"token\"");
  return o;
}

void check_steps(const deck::Deck &deck, const Options &o, const reward::Options &rewards) {
  if (reward::with(rewards, reward::Per::step).rules.empty()) return;
  if (o.ratio == Options::Ratio::sequence)
    deck.fail("grpo", "ratio", "E358",
              "rules judge steps, so tokens have advantages of their own: take ratio = \"token\"");
  if (o.step_end.empty()) deck.fail("grpo", "step_end", "E358", "a step must end with something");
}

std::vector<std::pair<std::string, std::vector<deck::KeyInfo>>> declared_keys() {
  return {{"grpo", deck::declare<Options>("grpo")},
          {"grpo.source", deck::declare<PromptSource>("grpo.source")}};
}

} // namespace train::grpo
