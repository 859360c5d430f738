// SPDX-License-Identifier: Apache-2.0
#include "app/commands/run.hpp"

#include <cstdio>

#include <fmt/format.h>

#include "app/examination.hpp"
#include "app/on_ranks.hpp"
#include "arch/counts.hpp"
#include "base/text.hpp"
#include "checkpoint/checkpoint.hpp"
#include "train/continuing.hpp"
#include "train/history.hpp"
#include "train/run.hpp"

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
  if (o.run.phase == train::Phase::pretrain || o.run.phase == train::Phase::extend) {
    const auto data = data::directory_of(o.data, deck.path());
    fmt::print("data        {}{}\n", data.string(),
               std::filesystem::exists(data / "manifest.json")
                   ? ""
                   : " (not built yet: hadal data build " + deck.path() + ")");
  } else if (o.run.phase != train::Phase::grpo) {
    fmt::print("data        read when the run begins: hadal data stats {}\n", deck.path());
  }
  if (o.run.phase != train::Phase::pretrain && !std::filesystem::exists(o.run.init_from)) {
    fmt::print("init_from   {} (not there yet)\n", o.run.init_from);
  } else if (!o.run.init_from.empty()) {
    const auto source = checkpoint::Reader::open(o.run.init_from);
    if (o.run.phase == train::Phase::pretrain)
      train::require_same_meaning(source, o);
    else
      train::require_same_model(source, o);
    fmt::print("init_from   {}, step {}\n", o.run.init_from, source.step());
  }
}

} // namespace

int run(const RunArguments &arguments) {
  deck::Deck deck = deck::Deck::read(arguments.deck, arguments.overrides);
  const std::optional<Examination> examination = read_examination(deck);
  const train::Options options = train::read_options(deck);
  if (examination) check_examination(deck, options);
  if (arguments.explain) {
    fmt::print("{}", deck.explain());
    return 0;
  }
  if (arguments.check) {
    if (examination) prepare(*examination);
    print_check(deck, options);
    return 0;
  }
  train::Launch launch;
  launch.restart = arguments.restart;
  launch.resolved_deck = deck.resolved_toml();
  launch.echo = deck.echo();
  std::unique_ptr<train::Examiner> examiner;
  if (examination) examiner = make_examiner(*examination);
  launch.examiner = examiner.get();
  return on_ranks([&](comm::Communicator &world) { return train::run(options, launch, world); });
}

} // namespace app
