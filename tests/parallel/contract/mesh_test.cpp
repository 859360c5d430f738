// SPDX-License-Identifier: Apache-2.0
#include <map>

#include "comm/mesh.hpp"
#include "tests/parallel/contract/bodies.hpp"

namespace {

using namespace contract;
using comm::Communicator;
using comm::MeshOptions;

std::string number_of(const std::function<void()> &f) {
  try {
    f();
  } catch (const base::UserError &error) {
    return error.number();
  }
  return "";
}

TEST(Mesh, NumbersRanks) {
  // pp 2, dp 4, ep 2: the groups are (0 1)(2 3) and (4 5)(6 7).
  const MeshOptions options{4, 2, 2};
  const int dp[] = {0, 1, 2, 3, 0, 1, 2, 3}, pp[] = {0, 0, 0, 0, 1, 1, 1, 1};
  for (int r = 0; r < 8; ++r) {
    const base::Mesh mesh = comm::place_of(options, r, 8);
    EXPECT_EQ(mesh.dp_rank, dp[r]);
    EXPECT_EQ(mesh.pp_rank, pp[r]);
    EXPECT_EQ(mesh.ep_rank, r % 2);
    EXPECT_EQ(mesh.size(), 8);
    EXPECT_EQ(mesh.edp(), 2);
  }
  EXPECT_EQ(number_of([&] { comm::place_of(options, 0, 4); }), "E083");
}

TEST(Mesh, NodesByNameOrByNumber) {
  const std::vector<std::string> names{"b", "b", "a", "a"};
  EXPECT_EQ(comm::nodes_of({}, names, 4), (std::vector<int>{0, 0, 1, 1}));
  EXPECT_EQ(comm::nodes_of({1, 1, 1, 3}, names, 4), (std::vector<int>{0, 0, 0, 1}));
  EXPECT_EQ(comm::nodes_of({}, {}, 3), (std::vector<int>{0, 0, 0}));
}

// Communicators of every axis against the numbering, for all meshes that fit this world.
void check_axes(Communicator &world, const MeshOptions &options) {
  const comm::Mesh mesh = comm::make_mesh(world, options);
  const int me = world.rank(), first_of_pp = me / options.dp * options.dp;
  std::vector<int> pp, dp, ep, edp;
  for (int p = 0; p < options.pp; ++p) pp.push_back(p * options.dp + me % options.dp);
  for (int d = 0; d < options.dp; ++d) dp.push_back(first_of_pp + d);
  for (int e = 0; e < options.ep; ++e) ep.push_back(me / options.ep * options.ep + e);
  for (int d = 0; d < options.dp / options.ep; ++d)
    edp.push_back(first_of_pp + d * options.ep + me % options.ep);
  EXPECT_EQ(mesh.pp->place().world_ranks, pp);
  EXPECT_EQ(mesh.dp->place().world_ranks, dp);
  EXPECT_EQ(mesh.ep->place().world_ranks, ep);
  EXPECT_EQ(mesh.edp->place().world_ranks, edp);
  EXPECT_EQ(mesh.pp->rank(), mesh.place.pp_rank);
  EXPECT_EQ(mesh.dp->rank(), mesh.place.dp_rank);
  EXPECT_EQ(mesh.ep->rank(), mesh.place.ep_rank);
  EXPECT_EQ(mesh.edp->rank(), mesh.edp_rank());
  // Two hops: everybody of my node, and one of each node with my local index.
  EXPECT_EQ(mesh.ep_node->size() * mesh.ep_cross->size(), mesh.ep->size());
  for (const int other : mesh.ep_node->place().world_ranks)
    EXPECT_EQ(mesh.node_of_world[static_cast<std::size_t>(other)],
              mesh.node_of_world[static_cast<std::size_t>(me)]);
  std::map<int, int> times;
  for (const int other : mesh.ep_cross->place().world_ranks)
    ++times[mesh.node_of_world[static_cast<std::size_t>(other)]];
  EXPECT_EQ(static_cast<int>(times.size()), mesh.ep_cross->size());
  // The axes carry messages.
  std::int64_t sum[] = {1};
  mesh.edp->all_reduce_sum(sum, {"count"});
  mesh.pp->all_reduce_sum(sum, {"count"});
  mesh.ep->all_reduce_sum(sum, {"count"});
  EXPECT_EQ(sum[0], world.size());
  world.barrier();
}

TEST(Mesh, AxesOfAllShapes) {
  on_all_bodies([](Communicator &world) {
    const int n = world.size();
    for (int dp = 1; dp <= n; ++dp)
      for (int ep = 1; ep <= dp; ++ep)
        for (int node = 1; node <= n; node *= 2) {
          // The expert group fills whole nodes, or a node whole groups.
          if (n % dp || dp % ep || (node % ep && ep % node)) continue;
          SCOPED_TRACE(fmt::format("dp {} ep {} nodes of {}", dp, ep, node));
          check_axes(world, {dp, ep, n / dp, node});
        }
  });
}

TEST(Mesh, UnevenGroupsAreRefused) {
  if (session().parallel()) return;
  comm::loopback::run(4, {60}, [](Communicator &world) {
    EXPECT_EQ(number_of([&] { comm::make_mesh(world, {4, 4, 1, 3}); }), "E084");
  });
  comm::loopback::run(4, {60}, [](Communicator &world) {
    world.terms().nodes = {"a", "b", "a", "b"}; // dealt like cards
    EXPECT_EQ(number_of([&] { comm::make_mesh(world, {4, 4, 1}); }), "E084");
    EXPECT_EQ(number_of([&] { comm::make_mesh(world, {4, 1, 1}); }), "");
  });
}

comm::Environment environment(const std::map<std::string, std::string> &variables) {
  return [variables](const char *name) -> const char * {
    const auto found = variables.find(name);
    return found == variables.end() ? nullptr : found->second.c_str();
  };
}
comm::Launch launch(const std::map<std::string, std::string> &variables) {
  return comm::find_launch(environment(variables));
}

TEST(Launcher, IsKnownByItsEnvironment) {
  EXPECT_FALSE(launch({}).parallel);
  EXPECT_EQ(launch({}).ranks, 1);
  // Inside sbatch, without srun.
  EXPECT_FALSE(launch({{"SLURM_NTASKS", "8"}, {"SLURM_PROCID", "0"}}).parallel);
  const auto mpirun = launch({{"OMPI_COMM_WORLD_SIZE", "16"}, {"OMPI_COMM_WORLD_LOCAL_SIZE", "8"}});
  EXPECT_TRUE(mpirun.parallel);
  EXPECT_EQ(mpirun.by, "mpirun");
  EXPECT_EQ(mpirun.ranks, 16);
  EXPECT_EQ(mpirun.ranks_per_node, 8);
  const auto srun = launch(
      {{"SLURM_STEP_NUM_TASKS", "12"}, {"SLURM_STEP_TASKS_PER_NODE", "4(x3)"}, {"PMIX_RANK", "3"}});
  EXPECT_TRUE(srun.parallel);
  EXPECT_EQ(srun.by, "srun");
  EXPECT_EQ(srun.ranks, 12);
  EXPECT_EQ(srun.ranks_per_node, 4);
  EXPECT_EQ(number_of([] { launch({{"SLURM_STEP_NUM_TASKS", "2"}}); }), "E081");
  EXPECT_FALSE(launch({{"SLURM_STEP_NUM_TASKS", "1"}}).parallel);
}

TEST(Launcher, TellsTheRankBeforeMpiDoes) {
  EXPECT_EQ(comm::launched_rank(environment({})), 0);
  EXPECT_EQ(comm::launched_rank(environment({{"OMPI_COMM_WORLD_RANK", "5"}})), 5);
  EXPECT_EQ(comm::launched_rank(environment({{"PMIX_RANK", "3"}, {"SLURM_PROCID", "3"}})), 3);
  EXPECT_EQ(comm::launched_rank(environment({{"SLURM_PROCID", "7"}})), 7);
  // mpirun inside a job: the launcher that is nearer counts.
  EXPECT_EQ(
      comm::launched_rank(environment({{"OMPI_COMM_WORLD_RANK", "2"}, {"SLURM_PROCID", "0"}})), 2);
}

} // namespace
