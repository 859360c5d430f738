// SPDX-License-Identifier: Apache-2.0
#pragma once
// Ranks that generate together, as the mesh of a training run has them:
//   replicas   data-parallel ranks: each takes its share of the requests
//   pipeline   ranks of one replica, each with some stages: x goes from stage to stage, all of them know what was chosen
//   experts    ranks of several replicas that share the experts: they make their passes in step, with rows of their own or without
// Under DualPipe a stage lies on two ranks of a pipeline; here it is named once.
#include <vector>

#include "comm/mesh.hpp"
#include "layers/dispatch/route.hpp"
#include "model/parameters.hpp"

namespace infer {

using tensor::Index;

struct Stage {
  model::Part part;
  int rank = 0; // of the pipeline
};

struct Group {
  comm::Communicator *replicas = nullptr; // null: one
  comm::Communicator *pipeline = nullptr; // null: all stages are here
  std::vector<Stage> stages;              // in the order of the model; empty: the whole model
  layers::dispatch::Group experts = {};   // its ep null: all experts are here

  bool alone() const { return !replicas && !pipeline; }
  bool holds(const Stage &stage) const { return !pipeline || stage.rank == pipeline->rank(); }
  // The stages of this rank.
  std::vector<model::Part> parts(const arch::Dims &dims) const;
};

// Of a mesh, whose communicators it uses.
Group group_of(const comm::Mesh &mesh, std::vector<Stage> stages, layers::dispatch::Group experts);

// Runs of layers as even as can be, one for each rank of a pipeline.
std::vector<Stage> even_stages(const arch::Dims &dims, int ranks);

} // namespace infer
