// SPDX-License-Identifier: Apache-2.0
#pragma once
// The whole model in plain loops over any scalar (double, std::complex<double>), from the equations of the report and of the
// headers of the layers, never from their kernels. Arrays are vectors, row-major; one sample at a time. Choices (maxima,
// experts) are taken on the real part; `margin` remembers how close the closest choice was.
//   total = scales.main * sum loss + sum_k scales.mtp[k] * sum loss_k + scales.balance * mean over samples of balance
#include <algorithm>
#include <limits>
#include <map>
#include <numeric>
#include <string>

#include "arch/dims.hpp"
#include "tests/support/complex_step.hpp"

namespace support::reference {

using arch::Index;

template <class S> using Array = std::vector<S>;
template <class S> using Parameters = std::map<std::string, Array<S>>;

struct Sample {
  std::vector<std::int32_t> tokens; // sequence + 1
  std::vector<std::int32_t> starts; // of the segments, first 0
};
struct Scales {
  double main = 1;
  std::vector<double> mtp;
  double balance = 1, alpha = 0;
};
template <class S> struct Losses { // sums over rows (balance: over samples and layers)
  S main = 0, balance = 0, total = 0;
  Array<S> mtp;
};
// One stream of a sample: inputs, targets (-1: none), first visible row of each row.
struct Rows {
  std::vector<std::int32_t> token, target;
  std::vector<Index> first;
  Index count() const { return static_cast<Index>(token.size()); }
};

inline Rows rows_of(const Sample &sample, const Index depth) {
  const Index n = static_cast<Index>(sample.tokens.size());
  std::vector<Index> first(n, 0);
  for (const Index start : sample.starts)
    for (Index i = start; i < n; ++i) first[i] = start;
  Rows rows;
  for (Index i = 0; i + depth + 1 < n; ++i) {
    rows.token.push_back(sample.tokens[i + depth]);
    rows.target.push_back(first[i + depth + 1] == first[i] ? sample.tokens[i + depth + 1] : -1);
    rows.first.push_back(first[i]);
  }
  return rows;
}

// y[t,o] = sum_i x[t,i] w[o,i]
template <class S> Array<S> linear(const Array<S> &x, const S *w, const Index in, const Index out) {
  const Index rows = static_cast<Index>(x.size()) / in;
  Array<S> y(rows * out);
  for (Index t = 0; t < rows; ++t)
    for (Index o = 0; o < out; ++o) {
      S sum = 0;
      for (Index i = 0; i < in; ++i) sum += x[t * in + i] * w[o * in + i];
      y[t * out + o] = sum;
    }
  return y;
}
template <class S> Array<S> rms_norm(const Array<S> &x, const Array<S> &g, const double eps) {
  const Index width = static_cast<Index>(g.size());
  Array<S> y(x.size());
  for (std::size_t t = 0; t < x.size(); t += width) {
    S squares = 0;
    for (Index d = 0; d < width; ++d) squares += x[t + d] * x[t + d];
    const S r = 1.0 / std::sqrt(squares / static_cast<double>(width) + eps);
    for (Index d = 0; d < width; ++d) y[t + d] = x[t + d] * r * g[d];
  }
  return y;
}
template <class S> S sigmoid(const S &x) { return 1.0 / (1.0 + std::exp(-x)); }
template <class S> Array<S> softmax(const Array<S> &x) {
  double top = -std::numeric_limits<double>::infinity();
  for (const S &v : x) top = std::max(top, real(v));
  Array<S> p(x.size());
  S sum = 0;
  for (std::size_t i = 0; i < x.size(); ++i) p[i] = std::exp(x[i] - top), sum += p[i];
  for (S &v : p) v /= sum;
  return p;
}
template <class S> Array<S> plus(Array<S> a, const Array<S> &b) {
  for (std::size_t i = 0; i < a.size(); ++i) a[i] += b[i];
  return a;
}
// The indices of the n highest, ties to the lower index; gap: distance of the lowest chosen to the best left out.
inline std::vector<Index> highest(const std::vector<double> &v, const Index n, double &margin) {
  std::vector<Index> order(v.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](const Index a, const Index b) { return v[a] > v[b]; });
  if (n < static_cast<Index>(v.size())) margin = std::min(margin, v[order[n - 1]] - v[order[n]]);
  order.resize(n);
  std::sort(order.begin(), order.end());
  return order;
}

