// SPDX-License-Identifier: Apache-2.0
#pragma once
// One step through the model: new rows of many sequences over the cache, and the logits of those rows that are asked for.
// A row's bits depend on its own sequence alone: neither on the other rows of the step nor on how a sequence is cut into steps (products,
// norms, router, experts and attention all keep this law; docs/numerics.md).
// The blocks are the trainer's (model/block.hpp); experts' loads are never counted. A part of the layers is possible: the stages of a
// pipeline hand x to each other (chain.hpp). Where the experts are shared by the ranks of a group, all of them make the step together: who
// has no rows of its own works on those of the others.
#include <functional>
#include <span>
#include <vector>

#include "data/tokenizer.hpp"
#include "infer/cache.hpp"
#include "model/block.hpp"

namespace infer {

// exact: the arithmetic of training, bit for bit. absorbed: without making keys; rows of a prompt are exact here too (faster).
enum class Attention { exact, absorbed };

// New rows of one sequence.
struct Piece {
  std::span<const data::Token> tokens;
  Index position = 0;           // tokens of the sequence before them, which are in the cache
  std::span<const Index> pages; // page table, up to the last new token at least
  bool exact = true;
  Index wanted = 0; // so many rows at the end give logits
};

struct Limits {
  Index rows = 512;      // of a step
  Index pieces = 64;     // of a step
  Index sequence = 0;    // tokens of a sequence
  Index pages = 0;       // of the cache
  bool keeps_kv = false; // keys and values are kept beside the latents
  Index logits = 256;    // rows of logits that lie in memory at a time
};

// Logits of wanted rows first .. first + lse.size(), in the order of the pieces given; on the host, of one call only.
struct Logits {
  Index first;
  Kokkos::View<const float **, Kokkos::LayoutRight, Kokkos::HostSpace> logit_RW;
  std::span<const float> lse_R; // log sum exp of each row, the trainer's
};
using TakeLogits = std::function<void(const Logits &)>;

template <class A> class Forward {
public:
  Forward(const arch::Dims &dims, model::Weights<A> weights, Limits limits);
  Forward(const arch::Dims &dims, model::Weights<A> weights, Limits limits, model::Part part,
          const layers::dispatch::Group &experts = {});
  // No pieces: no rows here. x_TD: input of a part without the embedding; y_TD: output of a part without the head. Rows of exact pieces lie first.
  void run(tensor::Context &ctx, std::span<const Piece> pieces, const TakeLogits &take,
           tensor::Mat<A> x_TD = {}, tensor::Mat<A> y_TD = {});
  const Cache<A> &cache() const { return cache_; }
  const Limits &limits() const { return limits_; }
  // Arena bytes that run needs at most.
  static std::size_t arena_bytes(const arch::Dims &dims, const Limits &limits,
                                 const layers::dispatch::Group &experts = {});

private:
  template <class T> struct Both { // filled on the host, read on the device
    tensor::Vec<T> device;
    Kokkos::View<T *, Kokkos::HostSpace> host;
    Both(const std::string &label, Index n) : device(label, n), host(label, n) {}
    tensor::Vec<const T> send(tensor::Context &ctx, Index count) const {
      const tensor::Vec<T> to(device.data(), count);
      Kokkos::deep_copy(ctx.exec, to,
                        Kokkos::View<const T *, Kokkos::HostSpace>(host.data(), count));
      return to;
    }
  };
  struct Laid { // a piece and where its rows and its page table begin
    const Piece *piece;
    Index row, table;
  };
  model::Stream load(tensor::Context &ctx, std::span<const Piece> pieces);
  void lay(const Laid &laid);
  Index list_pages(const std::vector<Laid> &exact);
  void block(tensor::Context &ctx, Index layer, const model::Stream &stream,
             tensor::Mat<const A> x_TD, tensor::Mat<A> y_TD);
  void head(tensor::Context &ctx, tensor::Mat<const A> x_TD, const TakeLogits &take);

  arch::Dims dims_;
  model::Weights<A> weights_;
  Limits limits_;
  model::Part part_;
  layers::dispatch::Group experts_;
  layers::rope::Table rope_;
  Cache<A> cache_;
  Both<std::int32_t> token_, position_;
  Both<Index> slot_, table_, page_, place_, listed_, wanted_;
  Both<layers::attention::Piece> piece_;
  Both<Index> start_;
  std::vector<Index> place_of_page_;
  Index wanted_count_ = 0;
  layers::mla::NewRows rows_;
  tensor::Vec<double> balance_; // the router's by-product, not used
  Kokkos::View<float **, Kokkos::LayoutRight, Kokkos::HostSpace> logits_host_;
  Kokkos::View<float *, Kokkos::HostSpace> lse_host_;
};

} // namespace infer
