// SPDX-License-Identifier: Apache-2.0
#include "model/objective_head.hpp"

#include "layers/head_loss/head_loss.hpp"
#include "layers/reward_head/reward_head.hpp"

namespace model {

using namespace layers;
using tensor::Arena;

std::vector<std::string> extra_names(Goal goal) {
  switch (goal) {
  case Goal::policy:
    return {"objective", "terms", "ratio", "clipped", "kl", "entropy", "tokens", "answers"};
  case Goal::distil: return {"objective", "kl"};
  case Goal::reward: return {"pairs", "right", "margin", "reward"};
  case Goal::cross_entropy: break;
  }
  return {};
}

namespace objective {
namespace {

template <class View> auto on_host(Context &ctx, const View &view) {
  auto host = Kokkos::create_mirror_view(view);
  Kokkos::deep_copy(ctx.exec, host, view);
  tensor::fence(ctx, "model::objective::read"); // reason: the host adds them in order
  return host;
}

double sum_of(Context &ctx, Vec<float> values) {
  const auto host = on_host(ctx, values);
  double sum = 0;
  for (std::size_t i = 0; i < host.extent(0); ++i) sum += static_cast<double>(host(i));
  return sum;
}

template <class A>
void policy_forward(Context &ctx, Arena &keep, const Objective &o, const Weights<A> &w,
                    const Stream &stream, double scale, Mat<float> dhead_WD, Tape<A> &tape) {
  const Index T = stream.samples * stream.rows;
  const Told &told = stream.told;
  HADAL_CHECK(told.old_T.size() > 0, "the batch was loaded for another objective");
  tape.entropy_T = keep.vec<float>(T), tape.scale_T = keep.vec<float>(T);
  tape.sum_SX = keep.mat<double>(stream.segments.count(), policy::kSums);
  head_loss::forward(ctx, Mat<const A>(tape.n_TD), w.head_WD, stream.target_T, tape.lse_T,
                     tape.loss_T, tape.entropy_T);
  const policy::Inputs in{tape.loss_T,   told.old_T,      told.ref_T,    told.advantage_T,
                          told.weight_T, stream.target_T, tape.entropy_T};
  policy::coefficients(ctx, o.policy, stream.segments, in, scale, tape.scale_T, tape.sum_SX);
  head_loss::backward(ctx, Mat<const A>(tape.n_TD), w.head_WD, stream.target_T,
                      Vec<const float>(tape.lse_T), Vec<const float>(tape.scale_T), tape.dn_TD,
                      dhead_WD);
}

// Rewards and pairs of a batch; dr with the scale.
template <class A>
void reward_pairs(Context &ctx, Arena &keep, const Weights<A> &w, const Stream &stream,
                  Mat<const A> n_TD, double scale, Tape<A> &tape) {
  const Told &told = stream.told;
  HADAL_CHECK(static_cast<Index>(told.answers.size()) == stream.samples,
              "the batch was loaded for another objective");
  HADAL_CHECK(w.reward_head_D.size() > 0, "the model has no reward head");
  for (const Index answers : told.answers)
    HADAL_CHECK(answers % 2 == 0, "a sample of {} answers is not made of pairs", answers);
  const auto P = static_cast<Index>(told.row_P.extent(0));
  tape.r_P = keep.vec<float>(P), tape.dr_P = keep.vec<float>(P);
  tape.margin_I = keep.vec<float>(P / 2), tape.loss_T = keep.vec<float>(P / 2);
  reward_head::forward(ctx, n_TD, w.reward_head_D, told.row_P, tape.r_P);
  reward_head::pairs(ctx, Vec<const float>(tape.r_P), static_cast<float>(scale), tape.margin_I,
                     tape.loss_T, tape.dr_P);
}

} // namespace

template <class A>
void forward(Context &ctx, Arena &keep, const Objective &o, const Weights<A> &w,
             const Stream &stream, double scale, Mat<float> dhead_WD, Tape<A> &tape) {
  const Index T = stream.samples * stream.rows;
  const Mat<const A> n = tape.n_TD;
  if (o.goal == Goal::reward) {
    reward_pairs(ctx, keep, w, stream, n, scale, tape);
    return reward_head::backward_input(ctx, Vec<const float>(tape.dr_P), w.reward_head_D,
                                       stream.told.row_P, tape.dn_TD);
  }
  tape.lse_T = keep.vec<float>(T), tape.loss_T = keep.vec<float>(T);
  if (o.goal == Goal::policy) return policy_forward(ctx, keep, o, w, stream, scale, dhead_WD, tape);
  if (o.goal == Goal::distil) {
    HADAL_CHECK(stream.told.teacher.id_TK.size() > 0, "the batch was loaded without a teacher");
    tape.kl_T = keep.vec<float>(T);
    return distil::forward_backward(ctx, o.distil, n, w.head_WD, stream.target_T,
                                    stream.told.teacher, static_cast<float>(scale), tape.lse_T,
                                    tape.loss_T, tape.kl_T, tape.dn_TD, dhead_WD);
  }
  head_loss::forward_backward(ctx, n, w.head_WD, stream.target_T, static_cast<float>(scale),
                              tape.lse_T, tape.loss_T, tape.dn_TD, dhead_WD);
}

template <class A>
void backward_weight(Context &ctx, const Objective &o, const Stream &stream, const Tape<A> &tape,
                     Vec<float> dreward_D) {
  if (o.goal == Goal::reward)
    reward_head::backward_weight(ctx, Vec<const float>(tape.dr_P), Mat<const A>(tape.n_TD),
                                 stream.told.row_P, dreward_D);
}

template <class A>
void evaluate(Context &ctx, const Objective &o, const Weights<A> &w, const Stream &stream,
              Mat<const A> n_TD, Tape<A> &tape) {
  const Index T = stream.samples * stream.rows;
  if (o.goal == Goal::reward) return reward_pairs(ctx, ctx.arena, w, stream, n_TD, 0, tape);
  tape.lse_T = ctx.arena.vec<float>(T), tape.loss_T = ctx.arena.vec<float>(T);
  head_loss::forward(ctx, n_TD, w.head_WD, stream.target_T, tape.lse_T, tape.loss_T);
}

void count(Arena &keep, const Objective &o, Index T) {
  if (o.goal == Goal::policy) {
    for (int vector = 0; vector < 2; ++vector) keep.vec<float>(T);
    keep.mat<double>(T, policy::kSums);
  }
  if (o.goal == Goal::distil) keep.vec<float>(T);
  if (o.goal == Goal::reward)
    for (int vector = 0; vector < 3; ++vector) keep.vec<float>(T);
}

template <class A>
void read(Context &ctx, const Objective &o, const Tape<A> &tape, MicroLoss &loss) {
  if (tape.loss_T.size() > 0) loss.main = sum_of(ctx, tape.loss_T);
  if (tape.sum_SX.size() > 0) {
    const auto sums = on_host(ctx, tape.sum_SX);
    loss.extra.assign(policy::apart, 0.0);
    for (std::size_t s = 0; s < sums.extent(0); ++s) {
      for (std::size_t x = 0; x < policy::apart; ++x) loss.extra[x] += sums(s, x);
      if (!(sums(s, policy::apart) <= loss.apart)) loss.apart = sums(s, policy::apart);
    }
  }
  if (tape.kl_T.size() > 0) {
    const double kl = sum_of(ctx, tape.kl_T), weight = o.distil.weight;
    loss.extra = {
        weight * o.distil.temperature * o.distil.temperature * kl + (1 - weight) * loss.main, kl};
  }
  if (o.goal == Goal::reward && tape.n_TD.size() + tape.r_P.size() > 0) {
    const auto margins = on_host(ctx, tape.margin_I);
    loss.extra = {static_cast<double>(margins.extent(0)), 0, 0, sum_of(ctx, tape.r_P)};
    for (std::size_t i = 0; i < margins.extent(0); ++i)
      loss.extra[1] += margins(i) > 0, loss.extra[2] += static_cast<double>(margins(i));
  }
}

#define HADAL_INSTANTIATE(A)                                                                       \
  template void forward(Context &, Arena &, const Objective &, const Weights<A> &, const Stream &, \
                        double, Mat<float>, Tape<A> &);                                            \
  template void backward_weight(Context &, const Objective &, const Stream &, const Tape<A> &,     \
                                Vec<float>);                                                       \
  template void evaluate(Context &, const Objective &, const Weights<A> &, const Stream &,         \
                         Mat<const A>, Tape<A> &);                                                 \
  template void read(Context &, const Objective &, const Tape<A> &, MicroLoss &);
HADAL_INSTANTIATE(float)
HADAL_INSTANTIATE(bf16)
#undef HADAL_INSTANTIATE

} // namespace objective
} // namespace model
