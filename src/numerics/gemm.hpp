// SPDX-License-Identifier: Apache-2.0
#pragma once
// Dense and grouped matrix products of the model: describe, choose, launch. Operands are packed row-major; elements are float or
// bf16; sums are FP32. A = float or bf16 is the element type of activations and weights in the compute dtype.
//
//   linear                 y[T,O]  = x[T,I] w[O,I]^T
//   linear_backward_input  dx[T,I] = dy[T,O] w[O,I]       (or += with accumulate; then rounded to A after the sum)
//   linear_backward_weight dw[O,I] += dy[T,O]^T x[T,I]    (FP32)
//
// Law (docs/numerics.md): the bits of a row of y or dx depend on that row and on w alone, not on T, nor on the row's place, nor on
// the number of threads; the bits of dw do not depend on the number of threads. Work is cut into tiles whose borders depend on the
// shape alone, each computed by one thread.
#include <span>
#include <string>

#include "numerics/bf16.hpp"
#include "tensor/context.hpp"

namespace numerics {

using tensor::Context;
using tensor::Cube;
using tensor::Index;
using tensor::Mat;
using tensor::Vec;

// Who computes a tile on the CPU: oneDNN (our own loops where its bodies break the law: processors without AVX-512), our own
// loops everywhere, or Kokkos Kernels (portable, without the law: a reference for tests).
enum class GemmBody { onednn, plain, kokkos };
void set_gemm_body(GemmBody body); // process-wide, before the first product; default onednn
GemmBody gemm_body();

// label: "path::of::the::function" of the caller; names the kernel in profiles.
template <class A, class Y>
void linear(Context &ctx, const char *label, Mat<const A> x_TI, Mat<const A> w_OI, Mat<Y> y_TO);
template <class A>
void linear_backward_input(Context &ctx, const char *label, Mat<const A> dy_TO, Mat<const A> w_OI,
                           Mat<A> dx_TI, bool accumulate = false);
template <class A>
void linear_backward_weight(Context &ctx, const char *label, Mat<const A> dy_TO, Mat<const A> x_TI,
                            Mat<float> dw_OI_acc);

// Rows of expert e are offsets[e] .. offsets[e+1] of the arrivals; offsets has E + 1 entries and lies on the host.
// Experts without rows add nothing to dw.
template <class A, class Y>
void grouped_linear(Context &ctx, const char *label, std::span<const Index> offsets,
                    Mat<const A> x_AI, Cube<const A> w_EOI, Mat<Y> y_AO);
template <class A>
void grouped_linear_backward_input(Context &ctx, const char *label, std::span<const Index> offsets,
                                   Mat<const A> dy_AO, Cube<const A> w_EOI, Mat<A> dx_AI,
                                   bool accumulate = false);
template <class A>
void grouped_linear_backward_weight(Context &ctx, const char *label, std::span<const Index> offsets,
                                    Mat<const A> dy_AO, Mat<const A> x_AI, Cube<float> dw_EOI_acc);

// Name of the body that oneDNN chose for a shape ("brg:avx512_core", ...), for selftest and benches.
std::string body_name(bool bf16,
                      char form /* 'n' linear, 'i' backward input, 'w' backward weight */, Index m,
                      Index n, Index k);

// Peak rate of a large product on all threads in this process, FLOP/s (n x n x n, best of several): the limit that benches and
// the trainer's "share of peak" refer to.
double measure_gemm_peak(Context &ctx, bool bf16, Index n = 2048);
// Bytes per second of a large copy (read + write counted).
double measure_copy_rate(Context &ctx);

} // namespace numerics
