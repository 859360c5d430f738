// SPDX-License-Identifier: Apache-2.0
// hadal eval DECK: the model of a checkpoint against the tasks of a deck.
#include <cstdio>
#include <filesystem>
#include <memory>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "app/commands/chat.hpp"
#include "app/commands/commands.hpp"
#include "app/commands/habits.hpp"
#include "app/kokkos_session.hpp"
#include "app/open_deck.hpp"
#include "eval/direct_model.hpp"
#include "eval/evaluate.hpp"
#include "eval/programs.hpp"
#include "infer/load.hpp"
#include "reward/options.hpp"

namespace app {
namespace {

struct EvalArguments {
  std::string deck;
  std::vector<std::string> overrides;
  bool check = false, explain = false;
};

void say(const std::string &line) { fmt::print(stderr, "{}\n", line); }

eval::Wording wording_of(const eval::Options &options, const Habits &habits,
                         const data::Tokenizer &tokenizer, const checkpoint::Reader &reader) {
  eval::Wording wording;
  if (options.chat)
    wording.chat = form_of("", reader);
  else if (habits.bos)
    wording.start = tokenizer.bos();
  else if (!habits.masked)
    wording.start = tokenizer.eos();
  return wording;
}

template <class A>
std::vector<eval::TaskResult>
evaluate(const eval::Options &options, std::vector<eval::Prepared> &tasks,
         const checkpoint::Reader &reader, const Habits &habits,
         const std::filesystem::path &directory, eval::Runner *runner) {
  const data::Tokenizer tokenizer = infer::load_tokenizer(reader);
  const arch::Dims dims = infer::dims_of(reader);
  eval::DirectOptions direct;
  direct.longest = options.max_length > 0 ? options.max_length : habits.sequence;
  eval::prepare_puzzles(tasks, options, tokenizer, direct.longest);
  eval::Evaluation evaluation;
  evaluation.directory = directory, evaluation.runner = runner;
  evaluation.model = fmt::format("{} step {} {}", reader.state_hash(), reader.step(),
                                 std::is_same_v<A, float> ? "f32" : "bf16");
  evaluation.wording = wording_of(options, habits, tokenizer, reader);
  evaluation.say = say;
  tensor::Arena none("eval", 1 << 16);
  tensor::Context ctx{tensor::Exec(), none};
  const auto weights = infer::load_weights<A>(ctx, reader, dims);
  eval::DirectModel<A> model(dims, weights.views, tokenizer, direct);
  return eval::evaluate(model, tasks, options, evaluation);
}

// Only where a task runs programs; that they were allowed is known by now.
std::unique_ptr<eval::SandboxRunner> runner_of(const std::vector<eval::Prepared> &tasks,
                                               const sandbox::Options &sandbox) {
  for (const eval::Prepared &one : tasks)
    if (one.task.task.kind == eval::Kind::generate &&
        one.task.score.compare == eval::Compare::program) {
      auto runner = std::make_unique<eval::SandboxRunner>(sandbox);
      say("sandbox: " + runner->isolation());
      return runner;
    }
  return nullptr;
}

int run_eval(const EvalArguments &a) {
  deck::Deck deck = open_deck(a.deck, a.overrides);
  const eval::Options options = eval::read_options(deck);
  const sandbox::Options sandbox = reward::read_sandbox(deck);
  deck.finish();
  if (a.explain) {
    fmt::print("{}", deck.explain());
    return 0;
  }
  std::vector<eval::Prepared> tasks = eval::prepare(options, options.programs);
  const std::unique_ptr<eval::SandboxRunner> runner = runner_of(tasks, sandbox);
  if (a.check) {
    fmt::print("{}\nthe deck is valid\n", deck.echo());
    return 0;
  }
  if (options.checkpoint.empty())
    deck.fail("evaluate", "checkpoint", "E009", "Which model? evaluate.checkpoint is missing.");
  const std::filesystem::path directory =
      options.directory.empty()
          ? std::filesystem::path("checkpoints") / std::filesystem::path(a.deck).stem()
          : std::filesystem::path(options.directory);
  const auto reader = checkpoint::Reader::open(options.checkpoint);
  const Habits habits = habits_of(reader);
  const KokkosSession kokkos;
  const bool bf16 = options.precision == eval::Precision::deck
                        ? habits.bf16
                        : options.precision == eval::Precision::bf16;
  const auto results =
      bf16 ? evaluate<numerics::bf16>(options, tasks, reader, habits, directory, runner.get())
           : evaluate<float>(options, tasks, reader, habits, directory, runner.get());
  fmt::print("{}", eval::table(results, options.groups));
  std::fflush(stdout); // before the notes on the other stream
  for (const eval::TaskResult &result : results)
    if (result.shortened > 0)
      say(fmt::format("note: {}: {} of {} prompts were longer than {} tokens and lost their "
                      "beginning (evaluate.max_length)",
                      result.task, result.shortened, result.questions,
                      options.max_length > 0 ? options.max_length : habits.sequence));
  say(fmt::format("results: {}", (directory / "results.json").string()));
  return 0;
}

} // namespace

void add_eval(CLI::App &program, Action &action) {
  CLI::App *command =
      program.add_subcommand("eval", "ask the model of a checkpoint the tasks of a deck");
  auto a = std::make_shared<EvalArguments>();
  command->add_option("DECK", a->deck, "the deck, with a table [evaluate]")->required();
  command->add_option("OVERRIDES", a->overrides, "table.key=value, any number");
  command->add_flag("--check", a->check, "read deck, tasks and files; ask nothing");
  command->add_flag("--explain", a->explain, "print every key with default, range and meaning");
  command->callback([a, &action] { action = [a] { return run_eval(*a); }; });
}

} // namespace app
