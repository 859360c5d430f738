// SPDX-License-Identifier: Apache-2.0
#include "infer/scores.hpp"

#include <algorithm>

namespace infer {

using tensor::Mat;

namespace {

constexpr Index kStep = 32; // widths of a pass are multiples of it

Index width_for(Index tokens) { return (tokens + kStep - 1) / kStep * kStep; }

model::Objective objective() {
  model::Objective o;
  o.goal = model::Goal::reward;
  return o;
}

// The one stage that this rank holds.
model::Part part_of(const arch::Dims &dims, const Group &group) {
  const auto parts = group.parts(dims);
  HADAL_CHECK(parts.size() == 1, "{} stages of a reward model on one rank", parts.size());
  return parts[0];
}

template <class A>
model::Stage<A> stage_of(const arch::Dims &dims, const Group &group, Index samples, Index rows) {
  model::Stage<A> stage(dims, {}, samples, rows, part_of(dims, group));
  stage.set_expert_group(group.experts);
  stage.set_objective(objective());
  return stage;
}

std::size_t scratch_bytes(const auto &stage) { return stage.scratch_bytes(); }
// What other ranks send to this one's experts.
std::size_t visitors_bytes(const auto &stage, const Group &group) {
  return group.experts.ep ? stage.tape_bytes(false) : tensor::Arena::kAlignment;
}

} // namespace

template <class A>
Scores<A>::Scores(const arch::Dims &dims, LoadedWeights<A> weights, const Group &group,
                  const ScoreOptions &options)
    : dims_(dims), weights_(std::move(weights)),
      group_(group), options_{options.samples, width_for(options.sequence)},
      arena_("infer::scores",
             scratch_bytes(stage_of<A>(dims, group, options_.samples, options_.sequence))),
      visitors_(
          "infer::scores::visitors",
          visitors_bytes(stage_of<A>(dims, group, options_.samples, options_.sequence), group)),
      ctx_{tensor::Exec(), arena_} {}

template <class A>
std::size_t Scores<A>::bytes(const arch::Dims &dims, const Group &group,
                             const ScoreOptions &options) {
  const auto stage = stage_of<A>(dims, group, options.samples, width_for(options.sequence));
  const int ep = group.experts.ep ? group.experts.ep->size() : 1,
            rank = group.experts.ep ? group.experts.ep->rank() : 0;
  const auto values =
      static_cast<std::size_t>(model::Layout(dims, {group.parts(dims), ep, rank}).size());
  const std::size_t each = std::is_same_v<A, float> ? sizeof(float) : sizeof(float) + sizeof(A);
  return values * each + scratch_bytes(stage) + visitors_bytes(stage, group);
}

template <class A> typename Scores<A>::Width &Scores<A>::width_of(Index rows) {
  auto &width = widths_[rows];
  if (!width)
    width.reset(new Width{
        stage_of<A>(dims_, group_, options_.samples, rows),
        {options_.samples, rows, 0, objective()},
        group_.pipeline ? Mat<A>("infer::scores::border", options_.samples * rows, dims_.model)
                        : Mat<A>()});
  return *width;
}

// Scores of one pass of this replica's pipeline; all its ranks get them.
template <class A>
std::vector<float> Scores<A>::pass(const std::vector<Conversation> &conversations, Index rows) {
  Width &width = width_of(rows);
  const auto length = static_cast<std::size_t>(rows) + 1;
  struct Padded {
    std::vector<std::int32_t> tokens, segments;
    std::vector<std::uint8_t> trained;
  };
  std::vector<Padded> padded;
  for (const Conversation &one : conversations) {
    HADAL_CHECK(!one.empty() && one.size() < length, "{} tokens to be scored in {}", one.size(),
                rows);
    Padded &p = padded.emplace_back();
    p.tokens.assign(one.begin(), one.end());
    p.tokens.resize(length, one.back());
    p.segments = {0, static_cast<std::int32_t>(one.size())};
    p.trained.assign(length, 0);
    p.trained[one.size() - 1] = 1; // the mark of phase reward
  }
  std::vector<model::HostSample> samples;
  for (const Padded &p : padded) samples.push_back({p.tokens, p.segments, p.trained});
  const model::MicroBatch batch = width.buffers.load(ctx_, samples);
  comm::Communicator *pipeline = group_.pipeline;
  const int me = pipeline ? pipeline->rank() : 0, last = pipeline ? pipeline->size() - 1 : 0;
  const std::size_t bytes = width.border.size() * sizeof(A);
  const comm::What what{"scores"};
  if (me > 0) pipeline->recv(me - 1, 0, width.border.data(), bytes, what);
  auto scores =
      width.stage.rewards(ctx_, visitors_, weights_.views, batch, width.border, width.border);
  if (!pipeline) return scores;
  if (me < last) {
    tensor::fence(ctx_, "infer::scores"); // reason: the array leaves this rank
    pipeline->send(me + 1, 0, width.border.data(), bytes, what);
  }
  scores.resize(conversations.size());
  pipeline->broadcast(last, scores.data(), scores.size() * sizeof(float), what);
  return scores;
}

template <class A>
std::vector<double>
Scores<A>::operator()(const std::vector<std::vector<data::Token>> &conversations) {
  const std::size_t n = conversations.size(), per = static_cast<std::size_t>(options_.samples),
                    replicas =
                        group_.replicas ? static_cast<std::size_t>(group_.replicas->size()) : 1,
                    replica =
                        group_.replicas ? static_cast<std::size_t>(group_.replicas->rank()) : 0,
                    block = per * replicas;
  static constexpr data::Token kNothing[] = {0};
  std::vector<double> scores(n, 0.0);
  // All replicas make their passes in step and equally wide; who has nothing left scores a token.
  for (std::size_t begin = 0; begin < n; begin += block) {
    std::size_t longest = 1;
    for (std::size_t i = begin; i < std::min(n, begin + block); ++i)
      longest = std::max(longest, conversations[i].size());
    std::vector<Conversation> mine;
    const std::size_t first = begin + replica * per;
    for (std::size_t i = first; i < first + per; ++i)
      mine.push_back(i < n ? Conversation(conversations[i]) : Conversation(kNothing));
    const auto got = pass(mine, width_for(static_cast<Index>(longest)));
    for (std::size_t i = first; i < std::min(n, first + per); ++i) scores[i] = got[i - first];
  }
  if (group_.replicas) group_.replicas->all_reduce_tree(scores, {"scores"});
  return scores;
}

template class Scores<float>;
template class Scores<numerics::bf16>;

} // namespace infer
