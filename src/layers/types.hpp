// SPDX-License-Identifier: Apache-2.0
#pragma once
// Names that all layers share. A is the element type of activations and of weights in the compute dtype: float or bf16.
#include "arch/dims.hpp"
#include "numerics/bf16.hpp"
#include "numerics/elementwise.hpp"
#include "numerics/gemm.hpp"
#include "tensor/context.hpp"
#include "tensor/launch.hpp"

namespace layers {

using numerics::bf16;
using tensor::Context;
using tensor::Cube;
using tensor::Index;
using tensor::Mat;
using tensor::Vec;

// How the T packed rows of a micro-batch fall into samples that cannot see each other. Row t belongs to the segment s with
// start[s] <= t < start[s+1]; its position is t - start[s]. Both arrays end with T; the host copy steers launches.
struct Segments {
  Vec<const Index> start; // S + 1 entries, on the device
  Kokkos::View<const Index *, Kokkos::HostSpace> start_host;
  Vec<const std::int32_t> position_T; // position of each row within its segment
  Index count() const { return static_cast<Index>(start_host.extent(0)) - 1; }
  Index rows() const { return static_cast<Index>(position_T.extent(0)); }
};

} // namespace layers
