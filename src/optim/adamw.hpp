// SPDX-License-Identifier: Apache-2.0
#pragma once
// AdamW with decoupled weight decay (Loshchilov and Hutter, arXiv 1711.05101), bias-corrected, FP32 arithmetic:
//   (1) g = c * gradient (c: clipping factor)          (2) m = b1 m + (1 - b1) g      (3) v = b2 v + (1 - b2) g^2
//   (4) w = w - rate * ( (m / (1 - b1^t)) / ( sqrt(v / (1 - b2^t)) + eps ) + decay * w )
// Moments are stored as float or bf16 (rounded to nearest even after each step; the step uses the unrounded values).
#include <cstdint>

#include "numerics/bf16.hpp"
#include "tensor/launch.hpp"

namespace optim {

using tensor::Context;
using tensor::Index;
using tensor::Mat;
using tensor::Vec;

enum class MomentType { f32, bf16 };

struct AdamwOptions {
  double beta1 = 0.9, beta2 = 0.95, eps = 1e-8, decay = 0.1, max_norm = 1.0;
  MomentType moments = MomentType::f32;
  template <class R> void keys(R &r) {
    r.key(beta1, "beta1", 0.9, 0.0, 0.999999, "", "decay of the first moment (report p. 22)");
    r.key(beta2, "beta2", 0.95, 0.0, 0.999999, "", "decay of the second moment (report p. 22)");
    r.key(eps, "eps", 1e-8, 1e-20, 1e-2, "",
          "added to the root of the second moment (unpublished; the usual value)");
    r.key(decay, "weight_decay", 0.1, 0.0, 10.0, "",
          "decoupled weight decay, on matrices only (report p. 22; which tensors is unpublished)");
    r.key(max_norm, "clip_norm", 1.0, 0.0, 1e9, "",
          "gradients are scaled down to this global norm; 0: no clipping (report p. 22)");
    r.choice(moments, "moments", MomentType::f32,
             {{"f32", MomentType::f32}, {"bf16", MomentType::bf16}},
             "storage of both moments (the report uses bf16)");
  }
};

// One tensor's step. step counts from 1. decay = 0 for tensors that do not decay. scale: clipping factor.
template <class M>
void adamw(Context &ctx, const AdamwOptions &options, double rate, double decay, std::int64_t step,
           float scale, Vec<const float> gradient, Vec<float> weight, Vec<M> first, Vec<M> second);

} // namespace optim
