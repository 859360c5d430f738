// SPDX-License-Identifier: Apache-2.0
#pragma once
// Memory as data: what a layer's forward pass saves, what its backward pass makes and needs again, and what all of it
// takes in an arena. The field names are those of the structs in layers/ and model/block.hpp, path first ("mla.cq_TQ");
// a test compares the bytes with what those structs really take. The planner reads the same tables.
#include <string>
#include <vector>

#include "arch/dims.hpp"
#include "arch/recompute.hpp"

namespace arch {

// Arena arrays start at multiples of this (tensor::Arena::kAlignment; a test compares).
inline constexpr Index kArenaAlignment = 256;
// Tensors in the flat buffers of parameters start at multiples of this many elements (model::Layout; a test compares).
inline constexpr Index kTensorAlignment = 64;

struct Field {
  std::string name;
  std::vector<Index> shape;
  Index element_bytes = 4;
  bool kept = true; // false: left out of Saved, filled again before the backward pass
  Index bytes() const;
  Index arena_bytes() const; // rounded up to kArenaAlignment
};

// One micro-batch as a layer sees it.
struct Rows {
  Index samples = 1;
  Index rows = 4096; // of each sample
  Index tokens() const { return samples * rows; }
};

// What the forward pass of a block (layer < layers: main model, else an MTP module's block) saves.
// activation_bytes: of the compute dtype, 4 (f32) or 2 (bf16).
std::vector<Field> saved_fields(const Dims &dims, Index layer, Rows rows,
                                const Recompute &recompute, Index activation_bytes);
// Gradients that backward_input makes and backward_weight needs.
std::vector<Field> delta_fields(const Dims &dims, Index layer, Rows rows, Index activation_bytes);
// What an MTP module saves beside its block.
std::vector<Field> mtp_saved_fields(const Dims &dims, Rows rows, Index activation_bytes);
std::vector<Field> mtp_delta_fields(const Dims &dims, Rows rows, Index activation_bytes);

// What the whole model keeps of one micro-batch between its forward and its backward pass: the blocks' fields, the
// residual stream in front of each block, the inputs of the heads and their gradients, losses.
Index saved_bytes(const Dims &dims, Rows rows, const Recompute &recompute, Index activation_bytes);
// The most that the deltas and refilled fields of one block take beside them.
Index largest_block_scratch(const Dims &dims, Rows rows, const Recompute &recompute,
                            Index activation_bytes);

Index kept_bytes(const std::vector<Field> &fields);       // arena bytes of the fields kept
Index recomputed_bytes(const std::vector<Field> &fields); // arena bytes of those filled again

// Elements of the flat buffers: all tensors aligned; gradients have one further accumulator of embedding and of head for
// each MTP module (law of sums: one accumulator a use).
Index parameter_elements(const Dims &dims);
Index gradient_elements(const Dims &dims);

// What a run keeps on one rank that has the whole model, as the trainer allocates it.
struct RunShape {
  Rows micro_batch;
  Recompute recompute;
  Index activation_bytes =
      4; // compute dtype; 4: matrices are used where the masters lie, without copies
  Index moment_bytes = 4;  // of each of AdamW's two
  Index average_bytes = 0; // moving average of the weights, on the host; 4 or 0
  Index shards = 1; // of the law of sums, a power of two: log2 + 1 gradient buffers are alive
};
struct MemoryPlan {
  Index masters = 0, compute_copies = 0, gradients = 0, moments = 0, average = 0;
  Index saved = 0; // between the passes of one micro-batch
  Index block_scratch =
      0; // deltas and refilled fields of the largest block; the verbs' own scratch comes on top
  Index total() const {
    return masters + compute_copies + gradients + moments + average + saved + block_scratch;
  }
};
MemoryPlan plan_memory(const Dims &dims, const RunShape &shape);

} // namespace arch
