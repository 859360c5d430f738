// SPDX-License-Identifier: Apache-2.0
#include "train/ranks.hpp"

#include "schedule/balance.hpp"

namespace train {
namespace {

// Of the layers and of what follows them, by token: a tensor costs its elements, of the experts the share that is chosen, and the core of
// the attention its products over half a sequence.
std::vector<std::int64_t> unit_costs(const Options &o) {
  const arch::Dims &dims = o.dims;
  const std::int64_t core =
      dims.heads * (dims.nope + dims.rope + dims.value) * o.batch.sequence / 2;
  std::vector<std::int64_t> cost(static_cast<std::size_t>(dims.layers), core);
  // The head multiplies once more for each MTP module.
  cost.push_back(dims.mtp_depth * (core + dims.vocabulary * dims.model));
  for (const auto &spec : arch::registry(dims)) {
    if (spec.name == "embedding") continue; // read, not multiplied
    const std::int64_t each = spec.sharding == arch::Sharding::experts
                                  ? spec.size() / dims.experts * dims.chosen
                                  : spec.size();
    const bool behind = spec.layer < 0 || spec.layer >= dims.layers;
    cost[static_cast<std::size_t>(behind ? dims.layers : spec.layer)] += each;
  }
  return cost;
}

} // namespace

std::vector<model::Part> cut_into_stages(const Options &o, int stages) {
  std::vector<int> layers(o.parallel.stages.begin(), o.parallel.stages.end());
  if (layers.empty()) {
    layers = schedule::balance(unit_costs(o), stages);
    --layers.back(); // what follows the last layer is none
  }
  std::vector<model::Part> parts;
  tensor::Index first = 0;
  for (const int count : layers) {
    parts.push_back({first, first + count, parts.empty(), false});
    first += count;
  }
  parts.back().head = true;
  return parts;
}

Ranks::Ranks(const Options &o, comm::Communicator &world) {
  const auto &p = o.parallel;
  mesh_ = comm::make_mesh(world, {static_cast<int>(p.dp), static_cast<int>(p.ep),
                                  static_cast<int>(p.pp), static_cast<int>(p.ranks_per_node)});
  kind_ = p.schedule;
  const int pp = mesh_.place.pp, rank = mesh_.place.pp_rank, dp_rank = mesh_.place.dp_rank;
  stages_ = schedule::stages_for(kind_, pp);
  const auto parts = cut_into_stages(o, stages_);
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

layers::dispatch::Group Ranks::expert_group(const Options &o) const {
  using layers::dispatch::Way;
  layers::dispatch::Group group;
  group.formats = o.precision.experts;
  if (mesh_.place.ep == 1) return group;
  group.ep = mesh_.ep.get(), group.node = mesh_.ep_node.get(), group.cross = mesh_.ep_cross.get();
  const int nodes = group.cross->size();
  switch (o.parallel.dispatch) {
  case Dispatch::automatic:
    // Without sums at the peer all copies come home over the same links, after one hop more.
    group.way =
        nodes > 1 && layers::dispatch::groups_on_nodes(o.dims, nodes) ? Way::two_hop : Way::direct;
    break;
  case Dispatch::direct: group.way = Way::direct; break;
  case Dispatch::two_hop: group.way = Way::two_hop; break;
  case Dispatch::reference: group.way = Way::reference; break;
  }
  return group;
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
