// SPDX-License-Identifier: Apache-2.0
#include "optim/schedule.hpp"

#include <algorithm>
#include <cmath>

namespace optim {

double rate_at(const RateOptions &o, std::int64_t step, std::int64_t tokens) {
  const double warm =
      o.warmup_steps > 0
          ? std::min(1.0, static_cast<double>(step + 1) / static_cast<double>(o.warmup_steps))
          : 1.0;
  if (o.cosine_tokens == 0 || tokens <= o.constant_tokens) return o.peak * warm;
  const std::int64_t into = tokens - o.constant_tokens;
  if (into < o.cosine_tokens) {
    const double x = static_cast<double>(into) / static_cast<double>(o.cosine_tokens);
    return warm * (o.final_rate +
                   0.5 * (o.peak - o.final_rate) * (1.0 + std::cos(3.14159265358979323846 * x)));
  }
  const bool second_tail = o.tail1_tokens > 0 && into >= o.cosine_tokens + o.tail1_tokens;
  return warm * (second_tail ? o.tail_rate : o.final_rate);
}

double gamma_at(const BalanceOptions &o, std::int64_t tokens) {
  return o.gamma_tokens > 0 && tokens >= o.gamma_tokens ? 0.0 : o.gamma;
}

double lambda_at(const MtpLossOptions &o, std::int64_t tokens) {
  if (!o.train) return 0.0;
  return o.lambda_tokens > 0 && tokens >= o.lambda_tokens ? o.lambda_late : o.lambda;
}

std::int64_t batch_at(std::int64_t start, std::int64_t full, std::int64_t ramp_tokens,
                      std::int64_t multiple, std::int64_t tokens) {
  if (ramp_tokens <= 0 || tokens >= ramp_tokens) return full;
  const double x = static_cast<double>(tokens) / static_cast<double>(ramp_tokens);
  const auto wanted =
      static_cast<std::int64_t>(static_cast<double>(start) + x * static_cast<double>(full - start));
  return std::clamp(wanted / multiple * multiple, multiple, full);
}

} // namespace optim
