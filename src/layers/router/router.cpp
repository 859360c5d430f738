// SPDX-License-Identifier: Apache-2.0
#include "layers/router/router.hpp"

#include "base/error.hpp"
#include "layers/router/gate.hpp"

namespace layers::router {

namespace {

constexpr Index kBlockRows = 64; // rows counted together; sums run over blocks in order

Gate gate_of(const arch::Dims &dims) {
  HADAL_CHECK(dims.experts <= kMaxExperts && dims.chosen <= kMaxChosen, "{} experts, {} chosen",
              dims.experts, dims.chosen);
  HADAL_CHECK(dims.experts % dims.groups == 0, "{} experts in {} groups", dims.experts,
              dims.groups);
  HADAL_CHECK(dims.chosen <= dims.experts / dims.groups * dims.chosen_groups &&
                  dims.chosen_groups <= dims.groups,
              "{} chosen of {} groups of {}", dims.chosen, dims.chosen_groups,
              dims.experts / dims.groups);
  Gate gate;
  gate.experts = static_cast<int>(dims.experts);
  gate.chosen = static_cast<int>(dims.chosen);
  gate.groups = static_cast<int>(dims.groups);
  gate.chosen_groups = static_cast<int>(dims.chosen_groups);
  gate.softmax = dims.score == arch::Score::softmax;
  gate.top2 = dims.group_score == arch::GroupScore::top2_sum;
  gate.normalise = dims.normalise;
  gate.scale = static_cast<float>(dims.route_scale);
  return gate;
}

// (2)-(4), from the logits that lie in scores_TE.
void choose(Context &ctx, const Gate &gate, Vec<const float> bias_E, const Saved &saved) {
  const char *label = "layers::router::forward::choose";
  const auto scores_TE = saved.scores_TE;
  const auto expert_TK = saved.expert_TK;
  const auto weight_TK = saved.weight_TK;
  const Index T = scores_TE.extent(0);
  tensor::for_each(
      ctx, label, T, KOKKOS_LAMBDA(const Index t) {
        score(gate, &scores_TE(t, 0));                                           // (2)
        choose_experts(gate, &scores_TE(t, 0), bias_E.data(), &expert_TK(t, 0)); // (3)
        weigh(gate, &scores_TE(t, 0), &expert_TK(t, 0), &weight_TK(t, 0));       // (4)
      });
  ctx.count(label, T * gate.experts * (20.0 + 2.0 * gate.chosen),
            T * (8.0 * gate.experts + 8.0 * gate.chosen));
}

// Integers: exact in any order.
void count_load(Context &ctx, const Gate &gate, Mat<const std::int32_t> expert_TK,
                Vec<std::int64_t> load_E_acc) {
  tensor::Arena::Scope scope(ctx.arena);
  const Index T = expert_TK.extent(0), blocks = (T + kBlockRows - 1) / kBlockRows;
  const int E = gate.experts, K = gate.chosen;
  const auto count_BE = ctx.arena.mat<std::int32_t>(blocks, E);
  tensor::for_each(
      ctx, "layers::router::forward::count_blocks", blocks, KOKKOS_LAMBDA(const Index b) {
        for (int e = 0; e < E; ++e) count_BE(b, e) = 0;
        const Index end = (b + 1) * kBlockRows < T ? (b + 1) * kBlockRows : T;
        for (Index t = b * kBlockRows; t < end; ++t)
          for (int k = 0; k < K; ++k) ++count_BE(b, expert_TK(t, k));
      });
  tensor::for_each(
      ctx, "layers::router::forward::count_load", E, KOKKOS_LAMBDA(const Index e) {
        std::int64_t sum = 0;
        for (Index b = 0; b < blocks; ++b) sum += count_BE(b, e);
        load_E_acc(e) += sum;
      });
}

// (5): counts of the unbiased top-k and sums of s' over blocks of rows that start at the sample, then over blocks in order.
void balance(Context &ctx, const Gate &gate, Index samples, double alpha, const Saved &saved,
             Vec<double> balance_S_acc) {
  tensor::Arena::Scope scope(ctx.arena);
  const auto scores_TE = saved.scores_TE, balance_SE = saved.balance_SE;
  const Index rows = scores_TE.extent(0) / samples, blocks = (rows + kBlockRows - 1) / kBlockRows;
  const int E = gate.experts;
  const Gate free = gate.without_groups();
  const auto count_BE = ctx.arena.mat<std::int32_t>(samples * blocks, E);
  const auto share_BE = ctx.arena.mat<float>(samples * blocks, E);
  tensor::for_each(
      ctx, "layers::router::forward::balance_blocks", samples * blocks,
      KOKKOS_LAMBDA(const Index sb) {
        const Index first = sb / blocks * rows, block = sb % blocks;
        const Index end = (block + 1) * kBlockRows < rows ? (block + 1) * kBlockRows : rows;
        std::int32_t *count = &count_BE(sb, 0);
        float *share = &share_BE(sb, 0);
        for (int e = 0; e < E; ++e) count[e] = 0, share[e] = 0;
        for (Index t = first + block * kBlockRows; t < first + end; ++t)
          add_balance_row(free, &scores_TE(t, 0), count, share);
      });
  tensor::for_each(
      ctx, "layers::router::forward::balance", samples, KOKKOS_LAMBDA(const Index s) {
        double sum = 0;
        for (int e = 0; e < E; ++e) {
          std::int64_t count = 0;
          double share = 0;
          for (Index b = s * blocks; b < (s + 1) * blocks; ++b)
            count += count_BE(b, e), share += static_cast<double>(share_BE(b, e));
          const double f =
              static_cast<double>(E) * count / (static_cast<double>(free.chosen) * rows);
          balance_SE(s, e) = static_cast<float>(f);
          sum += f * share / rows;
        }
        balance_S_acc(s) += alpha * sum;
      });
  ctx.count("layers::router::forward::balance_blocks", scores_TE.size() * (3.0 + 2.0 * gate.chosen),
            4.0 * scores_TE.size());
}

// Reverse of (4), (5) and (2): dl of every row.
void score_gradient(Context &ctx, const Gate &gate, Mat<const float> dweight_TK, Index samples,
                    float balance_slope, const Saved &saved, Mat<float> dl_TE) {
  const char *label = "layers::router::backward_input";
  const auto scores_TE = saved.scores_TE, weight_TK = saved.weight_TK,
             balance_SE = saved.balance_SE;
  const auto expert_TK = saved.expert_TK;
  const Index T = scores_TE.extent(0), rows = T / samples;
  tensor::for_each(
      ctx, label, T, KOKKOS_LAMBDA(const Index t) {
        const float *s = &scores_TE(t, 0);
        float *dl = &dl_TE(t, 0);
        balance_gradient(gate, s, &balance_SE(t / rows, 0), balance_slope, dl); // (5')
        weigh_gradient(gate, s, &expert_TK(t, 0), &dweight_TK(t, 0), dl);       // (4')
        score_gradient_row(gate, s, dl);                                        // (2')
      });
  ctx.count(label, 8.0 * T * gate.experts, 8.0 * T * gate.experts + 12.0 * T * gate.chosen);
}

} // namespace

Saved allocate(tensor::Arena &arena, const arch::Dims &dims, Index tokens, Index samples,
               bool keep_input) {
  Saved saved;
  if (keep_input) saved.x_TD = arena.mat<float>(tokens, dims.model);
  saved.scores_TE = arena.mat<float>(tokens, dims.experts);
  saved.expert_TK = arena.mat<std::int32_t>(tokens, dims.chosen);
  saved.weight_TK = arena.mat<float>(tokens, dims.chosen);
  saved.balance_SE = arena.mat<float>(samples, dims.experts);
  return saved;
}

namespace {

// The input in FP32: the kept copy, the input itself, or scratch.
template <class A>
Mat<float> input_copy(Context &ctx, const char *label, Mat<const A> x_TD, Mat<float> kept_TD) {
  if constexpr (std::is_same_v<A, float>) {
    if (!kept_TD.data())
      return Mat<float>(const_cast<float *>(x_TD.data()), x_TD.extent(0),
                        x_TD.extent(1)); // only read
  }
  const auto copy_TD =
      kept_TD.data() ? kept_TD : ctx.arena.mat<float>(x_TD.extent(0), x_TD.extent(1));
  numerics::convert<float, A>(ctx, label, numerics::flat(x_TD), numerics::flat(copy_TD));
  return copy_TD;
}

} // namespace

template <class A> Saved refill(Context &ctx, Mat<const A> x_TD, const Saved &saved) {
  Saved full = saved;
  if (!full.x_TD.data()) full.x_TD = input_copy<A>(ctx, "layers::router::refill", x_TD, {});
  return full;
}

template <class A>
void forward(Context &ctx, const arch::Dims &dims, Mat<const float> w_ED, Vec<const float> bias_E,
             Mat<const A> x_TD, Index samples, double alpha, const Saved &saved,
             Vec<std::int64_t> load_E_acc, Vec<double> balance_S_acc) {
  const Gate gate = gate_of(dims);
  HADAL_CHECK(samples > 0 && x_TD.extent(0) % samples == 0, "{} rows in {} samples", x_TD.extent(0),
              samples);
  tensor::Arena::Scope scope(ctx.arena);
  const auto copy_TD = input_copy<A>(ctx, "layers::router::forward::input", x_TD, saved.x_TD);
  numerics::linear<float, float>(ctx, "layers::router::forward", copy_TD, w_ED,
                                 saved.scores_TE); // (1)
  choose(ctx, gate, bias_E, saved);                // (2)-(4)
  if (load_E_acc.data()) count_load(ctx, gate, saved.expert_TK, load_E_acc);
  if (alpha != 0)
    balance(ctx, gate, samples, alpha, saved, balance_S_acc); // (5)
  else
    numerics::fill(ctx, "layers::router::forward::no_balance", numerics::flat(saved.balance_SE),
                   0.0f);
}

template <class A>
void backward_input(Context &ctx, const arch::Dims &dims, Mat<const float> w_ED,
                    Mat<const float> dweight_TK, Index samples, double alpha, double balance_scale,
                    const Saved &saved, Mat<float> dl_TE, Mat<A> dx_TD_acc) {
  const Index T = dl_TE.extent(0), D = w_ED.extent(1);
  const double slope =
      T > 0 ? alpha * balance_scale / static_cast<double>(T) : 0; // samples * rows of a sample = T
  score_gradient(ctx, gate_of(dims), dweight_TK, samples, static_cast<float>(slope), saved, dl_TE);
  const char *label = "layers::router::backward_input::input";
  if constexpr (std::is_same_v<A, float>) {
    numerics::linear_backward_input<float>(ctx, label, dl_TE, w_ED, dx_TD_acc, true); // (1')
  } else {
    tensor::Arena::Scope scope(ctx.arena);
    const auto dx_TD = ctx.arena.mat<float>(T, D);
    numerics::linear_backward_input<float>(ctx, label, dl_TE, w_ED, dx_TD); // (1')
    numerics::add<A, float>(ctx, "layers::router::backward_input::add", numerics::flat(dx_TD),
                            numerics::flat(dx_TD_acc));
  }
}

void backward_weight(Context &ctx, Mat<const float> dl_TE, const Saved &saved,
                     Mat<float> dw_ED_acc) {
  HADAL_CHECK(saved.x_TD.data(), "x_TD is neither kept nor refilled");
  numerics::linear_backward_weight<float>(ctx, "layers::router::backward_weight", dl_TE, saved.x_TD,
                                          dw_ED_acc); // (1')
}

template Saved refill(Context &, Mat<const float>, const Saved &);
template Saved refill(Context &, Mat<const bf16>, const Saved &);
template void forward(Context &, const arch::Dims &, Mat<const float>, Vec<const float>,
                      Mat<const float>, Index, double, const Saved &, Vec<std::int64_t>,
                      Vec<double>);
template void forward(Context &, const arch::Dims &, Mat<const float>, Vec<const float>,
                      Mat<const bf16>, Index, double, const Saved &, Vec<std::int64_t>,
                      Vec<double>);
template void backward_input(Context &, const arch::Dims &, Mat<const float>, Mat<const float>,
                             Index, double, double, const Saved &, Mat<float>, Mat<float>);
template void backward_input(Context &, const arch::Dims &, Mat<const float>, Mat<const float>,
                             Index, double, double, const Saved &, Mat<float>, Mat<bf16>);

} // namespace layers::router
