// SPDX-License-Identifier: Apache-2.0
#pragma once
// What a deck may choose of the way between expert ranks.

namespace layers::dispatch {

enum class Way { direct, two_hop, reference };

// In which format rows leave for the experts and sums of a group come home. The rounding belongs to the arithmetic: it is done on one
// rank too, and a message merely carries the narrower type. (fp8 has its place here.)
enum class Format {
  compute,
  bf16,
  f32
}; // compute: the type A of the activations; f32: not rounded
struct Formats {
  Format dispatch = Format::compute, combine = Format::compute;
};

} // namespace layers::dispatch
