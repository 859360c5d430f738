// SPDX-License-Identifier: Apache-2.0
#pragma once
// What this rank has to do with the others: the mesh, the stages it holds, who else holds the same weights, and which micro-batches
// of a step are its own. One rank is the smallest case of the same.
#include <memory>
#include <vector>

#include "comm/mesh.hpp"
#include "layers/dispatch/route.hpp"
#include "model/parameters.hpp"
#include "schedule/program.hpp"
#include "train/options.hpp"

namespace train {

// One stage on this rank. The ranks that hold the same stage are its replicas, ordered by (direction, data-parallel rank): in this
// order the tree of the law of sums runs over them.
struct Chunk {
  model::Part part;
  int stage = 0, direction = 0;
  comm::Communicator *replicas = nullptr; // of everything but the experts
  comm::Communicator *expert_replicas = nullptr;
};

class Ranks {
public:
  // Together on all ranks of the world. Errors E077, E083, E084.
  Ranks(const Options &options, comm::Communicator &world);

  comm::Communicator &world() const { return *mesh_.world; }
  const comm::Mesh &mesh() const { return mesh_; }
  const std::vector<Chunk> &chunks() const { return chunks_; }
  const model::Share &share() const { return share_; }
  schedule::Kind kind() const { return kind_; }
  int directions() const { return kind_ == schedule::Kind::dualpipe ? 2 : 1; }
  int stages() const { return stages_; }
  bool alone() const { return world().size() == 1; }
  bool first() const { return world().rank() == 0; } // speaks, logs, writes history

  // The expert group and the way between its ranks; its ep is null where every rank has all experts.
  layers::dispatch::Group expert_group(const Options &options) const;
  // Shards of a stage of this rank in one step.
  std::int64_t shards(const Options &options) const;
  // The program of a step of so many micro-batches on all ranks.
  schedule::Program program(std::int64_t micro_batches) const;
  // The pipeline rank that holds a stage for a direction.
  int rank_of(int stage, int direction) const { return shape_.rank_of(stage, direction); }
  // Place of this pipeline's micro-batch m (0 .. n / dp - 1) among the n of the step.
  std::int64_t global_micro_batch(std::int64_t m, std::int64_t n) const;

private:
  comm::Mesh mesh_;
  schedule::Kind kind_ = schedule::Kind::accumulate;
  int stages_ = 1;
  schedule::Program
      shape_; // the smallest program: which rank holds what does not depend on the size
  std::vector<Chunk> chunks_;
  model::Share share_;
  std::vector<std::unique_ptr<comm::Communicator>> replicas_;
};

// What each stage holds: parallel.stages, or runs of equal cost as far as can be. What follows the last layer (head, MTP modules) counts
// as one more unit, which may have the last stage to itself.
std::vector<model::Part> cut_into_stages(const Options &options, int stages);

} // namespace train
