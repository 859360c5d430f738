// SPDX-License-Identifier: Apache-2.0
#pragma once
// The process mesh. World rank = pp_rank * dp + dp_rank, ep_rank = dp_rank mod ep: the ranks of an expert group are
// consecutive, so that they lie on as few nodes as can be. See docs/communication.md.
#include <memory>
#include <string>
#include <vector>

#include "base/mesh.hpp"
#include "comm/communicator.hpp"

namespace comm {

struct MeshOptions {
  int dp = 1, ep = 1, pp = 1;
  int ranks_per_node =
      0; // virtual nodes of so many consecutive world ranks; 0: the machine's nodes
};

// The axes of one rank. The world stays its owner's (Session, or a test).
struct Mesh {
  base::Mesh place;
  std::vector<int> node_of_world; // node of each world rank, counted in order of first appearance

  Communicator *world = nullptr;
  std::unique_ptr<Communicator> pp;  // same dp_rank: rank = pp_rank
  std::unique_ptr<Communicator> dp;  // same pp_rank: rank = dp_rank
  std::unique_ptr<Communicator> ep;  // the expert group: rank = ep_rank
  std::unique_ptr<Communicator> edp; // same pp_rank and ep_rank: rank = dp_rank / ep
  // The expert group by nodes, for routing in two hops: the ranks of one node, and the ranks of the same local index.
  std::unique_ptr<Communicator> ep_node, ep_cross;

  int edp_rank() const { return place.dp_rank / place.ep; }
  int nodes() const;
  int node_of_ep(int ep_rank) const; // of a rank of my expert group
};

// Sizes and this rank's place, without communicators; E083 when the ranks of the launcher are not dp x pp.
base::Mesh place_of(const MeshOptions &options, int world_rank, int world_size);

// Node numbers by world rank: from the option, or from the names of the nodes (empty names: one node).
std::vector<int> nodes_of(const MeshOptions &options, const std::vector<std::string> &names,
                          int world_size);

// Of all ranks together. E084 when an expert group has not the same number of ranks on each of its nodes.
Mesh make_mesh(Communicator &world, const MeshOptions &options);

} // namespace comm
