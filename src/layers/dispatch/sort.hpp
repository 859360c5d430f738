// SPDX-License-Identifier: Apache-2.0
#pragma once
// Copies of tokens by a key of their expert: the expert itself, its rank, node or group. Stable: by key, then by token.
#include "layers/types.hpp"

namespace layers::dispatch {

// A token's choice as it travels.
struct Copy {
  std::int32_t expert;
  float weight;
};

// key = (expert - first) / width, 0 <= key < count; copies of other experts are left out. once: copies of a token with the same key are
// one (experts of a token ascend, so that they follow one another).
struct Keys {
  Index first = 0, width = 1, count = 1;
  bool once = false;
};

struct Sorted {
  Vec<std::int32_t> token_A;  // token of each place; empty: not wanted
  Mat<std::int32_t> place_TK; // place of each copy, -1 where it is left out; empty: not wanted
  Vec<Index> offsets;         // count + 1
};

// X: std::int32_t (the expert) or Copy. Takes a little scratch of the context.
template <class X>
void sort(Context &ctx, Mat<const X> choice_TK, const Keys &keys, const Sorted &sorted);
// Bytes of that scratch for so many keys.
std::size_t sort_scratch(Index keys);

} // namespace layers::dispatch
