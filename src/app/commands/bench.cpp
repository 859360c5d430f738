// SPDX-License-Identifier: Apache-2.0
// hadal bench NAME: each benchmark measures its limit in the same process and prints its share of it.
#include <memory>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "app/commands/commands.hpp"
#include "app/kokkos_session.hpp"
#include "app/open_deck.hpp"
#include "arch/options.hpp"
#include "base/error.hpp"
#include "base/text.hpp"
#include "checkpoint/bench.hpp"
#include "data/tokenizer_bench.hpp"
#include "infer/bench.hpp"
#include "layers/attention/bench.hpp"
#include "layers/router/bench.hpp"
#include "numerics/bench.hpp"
#include "tensor/context.hpp"
#include "train/bench.hpp"

namespace app {
namespace {

struct Arguments {
  std::string name, deck = "input/pretrain/bench.toml", path, text, directory = ".";
  std::vector<std::string> overrides;
  int steps = 3;
};

// MTP 0 and 1, f32 and bf16, unless the command line fixes one of them.
int bench_train(const Arguments &a) {
  const auto fixed = [&](const std::string &key) {
    for (const auto &o : a.overrides)
      if (o.rfind(key + "=", 0) == 0) return true;
    return false;
  };
  for (const char *compute : {"f32", "bf16"}) {
    for (const char *depth : {"0", "1"}) {
      auto overrides = a.overrides;
      if (!fixed("precision.compute"))
        overrides.push_back(std::string("precision.compute=") + compute);
      else if (std::string(compute) == "bf16")
        continue;
      if (!fixed("mtp.depth"))
        overrides.push_back(std::string("mtp.depth=") + depth);
      else if (std::string(depth) == "1")
        continue;
      deck::Deck deck = deck::Deck::read(a.deck, overrides);
      fmt::print("{}\n", train::bench({train::read_options(deck), a.steps, true}));
      std::fflush(stdout);
    }
  }
  return 0;
}

template <class F> int with_context(std::size_t arena_bytes, const F &f) {
  tensor::Arena arena("bench", arena_bytes);
  tensor::Context ctx{tensor::Exec(), arena, {}, nullptr};
  fmt::print("{}", f(ctx));
  return 0;
}

int bench(const Arguments &a) {
  if (a.name == "tokenizer") {
    fmt::print("{}", data::tokenizer_bench({a.path, a.text, 5}));
    return 0;
  }
  if (a.name == "checkpoint") {
    checkpoint::BenchOptions options;
    options.directory = a.directory;
    fmt::print("{}", checkpoint::bench(options));
    return 0;
  }
  const KokkosSession kokkos;
  if (a.name == "train") return bench_train(a);
  constexpr std::size_t room = std::size_t{3} << 30;
  if (a.name == "gemm")
    return with_context(room, [](tensor::Context &ctx) { return numerics::bench_gemm(ctx); });
  if (a.name == "attention") {
    fmt::print("{}", layers::attention::bench());
    return 0;
  }
  if (a.name == "router")
    return with_context(room, [](tensor::Context &ctx) { return layers::router::bench(ctx); });
  if (a.name == "generate") {
    deck::Deck deck = open_deck(a.deck, a.overrides);
    fmt::print("{}", infer::bench_generate({arch::read_dims(deck)}));
    return 0;
  }
  const std::vector<std::string> names = {"train",  "generate",   "gemm",     "attention",
                                          "router", "checkpoint", "tokenizer"};
  const auto near = base::text::nearest(a.name, names);
  throw base::UserError(
      base::Exit::deck, "E010", "command line", "hadal bench " + a.name,
      "Benchmarks: train, generate, gemm, attention, router, checkpoint, tokenizer." +
          (near.empty() ? "" : " Did you mean " + near + "?"));
}

} // namespace

void add_bench(CLI::App &program, Action &action) {
  CLI::App *command = program.add_subcommand(
      "bench", "measure: train, generate, gemm, attention, router, checkpoint, tokenizer");
  auto a = std::make_shared<Arguments>();
  command
      ->add_option("NAME", a->name,
                   "train, generate, gemm, attention, router, checkpoint, tokenizer")
      ->required();
  command->add_option("OVERRIDES", a->overrides, "table.key=value, any number (train, generate)");
  command->add_option("--deck", a->deck, "train, generate: the deck")->capture_default_str();
  command->add_option("--steps", a->steps, "train: steps to time")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000));
  command->add_option("--directory", a->directory, "checkpoint: a folder of the disk to measure")
      ->capture_default_str();
  command->add_option("--tokenizer", a->path, "tokenizer: a tokenizer.json");
  command->add_option("--text", a->text, "tokenizer: a text file");
  command->callback([a, &action] { action = [a] { return bench(*a); }; });
}

} // namespace app
