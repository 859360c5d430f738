// SPDX-License-Identifier: Apache-2.0
// Uses a room without Kokkos and one with it, and asks OpenBLAS which threads it was built for (2: OpenMP).
#include <Kokkos_Core.hpp>
#include <cblas.h>

#include "arch/counts.hpp"
#include "tensor/arena.hpp"

int main(int argc, char **argv) {
  Kokkos::ScopeGuard guard(argc, argv);
  tensor::Arena arena("client", 4096);
  fmt::print("{} parameters, OpenBLAS parallel by {}\n", arch::count_parameters(arch::Dims{}).main,
             openblas_get_parallel());
  return arena.vec<float>(16).extent(0) == 16 ? 0 : 1;
}
