// SPDX-License-Identifier: Apache-2.0
#include "train/ranks.hpp"

#include "schedule/balance.hpp"

namespace train {
namespace {

schedule::Kind kind_of(Schedule schedule) {
  switch (schedule) {
  case Schedule::accumulate: return schedule::Kind::accumulate;
  case Schedule::one_f_one_b: return schedule::Kind::one_f_one_b;
  case Schedule::zb1p: return schedule::Kind::zb1p;
  case Schedule::dualpipe: return schedule::Kind::dualpipe;
  case Schedule::dualpipev: return schedule::Kind::dualpipev;
  }
  return schedule::Kind::accumulate;
}

} // namespace

// A tensor's cost is what a token multiplies by it: its elements, of the experts the share that is chosen.
std::vector<model::Part> cut_into_stages(const arch::Dims &dims, int stages) {
  std::vector<std::int64_t> cost(static_cast<std::size_t>(dims.layers), 0);
  for (const auto &spec : arch::registry(dims)) {
    if (spec.name == "embedding") continue; // read, not multiplied
    const std::int64_t each = spec.sharding == arch::Sharding::experts
                                  ? spec.size() / dims.experts * dims.chosen
                                  : spec.size();
    const bool behind = spec.layer < 0 || spec.layer >= dims.layers;
    cost[static_cast<std::size_t>(behind ? dims.layers - 1 : spec.layer)] += each;
  }
  // The head multiplies once more for each MTP module.
  cost.back() += dims.mtp_depth * dims.vocabulary * dims.model;
  std::vector<model::Part> parts;
  tensor::Index first = 0;
  for (const int layers : schedule::balance(cost, stages)) {
    parts.push_back({first, first + layers, parts.empty(), false});
    first += layers;
  }
  parts.back().head = true;
  return parts;
}

Ranks::Ranks(const Options &o, comm::Communicator &world) {
  const auto &p = o.parallel;
  mesh_ = comm::make_mesh(world, {static_cast<int>(p.dp), static_cast<int>(p.ep),
                                  static_cast<int>(p.pp), static_cast<int>(p.ranks_per_node)});
  kind_ = kind_of(p.schedule);
  const int pp = mesh_.place.pp, rank = mesh_.place.pp_rank, dp_rank = mesh_.place.dp_rank;
  stages_ = schedule::stages_for(kind_, pp);
  const auto parts = cut_into_stages(o.dims, stages_);
  shape_ = schedule::build(kind_, pp, schedule::whole_pattern(kind_, pp), o.deck_name);
  share_.ep = mesh_.place.ep, share_.ep_rank = mesh_.place.ep_rank;
  for (int c = 0; c < shape_.chunks; ++c) {
    Chunk chunk;
    chunk.stage = shape_.stage_of(rank, c);
    for (int d = 0; d < directions(); ++d)
      if (shape_.rank_of(chunk.stage, d) == rank && shape_.chunk_of(chunk.stage, d) == c)
        chunk.direction = d;
    chunk.part = parts[static_cast<std::size_t>(chunk.stage)];
    chunks_.push_back(chunk);
    share_.parts.push_back(chunk.part);
  }
  // Every rank takes part in every split; a stage's replicas find each other by its number.
  for (int stage = 0; stage < stages_; ++stage) {
    Chunk *mine = nullptr;
    for (Chunk &chunk : chunks_)
      if (chunk.stage == stage) mine = &chunk;
    const int key = mine ? mine->direction * mesh_.place.dp + dp_rank : 0;
    auto all = world.split(mine ? stage : -1, key, "replicas");
    auto experts = world.split(mine ? stage * mesh_.place.ep + mesh_.place.ep_rank : -1, key,
                               "expert replicas");
    if (!mine) continue;
    mine->replicas = all.get(), mine->expert_replicas = experts.get();
    replicas_.push_back(std::move(all));
    replicas_.push_back(std::move(experts));
  }
}

std::int64_t Ranks::shards(const Options &o) const {
  return std::max<std::int64_t>(1, o.shards() / mesh_.place.dp / directions());
}

schedule::Program Ranks::program(std::int64_t micro_batches) const {
  return schedule::build(kind_, mesh_.place.pp, static_cast<int>(micro_batches / mesh_.place.dp));
}

std::int64_t Ranks::global_micro_batch(std::int64_t m, std::int64_t n) const {
  const std::int64_t half = n / mesh_.place.dp / directions(); // of this pipeline and one direction
  return m / half * (n / directions()) + mesh_.place.dp_rank * half + m % half;
}

} // namespace train
