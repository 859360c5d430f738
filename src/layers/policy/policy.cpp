// SPDX-License-Identifier: Apache-2.0
#include "layers/policy/policy.hpp"

namespace layers::policy {

namespace {

KOKKOS_INLINE_FUNCTION double bounded_exp(double x) { // a NaN stays one
  if (x > kMostExponent) x = kMostExponent;
  if (x < -kMostExponent) x = -kMostExponent;
  return exp(x);
}

// Of one ratio: part of J, its k, dL/dloss, and whether the clip took the gradient away. All without weight.
struct Term {
  double objective, ratio, kl, slope;
  bool clipped;
};

// d: log r. R: log of reference over policy; told: whether there is one.
KOKKOS_INLINE_FUNCTION Term term_of(const Options &o, double d, double advantage, double R,
                                    bool told) {
  Term term{};
  const double r = bounded_exp(d), low = 1 - o.clip_low, high = 1 + o.clip_high;
  const double bounded = r < low ? low : r > high ? high : r;
  const double free = r * advantage, held = bounded * advantage;
  term.ratio = r, term.clipped = held < free;
  term.objective = term.clipped ? held : free;
  term.slope = term.clipped ? 0.0 : free;
  if (told) {
    const double e = bounded_exp(R);
    term.kl = e - R - 1;
    term.objective -= o.beta * term.kl;
    term.slope -= o.beta * (1 - e);
  }
  return term;
}

// What coefficients works on, as the kernels see it.
struct Work {
  Options options;
  Inputs in;
  bool told, has_entropy;
  double scale;
  Vec<float> scale_T;
  Mat<double> sum_SX;

  KOKKOS_INLINE_FUNCTION bool counts(Index t) const { return in.target_T(t) >= 0; }
  KOKKOS_INLINE_FUNCTION double logp(Index t) const { return -static_cast<double>(in.loss_T(t)); }
  KOKKOS_INLINE_FUNCTION double towards_ref(Index t) const {
    return told ? static_cast<double>(in.ref_T(t)) - logp(t) : 0.0;
  }

  KOKKOS_INLINE_FUNCTION void add(Index s, const Term &term, double weight) const {
    sum_SX(s, objective) += weight * term.objective;
    sum_SX(s, terms) += 1;
    sum_SX(s, ratio) += term.ratio;
    sum_SX(s, clipped) += term.clipped ? 1 : 0;
    sum_SX(s, kl) += term.kl;
  }

  // Rows [begin, end) of segment s.
  KOKKOS_INLINE_FUNCTION void segment(Index s, Index begin, Index end) const {
    for (int x = 0; x < kSums; ++x) sum_SX(s, x) = 0;
    double all_d = 0, all_R = 0;
    Index first = -1;
    for (Index t = begin; t < end; ++t) {
      scale_T(t) = 0;
      if (!counts(t)) continue;
      if (first < 0) first = t;
      const double d = logp(t) - static_cast<double>(in.old_T(t)), R = towards_ref(t);
      all_d += d, all_R += R;
      sum_SX(s, tokens) += 1;
      if (has_entropy) sum_SX(s, entropy) += static_cast<double>(in.entropy_T(t));
      const double apart_t = d < 0 ? -d : d;
      if (!(apart_t <= sum_SX(s, apart))) sum_SX(s, apart) = apart_t; // a NaN shows
      if (options.ratio == Ratio::sequence) continue;
      const Term term = term_of(options, d, static_cast<double>(in.advantage_T(t)), R, told);
      const double weight = static_cast<double>(in.weight_T(t));
      add(s, term, weight);
      scale_T(t) = static_cast<float>(scale * weight * term.slope);
    }
    if (first < 0) return;
    sum_SX(s, answers) = 1;
    if (options.ratio == Ratio::token) return;
    const Term term =
        term_of(options, all_d, static_cast<double>(in.advantage_T(first)), all_R, told);
    const double weight = static_cast<double>(in.weight_T(first));
    add(s, term, weight);
    for (Index t = begin; t < end; ++t)
      if (counts(t)) scale_T(t) = static_cast<float>(scale * weight * term.slope);
  }
};

} // namespace

void coefficients(Context &ctx, const Options &options, const Segments &segments, const Inputs &in,
                  double scale, Vec<float> scale_T, Mat<double> sum_SX) {
  const char *label = "layers::policy::coefficients";
  HADAL_CHECK(options.beta == 0 || in.ref_T.size() > 0, "beta = {} without a reference",
              options.beta);
  const Work work{options, in,    in.ref_T.size() > 0, in.entropy_T.size() > 0, scale,
                  scale_T, sum_SX};
  const Vec<const Index> start = segments.start;
  tensor::for_tasks(
      ctx, label, segments.count(), KOKKOS_LAMBDA(const tensor::Row &row, const Index s) {
        tensor::row_once(row, [&] { work.segment(s, start(s), start(s + 1)); });
      });
  ctx.count(label, 60.0 * static_cast<double>(scale_T.size()),
            28.0 * static_cast<double>(scale_T.size()));
}

} // namespace layers::policy
