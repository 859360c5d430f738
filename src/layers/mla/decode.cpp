// SPDX-License-Identifier: Apache-2.0
#include "layers/mla/decode.hpp"

#include "layers/attention/absorbed.hpp"

namespace layers::mla {

namespace {

template <class A> Mat<A> flat(const Cube<A> &x) {
  return Mat<A>(x.data(), x.extent(0), x.extent(1) * x.extent(2));
}

} // namespace

template <class A>
Saved<A> in_cache(const Saved<A> &saved, const Cache<A> &cache, const Index first) {
  const auto rows = static_cast<Index>(saved.c_TC.extent(0));
  Saved<A> s = saved;
  s.cn_TC = cache.latent(first, rows);
  s.k_rope_TR = cache.key(first, rows);
  return s;
}

template <class A>
void decode(Context &ctx, const arch::Dims &dims, const Weights<A> &w, const rope::Table &table,
            const Vec<const std::int32_t> position_T, const Mat<const A> x_TD,
            const Cache<A> &cache, const Saved<A> &s, const Mat<A> y_TD) {
  const float eps = static_cast<float>(dims.norm_eps);
  const Index C = dims.kv_rank, D = dims.model;
  if (dims.q_rank > 0) {
    numerics::linear<A, A>(ctx, "layers::mla::decode::q_down", x_TD, w.w_dq_QD, s.cq_TQ); // (1)
    rms_norm::forward<A>(ctx, s.cq_TQ, w.q_norm_Q, eps, s.cqn_TQ, s.q_norm);              // (2)
    numerics::linear<A, A>(ctx, "layers::mla::decode::q_up", s.cqn_TQ, w.w_uq_XQ,
                           flat(s.q_THM)); // (3)
  } else {
    numerics::linear<A, A>(ctx, "layers::mla::decode::q", x_TD, w.w_q_XD, flat(s.q_THM)); // (3)
  }
  const Mat<const A> w_latent_CD(w.w_dkv_YD.data(), C, D),
      w_key_RD(w.w_dkv_YD.data() + C * D, dims.rope, D);
  numerics::linear<A, A>(ctx, "layers::mla::decode::kv_down", x_TD, w_latent_CD, s.c_TC);  // (4)
  numerics::linear<A, A>(ctx, "layers::mla::decode::k_rope", x_TD, w_key_RD, s.k_rope_TR); // (5)
  rms_norm::forward<A>(ctx, s.c_TC, w.kv_norm_C, eps, s.cn_TC, s.kv_norm);                 // (6)
  rope::rotate<A>(ctx, "layers::mla::decode::rotate_q", table, position_T, s.q_THM, dims.nope,
                  1); // (8)
  const Cube<A> key_T1R(s.k_rope_TR.data(), s.k_rope_TR.extent(0), 1, dims.rope);
  rope::rotate<A>(ctx, "layers::mla::decode::rotate_k", table, position_T, key_T1R, 0, 1);
  attention::absorbed<A>(ctx, s.q_THM, cache.latent_JC, cache.key_JR, w.w_ukv_ZC, position_T,
                         dims.nope, static_cast<float>(dims.softmax_scale()), s.o_THV);
  numerics::linear<A, A>(ctx, "layers::mla::decode::out", flat(s.o_THV), w.w_o_DU, y_TD); // (10)
}

template Saved<float> in_cache(const Saved<float> &, const Cache<float> &, Index);
template Saved<bf16> in_cache(const Saved<bf16> &, const Cache<bf16> &, Index);
template void decode(Context &, const arch::Dims &, const Weights<float> &, const rope::Table &,
                     Vec<const std::int32_t>, Mat<const float>, const Cache<float> &,
                     const Saved<float> &, Mat<float>);
template void decode(Context &, const arch::Dims &, const Weights<bf16> &, const rope::Table &,
                     Vec<const std::int32_t>, Mat<const bf16>, const Cache<bf16> &,
                     const Saved<bf16> &, Mat<bf16>);

} // namespace layers::mla
