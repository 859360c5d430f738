// SPDX-License-Identifier: Apache-2.0
#include "app/commands/run.hpp"

#include <chrono>
#include <cstdio>
#include <thread>

#include <fmt/format.h>

#include "app/kokkos_session.hpp"
#include "arch/counts.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "checkpoint/checkpoint.hpp"
#include "comm/session.hpp"
#include "train/continuing.hpp"
#include "train/history.hpp"
#include "train/pretrain.hpp"

namespace app {
namespace {

// What a deck asks of a machine, beside what this one has: a note, not an error, so that large decks can be checked on a laptop.
void print_check(const deck::Deck &deck, const train::Options &o) {
  const auto counts = arch::count_parameters(o.dims);
  arch::StateFormat format;
  format.moment = o.optimizer.moments == optim::MomentType::bf16 ? 2 : 4;
  format.compute = o.precision.compute == train::Compute::bf16 ? 2 : 0;
  format.average = o.average.beta > 0 ? 4 : 0;
  const auto state = arch::state_bytes(o.dims, format);
  fmt::print("{}", deck.echo());
  fmt::print("\n{}: the deck is valid.\n", deck.path());
  fmt::print("parameters  {} (MTP {} more), {} activated\n", base::text::with_commas(counts.main),
             base::text::with_commas(counts.mtp), base::text::with_commas(counts.activated));
  fmt::print("state       {} in all: masters, gradients, moments{}\n",
             base::text::bytes(state.total()), format.compute > 0 ? ", bf16 copies" : "");
  fmt::print("ranks       {} (dp {} x pp {}); this machine runs 1\n", o.parallel.dp * o.parallel.pp,
             o.parallel.dp, o.parallel.pp);
  const auto data = data::directory_of(o.data, deck.path());
  fmt::print("data        {}{}\n", data.string(),
             std::filesystem::exists(data / "manifest.json")
                 ? ""
                 : " (not built yet: hadal data build " + deck.path() + ")");
  if (!o.run.init_from.empty()) {
    const auto source = checkpoint::Reader::open(o.run.init_from);
    train::require_same_meaning(source, o);
    fmt::print("init_from   {}, step {}\n", o.run.init_from, source.step());
  }
}

// Kokkos lives inside the session of MPI. A fault of one rank ends all: those that wait for it tell what they waited for.
int train_together(const train::Options &options, const train::Launch &launch) {
  comm::Session session;
  int code = 0;
  try {
    const KokkosSession kokkos;
    code = train::pretrain(options, launch, session.world());
  } catch (const std::exception &error) {
    if (!session.parallel()) throw;
    const auto *fault = dynamic_cast<const base::UserError *>(&error);
    // What all ranks find is told by the first; the others speak when it has had its time.
    if (!session.speaks()) std::this_thread::sleep_for(std::chrono::milliseconds(2500));
    base::log::error("rank {}: {}", session.world().rank(), error.what());
    base::log::flush();
    comm::abort_all(static_cast<int>(fault ? fault->code() : base::Exit::fault));
  }
  session.finish();
  return code;
}

} // namespace

int run(const RunArguments &arguments) {
  deck::Deck deck = deck::Deck::read(arguments.deck, arguments.overrides);
  const train::Options options = train::read_options(deck);
  if (arguments.explain) {
    fmt::print("{}", deck.explain());
    return 0;
  }
  if (arguments.check) {
    print_check(deck, options);
    return 0;
  }
  train::Launch launch;
  launch.restart = arguments.restart;
  launch.resolved_deck = deck.resolved_toml();
  launch.echo = deck.echo();
  return train_together(options, launch);
}

} // namespace app
