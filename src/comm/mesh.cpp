// SPDX-License-Identifier: Apache-2.0
#include "comm/mesh.hpp"

#include <algorithm>
#include <map>

namespace comm {
namespace {

// Each expert group: the same number of ranks on each of its nodes, lying together. Else no rank would have a peer of the
// same local index on every node.
void check_groups(const MeshOptions &options, const std::vector<int> &node_of_world) {
  for (std::size_t first = 0; first < node_of_world.size();
       first += static_cast<std::size_t>(options.ep)) {
    std::map<int, int> ranks_of_node;
    bool together = true;
    for (std::size_t r = first; r < first + static_cast<std::size_t>(options.ep); ++r) {
      const int node = node_of_world[r];
      together = together && (ranks_of_node[node]++ == 0 || node_of_world[r - 1] == node);
    }
    const int each = ranks_of_node.begin()->second;
    bool even = true;
    for (const auto &entry : ranks_of_node) even = even && entry.second == each;
    if (together && even) continue;
    throw base::UserError(
        base::Exit::machine, "E084", "the ranks on the nodes",
        fmt::format("the expert group of world ranks {} to {} lies on {} nodes, {}", first,
                    first + static_cast<std::size_t>(options.ep) - 1, ranks_of_node.size(),
                    together ? "with unequal numbers of ranks" : "not one node after the other"),
        "Consecutive ranks belong on one node, and either parallel.ep divides the ranks of a node "
        "or the other way round.\nmpirun: --map-by core or --map-by ppr:N:node; srun: "
        "--distribution=block.");
  }
}

} // namespace

base::Mesh place_of(const MeshOptions &options, int world_rank, int world_size) {
  HADAL_CHECK(options.dp > 0 && options.ep > 0 && options.pp > 0 && options.dp % options.ep == 0,
              "dp {}, ep {}, pp {}", options.dp, options.ep, options.pp);
  if (options.dp * options.pp != world_size)
    throw base::UserError(
        base::Exit::machine, "E083", "parallel",
        fmt::format("dp = {} and pp = {} need {} ranks; {} {} started", options.dp, options.pp,
                    options.dp * options.pp, world_size, world_size == 1 ? "was" : "were"),
        fmt::format("Start {} ranks (mpirun -np {}, or srun --ntasks={}), or choose dp x pp = {}.",
                    options.dp * options.pp, options.dp * options.pp, options.dp * options.pp,
                    world_size));
  base::Mesh mesh{options.dp, options.ep, options.pp};
  mesh.dp_rank = world_rank % options.dp;
  mesh.pp_rank = world_rank / options.dp;
  mesh.ep_rank = mesh.dp_rank % options.ep;
  return mesh;
}

std::vector<int> nodes_of(const MeshOptions &options, const std::vector<std::string> &names,
                          int world_size) {
  std::vector<int> nodes;
  std::map<std::string, int> known;
  for (int r = 0; r < world_size; ++r) {
    const auto index = static_cast<std::size_t>(r);
    if (options.ranks_per_node > 0)
      nodes.push_back(r / options.ranks_per_node);
    else
      nodes.push_back(
          index < names.size()
              ? known.try_emplace(names[index], static_cast<int>(known.size())).first->second
              : 0);
  }
  return nodes;
}

int Mesh::nodes() const {
  return 1 + *std::max_element(node_of_world.begin(), node_of_world.end());
}

int Mesh::node_of_ep(int ep_rank) const {
  const int world_rank = ep->place().world_ranks[static_cast<std::size_t>(ep_rank)];
  return node_of_world[static_cast<std::size_t>(world_rank)];
}

Mesh make_mesh(Communicator &world, const MeshOptions &options) {
  Mesh mesh;
  mesh.place = place_of(options, world.rank(), world.size());
  mesh.node_of_world = nodes_of(options, world.terms().nodes, world.size());
  check_groups(options, mesh.node_of_world);
  world.terms().traffic.set_nodes(mesh.node_of_world);
  mesh.world = &world;
  const base::Mesh &at = mesh.place;
  mesh.pp = world.split(at.dp_rank, at.pp_rank, "pp");
  mesh.dp = world.split(at.pp_rank, at.dp_rank, "dp");
  mesh.ep = mesh.dp->split(mesh.edp_rank(), at.ep_rank, "ep");
  mesh.edp = mesh.dp->split(at.ep_rank, mesh.edp_rank(), "edp");
  const int node = mesh.node_of_ep(at.ep_rank);
  mesh.ep_node = mesh.ep->split(node, at.ep_rank, "ep_node");
  mesh.ep_cross = mesh.ep->split(mesh.ep_node->rank(), node, "ep_cross");
  return mesh;
}

} // namespace comm
