// SPDX-License-Identifier: Apache-2.0
#include "train/fold.hpp"

#include "base/error.hpp"
#include "tensor/launch.hpp"

namespace train {

using tensor::Index;
using tensor::Vec;

namespace {

constexpr const char *kLabel = "train::gradients::fold";
// On the host a task is a run whose inner loop is vectorised, on a device an element, so that neighbours read neighbours.
constexpr Index kRun = tensor::kOnHost ? 4096 : 1;

template <std::size_t K> struct Addresses { float *of[K]; };

template <std::size_t K>
KOKKOS_INLINE_FUNCTION void fold_run(const Addresses<K> &later, float *const to, const Index n) {
  float *__restrict const a = later.of[0], *__restrict const b = later.of[K > 1 ? 1 : 0],
                          *__restrict const c = later.of[K > 2 ? 2 : 0], *__restrict const y = to;
  for (Index i = 0; i < n; ++i) {
    float s = a[i];
    a[i] = 0;
    if constexpr (K > 1) s = b[i] + s, b[i] = 0;
    if constexpr (K > 2) s = c[i] + s, c[i] = 0;
    y[i] = y[i] + s;
  }
}

template <std::size_t K>
void fold(tensor::Context &ctx, const Vec<float> *later, const Vec<float> &to) {
  const auto n = static_cast<Index>(to.extent(0));
  Addresses<K> from;
  for (std::size_t k = 0; k < K; ++k) from.of[k] = later[k].data();
  float *const y = to.data();
  ctx.count(kLabel, 0, 8.0 * static_cast<double>(K + 1) * static_cast<double>(n));
  tensor::for_each(
      ctx, kLabel, (n + kRun - 1) / kRun, KOKKOS_LAMBDA(const Index run) {
        const Index first = run * kRun;
        Addresses<K> here = from;
        for (std::size_t k = 0; k < K; ++k) here.of[k] += first;
        fold_run<K>(here, y + first, n - first < kRun ? n - first : kRun);
      });
}

} // namespace

void fold_shards(tensor::Context &ctx, const std::vector<Vec<float>> &later, Vec<float> to) {
  std::size_t k = 0;
  for (; later.size() - k > 3; k += 3) fold<3>(ctx, &later[k], later[k + 3]);
  switch (later.size() - k) {
  case 1: return fold<1>(ctx, &later[k], to);
  case 2: return fold<2>(ctx, &later[k], to);
  case 3: return fold<3>(ctx, &later[k], to);
  default: HADAL_CHECK(false, "{} levels", later.size());
  }
}

} // namespace train
