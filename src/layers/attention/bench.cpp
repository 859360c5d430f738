// SPDX-License-Identifier: Apache-2.0
#include "layers/attention/bench.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "base/clock.hpp"
#include "base/random.hpp"
#include "layers/attention/attention.hpp"

namespace layers::attention {

namespace {

constexpr int kRounds = 6; // the best counts

struct Shape {
  const char *name;
  Index samples, rows, heads, nope, rope, value;
};

// `bench` of the shipped bench deck, and a DeepSeek-V3 head over one long sample.
constexpr Shape kShapes[] = {{"8 x 512, 8 heads 64+32/64", 8, 512, 8, 64, 32, 64},
                             {"1 x 4096, 16 heads 128+64/128", 1, 4096, 16, 128, 64, 128}};

Segments equal_segments(const Index samples, const Index rows) {
  const Kokkos::View<Index *, Kokkos::HostSpace> start("layers::attention::bench_start",
                                                       samples + 1);
  for (Index s = 0; s <= samples; ++s) start(s) = s * rows;
  const Vec<Index> copy("layers::attention::bench_start_device", samples + 1);
  Kokkos::deep_copy(copy, start);
  const Vec<std::int32_t> position_T("layers::attention::bench_position", samples * rows);
  const auto host = Kokkos::create_mirror_view(position_T);
  for (Index t = 0; t < samples * rows; ++t) host(t) = static_cast<std::int32_t>(t % rows);
  Kokkos::deep_copy(position_T, host);
  return Segments{copy, start, position_T};
}

template <class View> void randomise(Context &ctx, const View &view, const std::uint64_t seed) {
  using T = typename View::value_type;
  const Vec<T> flat = numerics::flat(view);
  tensor::for_each(
      ctx, "layers::attention::bench_fill", static_cast<Index>(flat.extent(0)),
      KOKKOS_LAMBDA(const Index i) {
        flat(i) = T(static_cast<float>(
            base::random::uniform(seed, base::random::Purpose::test, 0, i) - 0.5));
      });
}

template <class F> double seconds(Context &ctx, const F &f) {
  ctx.exec.fence(); // timing
  const base::Stopwatch watch;
  f();
  ctx.exec.fence(); // timing
  return watch.seconds();
}

template <class A> std::string measure(const Shape &s, const char *type) {
  const Index tokens = s.samples * s.rows, dim = s.nope + s.rope;
  const auto make = [&](const std::string &label, const Index width) {
    return Cube<A>(Kokkos::view_alloc(Kokkos::WithoutInitializing, label), tokens, s.heads, width);
  };
  const auto make_shared = [&](const std::string &label, const Index width) {
    return Mat<A>(Kokkos::view_alloc(Kokkos::WithoutInitializing, label), tokens, width);
  };
  tensor::Arena arena("layers::attention::bench_arena",
                      scratch_bytes(tokens, s.rows, s.heads, s.nope, s.rope, s.value));
  Context ctx{tensor::Exec(), arena};
  const Cube<A> q = make("layers::attention::bench_q", dim),
                kv = make("layers::attention::bench_kv", s.nope + s.value),
                d_o = make("layers::attention::bench_do", s.value);
  const Cube<A> o = make("layers::attention::bench_o", s.value),
                dq = make("layers::attention::bench_dq", dim),
                dkv = make("layers::attention::bench_dkv", s.nope + s.value);
  const Mat<A> k_rope = make_shared("layers::attention::bench_k_rope", s.rope),
               dk_rope = make_shared("layers::attention::bench_dk_rope", s.rope);
  const Mat<float> lse("layers::attention::bench_lse", tokens, s.heads);
  randomise(ctx, q, 1), randomise(ctx, kv, 2), randomise(ctx, d_o, 3), randomise(ctx, k_rope, 4);
  const Segments segments = equal_segments(s.samples, s.rows);
  const float scale = 1.0F / std::sqrt(static_cast<float>(dim));
  double peak = 0, forward_time = 1e30, backward_time = 1e30;
  for (int round = 0; round < kRounds;
       ++round) { // the limit and the subject in turns: the machine may be shared
    peak = std::max(peak, numerics::measure_gemm_peak(ctx, false, 1024));
    forward_time = std::min(forward_time, seconds(ctx, [&] {
                              forward<A>(ctx, q, kv, k_rope, segments, s.nope, scale, o, lse);
                            }));
    backward_time = std::min(backward_time, seconds(ctx, [&] {
                               backward<A>(ctx, d_o, q, kv, k_rope, o, lse, segments, s.nope, scale,
                                           dq, dkv, dk_rope);
                             }));
  }
  const auto line = [&](const char *pass, const double time, const double flops) {
    return fmt::format("{:<32} {:<5} {:<9} {:>9.3f} ms {:>8.1f} GFLOP/s {:>5.0f} % of {:.0f}\n",
                       s.name, type, pass, 1e3 * time, 1e-9 * flops / time,
                       100 * flops / time / peak, 1e-9 * peak);
  };
  return line("forward", forward_time, forward_flops(segments, s.heads, dim, s.value)) +
         line("backward", backward_time, backward_flops(segments, s.heads, dim, s.value));
}

} // namespace

std::string bench() {
  std::string text =
      "attention: causal, blocks of 64 keys; share of the float GEMM peak of this process\n";
  for (const Shape &s : kShapes) text += measure<float>(s, "f32") + measure<bf16>(s, "bf16");
  return text;
}

} // namespace layers::attention
