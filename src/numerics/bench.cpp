// SPDX-License-Identifier: Apache-2.0
#include "numerics/bench.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <vector>

#include "base/clock.hpp"
#include "numerics/gemm.hpp"
#include "tensor/launch.hpp"

namespace numerics {

namespace {

struct Shape {
  const char *name;
  Index experts; // 0: one dense matrix
  Index rows;    // of all, or of an expert on average
  Index O, I;
};

// Sequence 512 x micro-batch 8 of input/pretrain/bench.toml; an expert of the 671B model.
constexpr std::array kShapes = {Shape{"latents", 0, 4096, 256, 512},
                                Shape{"attention output", 0, 4096, 512, 512},
                                Shape{"dense up", 0, 4096, 1408, 512},
                                Shape{"dense down", 0, 4096, 512, 1408},
                                Shape{"head, 1024 tokens", 0, 1024, 8192, 512},
                                Shape{"32 experts, 512 rows", 32, 512, 352, 512},
                                Shape{"32 experts, 64 rows", 32, 64, 352, 512},
                                Shape{"32 experts, 16 rows", 32, 16, 352, 512},
                                Shape{"671B expert up", 1, 256, 2048, 7168},
                                Shape{"671B expert down", 1, 256, 7168, 2048}};

constexpr const char *kLabel = "numerics::bench_gemm";
constexpr const char *kFillLabel = "numerics::bench_gemm::fill";

// Row counts between half and one and a half of the mean, the same in every run.
std::vector<Index> offsets_of(const Shape &s) {
  std::vector<Index> offsets{0};
  for (Index e = 0; e < s.experts; ++e) {
    const Index rows =
        s.experts == 1 ? s.rows : s.rows / 2 + (e * 2654435761U % 1024U) * s.rows / 1024;
    offsets.push_back(offsets.back() + rows);
  }
  return offsets;
}

template <class View> View filled(Context &ctx, const View &v) {
  using T = typename View::non_const_value_type;
  T *data = v.data();
  tensor::for_each(
      ctx, kFillLabel, static_cast<Index>(v.size()), KOKKOS_LAMBDA(const Index i) {
        data[i] = T(static_cast<float>(i * 2654435761U % 1024U) / 512.0F - 1.0F);
      });
  return v;
}

template <class F> double seconds_of(Context &ctx, double budget, const F &f) {
  double best = std::numeric_limits<double>::infinity();
  f(), ctx.exec.fence(); // compiles the tiles' bodies
  const base::Stopwatch all;
  for (int calls = 0; calls < 3 || all.seconds() < budget; ++calls) {
    const base::Stopwatch one;
    f(), ctx.exec.fence(); // the clock reads the end
    best = std::min(best, one.seconds());
  }
  return best;
}

// Seconds of the three forms.
template <class A> std::array<double, 3> measure(Context &ctx, const Shape &s, double budget) {
  const std::string name = kLabel;
  const auto [O, I, E] = std::array{s.O, s.I, std::max<Index>(s.experts, 1)};
  const std::vector<Index> offsets = offsets_of(s);
  const Index T = s.experts == 0 ? s.rows : offsets.back();
  const Mat<A> x = filled(ctx, Mat<A>(name, T, I)), dy = filled(ctx, Mat<A>(name, T, O));
  const Cube<A> w = filled(ctx, Cube<A>(name, E, O, I));
  const Mat<A> y(name, T, O), dx(name, T, I), w_OI(w.data(), O, I);
  const Cube<float> dw(name, E, O, I);
  const Mat<float> dw_OI(dw.data(), O, I);
  if (s.experts == 0)
    return {seconds_of(ctx, budget, [&] { linear<A, A>(ctx, kLabel, x, w_OI, y); }),
            seconds_of(ctx, budget, [&] { linear_backward_input<A>(ctx, kLabel, dy, w_OI, dx); }),
            seconds_of(ctx, budget, [&] { linear_backward_weight<A>(ctx, kLabel, dy, x, dw_OI); })};
  return {seconds_of(ctx, budget, [&] { grouped_linear<A, A>(ctx, kLabel, offsets, x, w, y); }),
          seconds_of(ctx, budget,
                     [&] { grouped_linear_backward_input<A>(ctx, kLabel, offsets, dy, w, dx); }),
          seconds_of(ctx, budget,
                     [&] { grouped_linear_backward_weight<A>(ctx, kLabel, offsets, dy, x, dw); })};
}

template <class A> std::string table(Context &ctx, double budget) {
  const bool is_bf16 = std::is_same_v<A, bf16>;
  std::vector<std::array<double, 3>> times;
  const double before = measure_gemm_peak(ctx, is_bf16);
  for (const Shape &s : kShapes) times.push_back(measure<A>(ctx, s, budget));
  const double after = measure_gemm_peak(ctx, is_bf16);
  const double peak = (before + after) / 2;
  std::string text = fmt::format("{}, body {}\n  peak (n = 2048): {:.0f} GFLOP/s before, {:.0f} "
                                 "after; shares are of the mean\n",
                                 is_bf16 ? "bf16" : "f32", body_name(is_bf16, 'n', 256, 512, 512),
                                 before * 1e-9, after * 1e-9);
  text += fmt::format("  {:<22}{:>16}{:>25}{:>25}{:>25}\n", "", "rows x O x I",
                      "y: ms  GFLOP/s  share", "dx: ms  GFLOP/s  share", "dw: ms  GFLOP/s  share");
  for (std::size_t i = 0; i < kShapes.size(); ++i) {
    const Shape &s = kShapes[i];
    const double rows = s.experts == 0 ? double(s.rows) : double(offsets_of(s).back());
    text += fmt::format("  {:<22}{:>16}", s.name, fmt::format("{} x {} x {}", rows, s.O, s.I));
    for (const double seconds : times[i]) {
      const double rate = 2 * rows * double(s.O) * double(s.I) / seconds;
      text +=
          fmt::format("{:>10.2f}{:>9.0f}{:>4.0f} %", seconds * 1e3, rate * 1e-9, 100 * rate / peak);
    }
    text += "\n";
  }
  return text;
}

} // namespace

std::string bench_gemm(Context &ctx, double seconds) {
  tensor::Context quiet{ctx.exec, ctx.arena, ctx.mesh, nullptr};
  const double copy = measure_copy_rate(quiet);
  return table<float>(quiet, seconds) + table<bf16>(quiet, seconds) +
         fmt::format("copy of 128 MiB: {:.1f} GB/s, reads and writes counted\n", copy * 1e-9);
}

} // namespace numerics
