// SPDX-License-Identifier: Apache-2.0
#pragma once
// One attention problem with random contents and its reference: plain loops over any scalar, from the equations.
#include <cstring>

#include "layers/attention/bodies.hpp"
#include "tests/support/arrays.hpp"
#include "tests/support/bounds.hpp"
#include "tests/support/complex_step.hpp"

namespace attention_test {

using support::Complex;
using support::Values;
using tensor::Index;

struct Shape {
  std::vector<Index> segments; // rows of each
  Index heads, nope, rope, value;
  double scale = 0.3;
  Index tokens() const {
    Index sum = 0;
    for (const Index s : segments) sum += s;
    return sum;
  }
  Index head_dim() const { return nope + rope; }
};

template <class S> struct Packed { std::vector<S> q, kv, k_rope; };

template <class S>
std::vector<S> reference(const Shape &shape, const Packed<S> &in, std::vector<S> *lse = nullptr) {
  const Index H = shape.heads, N = shape.nope, R = shape.rope, V = shape.value, M = N + R,
              X = N + V;
  std::vector<S> o(shape.tokens() * H * V);
  if (lse) lse->resize(shape.tokens() * H);
  Index start = 0;
  for (const Index rows : shape.segments) {
    for (Index t = start; t < start + rows; ++t) {
      for (Index h = 0; h < H; ++h) {
        std::vector<S> s(t - start + 1);
        double best = -1e300;
        for (Index j = start; j <= t; ++j) {
          S sum = 0;
          for (Index i = 0; i < N; ++i)
            sum += in.q[(t * H + h) * M + i] * in.kv[(j * H + h) * X + i];
          for (Index i = 0; i < R; ++i) sum += in.q[(t * H + h) * M + N + i] * in.k_rope[j * R + i];
          s[j - start] = shape.scale * sum;
          best = std::max(best, support::real(s[j - start]));
        }
        S total = 0;
        for (S &e : s) e = std::exp(e - best), total += e;
        for (Index i = 0; i < V; ++i) {
          S sum = 0;
          for (Index j = start; j <= t; ++j)
            sum += s[j - start] / total * in.kv[(j * H + h) * X + N + i];
          o[(t * H + h) * V + i] = sum;
        }
        if (lse) (*lse)[t * H + h] = best + std::log(total);
      }
    }
    start += rows;
  }
  return o;
}

inline layers::Segments make_segments(const std::vector<Index> &rows) {
  Kokkos::View<Index *, Kokkos::HostSpace> start("start", rows.size() + 1);
  for (std::size_t s = 0; s < rows.size(); ++s) start(s + 1) = start(s) + rows[s];
  Values position;
  for (const Index n : rows) {
    for (Index i = 0; i < n; ++i) position.push_back(static_cast<double>(i));
  }
  tensor::Vec<Index> on_device("start", rows.size() + 1);
  Kokkos::deep_copy(on_device, start);
  tensor::Vec<std::int32_t> position_T("position", position.size());
  const auto host = Kokkos::create_mirror_view(position_T);
  for (std::size_t t = 0; t < position.size(); ++t)
    host(t) = static_cast<std::int32_t>(position[t]);
  Kokkos::deep_copy(position_T, host);
  return layers::Segments{on_device, start, position_T};
}

enum class Body { verb, rows };

template <class A> struct Case {
  Shape shape;
  Packed<double> in;
  Values d_o;
  layers::Segments segments;
  tensor::Arena arena{"test", std::size_t{1} << 23};
  tensor::Context ctx{tensor::Exec(), arena};
  tensor::Cube<A> q_THM, kv_THX, do_THV, o_THV, dq_THM, dkv_THX;
  tensor::Mat<A> k_rope_TR, dk_rope_TR;
  tensor::Mat<float> lse_TH;

  explicit Case(const Shape &s, const double spread = 1.0)
      : shape(s), segments(make_segments(s.segments)) {
    const Index T = s.tokens(), H = s.heads, M = s.head_dim(), X = s.nope + s.value;
    in.q = support::normal<A>(T * H * M, 1, spread), in.kv = support::normal<A>(T * H * X, 2),
    in.k_rope = support::normal<A>(T * s.rope, 3);
    d_o = support::normal<A>(T * H * s.value, 4);
    q_THM = support::cube<A>(in.q, T, H, M), kv_THX = support::cube<A>(in.kv, T, H, X),
    k_rope_TR = support::mat<A>(in.k_rope, T, s.rope);
    do_THV = support::cube<A>(d_o, T, H, s.value);
    o_THV = tensor::Cube<A>("o", T, H, s.value), dq_THM = tensor::Cube<A>("dq", T, H, M),
    dkv_THX = tensor::Cube<A>("dkv", T, H, X);
    dk_rope_TR = tensor::Mat<A>("dk_rope", T, s.rope), lse_TH = tensor::Mat<float>("lse", T, H);
    Kokkos::deep_copy(tensor::Vec<char>(arena.vec<char>(0).data(), arena.capacity()),
                      static_cast<char>(0xFF)); // scratch starts as NaN
  }
  void run(const Body body = Body::verb) {
    const float scale = static_cast<float>(shape.scale);
    if (body == Body::verb) {
      layers::attention::forward<A>(ctx, q_THM, kv_THX, k_rope_TR, segments, shape.nope, scale,
                                    o_THV, lse_TH);
      layers::attention::backward<A>(ctx, do_THV, q_THM, kv_THX, k_rope_TR, o_THV, lse_TH, segments,
                                     shape.nope, scale, dq_THM, dkv_THX, dk_rope_TR);
    } else {
      const layers::attention::Inputs<A> inputs{q_THM,    kv_THX,     k_rope_TR,
                                                segments, shape.nope, scale};
      const tensor::Cube<float> part("part", shape.tokens(), shape.heads, shape.rope);
      layers::attention::rows::forward<A>(ctx, inputs, o_THV, lse_TH);
      layers::attention::rows::backward<A>(ctx, inputs,
                                           {do_THV, o_THV, lse_TH, dq_THM, dkv_THX, part});
      for (Index t = 0; t < shape.tokens(); ++t) {
        for (Index i = 0; i < shape.rope; ++i) {
          float sum = 0;
          for (Index h = 0; h < shape.heads; ++h) sum += part(t, h, i);
          dk_rope_TR(t, i) = A(sum);
        }
      }
    }
    ctx.exec.fence();
  }
  Values o() const { return support::download(o_THV); }
  Values dq() const { return support::download(dq_THM); }
  Values dkv() const { return support::download(dkv_THX); }
  Values dk_rope() const { return support::download(dk_rope_TR); }
  Values lse() const { return support::download(lse_TH); }
};

} // namespace attention_test
