// SPDX-License-Identifier: Apache-2.0
#pragma once
// A tiny model whose weights lie on many ranks, and the engine on them. The first ranks of the MPI world are taken: an engine makes arrays of
// its own, which threads as ranks could not.
#include <memory>

#include "tests/parallel/contract/bodies.hpp"
#include "tests/unit/eval/tools.hpp"
#include "tests/unit/infer/engine.hpp"

namespace parallel_infer {

using namespace infer_test;
using comm::Communicator;
using layers::dispatch::Way;

struct Layout {
  std::string name;
  int dp = 1, ep = 1, pp = 1, ranks_per_node = 0;
  enum class Stages { one_each, both_ways, down_and_up } stages = Stages::one_each;
  Way way = Way::direct;
  int ranks() const { return dp * pp; }
};
inline void PrintTo(const Layout &layout, std::ostream *out) { *out << layout.name; }

inline const std::vector<Layout> &layouts() {
  using S = Layout::Stages;
  static const std::vector<Layout> all = {
      {"dp2", 2},
      {"dp2_ep2", 2, 2},
      {"dp4_ep2", 4, 2},
      {"dp4_ep4_two_hop", 4, 4, 1, 2, S::one_each, Way::two_hop},
      {"pp2", 1, 1, 2},
      {"pp2_dualpipe", 1, 1, 2, 0, S::both_ways},
      {"pp2_dualpipev", 1, 1, 2, 0, S::down_and_up},
      {"pp4_a_stage_without_layers", 1, 1, 4},
      {"dp2_ep2_pp2", 2, 2, 2},
      {"dp2_ep2_pp2_dualpipev", 2, 2, 2, 0, S::down_and_up},
      {"dp4_ep2_pp2", 4, 2, 2},
  };
  return all;
}

inline arch::Dims dims_of(const Layout &layout) {
  arch::Dims d = v3_dims();
  d.vocabulary = 400; // of the tests' tokenizer
  if (layout.stages == Layout::Stages::down_and_up) d.layers = 4;
  return d;
}

// f on this process, where it is among the first.
inline void on_ranks(int ranks, const std::function<void(Communicator &)> &f) {
  auto &session = contract::session();
  session.set_options({60});
  Communicator &world = session.world();
  ASSERT_GE(world.size(), ranks) << "start this program on 8 ranks, by mpirun";
  const auto part = world.split(world.rank() < ranks ? 0 : -1, world.rank(), "world");
  if (part) f(*part);
  world.barrier();
}

// The stages of a layout, and those of which a rank holds the weights.
inline std::vector<infer::Stage> stages_of(const Layout &layout, const arch::Dims &dims) {
  if (layout.pp == 1) return {};
  const bool down_and_up = layout.stages == Layout::Stages::down_and_up;
  auto stages = infer::even_stages(dims, layout.pp * (down_and_up ? 2 : 1));
  for (auto &stage : stages)
    if (stage.rank >= layout.pp) stage.rank = 2 * layout.pp - 1 - stage.rank;
  return stages;
}

// One rank's weights: pieces of the whole model's.
template <class A> struct Share {
  model::Layout layout;
  Vec<float> master;
  Vec<A> compute;
  Share(const Model<A> &whole, const model::Share &share)
      : layout(whole.dims(), share), master("test::master", layout.size()) {
    for (const model::Slot &slot : layout.slots()) {
      const float *from = whole.master.data() + whole.layout.at(slot.spec.name).offset + slot.first;
      std::copy_n(from, slot.size, master.data() + slot.offset);
    }
    if constexpr (std::is_same_v<A, float>)
      compute = master;
    else
      compute = Vec<A>("test::compute", layout.size());
    refresh();
  }
  void refresh() {
    tensor::Arena arena("test", 1 << 16);
    tensor::Context ctx{tensor::Exec(), arena};
    model::refresh_compute(ctx, layout, Vec<const float>(master), compute);
    tensor::fence(ctx, "test"); // the engine reads the weights
  }
};

// One rank of a layout.
template <class A> class Rank {
public:
  Rank(Communicator &world, const Layout &layout, const Model<A> &whole, const EngineOptions &o,
       layers::dispatch::Formats formats = {})
      : mesh_(comm::make_mesh(world, {layout.dp, layout.ep, layout.pp, layout.ranks_per_node})) {
    layers::dispatch::Group experts;
    experts.formats = formats, experts.way = layout.way;
    if (layout.ep > 1)
      experts.ep = mesh_.ep.get(), experts.node = mesh_.ep_node.get(),
      experts.cross = mesh_.ep_cross.get();
    group = infer::group_of(mesh_, stages_of(layout, whole.dims()), experts);
    model::Share share{group.parts(whole.dims()), layout.ep, mesh_.place.ep_rank};
    if (layout.stages == Layout::Stages::both_ways) { // the other direction's weights lie here too
      share.parts.clear();
      for (const auto &stage : group.stages) share.parts.push_back(stage.part);
    }
    weights = std::make_unique<Share<A>>(whole, share);
    arena_ = std::make_unique<tensor::Arena>("test::engine",
                                             Engine<A>::arena_bytes(whole.dims(), o, group));
    engine = std::make_unique<Engine<A>>(
        whole.dims(), model::weights<A>(weights->layout, weights->master, weights->compute), o,
        &eval_test::tokenizer(), group);
    EXPECT_EQ(engine->cache_bytes(), Engine<A>::cache_bytes(whole.dims(), o, group));
  }
  std::vector<Result> run(const std::vector<Request> &requests) {
    tensor::Context ctx{tensor::Exec(), *arena_};
    return engine->run(ctx, requests);
  }
  std::vector<infer::Event> step() {
    tensor::Context ctx{tensor::Exec(), *arena_};
    return engine->step(ctx);
  }
  const comm::Mesh &mesh() const { return mesh_; }

private:
  comm::Mesh mesh_;
  std::unique_ptr<tensor::Arena> arena_;

public:
  infer::Group group;
  std::unique_ptr<Share<A>> weights;
  std::unique_ptr<Engine<A>> engine;
};

// Samples, stops of both kinds, scores, choices.
inline std::vector<Request> some_requests(const arch::Dims &dims, Index count, std::uint64_t seed) {
  std::vector<Request> requests;
  for (Index i = 0; i < count; ++i) {
    const auto own = seed + static_cast<std::uint64_t>(i);
    Request r = random_request(dims, own, 90, 12);
    if (i % 3 == 1) r.samples = 1 + chance(own, 6, 5);
    if (i % 4 == 2) r.stop_tokens = random_tokens(dims, 60, own + 1);
    if (i % 5 == 3) r.stop_strings = {"e", "swer"};
    if (i % 4 == 3) r.score_from = 1 + chance(own, 7, 40);
    if (i % 6 == 5) r.choices = random_tokens(dims, 3, own + 2);
    if (i % 7 == 6) {
      r.sampling.max_tokens = 0;
      if (r.score_from < 0 && r.choices.empty()) r.score_from = 1;
    }
    requests.push_back(std::move(r));
  }
  return requests;
}

inline void expect_same(const std::vector<Result> &got, const std::vector<Result> &expected) {
  ASSERT_EQ(got.size(), expected.size());
  for (std::size_t i = 0; i < got.size(); ++i)
    EXPECT_TRUE(same(got[i], expected[i])) << "request " << i;
}

} // namespace parallel_infer
