// SPDX-License-Identifier: Apache-2.0
#include "arch/options.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "arch/counts.hpp"
#include "deck/print.hpp"

namespace arch {
namespace {

std::string divisors(Index n) {
  std::string text;
  for (Index d = 1; d <= n; ++d) {
    if (n % d == 0) text += (text.empty() ? "" : ", ") + std::to_string(d);
  }
  return text;
}

std::optional<Contradiction> router_contradiction(const Dims &d) {
  if (d.experts % d.groups != 0) {
    return Contradiction{
        "model.router", "groups", "E041",
        fmt::format("{} routed experts cannot be shared evenly by {} groups; divisors: {}.",
                    d.experts, d.groups, divisors(d.experts))};
  }
  const Index group_size = d.experts / d.groups;
  if (d.chosen_groups > d.groups) {
    return Contradiction{"model.router", "chosen_groups", "E042",
                         fmt::format("there are only {} groups (model.router.groups).", d.groups)};
  }
  if (d.chosen > d.chosen_groups * group_size) {
    return Contradiction{"model.router", "chosen", "E043",
                         fmt::format("{} chosen groups of {} experts hold only {} experts.",
                                     d.chosen_groups, group_size, d.chosen_groups * group_size)};
  }
  if (d.groups > 1 && d.group_score == GroupScore::top2_sum && group_size < 2) {
    return Contradiction{
        "model.router", "group_score", "E044",
        "top2_sum adds the two best experts of a group, but a group has only one; take maximum, or "
        "fewer groups."};
  }
  return std::nullopt;
}

template <class Options>
std::pair<std::string, std::vector<deck::KeyInfo>> declare(const std::string &table) {
  std::vector<deck::KeyInfo> keys;
  deck::Reader reader(nullptr, table, -1, &keys);
  Dims dims;
  Options options{dims};
  options.keys(reader);
  return {table, std::move(keys)};
}

} // namespace

std::optional<Contradiction> contradiction(const Dims &d) {
  if (d.rope % 2 != 0) {
    return Contradiction{"model.attention", "rope_dim", "E040",
                         "positions rotate pairs of numbers, so the rotated part must be even."};
  }
  if (d.dense_layers > d.layers) {
    return Contradiction{"model", "dense_layers", "E045",
                         fmt::format("the model has only {} layers (model.layers).", d.layers)};
  }
  if (d.moe() || d.mtp_depth > 0) {
    if (auto found = router_contradiction(d)) return found;
  }
  if (d.yarn.on() && d.yarn.beta_fast <= d.yarn.beta_slow) {
    return Contradiction{
        "model.rope", "beta_fast", "E046",
        fmt::format("must be greater than beta_slow, which is {}.", d.yarn.beta_slow)};
  }
  if (estimated_parameters(d) > kMostParameters) {
    return Contradiction{
        "model", "dim", "E047",
        fmt::format(
            "these dims make a model of about {:.1e} parameters; the program counts up to {:.0e}.",
            estimated_parameters(d), kMostParameters)};
  }
  return std::nullopt;
}

Dims read_dims(deck::Deck &deck) {
  Dims dims;
  ModelOptions model{dims};
  AttentionOptions attention{dims};
  RouterOptions router{dims};
  RopeOptions rope{dims};
  MtpOptions mtp{dims};
  deck.read_table("model", model);
  deck.read_table("model.attention", attention);
  deck.read_table("model.router", router);
  deck.read_table("model.rope", rope);
  deck.read_table("mtp", mtp);
  if (const auto found = contradiction(dims))
    deck.fail(found->table, found->key, found->number, found->advice);
  return dims;
}

std::string deck_text(const Dims &dims) {
  Dims d = dims;
  return deck::print_table("model", ModelOptions{d}) + '\n' +
         deck::print_table("model.attention", AttentionOptions{d}) + '\n' +
         deck::print_table("model.router", RouterOptions{d}) + '\n' +
         deck::print_table("model.rope", RopeOptions{d}) + '\n' +
         deck::print_table("mtp", MtpOptions{d});
}

std::vector<std::pair<std::string, std::vector<deck::KeyInfo>>> declared_keys() {
  return {declare<ModelOptions>("model"), declare<AttentionOptions>("model.attention"),
          declare<RouterOptions>("model.router"), declare<RopeOptions>("model.rope"),
          declare<MtpOptions>("mtp")};
}

} // namespace arch
