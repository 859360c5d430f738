// SPDX-License-Identifier: Apache-2.0
#pragma once
// The products of numerics/gemm.hpp on an NVIDIA GPU, by cuBLASLt: raw device pointers, extents and a stream, so that this
// compiles wherever the toolkit is, without a Kokkos built for CUDA. Arrays are packed row-major; sums are FP32 (no TF32).
// What gemm.hpp promises about bits holds for the CPU; here only: the same call on the same GPU gives the same bits.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include <cuda_runtime_api.h>

namespace numerics::cuda {

using Index = std::int64_t;
enum class Type { f32, bf16 };

// Tokens (or arrivals), outputs, inputs of one matrix w[O,I].
struct Extents {
  Index T, O, I;
};

// One per stream and host thread: handle, workspace and the algorithms found so far.
class Gemm {
public:
  explicit Gemm(cudaStream_t stream, std::size_t workspace_bytes = std::size_t(32) << 20);
  ~Gemm();
  Gemm(const Gemm &) = delete;

  // y[T,O] = x[T,I] w[O,I]^T; x and w are of type a, y of type a or f32
  void linear(Type a, Type y_type, Extents e, const void *x, const void *w, void *y);
  // dx[T,I] (+)= dy[T,O] w[O,I]
  void linear_backward_input(Type a, Extents e, const void *dy, const void *w, void *dx,
                             bool accumulate);
  // dw[O,I] += dy[T,O]^T x[T,I], dw is f32
  void linear_backward_weight(Type a, Extents e, const void *dy, const void *x, float *dw_acc);

  // The same for experts: rows offsets[e] .. offsets[e + 1] (on the host), w[E,O,I]; e.T is not read.
  void grouped_linear(Type a, Type y_type, std::span<const Index> offsets, Extents e, const void *x,
                      const void *w, void *y);
  void grouped_linear_backward_input(Type a, std::span<const Index> offsets, Extents e,
                                     const void *dy, const void *w, void *dx, bool accumulate);
  void grouped_linear_backward_weight(Type a, std::span<const Index> offsets, Extents e,
                                      const void *dy, const void *x, float *dw_acc);

private:
  struct State;
  std::unique_ptr<State> state_;
};

} // namespace numerics::cuda
