// SPDX-License-Identifier: Apache-2.0
#include "train/pipeline.hpp"

#include <algorithm>
#include <map>

namespace train {

using schedule::Action, schedule::Content, schedule::Piece, schedule::Program, schedule::Verb;
using tensor::Context;
using tensor::Index;
using tensor::Mat;

namespace {

bool defers_weights(const Program &program, int rank) {
  for (const Action &a : program.actions[static_cast<std::size_t>(rank)])
    if (a.verb == Verb::backward_input) return true;
  return false;
}

bool has_pairs(const Program &program, int rank) {
  for (const Action &a : program.actions[static_cast<std::size_t>(rank)])
    if (a.verb == Verb::overlap) return true;
  return false;
}

int tag_of(const Action &a) {
  return (2 * a.at.micro_batch + (a.content == Content::gradient)) % comm::kTags;
}

Program full_program(const Options &o, const Ranks &ranks) {
  return ranks.program(o.batch.global_batch / o.batch.micro_batch);
}

template <class A>
model::Stage<A> stage_of(const Options &o, const Ranks &ranks, const Chunk &chunk) {
  model::Stage<A> stage(o.dims, o.recompute, o.batch.micro_batch, o.batch.sequence, chunk.part);
  stage.set_expert_group(ranks.expert_group(o));
  stage.set_objective(o.objective());
  return stage;
}

} // namespace

void Ledger::note(std::int64_t m, const model::MicroLoss &loss) {
  double *to = values_.data() + static_cast<std::size_t>(m) * width_;
  to[0] += loss.main;
  for (std::size_t k = 0; k < loss.mtp.size(); ++k) to[1 + k] += loss.mtp[k];
  for (std::size_t i = 0; i < loss.extra.size(); ++i) to[1 + depths_ + i] += loss.extra[i];
  to[1 + depths_ + extras_] += loss.apart;
  for (std::size_t i = 0; i < loss.balance_BS.size(); ++i)
    to[2 + depths_ + extras_ + i] += loss.balance_BS[i];
}

void Ledger::together(comm::Communicator &world) {
  if (world.size() > 1) world.all_reduce_tree(values_, {"losses"});
}

double Ledger::balance(std::int64_t m) const {
  double sum = 0;
  for (std::size_t i = 2 + depths_ + extras_; i < width_; ++i) sum += row(m)[i];
  return sum;
}

// The step under way.
template <class A> struct Pipeline<A>::Step {
  const Program &program;
  const model::Weights<A> &weights;
  const std::vector<model::HostSample> &samples; // of this rank
  const model::LossScales &scales;
  Mat<std::int64_t> load_BE;
  Ledger &ledger;
  std::int64_t micro_batches; // of the whole step
};

template <class A>
Pipeline<A>::Slot::Slot(const Options &o, std::size_t bytes)
    : arena("train::pipeline::slot", bytes),
      buffers(o.batch.micro_batch, o.batch.sequence, o.dims.mtp_depth, o.objective()) {}

template <class A> std::size_t Pipeline<A>::scratch_bytes(const Options &o, const Ranks &ranks) {
  std::size_t most = 0;
  for (const Chunk &chunk : ranks.chunks())
    most = std::max(most, stage_of<A>(o, ranks, chunk).scratch_bytes());
  return most;
}

namespace {

template <class A> std::size_t tape_bytes(const Options &o, const Ranks &ranks, bool deferred) {
  std::size_t most = 0;
  for (const Chunk &chunk : ranks.chunks())
    most = std::max(most, stage_of<A>(o, ranks, chunk).tape_bytes(deferred));
  return most;
}

template <class A> std::size_t pair_bytes(const Options &o, const Ranks &ranks) {
  std::size_t most = 0;
  for (const Chunk &chunk : ranks.chunks())
    most = std::max(most, stage_of<A>(o, ranks, chunk).pair_scratch_bytes());
  return most;
}

} // namespace

template <class A> std::size_t Pipeline<A>::slot_bytes(const Options &o, const Ranks &ranks) {
  const Program program = full_program(o, ranks);
  const int rank = ranks.mesh().place.pp_rank;
  const std::size_t borders =
      ranks.stages() > 1
          ? 3 * sizeof(A) *
                static_cast<std::size_t>(o.batch.micro_batch * o.batch.sequence * o.dims.model)
          : 0;
  return static_cast<std::size_t>(schedule::most_held(program, rank)) *
             (tape_bytes<A>(o, ranks, defers_weights(program, rank)) + borders) +
         (has_pairs(program, rank) ? pair_bytes<A>(o, ranks) : 0);
}

template <class A>
Pipeline<A>::Pipeline(const Options &o, const Ranks &ranks, std::vector<Gradients> &gradients)
    : options_(o), ranks_(ranks), gradients_(gradients) {
  for (const Chunk &chunk : ranks.chunks()) {
    stages_.push_back(stage_of<A>(o, ranks, chunk));
    stages_.back().set_flights(&flights_);
  }
  const Program program = full_program(o, ranks);
  const int rank = ranks.mesh().place.pp_rank;
  const std::size_t bytes = tape_bytes<A>(o, ranks, defers_weights(program, rank));
  const Index T = o.batch.micro_batch * o.batch.sequence, D = o.dims.model;
  for (int i = 0; i < schedule::most_held(program, rank); ++i) {
    slots_.push_back(std::make_unique<Slot>(o, bytes));
    if (ranks.stages() == 1) continue;
    slots_.back()->x_TD = Mat<A>("train::pipeline::x", T, D);
    slots_.back()->dy_TD = Mat<A>("train::pipeline::dy", T, D);
    slots_.back()->dx_TD = Mat<A>("train::pipeline::dx", T, D);
  }
  if (has_pairs(program, rank))
    pair_scratch_.emplace("train::pipeline::pair", pair_bytes<A>(o, ranks));
}

template <class A> typename Pipeline<A>::Slot &Pipeline<A>::slot_of(const Piece &piece) {
  Slot *free = nullptr;
  for (const auto &slot : slots_) {
    if (slot->chunk == piece.chunk && slot->micro_batch == piece.micro_batch) return *slot;
    if (slot->chunk < 0 && !free) free = slot.get();
  }
  HADAL_CHECK(free, "no free slot of {} for micro-batch {}", slots_.size(), piece.micro_batch);
  await_sends(*free);
  free->chunk = piece.chunk, free->micro_batch = piece.micro_batch;
  free->tape = {};
  free->scope.reset();
  return *free;
}

template <class A> void Pipeline<A>::await_sends(Slot &slot) {
  flights_.land(slot.send_x);
  flights_.land(slot.send_dx);
}

// Is a neighbouring stage on this rank too (the turn of a V)?
template <class A> bool Pipeline<A>::local(const Piece &piece, int stage) const {
  return stage >= 0 && stage < ranks_.stages() &&
         ranks_.rank_of(stage, piece.direction) == ranks_.mesh().place.pp_rank;
}

// Is the piece the last micro-batch of a shard?
template <class A> bool Pipeline<A>::ends_shard(const Piece &piece, const Step &step) const {
  const std::int64_t n = step.program.last_of(piece.direction) -
                         step.program.first_of(piece.direction),
                     m = piece.micro_batch - step.program.first_of(piece.direction);
  const std::int64_t shards = ranks_.shards(options_);
  return m + 1 == n || (m + 1) * shards / n != m * shards / n;
}

// Around the W of a piece. With the last micro-batch of a shard, each layer's sums are closed as soon as its gradients stand, so that they
// can travel; the rest is closed behind it.
template <class A>
void Pipeline<A>::begin_weights(Context &ctx, const Piece &piece, const Step &step) {
  const auto c = static_cast<std::size_t>(piece.chunk);
  if (!ends_shard(piece, step)) return;
  stages_[c].set_layer_done(
      [this, &ctx, c](Index layer) { gradients_[c].close_layer(ctx, layer); });
}
template <class A>
void Pipeline<A>::end_weights(Context &ctx, const Piece &piece, const Step &step) {
  const auto c = static_cast<std::size_t>(piece.chunk);
  if (!ends_shard(piece, step)) return;
  stages_[c].set_layer_done({});
  gradients_[c].close_backward(ctx);
}

template <class A>
typename Pipeline<A>::Slot &Pipeline<A>::begin_forward(Context &ctx, const Piece &piece,
                                                       Step &step) {
  Slot &slot = slot_of(piece);
  const int stage = ranks_.chunks()[static_cast<std::size_t>(piece.chunk)].stage;
  const auto per = static_cast<std::size_t>(options_.batch.micro_batch);
  slot.batch = slot.buffers.load(
      ctx, std::span(step.samples).subspan(static_cast<std::size_t>(piece.micro_batch) * per, per));
  slot.batch.number =
      static_cast<long>(ranks_.global_micro_batch(piece.micro_batch, step.micro_batches));
  slot.scope.emplace(slot.arena);
  if (ranks_.stages() > 1 && local(piece, stage - 1))
    Kokkos::deep_copy(
        ctx.exec, slot.x_TD,
        slot_of({1 - piece.chunk, piece.micro_batch, piece.direction}).tape.x_TD.back());
  return slot;
}

template <class A> void Pipeline<A>::forward(Context &ctx, const Piece &piece, Step &step) {
  Slot &slot = begin_forward(ctx, piece, step);
  const auto c = static_cast<std::size_t>(piece.chunk);
  stages_[c].forward(ctx, slot.arena, step.weights, slot.batch, step.scales,
                     gradients_[c].for_forward(ctx), step.load_BE, slot.x_TD, slot.tape);
  if (ends_shard(piece, step)) gradients_[c].close_forward(ctx);
}

template <class A> void Pipeline<A>::end_backward(Context &ctx, const Piece &piece, Step &step) {
  Slot &slot = slot_of(piece);
  const auto c = static_cast<std::size_t>(piece.chunk);
  if (ranks_.stages() > 1 && local(piece, ranks_.chunks()[c].stage - 1))
    Kokkos::deep_copy(
        ctx.exec, slot_of({1 - piece.chunk, piece.micro_batch, piece.direction}).dy_TD, slot.dx_TD);
  // All that a loss is made of stands by now.
  const model::MicroLoss loss = stages_[c].losses(ctx, slot.tape);
  if (first_bad_.empty()) first_bad_ = stages_[c].first_bad_activation();
  step.ledger.note(slot.batch.number, loss);
}

template <class A>
void Pipeline<A>::backward(Context &ctx, const Piece &piece, Step &step, bool with_weights) {
  Slot &slot = slot_of(piece);
  const auto c = static_cast<std::size_t>(piece.chunk);
  if (with_weights) {
    begin_weights(ctx, piece, step);
    stages_[c].backward(ctx, step.weights, slot.batch, step.scales, gradients_[c].for_backward(ctx),
                        slot.dy_TD, slot.tape, slot.dx_TD);
    end_weights(ctx, piece, step);
  } else {
    stages_[c].backward_input(ctx, slot.arena, step.weights, slot.batch, step.scales, slot.dy_TD,
                              slot.tape, slot.dx_TD);
  }
  end_backward(ctx, piece, step);
}

// F of one micro-batch and BW of another take turns (model/pair.hpp).
template <class A> void Pipeline<A>::overlap(Context &ctx, const Action &action, Step &step) {
  HADAL_CHECK(pair_scratch_, "a pair of micro-batches {} and {}, but the full program has none",
              action.at.micro_batch, action.with.micro_batch);
  Slot &front = begin_forward(ctx, action.at, step), &back = slot_of(action.with);
  const auto f = static_cast<std::size_t>(action.at.chunk),
             b = static_cast<std::size_t>(action.with.chunk);
  Context beside = ctx.within(*pair_scratch_);
  begin_weights(beside, action.with, step);
  {
    const auto forward = stages_[f].forward_walk(ctx, front.arena, step.weights, front.batch,
                                                 step.scales, gradients_[f].for_forward(ctx),
                                                 step.load_BE, front.x_TD, front.tape);
    const auto backward = stages_[b].backward_walk(beside, step.weights, back.batch, step.scales,
                                                   gradients_[b].for_backward(ctx), back.dy_TD,
                                                   back.tape, back.dx_TD);
    model::walk_pair(*forward, *backward);
  }
  if (ends_shard(action.at, step)) gradients_[f].close_forward(ctx);
  end_weights(ctx, action.with, step);
  end_backward(ctx, action.with, step);
}

template <class A> void Pipeline<A>::backward_weight(Context &ctx, const Piece &piece, Step &step) {
  Slot &slot = slot_of(piece);
  const auto c = static_cast<std::size_t>(piece.chunk);
  begin_weights(ctx, piece, step);
  stages_[c].backward_weight(ctx, slot.batch, gradients_[c].for_backward(ctx), slot.tape);
  end_weights(ctx, piece, step);
}

template <class A> void Pipeline<A>::message(Context &ctx, const Action &action, const Step &step) {
  Slot &slot = slot_of(action.at);
  comm::Communicator &pp = *ranks_.mesh().pp;
  const bool activation = action.content == Content::activation;
  const auto number =
      static_cast<long>(ranks_.global_micro_batch(action.at.micro_batch, step.micro_batches));
  const comm::What what{activation ? "activation" : "gradient", number};
  const std::size_t bytes = slot.x_TD.size() * sizeof(A);
  comm::Request &receive = activation ? slot.receive_x : slot.receive_dy,
                &send = activation ? slot.send_x : slot.send_dx;
  if (action.verb == Verb::receive) return flights_.land(receive);
  if (action.verb == Verb::post) {
    receive = pp.irecv(action.peer, tag_of(action), (activation ? slot.x_TD : slot.dy_TD).data(),
                       bytes, what);
    return flights_.begin(receive, {activation ? "receive activation" : "receive gradient", number,
                                    -1, static_cast<double>(bytes)});
  }
  tensor::fence(ctx, "train::pipeline::send"); // reason: the array leaves this rank
  const Mat<A> data = activation ? slot.tape.x_TD.back() : slot.dx_TD;
  send = pp.isend(action.peer, tag_of(action), data.data(), bytes, what);
  flights_.begin(send, {activation ? "send activation" : "send gradient", number, -1,
                        static_cast<double>(bytes)});
}

template <class A> void Pipeline<A>::act(Context &ctx, const Action &action, Step &step) {
  switch (action.verb) {
  case Verb::forward: return forward(ctx, action.at, step);
  case Verb::backward: return backward(ctx, action.at, step, true);
  case Verb::backward_input: return backward(ctx, action.at, step, false);
  case Verb::backward_weight: return backward_weight(ctx, action.at, step);
  case Verb::overlap: return overlap(ctx, action, step);
  case Verb::post:
  case Verb::receive:
  case Verb::send: return message(ctx, action, step);
  }
}

template <class A>
void Pipeline<A>::run(Context &plain, const model::Weights<A> &weights,
                      const std::vector<model::HostSample> &samples,
                      const model::LossScales &scales, Mat<std::int64_t> load_BE, Ledger &ledger) {
  const auto n = static_cast<std::int64_t>(samples.size()) / options_.batch.micro_batch *
                 ranks_.mesh().place.dp;
  if (!program_ || program_for_ != n) {
    program_ = ranks_.program(n);
    program_for_ = n;
  }
  first_bad_.clear();
  Context ctx = plain;
  if (!ranks_.alone()) ctx.background = &flights_;
  Step step{*program_, weights, samples, scales, load_BE, ledger, n};
  const auto &list = program_->actions[static_cast<std::size_t>(ranks_.mesh().place.pp_rank)];
  // When a micro-batch on a chunk is touched for the last time its slot is free again.
  std::map<std::pair<int, int>, std::size_t> last;
  for (std::size_t i = 0; i < list.size(); ++i)
    for (const Piece &p : {list[i].at, list[i].with})
      if (p.chunk >= 0) last[{p.chunk, p.micro_batch}] = i;
  for (std::size_t i = 0; i < list.size(); ++i) {
    act(ctx, list[i], step);
    for (const Piece &p : {list[i].at, list[i].with})
      if (p.chunk >= 0 && last[{p.chunk, p.micro_batch}] == i) slot_of(p).chunk = -1;
  }
  for (const auto &slot : slots_) await_sends(*slot);
}

// Stage by stage, each waiting for the one before: for passes beside the training, where nothing else is to be done.
template <class A>
template <class At>
void Pipeline<A>::stage_by_stage(Context &ctx, const model::MicroBatch &batch, const At &at) {
  Slot &slot = *slots_[0];
  await_sends(slot);
  slot.scope.reset();
  const int me = ranks_.mesh().place.pp_rank;
  const Mat<A> border(slot.x_TD.data(), batch.main.samples * batch.main.rows, options_.dims.model);
  const std::size_t bytes = border.size() * sizeof(A);
  for (int stage = 0; stage < ranks_.stages(); ++stage) {
    const int rank = ranks_.rank_of(stage, 0);
    const int before = stage > 0 ? ranks_.rank_of(stage - 1, 0) : rank;
    if (before == me && rank != me) {
      tensor::fence(ctx, "train::pipeline::stage_by_stage"); // reason: the array leaves this rank
      ranks_.mesh().pp->send(rank, 0, border.data(), bytes, {"pass beside the training"});
    }
    if (rank != me) continue;
    if (before != me)
      ranks_.mesh().pp->recv(before, 0, border.data(), bytes, {"pass beside the training"});
    for (std::size_t c = 0; c < stages_.size(); ++c)
      if (ranks_.chunks()[c].stage == stage) at(stages_[c], slot.arena, border);
  }
}

template <class A>
std::vector<double> Pipeline<A>::evaluate(Context &ctx, const model::Weights<A> &weights,
                                          const model::MicroBatch &batch) {
  std::vector<double> sums(1 + model::extra_names(options_.objective().goal).size(), 0.0);
  stage_by_stage(ctx, batch, [&](auto &stage, tensor::Arena &arena, Mat<A> border) {
    const auto loss = stage.evaluate(ctx, arena, weights, batch, border, border);
    sums[0] = loss.main;
    std::copy(loss.extra.begin(), loss.extra.end(), sums.begin() + 1);
  });
  if (ranks_.stages() > 1)
    ranks_.mesh().pp->broadcast(last_rank(), sums.data(), sums.size() * sizeof(double),
                                {"validation"});
  return sums;
}

template <class A>
std::vector<float> Pipeline<A>::log_probabilities(Context &ctx, const model::Weights<A> &weights,
                                                  const model::MicroBatch &batch) {
  std::vector<float> logp(static_cast<std::size_t>(batch.main.samples * batch.main.rows));
  stage_by_stage(ctx, batch, [&](auto &stage, tensor::Arena &arena, Mat<A> border) {
    auto rated = stage.log_probabilities(ctx, arena, weights, batch, border, border);
    if (!rated.logp_T.empty()) logp = std::move(rated.logp_T);
  });
  if (ranks_.stages() > 1)
    ranks_.mesh().pp->broadcast(last_rank(), logp.data(), logp.size() * sizeof(float),
                                {"log-probabilities"});
  return logp;
}

template class Pipeline<float>;
template class Pipeline<numerics::bf16>;

} // namespace train
