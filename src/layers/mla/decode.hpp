// SPDX-License-Identifier: Apache-2.0
#pragma once
// Latent attention while generating: new rows of many sequences at once over a cache in pages. Steps (1) .. (6), (8) and (10) are those
// of mla.hpp, and the new rows go to the cache. (7) and (9) come in two kinds:
//   exact     keys and values are made again from the latents (7), attention as in training: bit for bit the rows of mla::forward
//   absorbed  attention/absorbed.hpp, no keys are made
// The cache of one layer is two arrays of pages of attention::kKeyBlock tokens: the normalised latent (C numbers) and the rotated key
// (R numbers). Nothing else is kept of a token, unless the keys and values of (7) are kept too (H (N+V) numbers): exact steps are faster then.
// What a page holds behind its last token is finite.
#include <span>

#include "layers/attention/paged.hpp"
#include "layers/mla/mla.hpp"

namespace layers::mla {

template <class A> struct Pages {
  Cube<A> latent_PJC, key_PJR;
  Cube<A> kv_PJX; // X = H (N+V); empty: made again in every step
};

// New rows of a step. The first `exact` rows are attended exactly, the others absorbed.
struct NewRows {
  Vec<const std::int32_t> position_T; // in its own sequence
  Vec<const Index> slot_T;            // where a row goes: page kKeyBlock + place in it
  Vec<const Index> page_B, table_T;   // page tables one after the other; where that of a row begins
  Index exact = 0;
  Vec<const attention::Piece> piece_I; // of the exact rows, on the host
  Vec<const Index> listed_U; // pages that exact rows see, each once, by ascending block number
  Vec<const Index> place_B;  // as page_B: the place in listed_U
};

// Pages whose keys and values are made at a time.
inline constexpr Index kExpandedPages = 64;

// saved: of as many rows as x; q may be empty (scratch is used), kv and lse are not touched.
template <class A>
void decode(Context &ctx, const arch::Dims &dims, const Weights<A> &w, const rope::Table &table,
            const NewRows &rows, Mat<const A> x_TD, const Pages<A> &cache, const Saved<A> &saved,
            Mat<A> y_TD);

// Arena bytes that decode takes for itself at most: of so many rows, over caches of so many pages, which keep (7) or not.
template <class A>
std::size_t decode_bytes(const arch::Dims &dims, Index rows, Index pages, bool keeps_kv);

} // namespace layers::mla
