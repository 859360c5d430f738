// SPDX-License-Identifier: Apache-2.0
#include "optim/adamw.hpp"

#include <cmath>

namespace optim {

template <class M>
void adamw(Context &ctx, const AdamwOptions &options, double rate, double decay, std::int64_t step,
           float scale, Vec<const float> gradient, Vec<float> weight, Vec<M> first, Vec<M> second) {
  const auto t = static_cast<double>(step);
  const float b1 = static_cast<float>(options.beta1), b2 = static_cast<float>(options.beta2);
  const float correct1 = static_cast<float>(1.0 / (1.0 - std::pow(options.beta1, t)));
  const float correct2 = static_cast<float>(1.0 / (1.0 - std::pow(options.beta2, t)));
  const float eps = static_cast<float>(options.eps), lr = static_cast<float>(rate),
              shrink = static_cast<float>(rate * decay);
  const Index n = static_cast<Index>(weight.extent(0));
  ctx.count("optim::adamw", 0, static_cast<double>(n) * (12 + 4 * sizeof(M)));
  tensor::for_each(
      ctx, "optim::adamw", n, KOKKOS_LAMBDA(const Index i) {
        const float g = scale * gradient(i);                                      // (1)
        const float m = b1 * static_cast<float>(first(i)) + (1.0F - b1) * g;      // (2)
        const float v = b2 * static_cast<float>(second(i)) + (1.0F - b2) * g * g; // (3)
        first(i) = M(m), second(i) = M(v);
        const float w = weight(i);
        weight(i) = w - (lr * (m * correct1) / (sqrtf(v * correct2) + eps) + shrink * w); // (4)
      });
}

template void adamw(Context &, const AdamwOptions &, double, double, std::int64_t, float,
                    Vec<const float>, Vec<float>, Vec<float>, Vec<float>);
template void adamw(Context &, const AdamwOptions &, double, double, std::int64_t, float,
                    Vec<const float>, Vec<float>, Vec<numerics::bf16>, Vec<numerics::bf16>);

} // namespace optim
