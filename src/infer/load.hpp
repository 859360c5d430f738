// SPDX-License-Identifier: Apache-2.0
#pragma once
// A checkpoint as a model that speaks: dims from its resolved deck, weights from its section "weights", the tokenizer that lies beside.
// MTP modules stay in the file.
#include <filesystem>

#include "checkpoint/checkpoint.hpp"
#include "data/tokenizer.hpp"
#include "model/parameters.hpp"

namespace infer {

// The dims of the checkpoint's deck, MTP depth 0.
arch::Dims dims_of(const checkpoint::Reader &reader);

// Weights on the device. A = float: one buffer; bf16: the matrices rounded to nearest even, norms and router in FP32.
template <class A> struct LoadedWeights {
  model::Layout layout;
  tensor::Vec<float> master;
  tensor::Vec<A> compute;
  model::Weights<A> views;
};
// Errors E211 (damaged), E213 (tensors missing or of other shapes).
template <class A>
LoadedWeights<A> load_weights(tensor::Context &ctx, const checkpoint::Reader &reader,
                              const arch::Dims &dims);
// What one rank of many holds.
template <class A>
LoadedWeights<A> load_weights(tensor::Context &ctx, const checkpoint::Reader &reader,
                              const arch::Dims &dims, const model::Share &share);
// The same with made-up numbers in place of a checkpoint's: for benches.
template <class A> LoadedWeights<A> made_up_weights(tensor::Context &ctx, const arch::Dims &dims);

// tokenizer.json of the checkpoint. Errors E100, E101; E263 when the checkpoint has none.
data::Tokenizer load_tokenizer(const checkpoint::Reader &reader);

} // namespace infer
