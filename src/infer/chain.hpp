// SPDX-License-Identifier: Apache-2.0
#pragma once
// One pass of all stages over new rows, wherever the stages lie. The ranks of a pipeline run the same scheduler: they come with the same
// pieces and learn what the last stage drew. The ranks of an expert group make their passes together, those without rows too.
#include <memory>
#include <optional>

#include "infer/draw.hpp"
#include "infer/group.hpp"

namespace infer {

template <class A> class Chain {
public:
  Chain(const arch::Dims &dims, const model::Weights<A> &weights, const Limits &limits,
        const Group &group);
  // From logits to what is drawn of them, in order. May throw a UserError, which then is thrown on all ranks of the pipeline.
  using DrawFrom = std::function<void(const Logits &, std::vector<Drawn> &)>;
  // No pieces: this replica has no rows.
  std::vector<Drawn> run(tensor::Context &ctx, std::span<const Piece> pieces, const DrawFrom &draw);
  // The whole of page `from`, in all layers of this rank.
  void copy(tensor::Context &ctx, Index from, Index to) const;
  bool in_step() const { return group_.experts.ep != nullptr; } // with other replicas
  std::size_t cache_bytes() const;

private:
  struct Link { // a stage of this rank
    std::size_t stage;
    std::unique_ptr<Forward<A>> forward;
  };
  int rank_of(std::size_t stage) const { return group_.stages[stage].rank; }
  void hand_over(tensor::Context &ctx, tensor::Mat<A> x_TD, std::size_t stage);
  std::vector<Drawn> tell(const std::vector<Drawn> &drawn,
                          const std::optional<base::UserError> &fault) const;

  Group group_;
  std::vector<Link> links_;
  tensor::Mat<A> border_; // x on its way between stages
};

} // namespace infer
