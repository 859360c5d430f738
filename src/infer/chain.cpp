// SPDX-License-Identifier: Apache-2.0
#include "infer/chain.hpp"

#include "infer/wire.hpp"

namespace infer {

using tensor::Context;
using tensor::Mat;

template <class A>
Chain<A>::Chain(const arch::Dims &dims, const model::Weights<A> &weights, const Limits &limits,
                const Group &group)
    : group_(group) {
  if (group_.stages.empty()) {
    HADAL_CHECK(!group_.pipeline, "{} ranks of a pipeline, no stages", group_.pipeline->size());
    group_.stages = {{model::Part::whole(dims), 0}};
  }
  for (std::size_t stage = 0; stage < group_.stages.size(); ++stage)
    if (group_.holds(group_.stages[stage]))
      links_.push_back(
          {stage, std::make_unique<Forward<A>>(dims, weights, limits, group_.stages[stage].part,
                                               group_.experts)});
  if (group_.stages.size() > 1) border_ = Mat<A>("infer::border", limits.rows, dims.model);
}

// Where x comes from or goes to when the stage before or behind lies on another rank.
template <class A>
void Chain<A>::hand_over(Context &ctx, const Mat<A> x_TD, const std::size_t stage) {
  const comm::What what{"generation"};
  const std::size_t bytes = x_TD.size() * sizeof(A);
  const int from = rank_of(stage), to = rank_of(stage + 1);
  if (!group_.pipeline || from == to || bytes == 0) return;
  comm::Communicator &pipeline = *group_.pipeline;
  if (pipeline.rank() == from) {
    tensor::fence(ctx, "infer::chain"); // reason: the array leaves this rank
    pipeline.send(to, 0, x_TD.data(), bytes, what);
  } else {
    pipeline.recv(from, 0, x_TD.data(), bytes, what);
  }
}

template <class A>
std::vector<Drawn> Chain<A>::run(Context &ctx, std::span<const Piece> pieces,
                                 const DrawFrom &draw) {
  std::size_t rows = 0;
  for (const Piece &piece : pieces) rows += piece.tokens.size();
  std::vector<Drawn> drawn;
  std::optional<base::UserError> fault;
  const TakeLogits take = [&](const Logits &logits) {
    if (fault) return;
    try {
      draw(logits, drawn);
    } catch (const base::UserError &error) { // the others of the pipeline wait to be told
      fault = error;
    }
  };
  Mat<A> x;
  if (border_.data()) x = Mat<A>(border_.data(), static_cast<Index>(rows), border_.extent(1));
  for (const Link &link : links_) {
    if (link.stage > 0) hand_over(ctx, x, link.stage - 1);
    link.forward->run(ctx, pieces, take, x, x);
    if (link.stage + 1 < group_.stages.size()) hand_over(ctx, x, link.stage);
  }
  if (group_.pipeline && rows > 0) return tell(drawn, fault);
  if (fault) throw base::UserError(*fault);
  return drawn;
}

template <class A>
std::vector<Drawn> Chain<A>::tell(const std::vector<Drawn> &drawn,
                                  const std::optional<base::UserError> &fault) const {
  const int head = group_.stages.back().rank;
  wire::Writer mine;
  if (group_.pipeline->rank() == head) {
    mine.number(fault.has_value());
    if (fault)
      wire::write(mine, *fault);
    else
      mine.list(drawn);
  }
  const auto all = group_.pipeline->all_gather_text(mine.bytes(), {"tokens chosen"});
  wire::Reader told(all[static_cast<std::size_t>(head)]);
  if (told.number<bool>()) throw wire::read_fault(told);
  std::vector<Drawn> known;
  told.list(known);
  return known;
}

template <class A> void Chain<A>::copy(Context &ctx, const Index from, const Index to) const {
  for (const Link &link : links_) link.forward->cache().copy(ctx, from, to);
}

template <class A> std::size_t Chain<A>::cache_bytes() const {
  std::size_t bytes = 0;
  for (const Link &link : links_) bytes += link.forward->cache().bytes();
  return bytes;
}

template class Chain<float>;
template class Chain<numerics::bf16>;

} // namespace infer
