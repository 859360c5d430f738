// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the rewards of a round become: advantages within each group, weights of tokens. Report of DeepSeek-V3, eq. 28; DeepSeekMath
// (arXiv 2402.03300), eq. 3; DAPO (2503.14476); Dr. GRPO (2503.20783).
#include <cstdint>
#include <span>
#include <vector>

#include "train/grpo/steps.hpp"

namespace train::grpo {

// A_i = (R_i - mean) / std over groups of G rewards that follow each other; std is that of the group itself (divided by G). A group whose
// rewards are all equal has advantages 0.
std::vector<double> advantages(std::span<const double> rewards, std::int64_t group, Spread spread);
// Share of the groups whose rewards are all equal: nothing is learnt from them.
double flat_groups(std::span<const double> rewards, std::int64_t group);
// The same where answers have rewarded steps besides.
double flat_groups(std::span<const double> rewards, std::span<Steps *const> steps,
                   std::int64_t group);
// Weight of each token of an answer of so many tokens in the loss of a step of `answers` answers with `tokens` tokens in all.
double token_weight(const Options &options, std::int64_t answer, std::int64_t answers,
                    std::int64_t tokens);

} // namespace train::grpo
