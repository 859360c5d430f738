// SPDX-License-Identifier: Apache-2.0
#pragma once
// Latent attention while generating: the rows that are new go to the cache, attention is absorbed (attention/absorbed.hpp). Steps
// (1) .. (6), (8) and (10) are those of mla.hpp; (7) and (9) are replaced.
// The cache of one layer is two arrays of `capacity` rows, of which the first are filled: the normalised latent (C numbers) and the
// rotated key (R numbers). Nothing else is kept of a token.
#include "layers/mla/mla.hpp"

namespace layers::mla {

template <class A> struct Cache {
  Mat<A> latent_JC, key_JR;
  // Rows first .. first + count of each.
  Mat<A> latent(Index first, Index count) const {
    return Mat<A>(&latent_JC(first, 0), count, latent_JC.extent(1));
  }
  Mat<A> key(Index first, Index count) const {
    return Mat<A>(&key_JR(first, 0), count, key_JR.extent(1));
  }
};

// saved with its cn and k_rope lying in rows first .. of the cache: forward then fills the cache on its way.
template <class A> Saved<A> in_cache(const Saved<A> &saved, const Cache<A> &cache, Index first);

// y of rows that follow the `first` rows of the cache; position_T = first, first + 1, ... saved: of as many rows as x, lying in the
// cache (in_cache); its kv and lse are not touched.
template <class A>
void decode(Context &ctx, const arch::Dims &dims, const Weights<A> &w, const rope::Table &table,
            Vec<const std::int32_t> position_T, Mat<const A> x_TD, const Cache<A> &cache,
            const Saved<A> &saved, Mat<A> y_TD);

} // namespace layers::mla
