// SPDX-License-Identifier: Apache-2.0
#include "train/before.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "base/text.hpp"
#include "train/history.hpp"
#include "train/memory.hpp"

namespace train {

using base::Exit, base::UserError;

const Options &require_ranks(const Options &o, const comm::Communicator &world) {
  const std::int64_t asked = o.parallel.dp * o.parallel.pp;
  if (asked != world.size())
    throw UserError(Exit::machine, "E077", o.deck_name,
                    fmt::format("the deck asks for dp {} x pp {} = {} ranks, this run has {}",
                                o.parallel.dp, o.parallel.pp, asked, world.size()),
                    fmt::format("Start {} ranks (mpirun -np {} hadal run ..., or srun), or change "
                                "parallel.dp and parallel.pp.",
                                asked, asked));
  return o;
}

namespace {

// What the ranks of this machine will take together, and what it has free (the least that one of them saw). Ranks on one machine all
// come to the same numbers. Virtual nodes share the machine's memory.
struct Machine {
  std::int64_t weights = 0, moments = 0, gradients = 0, activations = 0, snapshot = 0, ranks = 0,
               free = 0;
  std::int64_t total() const { return weights + moments + gradients + activations + snapshot; }
};

Machine on_this_machine(comm::Communicator &world, const Memory &mine) {
  constexpr std::size_t kinds = 6;
  std::vector<std::int64_t> all(kinds * static_cast<std::size_t>(world.size()), 0);
  const std::size_t parts[kinds] = {mine.weights + mine.copies + mine.average,
                                    mine.moments,
                                    mine.gradients + mine.exchange,
                                    mine.activations + mine.scratch + mine.rollouts + mine.teacher,
                                    mine.snapshot,
                                    static_cast<std::size_t>(available_bytes())};
  for (std::size_t k = 0; k < kinds; ++k)
    all[kinds * static_cast<std::size_t>(world.rank()) + k] = static_cast<std::int64_t>(parts[k]);
  if (world.size() > 1) world.all_reduce_sum(all, {"memory"});
  const auto &names = world.terms().nodes;
  const auto name = [&](int r) {
    const auto i = static_cast<std::size_t>(r);
    return i < names.size() ? names[i] : std::string();
  };
  Machine m;
  for (int r = 0; r < world.size(); ++r) {
    if (name(r) != name(world.rank())) continue;
    const std::int64_t *row = all.data() + kinds * static_cast<std::size_t>(r);
    m.weights += row[0], m.moments += row[1], m.gradients += row[2], m.activations += row[3],
        m.snapshot += row[4];
    m.free = m.ranks++ == 0 ? row[5] : std::min(m.free, row[5]);
  }
  return m;
}

} // namespace

template <class A>
void require_memory(const Options &o, const Ranks &ranks, const model::Layout &layout) {
  const Machine need = on_this_machine(ranks.world(), planned_memory<A>(o, ranks, layout));
  const auto text = [](std::int64_t bytes) { return base::text::bytes(bytes); };
  if (need.free <= 0 || need.total() <= need.free) return;
  const std::string who =
      need.ranks == 1 ? "the run needs" : fmt::format("{} ranks need", need.ranks);
  throw UserError(
      Exit::machine, "E076", o.deck_path,
      fmt::format("{} {}, this machine has {} free", who, text(need.total()), text(need.free)),
      fmt::format("Weights {}, moments {}, gradients {}, activations and scratch (of other models "
                  "too) {}, a checkpoint's "
                  "copy {}. Smaller batch.micro_batch, recompute.* = true, optimizer.moments = "
                  "\"bf16\" or a smaller model would make it fit.",
                  text(need.weights), text(need.moments), text(need.gradients),
                  text(need.activations), text(need.snapshot)));
}

template void require_memory<float>(const Options &, const Ranks &, const model::Layout &);
template void require_memory<numerics::bf16>(const Options &, const Ranks &, const model::Layout &);

} // namespace train
