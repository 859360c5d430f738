// SPDX-License-Identifier: Apache-2.0
#pragma once
// Schedules as functions of tokens seen (rate, gamma, alpha, lambda) or of the step (warm-up), facts of section 7:
//   rate: linear 0 -> peak over warmup_steps; constant until constant_until tokens; cosine to final_rate over cosine_tokens; final_rate
//   for tail1_tokens; tail2_rate afterwards.  batch: ramp from start to global_batch sequences over ramp_tokens, in whole multiples.
// Token counts of 0 leave a part out: without cosine_tokens the rate stays constant.
#include <cstdint>

#include "arch/dims.hpp"

namespace optim {

struct RateOptions {
  double peak = 2.2e-4, final_rate = 2.2e-5, tail_rate = 7.3e-6;
  std::int64_t warmup_steps = 2000;
  std::int64_t constant_tokens = 0, cosine_tokens = 0, tail1_tokens = 0;
  bool whole_run = false;
  template <class R> void keys(R &r) {
    r.key(peak, "peak", 2.2e-4, 0.0, 1.0, "", "learning rate after warm-up (report p. 22)");
    r.key(final_rate, "final", 2.2e-5, 0.0, 1.0, "",
          "learning rate at the end of the cosine and in the first tail");
    r.key(tail_rate, "tail", 7.3e-6, 0.0, 1.0, "", "learning rate in the second tail");
    r.key(warmup_steps, "warmup_steps", 2000, 0, 1000000000, "steps", "linear warm-up from 0");
    r.key(constant_tokens, "constant_tokens", 0, 0, std::int64_t{1} << 60, "tokens",
          "the peak is held until this many tokens were seen");
    r.key(cosine_tokens, "cosine_tokens", 0, 0, std::int64_t{1} << 60, "tokens",
          "length of the cosine decay that follows; 0: the peak is held to the end");
    r.key(whole_run, "whole_run", false,
          "the cosine lasts from the end of the warm-up to the last step of the run, whatever its "
          "length");
    r.key(tail1_tokens, "tail_tokens", 0, 0, std::int64_t{1} << 60, "tokens",
          "length of the first constant tail; the second lasts to the end; 0: only the first, to "
          "the end");
  }
};
// Learning rate of the step that starts after `tokens` tokens; step counts from 0.
double rate_at(const RateOptions &options, std::int64_t step, std::int64_t tokens);

struct BalanceOptions {
  double gamma = 1e-3, alpha = 1e-4;
  std::int64_t gamma_tokens = 0;
  template <class R> void keys(R &r) {
    r.key(gamma, "gamma", 1e-3, 0.0, 1.0, "",
          "step of the router bias towards balance after each step (report p. 23); 0: the bias "
          "stays");
    r.key(gamma_tokens, "gamma_tokens", 0, 0, std::int64_t{1} << 60, "tokens",
          "gamma becomes 0 after this many tokens; 0: never");
    r.key(alpha, "alpha", 1e-4, 0.0, 10.0, "",
          "coefficient of the sequence-wise balance loss (report p. 23)");
  }
};
double gamma_at(const BalanceOptions &options, std::int64_t tokens);

struct MtpLossOptions {
  double lambda = 0.3, lambda_late = 0.1;
  bool train = true;
  std::int64_t lambda_tokens = 0;
  template <class R> void keys(R &r) {
    r.key(lambda, "lambda", 0.3, 0.0, 100.0, "", "weight of the MTP loss (report p. 23)");
    r.key(lambda_late, "lambda_late", 0.1, 0.0, 100.0, "",
          "weight of the MTP loss after lambda_tokens");
    r.key(lambda_tokens, "lambda_tokens", 0, 0, std::int64_t{1} << 60, "tokens",
          "when lambda changes to lambda_late; 0: never");
    r.key(train, "train", true,
          "false: the modules stay as they are and their loss counts nowhere");
  }
};
double lambda_at(const MtpLossOptions &options, std::int64_t tokens);

// Sequences in the step that starts after `tokens` tokens: linear in tokens from `start` to `full`, rounded down to a multiple of
// `multiple`, never below it; `full` once ramp_tokens were seen or when ramp_tokens is 0.
std::int64_t batch_at(std::int64_t start, std::int64_t full, std::int64_t ramp_tokens,
                      std::int64_t multiple, std::int64_t tokens);

} // namespace optim
