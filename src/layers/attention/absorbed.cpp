// SPDX-License-Identifier: Apache-2.0
#include "layers/attention/absorbed.hpp"

#include "numerics/exp.hpp"

namespace layers::attention {

namespace {

// What one row of queries and one head read and write, as plain pointers.
template <class A> struct Lane {
  const A *q;            // [M], no-rope part first
  const A *w_uk, *w_uv;  // [N,C], [V,C]
  const A *latent, *key; // pages [kKeyBlock,C], [kKeyBlock,R]
  const Index *page;     // of each block of the sequence
  Index nope, rope, value, latent_dim;
  float scale;
  float *query, *sum, *score; // q~ [C], o~ [C], [kKeyBlock]
  A *o;                       // [V]
};

// (1), the scale included.
template <class R, class A> KOKKOS_FUNCTION void absorb_query(const R &row, const Lane<A> &l) {
  tensor::row_for(row, l.latent_dim, [&](const Index c) { l.query[c] = 0; });
  for (Index n = 0; n < l.nope; ++n) {
    const float q = l.scale * static_cast<float>(l.q[n]);
    const A *w = l.w_uk + n * l.latent_dim;
    tensor::row_for(row, l.latent_dim, [&](const Index c) {
      l.query[c] = fmaf(q, static_cast<float>(w[c]), l.query[c]);
    });
  }
}

// (2), one key: row j of the pool of pages.
template <class R, class A>
KOKKOS_FUNCTION float score(const R &row, const Lane<A> &l, const Index j) {
  const A *c_j = l.latent + j * l.latent_dim, *k_j = l.key + j * l.rope, *q_rope = l.q + l.nope;
  const float latent = tensor::row_sum(
      row, l.latent_dim, [&](const Index c) { return l.query[c] * static_cast<float>(c_j[c]); });
  const float key = tensor::row_sum(row, l.rope, [&](const Index r) {
    return static_cast<float>(q_rope[r]) * static_cast<float>(k_j[r]);
  });
  return fmaf(l.scale, key, latent);
}

// (2), (3): the softmax is carried from block to block; sum is o~ times the total that is returned.
template <class R, class A>
KOKKOS_FUNCTION float attend(const R &row, const Lane<A> &l, const Index keys) {
  float maximum = -HUGE_VALF, total = 0;
  tensor::row_for(row, l.latent_dim, [&](const Index c) { l.sum[c] = 0; });
  for (Index j0 = 0; j0 < keys; j0 += kKeyBlock) {
    const Index block = keys - j0 < kKeyBlock ? keys - j0 : kKeyBlock,
                first = l.page[j0 / kKeyBlock] * kKeyBlock;
    for (Index j = 0; j < block; ++j) {
      const float s = score(row, l, first + j);
      tensor::row_once(row, [&] { l.score[j] = s; });
    }
    tensor::row_barrier(row);
    const float block_best = tensor::row_max(row, block, [&](const Index j) { return l.score[j]; });
    const float best = block_best > maximum ? block_best : maximum;
    const float factor = numerics::fast_exp(maximum - best);
    tensor::row_for(row, block,
                    [&](const Index j) { l.score[j] = numerics::fast_exp(l.score[j] - best); });
    total =
        fmaf(total, factor, tensor::row_sum(row, block, [&](const Index j) { return l.score[j]; }));
    maximum = best;
    const A *latent = l.latent + first * l.latent_dim;
    tensor::row_for(row, l.latent_dim, [&](const Index c) { l.sum[c] *= factor; });
    for (Index j = 0; j < block; ++j) {
      const float p = l.score[j];
      tensor::row_for(row, l.latent_dim, [&](const Index c) {
        l.sum[c] = fmaf(p, static_cast<float>(latent[j * l.latent_dim + c]), l.sum[c]);
      });
    }
  }
  return total;
}

// (4)
template <class R, class A>
KOKKOS_FUNCTION void expand_value(const R &row, const Lane<A> &l, const float total) {
  for (Index v = 0; v < l.value; ++v) {
    const A *w = l.w_uv + v * l.latent_dim;
    const float o = tensor::row_sum(
        row, l.latent_dim, [&](const Index c) { return static_cast<float>(w[c]) * l.sum[c]; });
    tensor::row_once(row, [&] { l.o[v] = A(o / total); });
  }
}

} // namespace

std::size_t absorbed_bytes(const Index tokens, const Index heads, const Index latent) {
  const auto rows = static_cast<std::size_t>(tokens * heads);
  return 2 * tensor::Arena::padded(rows * static_cast<std::size_t>(latent) * sizeof(float)) +
         tensor::Arena::padded(rows * kKeyBlock * sizeof(float));
}

template <class A> void absorbed(Context &ctx, const AbsorbedInputs<A> &in, const Cube<A> o_THV) {
  const tensor::Arena::Scope scope(ctx.arena);
  const Index T = in.q_THM.extent(0), H = in.q_THM.extent(1), C = in.latent_PJC.extent(2),
              R = in.key_PJR.extent(2), V = o_THV.extent(2), nope = in.nope;
  HADAL_CHECK(in.w_ukv_ZC.extent(0) == static_cast<std::size_t>(H * (nope + V)) &&
                  in.w_ukv_ZC.extent(1) == static_cast<std::size_t>(C),
              "w_ukv has {} x {}", in.w_ukv_ZC.extent(0), in.w_ukv_ZC.extent(1));
  const Cube<float> query_THC = ctx.arena.cube<float>(T, H, C),
                    sum_THC = ctx.arena.cube<float>(T, H, C);
  const Cube<float> score_THB = ctx.arena.cube<float>(T, H, kKeyBlock);
  tensor::for_tasks(
      ctx, "layers::attention::absorbed", T * H,
      KOKKOS_LAMBDA(const tensor::Row &row, const Index i) {
        const Index t = i / H, h = i % H;
        const A *w = &in.w_ukv_ZC(h * (nope + V), 0);
        const Lane<A> lane{&in.q_THM(t, h, 0),
                           w,
                           w + nope * C,
                           in.latent_PJC.data(),
                           in.key_PJR.data(),
                           in.page_B.data() + in.table_T(t),
                           nope,
                           R,
                           V,
                           C,
                           in.scale,
                           &query_THC(t, h, 0),
                           &sum_THC(t, h, 0),
                           &score_THB(t, h, 0),
                           &o_THV(t, h, 0)};
        absorb_query(row, lane);
        expand_value(row, lane, attend(row, lane, in.position_T(t) + 1));
      });
  const double products = static_cast<double>(T * H) * static_cast<double>(C * (nope + V));
  ctx.count("layers::attention::absorbed", 2 * products,
            sizeof(A) *
                static_cast<double>(in.w_ukv_ZC.size())); // the cache's share is not known here
}

template void absorbed(Context &, const AbsorbedInputs<float> &, Cube<float>);
template void absorbed(Context &, const AbsorbedInputs<bf16> &, Cube<bf16>);

} // namespace layers::attention
