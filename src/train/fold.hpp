// SPDX-License-Identifier: Apache-2.0
#pragma once
// The additions of the law of sums when a shard closes, in one pass over memory: a shard may close several levels of the tree at once,
// and the buffers that become free are cleared for the next shard while they are in the cache.
//   (1) s = later[0];  s = later[j] + s  for j = 1, 2, ...;  to = to + s;  later[j] = 0
// the same additions as level by level. Bytes: 4 n (2 k + 2) of memory for k levels, where adding and clearing apart take 4 n (5 k).
#include <vector>

#include "tensor/context.hpp"

namespace train {

// later: partial sums of levels 0, 1, ... , the latest shard first; to: the earlier one of the highest level. n elements each.
void fold_shards(tensor::Context &ctx, const std::vector<tensor::Vec<float>> &later,
                 tensor::Vec<float> to);

} // namespace train
