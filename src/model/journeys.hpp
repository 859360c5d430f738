// SPDX-License-Identifier: Apache-2.0
#pragma once
// Where a block's token copies leave and arrive: polled on the way when there is somebody who polls.
#include "model/block.hpp"

namespace model::block {

inline void leave(Context &ctx, const BlockEnv &env, const char *name,
                  layers::dispatch::Flight &flight) {
  if (env.flights) env.flights->begin(ctx, flight, env.label(name));
}

// No flight (all experts are here): nothing to wait for.
inline void arrive(Context &ctx, const BlockEnv &env,
                   std::unique_ptr<layers::dispatch::Flight> &flight) {
  if (!flight) return;
  if (env.flights)
    env.flights->land(*flight);
  else
    flight->finish(ctx);
}

} // namespace model::block
