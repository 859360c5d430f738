// SPDX-License-Identifier: Apache-2.0
#pragma once
// Where the tensors of the registry lie in flat buffers, and the typed views that layers take.
//   master   FP32, every tensor of the registry. The plain ones, which layers read as they are (norms, routers, biases), lie first, so
//            that a buffer of these alone is a beginning of it
//   compute  copies of the matrices in the compute dtype A (for A = float: the master itself)
//   gradient FP32, as master, then one further accumulator of embedding and head per MTP module ("uses": law of sums)
#include <functional>
#include <string>
#include <unordered_map>
#include <vector>

#include "arch/registry.hpp"
#include "layers/experts/experts.hpp"
#include "layers/ffn/ffn.hpp"
#include "layers/mla/mla.hpp"
#include "layers/mtp/mtp.hpp"

namespace model {

using layers::bf16;
using layers::Context;
using layers::Cube;
using layers::Index;
using layers::Mat;
using layers::Vec;

// A stage of the pipeline: blocks [first, last) of the main model.
struct Part {
  Index first = 0, last = 0;
  bool embedding = true, head = true; // the first and the last stage; the last has the MTP modules
  static Part whole(const arch::Dims &dims) { return {0, dims.layers, true, true}; }
  bool holds(const arch::Dims &dims, const arch::TensorSpec &spec) const;
};

// What of the model one rank holds: some stages, and of every mixture the experts [ep_rank E / ep, (ep_rank + 1) E / ep).
struct Share {
  std::vector<Part> parts;
  Index ep = 1, ep_rank = 0;
  static Share whole(const arch::Dims &dims) { return {{Part::whole(dims)}, 1, 0}; }
};

struct Slot {
  arch::TensorSpec spec; // its shape is this rank's: experts [E / ep, ...]
  Index offset = 0;      // elements from the start of the buffer
  Index size = 0;
  std::vector<Index> global_shape;
  Index first = 0; // element of the global tensor with which this rank's begin
  Index order = 0; // place in the registry of the whole model
  bool copy =
      false; // the embedding on a last stage that is not the first too: read there, owned by the first
  bool plain() const { return spec.kind != arch::Kind::matrix; } // FP32 whatever the compute dtype
};

inline Index aligned(Index elements) { return (elements + 63) / 64 * 64; }

// All tensors that a rank holds, in registry order; the buffer has the plain ones first. Each begins at a multiple of 64 elements.
class Layout {
public:
  explicit Layout(const arch::Dims &dims);
  Layout(const arch::Dims &dims, const Share &share);
  const std::vector<Slot> &slots() const { return slots_; }
  const Share &share() const { return share_; }
  const Slot &at(const std::string &name) const; // a Fault when there is none
  const Slot *find(const std::string &name) const;
  Index size() const { return size_; }                   // elements of master and compute
  Index plain_size() const { return plain_size_; }       // of these, the plain tensors
  Index gradient_size() const { return gradient_size_; } // elements of a gradient buffer
  // Offset of the accumulator of the use-th use (0 main, k MTP depth k) of "embedding" or "head".
  Index use_offset(const std::string &name, Index use) const;
  Index uses() const { return uses_; }
  const arch::Dims &dims() const { return dims_; }

private:
  arch::Dims dims_;
  Share share_;
  std::vector<Slot> slots_;
  std::unordered_map<std::string, std::size_t> index_;
  Index size_ = 0, plain_size_ = 0, gradient_size_ = 0, uses_ = 1;
};

template <class A> struct BlockWeights {
  Vec<const float> attention_norm_D, ffn_norm_D;
  layers::mla::Weights<A> mla;
  layers::ffn::Weights<A> ffn;  // dense layers
  Mat<const float> w_router_ED; // the others
  Vec<const float> bias_E;
  layers::experts::Weights<A> experts;
  layers::ffn::Weights<A> shared;
  layers::mtp::Weights<A> mtp; // MTP modules
  Vec<const float> head_norm_D;
};
template <class A> struct Weights {
  Mat<const A> embedding_WD, head_WD;
  Vec<const float> final_norm_D, reward_head_D;
  std::vector<BlockWeights<A>> blocks; // L + MTP depth
};
// master: the whole, or its plain tensors alone.
template <class A> Weights<A> weights(const Layout &layout, Vec<float> master, Vec<A> compute);

struct BlockGrads {
  Vec<float> attention_norm_D, ffn_norm_D;
  layers::mla::Grads mla;
  layers::ffn::Grads ffn;
  Mat<float> w_router_ED;
  std::vector<layers::experts::Grads>
      experts; // by source rank of the expert group: one on one rank
  layers::ffn::Grads shared;
  layers::mtp::Grads mtp;
  Vec<float> head_norm_D;
};
struct Grads {
  std::vector<Mat<float>> embedding_WD, head_WD; // one per use
  Vec<float> final_norm_D, reward_head_D;
  std::vector<BlockGrads> blocks;
};
Grads grads(const Layout &layout, Vec<float> buffer);
// Accumulators wherever they lie. place(slot, use, source): start of the accumulator of the use-th use of a tensor; of the expert
// tensors one for each source rank of the expert group; null where there is none.
using GradientPlace = std::function<float *(const Slot &slot, Index use, Index source)>;
Grads grads(const Layout &layout, const GradientPlace &place);

// Initial values of the elements of this rank's tensor from `begin` on: a function of (seed, name, element), so that any layout starts
// from the same numbers.
void initialise(Context &ctx, const Layout &layout, const Slot &slot, std::uint64_t seed,
                Index begin, Vec<float> to);
// compute = master rounded to nearest even, matrices only (nothing to do for A = float where both are one buffer).
template <class A>
void refresh_compute(Context &ctx, const Layout &layout, Vec<const float> master, Vec<A> compute);

} // namespace model