template <class S> class Model {
public:
  Model(const arch::Dims &dims, const Parameters<S> &parameters) : d_(dims), p_(parameters) {}

  Losses<S> run(const std::vector<Sample> &samples, const Scales &scales) {
    Losses<S> losses;
    losses.mtp.resize(d_.mtp_depth);
    alpha_ = scales.alpha, balance_ = 0;
    for (const Sample &sample : samples) sample_losses(sample, losses);
    losses.balance = balance_;
    losses.total =
        scales.main * losses.main + scales.balance / static_cast<double>(samples.size()) * balance_;
    for (std::size_t k = 0; k < losses.mtp.size(); ++k)
      losses.total += scales.mtp[k] * losses.mtp[k];
    return losses;
  }
  double margin() const { return margin_; } // of all choices so far

private:
  const Array<S> &at(const std::string &name) const { return p_.at(name); }
  const Array<S> &at(const Index layer, const std::string &name) const {
    return p_.at("layers." + std::to_string(layer) + "." + name);
  }

  void sample_losses(const Sample &sample, Losses<S> &losses) {
    const Rows main = rows_of(sample, 0);
    Array<S> x = embedding(main);
    for (Index i = 0; i < d_.layers; ++i) x = block(i, main, x);
    const Array<S> n = rms_norm(x, at("final_norm"), d_.norm_eps);
    losses.main += head(main, n);
    Array<S> previous = d_.mtp_hidden == arch::MtpHidden::post_norm ? n : x;
    for (Index k = 1; k <= d_.mtp_depth; ++k) { // depth k sees one row less than depth k - 1
      const Index layer = d_.layers + k - 1;
      const Rows rows = rows_of(sample, k);
      previous.resize(rows.count() * d_.model);
      const Array<S> e = rms_norm(embedding(rows), at(layer, "mtp.embedding_norm"), d_.norm_eps);
      const Array<S> h = rms_norm(previous, at(layer, "mtp.hidden_norm"), d_.norm_eps);
      Array<S> joined;
      for (Index t = 0; t < rows.count(); ++t) {
        joined.insert(joined.end(), e.begin() + t * d_.model, e.begin() + (t + 1) * d_.model);
        joined.insert(joined.end(), h.begin() + t * d_.model, h.begin() + (t + 1) * d_.model);
      }
      const Array<S> y = block(
          layer, rows, linear(joined, at(layer, "mtp.w_proj").data(), 2 * d_.model, d_.model));
      const Array<S> normed = rms_norm(y, at(layer, "mtp.head_norm"), d_.norm_eps);
      losses.mtp[k - 1] += head(rows, normed);
      previous = d_.mtp_hidden == arch::MtpHidden::post_norm ? normed : y;
    }
  }

  Array<S> embedding(const Rows &rows) const {
    Array<S> x;
    for (const auto token : rows.token)
      x.insert(x.end(), at("embedding").begin() + token * d_.model,
               at("embedding").begin() + (token + 1) * d_.model);
    return x;
  }
  // Sum over the rows that have a target of -log softmax(n w^T)[target].
  S head(const Rows &rows, const Array<S> &n) const {
    const Array<S> logits = linear(n, at("head").data(), d_.model, d_.vocabulary);
    S sum = 0;
    for (Index t = 0; t < rows.count(); ++t)
      if (rows.target[t] >= 0)
        sum -=
            std::log(softmax(Array<S>(logits.begin() + t * d_.vocabulary,
                                      logits.begin() + (t + 1) * d_.vocabulary))[rows.target[t]]);
    return sum;
  }

  Array<S> block(const Index layer, const Rows &rows, const Array<S> &x) {
    const Array<S> r =
        plus(x, attention(layer, rows, rms_norm(x, at(layer, "attention_norm"), d_.norm_eps)));
    const Array<S> h = rms_norm(r, at(layer, "ffn_norm"), d_.norm_eps);
    return plus(r,
                d_.is_dense(layer) ? swiglu(layer, "ffn", h, d_.dense_hidden) : mixture(layer, h));
  }

  // --- latent attention (report, eq. 1-11) ------------------------------------------------------------------------------

  // Rotates the pairs (2i, 2i+1) of R numbers, YaRN as in facts of section 2.2.
  void rotate(S *x, const Index position) const {
    const double R = static_cast<double>(d_.rope), theta = d_.rope_theta, s = d_.yarn.factor;
    const auto dim_of = [&](double turns) {
      return R * std::log(static_cast<double>(d_.yarn.original) / (2 * M_PI * turns)) /
             (2 * std::log(theta));
    };
    const double low = std::max(0.0, std::floor(dim_of(d_.yarn.beta_fast))),
                 high = std::min(R - 1, std::ceil(dim_of(d_.yarn.beta_slow)));
    double length = 1;
    if (s > 1)
      length = (0.1 * d_.yarn.mscale * std::log(s) + 1) /
               (0.1 * d_.yarn.mscale_all_dim * std::log(s) + 1);
    for (Index i = 0; i < d_.rope / 2; ++i) {
      double f = std::pow(theta, -2.0 * static_cast<double>(i) / R);
      const double ramp = std::min(
          1.0, std::max(0.0, (static_cast<double>(i) - low) / (high == low ? 0.001 : high - low)));
      if (s > 1) f = f / s * ramp + f * (1 - ramp);
      const double c = length * std::cos(static_cast<double>(position) * f),
                   sine = length * std::sin(static_cast<double>(position) * f);
      const S even = x[2 * i], odd = x[2 * i + 1];
      x[2 * i] = even * c - odd * sine, x[2 * i + 1] = even * sine + odd * c;
    }
  }
  double softmax_scale() const {
    const double m =
        d_.yarn.factor > 1 ? 0.1 * d_.yarn.mscale_all_dim * std::log(d_.yarn.factor) + 1 : 1;
    return m * m / std::sqrt(static_cast<double>(d_.nope + d_.rope));
  }

  Array<S> attention(const Index layer, const Rows &rows, const Array<S> &h) const {
    const Index T = rows.count(), H = d_.heads, N = d_.nope, R = d_.rope, V = d_.value,
                C = d_.kv_rank, M = N + R;
    Array<S> q = d_.q_rank == 0
                     ? linear(h, at(layer, "mla.w_q").data(), d_.model, H * M)
                     : linear(rms_norm(linear(h, at(layer, "mla.w_dq").data(), d_.model, d_.q_rank),
                                       at(layer, "mla.q_norm"), d_.norm_eps),
                              at(layer, "mla.w_uq").data(), d_.q_rank, H * M);
    const S *w_dkv = at(layer, "mla.w_dkv").data();
    const Array<S> kv =
        linear(rms_norm(linear(h, w_dkv, d_.model, C), at(layer, "mla.kv_norm"), d_.norm_eps),
               at(layer, "mla.w_ukv").data(), C, H * (N + V));
    Array<S> k_rope = linear(h, w_dkv + C * d_.model, d_.model, R); // not normed
    for (Index t = 0; t < T; ++t) {
      rotate(&k_rope[t * R], t - rows.first[t]);
      for (Index head = 0; head < H; ++head) rotate(&q[(t * H + head) * M + N], t - rows.first[t]);
    }
    Array<S> o(T * H * V);
    for (Index t = 0; t < T; ++t)
      for (Index head = 0; head < H; ++head) {
        Array<S> score;
        for (Index j = rows.first[t]; j <= t; ++j) {
          S sum = 0;
          for (Index i = 0; i < N; ++i)
            sum += q[(t * H + head) * M + i] * kv[(j * H + head) * (N + V) + i];
          for (Index i = 0; i < R; ++i) sum += q[(t * H + head) * M + N + i] * k_rope[j * R + i];
          score.push_back(softmax_scale() * sum);
        }
        const Array<S> p = softmax(score);
        for (Index v = 0; v < V; ++v)
          for (Index j = rows.first[t]; j <= t; ++j)
            o[(t * H + head) * V + v] +=
                p[j - rows.first[t]] * kv[(j * H + head) * (N + V) + N + v];
      }
    return linear(o, at(layer, "mla.w_o").data(), H * V, d_.model);
  }

  // --- feed-forward (eq. 12-16) and balance (eq. 17-20) -------------------------------------------------------------------

  Array<S> swiglu(const S *gate, const S *up, const S *down, const Array<S> &x,
                  const Index hidden) const {
    Array<S> g = linear(x, gate, d_.model, hidden);
    const Array<S> u = linear(x, up, d_.model, hidden);
    for (std::size_t i = 0; i < g.size(); ++i) g[i] *= sigmoid(g[i]) * u[i];
    return linear(g, down, hidden, d_.model);
  }
  Array<S> swiglu(const Index layer, const std::string &name, const Array<S> &x,
                  const Index hidden) const {
    return swiglu(at(layer, name + ".w_gate").data(), at(layer, name + ".w_up").data(),
                  at(layer, name + ".w_down").data(), x, hidden);
  }

  std::vector<Index> choose(const Index layer, const Array<S> &score) {
    const Index E = d_.experts, per_group = E / d_.groups;
    std::vector<double> z(E), best(d_.groups);
    for (Index e = 0; e < E; ++e)
      z[e] = real(score[e]) + (d_.router_bias ? real(at(layer, "router.bias")[e]) : 0.0);
    if (d_.chosen_groups < d_.groups) {
      for (Index g = 0; g < d_.groups; ++g) {
        std::vector<double> members(z.begin() + g * per_group, z.begin() + (g + 1) * per_group);
        std::sort(members.rbegin(), members.rend());
        best[g] =
            members[0] +
            (d_.group_score == arch::GroupScore::top2_sum && per_group > 1 ? members[1] : 0.0);
      }
      const auto groups = highest(best, d_.chosen_groups, margin_);
      for (Index e = 0; e < E; ++e)
        if (std::find(groups.begin(), groups.end(), e / per_group) == groups.end())
          z[e] = -std::numeric_limits<double>::infinity();
    }
    return highest(z, d_.chosen, margin_);
  }

  Array<S> mixture(const Index layer, const Array<S> &x) {
    const Index E = d_.experts, D = d_.model, F = d_.expert_hidden,
                T = static_cast<Index>(x.size()) / D;
    const Array<S> logits = linear(x, at(layer, "router.w").data(), D, E);
    Array<S> y(x.size()), share(E);
    std::vector<double> count(E, 0.0);
    for (Index t = 0; t < T; ++t) {
      Array<S> score(logits.begin() + t * E, logits.begin() + (t + 1) * E);
      if (d_.score == arch::Score::softmax)
        score = softmax(score);
      else
        for (S &s : score) s = sigmoid(s);
      const auto chosen = choose(layer, score);
      S sum = 1e-20;
      for (const Index e : chosen) sum += score[e];
      const Array<S> row(x.begin() + t * D, x.begin() + (t + 1) * D);
      for (const Index e : chosen) {
        const S weight = d_.route_scale * (d_.normalise ? score[e] / sum : score[e]);
        const Array<S> out =
            swiglu(&at(layer, "experts.w_gate")[e * F * D], &at(layer, "experts.w_up")[e * F * D],
                   &at(layer, "experts.w_down")[e * D * F], row, F);
        for (Index i = 0; i < D; ++i) y[t * D + i] += weight * out[i];
      }
      add_balance(score, count, share);
    }
    for (Index e = 0; e < E; ++e) // f_e P_e
      balance_ += alpha_ * static_cast<double>(E) / static_cast<double>(d_.chosen * T) * count[e] *
                  share[e] / static_cast<double>(T);
    return d_.shared > 0 ? plus(y, swiglu(layer, "shared", x, d_.shared * F)) : y;
  }
  void add_balance(const Array<S> &score, std::vector<double> &count, Array<S> &share) {
    if (alpha_ == 0) return;
    std::vector<double> plain;
    S all = 0;
    for (const S &s : score) plain.push_back(real(s)), all += s;
    for (const Index e : highest(plain, d_.chosen, margin_)) ++count[e];
    for (std::size_t e = 0; e < score.size(); ++e) share[e] += score[e] / all;
  }

  const arch::Dims &d_;
  const Parameters<S> &p_;
  double alpha_ = 0, margin_ = 1e300;
  S balance_ = 0;
};

} // namespace support::reference
