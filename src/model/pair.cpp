// SPDX-License-Identifier: Apache-2.0
#include "model/pair.hpp"

#include <algorithm>

namespace model {
namespace {

void block_alone(Side side, Walk &walk, int block) {
  const auto phases = side == Side::forward ? std::span<const Phase>(kForward) : kBackward;
  for (const Phase phase : phases) walk.run(block, phase);
}

} // namespace

void walk_alone(Side side, Walk &walk) {
  walk.start();
  for (int block = 0; block < walk.blocks(); ++block) block_alone(side, walk, block);
  walk.finish();
}

void walk_pair(Walk &forward, Walk &backward) {
  const int pairs = std::min(forward.blocks(), backward.blocks()),
            ahead = backward.blocks() - pairs;
  backward.start();
  for (int block = 0; block < ahead; ++block) block_alone(Side::backward, backward, block);
  forward.start();
  for (int turn = 0; turn <= pairs; ++turn) // the last one is for what lags
    for (const Turn &t : kPair) {
      const int block = turn - t.lag;
      if (block < 0 || block >= pairs) continue;
      if (t.side == Side::forward)
        forward.run(block, t.phase);
      else
        backward.run(ahead + block, t.phase);
    }
  for (int block = pairs; block < forward.blocks(); ++block)
    block_alone(Side::forward, forward, block);
  forward.finish();
  backward.finish();
}

} // namespace model
