// SPDX-License-Identifier: Apache-2.0
// The limits that benches refer to, measured in the process that refers to them.
#include <algorithm>
#include <limits>

#include <dnnl.hpp>

#include "base/clock.hpp"
#include "numerics/elementwise.hpp"
#include "numerics/gemm.hpp"

namespace numerics {

namespace {

const std::string kPeakLabel = "numerics::measure_gemm_peak";
const std::string kCopyLabel = "numerics::measure_copy_rate";

// Seconds of the fastest of several calls after one that is not counted.
template <class F> double fastest(int calls, const F &f) {
  double best = std::numeric_limits<double>::infinity();
  f();
  for (int i = 0; i < calls; ++i) {
    const base::Stopwatch watch;
    f();
    best = std::min(best, watch.seconds());
  }
  return best;
}

// n x n x n by the library's own threading, which our tiles have to hold a candle to.
template <class A> double library_seconds(Index n, const A *a, const A *b, A *c) {
  using dnnl::memory;
  const auto type = std::is_same_v<A, bf16> ? memory::data_type::bf16 : memory::data_type::f32;
  const dnnl::engine cpu(dnnl::engine::kind::cpu, 0);
  dnnl::stream stream(cpu);
  const memory::desc plain({n, n}, type, memory::format_tag::ab),
      turned({n, n}, type, memory::format_tag::ba);
  const dnnl::matmul::primitive_desc description({plain, turned, plain}, cpu);
  const dnnl::matmul product(description);
  memory src(plain, cpu, const_cast<A *>(a)), weights(turned, cpu, const_cast<A *>(b)),
      dst(plain, cpu, c); // NOLINT
  return fastest(5, [&] {
    product.execute(stream,
                    {{DNNL_ARG_SRC, src}, {DNNL_ARG_WEIGHTS, weights}, {DNNL_ARG_DST, dst}});
    stream.wait();
  });
}

template <class A> double peak(Context &ctx, Index n) {
  const Mat<A> a(kPeakLabel, n, n), b(kPeakLabel, n, n), c(kPeakLabel, n, n);
  const auto wave = [](Index i) {
    return static_cast<float>((i * 2654435761U % 1024U)) / 512.0F - 1.0F;
  };
  tensor::for_each(ctx, "numerics::measure_gemm_peak::fill", n * n,
                   [=](Index i) { a.data()[i] = A(wave(i)), b.data()[i] = A(wave(i + 77)); });
  tensor::Context quiet{ctx.exec, ctx.arena, ctx.mesh, nullptr};
  double seconds =
      fastest(5, [&] { linear<A, A>(quiet, kPeakLabel.c_str(), a, b, c), ctx.exec.fence(); });
  if (std::is_same_v<A, float> || body_name(true, 'n', n, n, n).starts_with("brg:"))
    seconds = std::min(seconds, library_seconds<A>(n, a.data(), b.data(), c.data()));
  return 2.0 * double(n) * double(n) * double(n) / seconds;
}

} // namespace

double measure_gemm_peak(Context &ctx, bool bf16_elements, Index n) {
  return bf16_elements ? peak<bf16>(ctx, n) : peak<float>(ctx, n);
}

double measure_copy_rate(Context &ctx) {
  const Index n =
      Index(1) << 25; // two arrays of 128 MiB: larger than the caches that one may count on
  const Vec<float> from(kCopyLabel, n), to(kCopyLabel, n);
  const double seconds = fastest(5, [&] {
    tensor::for_each(
        ctx, kCopyLabel.c_str(), n, KOKKOS_LAMBDA(const Index i) { to(i) = from(i); });
    ctx.exec.fence(); // the clock reads the end
  });
  return 2.0 * double(n) * sizeof(float) / seconds;
}

} // namespace numerics
