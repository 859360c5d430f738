// SPDX-License-Identifier: Apache-2.0
#pragma once
// One tile of a product, computed by one thread: c[m,n] (+)= op(a) op(b), all packed row-major, sums in FP32.
//   linear           a[m,k] b[n,k]^T
//   backward_input   a[m,k] b[k,n]
//   backward_weight  a[k,m]^T b[k,n]
// Inner header of this room; callers use gemm.hpp.
#include <cstddef>
#include <string>

#include "tensor/types.hpp"

namespace numerics {

using tensor::Index;

enum class Form : char { linear = 'n', backward_input = 'i', backward_weight = 'w' };

struct TileShape {
  Form form;
  bool in_bf16, out_bf16; // else float
  bool accumulate;
  Index m, n, k;
  bool operator==(const TileShape &) const = default;
};

struct Tile {
  TileShape shape;
  const void *a, *b;
  void *c;
};

// By the chosen body. Inside a parallel region this is called by many threads at once.
void compute(const Tile &tile);

namespace onednn {
// Is there a body for packed rows on this processor, one whose rows do not depend on their neighbours?
bool keeps_rows(bool bf16);
void compute(const Tile &tile); // bf16 only where native
std::string body_name(const TileShape &shape);
} // namespace onednn

namespace plain {
void compute(const Tile &tile); // float only
} // namespace plain

namespace kokkos_kernels {
void compute(const Tile &tile); // float only
} // namespace kokkos_kernels

// Memory of the calling thread that lives as long as the thread and only grows; slot: one for each purpose.
enum class Slot { library, a, b, c, pack_a, pack_b, count };
void *thread_memory(Slot slot, std::size_t bytes);

} // namespace numerics
