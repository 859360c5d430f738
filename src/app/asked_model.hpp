// SPDX-License-Identifier: Apache-2.0
#pragma once
// The model of a checkpoint on the ranks of this program, to be asked: each rank reads and holds its share.
#include "app/commands/habits.hpp"
#include "comm/mesh.hpp"
#include "infer/load.hpp"
#include "infer/options.hpp"
#include "train/options.hpp"

namespace app {

// Of the tables [infer] and [parallel] of a deck: dp, ep, pp, dispatch, ranks_per_node and deadline count. One process alone holds the whole
// model, whatever [parallel] says: the answers are the same.
struct AskedOptions {
  infer::EngineOptions engine;
  train::ParallelTable parallel;
};
// Errors E268, E014.
AskedOptions read_asked_options(deck::Deck &deck);

// On all ranks together. Rank 0 verifies what the others then read (E210, E211).
checkpoint::Reader open_checkpoint(comm::Communicator &world, const std::string &path);

template <class A> struct AskedModel {
  arch::Dims dims;
  comm::Mesh mesh;
  infer::Group group; // refers to the mesh
  infer::LoadedWeights<A> weights;
};
// On all ranks together. Errors E014, E083, E084, E213.
template <class A>
AskedModel<A> load_asked_model(comm::Communicator &world, const checkpoint::Reader &reader,
                               const AskedOptions &options, const Habits &habits);

} // namespace app
