// SPDX-License-Identifier: Apache-2.0
#include "infer/group.hpp"

namespace infer {

std::vector<model::Part> Group::parts(const arch::Dims &dims) const {
  if (stages.empty()) return {model::Part::whole(dims)};
  std::vector<model::Part> mine;
  for (const Stage &stage : stages)
    if (holds(stage)) mine.push_back(stage.part);
  return mine;
}

Group group_of(const comm::Mesh &mesh, std::vector<Stage> stages, layers::dispatch::Group experts) {
  Group group;
  if (mesh.place.dp > 1) group.replicas = mesh.dp.get();
  if (mesh.place.pp > 1) group.pipeline = mesh.pp.get();
  group.stages = std::move(stages);
  group.experts = experts;
  return group;
}

std::vector<Stage> even_stages(const arch::Dims &dims, int ranks) {
  std::vector<Stage> stages;
  for (int rank = 0; rank < ranks; ++rank)
    stages.push_back({{dims.layers * rank / ranks, dims.layers * (rank + 1) / ranks, rank == 0,
                       rank + 1 == ranks},
                      rank});
  return stages;
}

} // namespace infer
