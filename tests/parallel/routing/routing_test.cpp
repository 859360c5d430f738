// SPDX-License-Identifier: Apache-2.0
// Every way between expert ranks against the definitions, to the last bit: random choices, all tokens to one expert, ranks without
// tokens, several nodes, all number formats. By itself the ranks are threads, under mpirun those of the MPI world.
#include <set>

#include "tests/parallel/routing/walk.hpp"

namespace {

using namespace routing;
using comm::Communicator;
using dispatch::Format;
using dispatch::Way;

std::vector<std::unique_ptr<Memory>> memories; // by rank
class Routing : public testing::Test {
protected:
  static void TearDownTestSuite() { memories.clear(); } // before Kokkos ends
};

// f as every rank of a world of `ranks`; nothing where this program's world has another number.
void on_ranks(int ranks, const std::function<void(Communicator &, Memory &)> &f) {
  auto &session = contract::session();
  const std::size_t wanted = session.parallel() ? 1 : static_cast<std::size_t>(ranks);
  while (memories.size() < wanted) memories.push_back(std::make_unique<Memory>());
  session.set_options({60});
  if (session.parallel()) {
    if (session.world().size() == ranks) f(session.world(), *memories[0]);
    return;
  }
  comm::loopback::run(ranks, {60}, [&](Communicator &world) {
    f(world, *memories[static_cast<std::size_t>(world.rank())]);
  });
}

// Two micro-batches under way at once: the second one's counts travel among the first one's rows.
template <class A> void walk(const Case &c, Way way, Communicator &world, Memory &memory) {
  const comm::Mesh mesh = comm::make_mesh(world, {c.ep, c.ep, 1, c.ranks_per_node});
  tensor::Arena::Scope scratch(memory.scratch), keep(memory.keep), own(memory.own);
  tensor::Context ctx{tensor::Exec(), memory.scratch};
  Case other = c;
  other.seed += 100;
  Walk<A> one(c, way, mesh, memory), two(other, way, mesh, memory);
  auto first = one.start_dispatch(ctx);
  auto second = two.start_dispatch(ctx);
  one.end_dispatch(ctx, *first);
  first = one.start_combine(ctx);
  two.end_dispatch(ctx, *second);
  second = two.start_combine(ctx);
  one.end_combine(ctx, *first);
  two.end_combine(ctx, *second);
  first = one.start_dispatch_gradient(ctx);
  one.land(ctx, *first);
  second = two.start_dispatch_gradient(ctx);
  first = one.start_combine_gradient(ctx);
  two.land(ctx, *second);
  second = two.start_combine_gradient(ctx);
  two.land(ctx, *second);
  one.end_combine_gradient(ctx, *first);
  two.end_combine_gradient(ctx, *second);
}

std::string name_of(const Case &c, Way way) {
  return fmt::format("way {} ep {} nodes of {} E {} K {} G {} D {} formats {} {} seed {}",
                     static_cast<int>(way), c.ep, c.ranks_per_node, c.experts, c.chosen, c.groups,
                     c.width, static_cast<int>(c.formats.dispatch),
                     static_cast<int>(c.formats.combine), c.seed);
}

void run(const Case &c) {
  for (const Way way : {Way::direct, Way::two_hop, Way::reference}) {
    SCOPED_TRACE(name_of(c, way));
    on_ranks(c.ep, [&](Communicator &world, Memory &memory) {
      walk<float>(c, way, world, memory);
      walk<bf16>(c, way, world, memory);
    });
  }
}

// Expert groups of ep ranks on one, two and four nodes.
std::vector<std::pair<int, int>> shapes() {
  return {{1, 0}, {2, 0}, {2, 1}, {4, 0}, {4, 2}, {4, 1}, {8, 0}, {8, 4}, {8, 2}};
}

TEST_F(Routing, RandomChoices) {
  unsigned seed = 1;
  for (const auto &[ep, node] : shapes())
    for (const auto &[experts, chosen, groups] :
         {std::tuple{8, 3, 4}, {16, 4, 8}, {16, 8, 4}, {32, 5, 1}, {8, 1, 8}, {8, 2, 2}}) {
      Case c{ep, node, experts, chosen, groups, 1 + static_cast<Index>(seed * 7 % 40), {9, 14, 3}};
      c.seed = ++seed;
      run(c);
    }
}

TEST_F(Routing, AllTokensToOneExpertOrOneGroup) {
  for (const auto &[ep, node] : shapes())
    for (const Choice choice : {Choice::one_expert, Choice::one_group, Choice::few_experts})
      for (const Index chosen : {1, 2}) {
        Case c{ep, node, 16, chosen, 4, 33, {20}};
        c.choice = choice;
        run(c);
      }
}

TEST_F(Routing, RanksWithoutTokens) {
  for (const auto &[ep, node] : shapes())
    for (const auto &tokens : {std::vector<Index>{0, 5}, {5, 0}, {0, 1, 0}, {0}})
      run({ep, node, 8, 2, 4, 6, tokens});
}

TEST_F(Routing, FormatsOfTheJourneys) {
  for (const auto &[ep, node] : shapes())
    for (const Format out : {Format::compute, Format::bf16, Format::f32})
      for (const Format home : {Format::compute, Format::bf16, Format::f32})
        run({ep, node, 16, 6, 4, 40, {12, 7}, Choice::random, {out, home}, 5});
}

// What crosses between nodes, by what the choices say: in one hop each copy, in two hops each (token, node) on the way out and each
// (token, group) on the way home.
struct Crossing {
  Index copies = 0, tokens = 0, groups = 0;
  Crossing(const Case &c, int rank) {
    const Index ranks = c.ranks_per_node > 0 ? c.ranks_per_node : c.ep,
                node_experts = c.experts / c.ep * ranks, mine = rank / ranks;
    const auto ids = choices(c, rank);
    for (Index t = 0; t < c.tokens_of(rank); ++t) {
      std::set<Index> nodes, of_groups;
      for (Index k = 0; k < c.chosen; ++k) {
        const Index e = ids[static_cast<std::size_t>(t * c.chosen + k)];
        if (e / node_experts == mine) continue;
        ++copies;
        nodes.insert(e / node_experts), of_groups.insert(e / (c.experts / c.groups));
      }
      tokens += static_cast<Index>(nodes.size()), groups += static_cast<Index>(of_groups.size());
    }
  }
};

// Sums over all ranks and both micro-batches of a walk.
void expect_crossing(const Case &c, Way way, const comm::Traffic &all) {
  Index copies = 0, tokens = 0, groups = 0;
  for (const unsigned more : {0u, 100u})
    for (int rank = 0; rank < c.ep; ++rank) {
      Case of = c;
      of.seed += more;
      const Crossing crossing(of, rank);
      copies += crossing.copies, tokens += crossing.tokens, groups += crossing.groups;
    }
  const auto row = [&](const char *operation) {
    return all.total("", operation)[comm::Link::other_node].bytes;
  };
  const bool two = way == Way::two_hop,
             sums = two && dispatch::groups_on_nodes(c.dims(), c.ep / c.ranks_per_node);
  const Index bytes = static_cast<Index>(sizeof(float)) * c.width;
  EXPECT_EQ(row("dispatch"), (two ? tokens : copies) * bytes);
  EXPECT_EQ(row("dispatch gradient"), (two ? tokens : copies) * bytes);
  EXPECT_EQ(row("combine"), (sums ? groups : copies) * bytes);
  EXPECT_EQ(row("combine gradient"), (sums ? groups : copies) * bytes);
  if (two) {
    EXPECT_LT(tokens, copies);
  }
  if (sums) {
    EXPECT_LT(groups, copies);
  }
}

TEST_F(Routing, BytesBetweenNodes) {
  for (const auto &[ep, node] : {std::pair{4, 2}, {4, 1}, {8, 4}, {8, 2}})
    for (const Index groups : {8, 1})
      for (const Way way : {Way::direct, Way::two_hop}) {
        const Case c{ep, node, 32, 8, groups, 24, {30, 17}};
        SCOPED_TRACE(name_of(c, way));
        on_ranks(ep, [&](Communicator &world, Memory &memory) {
          world.terms().traffic.clear();
          walk<float>(c, way, world, memory);
          const comm::Traffic all = comm::traffic_of_all(world);
          if (world.rank() == 0) expect_crossing(c, way, all);
        });
      }
}

} // namespace
