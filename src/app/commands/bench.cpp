// SPDX-License-Identifier: Apache-2.0
// hadal bench NAME: each benchmark measures its limit in the same process and prints its share of it.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <iterator>
#include <memory>
#include <sstream>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "app/commands/commands.hpp"
#include "app/examination.hpp"
#include "app/kokkos_session.hpp"
#include "app/on_ranks.hpp"
#include "app/open_deck.hpp"
#include "arch/options.hpp"
#include "base/error.hpp"
#include "base/text.hpp"
#include "checkpoint/bench.hpp"
#include "checkpoint/checkpoint.hpp"
#include "data/tokenizer_bench.hpp"
#include "infer/bench.hpp"
#include "layers/attention/bench.hpp"
#include "layers/dispatch/bench.hpp"
#include "layers/router/bench.hpp"
#include "numerics/bench.hpp"
#include "tensor/context.hpp"
#include "train/bench.hpp"

namespace app {
namespace {

struct Arguments {
  std::string name, deck = "input/pretrain/bench.toml", path, text, directory = ".";
  std::vector<std::string> overrides, against;
  int steps = 3;
  std::int64_t mebibytes = 256, tokens = 4096;
  int rounds = 9;
  bool rows = false, no_breakdown = false;
};

const std::vector<std::string> &names() {
  static const std::vector<std::string> all = {"train",  "generate", "gemm",       "attention",
                                               "router", "dispatch", "checkpoint", "tokenizer"};
  return all;
}

// The overrides that one argument of --against holds: "run.reproducible=any_layout parallel.shards=8".
std::vector<std::string> words_of(const std::string &text) {
  std::istringstream stream(text);
  return {std::istream_iterator<std::string>(stream), {}};
}

// What comes later takes the place of an earlier word for the same key.
train::Options options_of(const Arguments &a, const std::vector<std::string> &more) {
  std::vector<std::string> overrides;
  const auto key = [](const std::string &word) { return word.substr(0, word.find('=')); };
  for (const auto &word : a.overrides)
    if (std::none_of(more.begin(), more.end(), [&](const auto &m) { return key(m) == key(word); }))
      overrides.push_back(word);
  overrides.insert(overrides.end(), more.begin(), more.end());
  deck::Deck deck = deck::Deck::read(a.deck, overrides);
  read_examination(deck); // that its keys are known; nothing is asked
  train::Options options = train::read_options(deck);
  options.teacher = {}; // the step of the student alone
  return options;
}

// Settings beside each other, or one of them as a single line.
int bench_rows(const Arguments &a, comm::Communicator &world) {
  std::string name;
  for (const auto &o : a.overrides) name += (name.empty() ? "" : " ") + o;
  std::vector<train::BenchRow> rows = {{name.empty() ? "the deck" : name, options_of(a, {})}};
  for (const auto &more : a.against) rows.push_back({more, options_of(a, words_of(more))});
  fmt::print("{}", train::bench_rows(rows, a.steps, world));
  return 0;
}

// MTP 0 and 1, f32 and bf16, unless the command line fixes one of them.
int bench_train(const Arguments &a, comm::Communicator &world) {
  if (a.rows || !a.against.empty()) return bench_rows(a, world);
  const auto fixed = [&](const std::string &key) {
    for (const auto &o : a.overrides)
      if (o.rfind(key + "=", 0) == 0) return true;
    return false;
  };
  const bool one_compute = fixed("precision.compute"), one_depth = fixed("mtp.depth");
  for (const std::string compute : {"f32", "bf16"}) {
    if (one_compute && compute == "bf16") continue;
    for (const std::string depth : {"0", "1"}) {
      if (one_depth && depth == "1") continue;
      std::vector<std::string> more;
      if (!one_compute) more.push_back("precision.compute=" + compute);
      if (!one_depth) more.push_back("mtp.depth=" + depth);
      const std::string text = train::bench({options_of(a, more), a.steps, !a.no_breakdown}, world);
      if (world.rank() == 0) fmt::print("{}\n", text);
      std::fflush(stdout);
    }
  }
  return 0;
}

int bench_dispatch(const Arguments &a, comm::Communicator &world) {
  const std::string text = layers::dispatch::bench(world, {a.tokens, a.rounds});
  if (world.rank() == 0) fmt::print("{}", text);
  return 0;
}

int bench_checkpoint(const Arguments &a, comm::Communicator &world) {
  checkpoint::BenchOptions o;
  const auto names = world.all_gather_text(checkpoint::new_attempt(), {"bench"});
  o.directory = std::filesystem::path(a.directory) / ("hadal-bench-" + names[0]);
  o.bytes = a.mebibytes << 20;
  o.company.writer = world.rank(), o.company.writers = world.size();
  o.company.meet = [&world] { world.barrier({"bench"}); };
  o.company.largest = [&world](double mine) {
    std::int64_t nanos = std::llround(mine * 1e9);
    world.all_reduce_max({&nanos, 1}, {"bench"});
    return static_cast<double>(nanos) / 1e9;
  };
  const std::string text = checkpoint::bench(o);
  if (world.rank() == 0) fmt::print("{}", text);
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
  if (a.name == "checkpoint")
    return on_ranks([&](comm::Communicator &world) { return bench_checkpoint(a, world); });
  if (a.name == "dispatch")
    return on_ranks([&](comm::Communicator &world) { return bench_dispatch(a, world); });
  if (a.name == "train")
    return on_ranks([&](comm::Communicator &world) { return bench_train(a, world); });
  const KokkosSession kokkos;
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
  const auto near = base::text::nearest(a.name, names());
  throw base::UserError(base::Exit::deck, "E010", "command line", "hadal bench " + a.name,
                        fmt::format("Benchmarks: {}.{}", fmt::join(names(), ", "),
                                    near.empty() ? "" : " Did you mean " + near + "?"));
}

} // namespace

void add_bench(CLI::App &program, Action &action) {
  const std::string all = fmt::format("{}", fmt::join(names(), ", "));
  CLI::App *command = program.add_subcommand("bench", "measure: " + all);
  auto a = std::make_shared<Arguments>();
  command->add_option("NAME", a->name, all)->required();
  command->add_option("OVERRIDES", a->overrides, "table.key=value, any number (train, generate)");
  command->add_option("--deck", a->deck, "train, generate: the deck")->capture_default_str();
  command->add_option("--steps", a->steps, "train: steps to time")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000));
  command
      ->add_option("--against", a->against,
                   "train: \"table.key=value ...\", one more row of settings beside the others' "
                   "(may be given again); steps are taken in turn")
      ->allow_extra_args(false);
  command->add_flag("--rows", a->rows, "train: one row instead of the breakdown");
  command->add_flag("--no-breakdown", a->no_breakdown, "train: no table of kernels");
  command->add_option("--directory", a->directory, "checkpoint: a folder of the disk to measure")
      ->capture_default_str();
  command->add_option("--mebibytes", a->mebibytes, "checkpoint: of all ranks together")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 20));
  command->add_option("--tokens", a->tokens, "dispatch: tokens of each rank")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 20));
  command->add_option("--rounds", a->rounds, "dispatch: times that every row is measured")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000));
  command->add_option("--tokenizer", a->path, "tokenizer: a tokenizer.json");
  command->add_option("--text", a->text, "tokenizer: a text file");
  command->callback([a, &action] { action = [a] { return bench(*a); }; });
}

} // namespace app
