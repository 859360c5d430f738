// SPDX-License-Identifier: Apache-2.0
#include "schedule/formulas.hpp"

#include <algorithm>

#include <fmt/format.h>

namespace schedule {
namespace {

// A pair takes at least as long as its longer half, and at most as long as both.
bool dualpipe_exact(const StageCosts &c) {
  return c.forward == c.backward_input && c.backward_weight <= c.forward &&
         c.pair >= c.backward_input + c.backward_weight &&
         c.pair <= c.forward + c.backward_input + c.backward_weight;
}

} // namespace

Formula formula(const Program &program, const StageCosts &costs, double send) {
  const double f = costs.forward, b = costs.backward_input, w = costs.backward_weight;
  const int pp = program.stages, n = program.micro_batches;
  Formula one;
  one.ranks = program.ranks;
  one.parameter_copies = program.chunks;
  switch (program.kind) {
  case Kind::accumulate: one = {"0", 0, true, "always", 1, 1, 1}; break;
  case Kind::one_f_one_b:
    one.text = "(PP-1)(F + BW)";
    one.bubble = (pp - 1) * (f + b + w);
    one.condition = "messages that take no time";
    one.exact = send == 0 || pp == 1;
    one.activations = std::min(pp, n);
    break;
  case Kind::zb1p:
    one.text = "(PP-1)(F + BW - 2W)";
    one.bubble = (pp - 1) * (f + b - w);
    one.condition = "W <= F, W <= B, N >= PP, messages without time";
    one.exact = pp == 1 || (w <= f && w <= b && n >= pp && send == 0);
    one.activations = std::min(pp, n);
    break;
  case Kind::dualpipe:
  case Kind::dualpipev:
    one.text = "(PP/2-1)(F&B + BW - 3W)";
    one.bubble = (pp / 2 - 1) * (costs.pair + b - 2 * w);
    one.condition = fmt::format("F = B, W <= F, BW <= F&B <= F+BW, N >= {}, messages without time",
                                whole_pattern(program.kind, program.ranks));
    one.exact =
        dualpipe_exact(costs) && send == 0 && n >= whole_pattern(program.kind, program.ranks);
    one.activations = std::min(pp + 1, program.kind == Kind::dualpipe ? n : 2 * n);
    break;
  }
  return one;
}

} // namespace schedule
