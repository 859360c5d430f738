// SPDX-License-Identifier: Apache-2.0
#include "app/asked_model.hpp"

#include <optional>

#include "train/ranks.hpp"

namespace app {

using base::Exit, base::UserError;
using tensor::Index;

AskedOptions read_asked_options(deck::Deck &deck) {
  AskedOptions o;
  infer::EngineTable table;
  deck.read_table("infer", table);
  deck.read_table("parallel", o.parallel);
  o.engine = infer::engine_options(deck, table, 0);
  if (o.parallel.dp % o.parallel.ep != 0)
    deck.fail("parallel", "ep", "E014", fmt::format("ep must divide dp ({})", o.parallel.dp));
  return o;
}

checkpoint::Reader open_checkpoint(comm::Communicator &world, const std::string &path) {
  if (world.size() == 1) return checkpoint::Reader::open(path);
  std::optional<checkpoint::Reader> found;
  if (world.rank() == 0) {
    found.emplace(checkpoint::Reader::open(path));
    if (const auto fault = found->verify(); !fault.empty())
      throw UserError(Exit::checkpoint, "E211", found->directory().string(), fault,
                      "Take an older checkpoint. Nothing was deleted.");
  }
  const std::string directory =
      world.all_gather_text(found ? found->directory().string() : "", {"checkpoint"})[0];
  return found ? std::move(*found) : checkpoint::Reader::open_verified(directory);
}

namespace {

comm::MeshOptions mesh_of(const train::ParallelTable &p, int ranks) {
  if (ranks == 1) return {};
  return {static_cast<int>(p.dp), static_cast<int>(p.ep), static_cast<int>(p.pp),
          static_cast<int>(p.ranks_per_node)};
}

// As in training (train::Ranks::expert_group).
layers::dispatch::Group experts_of(const comm::Mesh &mesh, train::Dispatch dispatch,
                                   const arch::Dims &dims) {
  using layers::dispatch::Way;
  layers::dispatch::Group group;
  if (mesh.place.ep == 1) return group;
  group.ep = mesh.ep.get(), group.node = mesh.ep_node.get(), group.cross = mesh.ep_cross.get();
  const int nodes = group.cross->size();
  const bool grouped = nodes > 1 && layers::dispatch::groups_on_nodes(dims, nodes);
  switch (dispatch) {
  case train::Dispatch::automatic: group.way = grouped ? Way::two_hop : Way::direct; break;
  case train::Dispatch::direct: group.way = Way::direct; break;
  case train::Dispatch::two_hop: group.way = Way::two_hop; break;
  case train::Dispatch::reference: group.way = Way::reference; break;
  }
  return group;
}

} // namespace

template <class A>
AskedModel<A> load_asked_model(comm::Communicator &world, const checkpoint::Reader &reader,
                               const AskedOptions &options, const Habits &habits) {
  comm::Options waits = world.terms().options();
  waits.deadline = options.parallel.deadline;
  world.terms().set_options(waits);
  const arch::Dims dims = infer::dims_of(reader);
  comm::Mesh mesh = comm::make_mesh(world, mesh_of(options.parallel, world.size()));
  const int ep = mesh.place.ep, pp = mesh.place.pp;
  if (dims.moe() && dims.experts % ep != 0)
    throw UserError(
        Exit::deck, "E014", "parallel.ep", fmt::format("{}", ep),
        fmt::format("{} routed experts cannot be shared evenly by so many ranks.", dims.experts));
  auto experts = experts_of(mesh, options.parallel.dispatch, dims);
  experts.formats = habits.experts;
  infer::Group group = infer::group_of(
      mesh, pp > 1 ? infer::even_stages(dims, pp) : std::vector<infer::Stage>{}, experts);
  tensor::Arena none("load", 1 << 16);
  tensor::Context ctx{tensor::Exec(), none};
  auto weights =
      infer::load_weights<A>(ctx, reader, dims, {group.parts(dims), ep, mesh.place.ep_rank});
  return {dims, std::move(mesh), std::move(group), std::move(weights)};
}

template AskedModel<float> load_asked_model(comm::Communicator &, const checkpoint::Reader &,
                                            const AskedOptions &, const Habits &);
template AskedModel<numerics::bf16> load_asked_model(comm::Communicator &,
                                                     const checkpoint::Reader &,
                                                     const AskedOptions &, const Habits &);

} // namespace app
