// SPDX-License-Identifier: Apache-2.0
#include "train/before.hpp"

#include <bit>

#include <fmt/format.h>

#include "base/text.hpp"
#include "train/history.hpp"
#include "train/pipeline.hpp"

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

template <class A>
void require_memory(const Options &o, const Ranks &ranks, const model::Layout &layout) {
  const auto n = static_cast<double>(layout.size());
  const Ownership ownership(ranks, layout, !std::is_same_v<A, float>);
  const double masters = 4 * static_cast<double>(ownership.masters());
  const double moments = static_cast<double>(ownership.moments()) * 2 *
                         (o.optimizer.moments == optim::MomentType::bf16 ? 2 : 4);
  const double buffers = std::bit_width(static_cast<std::uint64_t>(ranks.shards(o)));
  const double gradients = buffers * 4 * static_cast<double>(layout.gradient_size());
  const double copies = std::is_same_v<A, float> ? 0 : 2 * n;
  const double average = o.average.beta > 0 ? 4 * static_cast<double>(ownership.moments()) : 0;
  const double arena =
      static_cast<double>(Pipeline<A>::scratch_bytes(o, ranks) + Pipeline<A>::slot_bytes(o, ranks));
  const double need = masters + moments + gradients + copies + average + arena;
  const auto free = static_cast<double>(available_bytes());
  const auto text = [](double bytes) {
    return base::text::bytes(static_cast<std::int64_t>(bytes));
  };
  if (free > 0 && need > free)
    throw UserError(
        Exit::machine, "E076", o.deck_path,
        fmt::format("the run needs {}, this machine has {} free", text(need), text(free)),
        fmt::format("Weights {}, moments {}, gradients {}, activations and scratch {}. Smaller "
                    "batch.micro_batch, recompute.* = true, optimizer.moments = \"bf16\" or a "
                    "smaller model would make it fit.",
                    text(masters + copies), text(moments), text(gradients), text(arena)));
}

template void require_memory<float>(const Options &, const Ranks &, const model::Layout &);
template void require_memory<numerics::bf16>(const Options &, const Ranks &, const model::Layout &);

} // namespace train
