// SPDX-License-Identifier: Apache-2.0
// hadal eval DECK: the model of a checkpoint against the tasks of a deck.
#include <cstdio>
#include <filesystem>
#include <memory>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "app/asked_model.hpp"
#include "app/commands/chat.hpp"
#include "app/commands/commands.hpp"
#include "app/commands/habits.hpp"
#include "app/on_ranks.hpp"
#include "app/open_deck.hpp"
#include "comm/launcher.hpp"
#include "eval/engine_model.hpp"
#include "eval/evaluate.hpp"
#include "eval/programs.hpp"
#include "eval/together.hpp"
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

// What a deck asks for.
struct Asked {
  eval::Options options;
  AskedOptions model;
  std::vector<eval::Prepared> tasks;
  std::unique_ptr<eval::SandboxRunner> runner;
  std::filesystem::path directory;
};

void print_results(const Asked &asked, const std::vector<eval::TaskResult> &results,
                   std::int64_t longest) {
  fmt::print("{}", eval::table(results, asked.options.groups));
  std::fflush(stdout); // before the notes on the other stream
  for (const eval::TaskResult &result : results)
    if (result.shortened > 0)
      say(fmt::format("note: {}: {} of {} prompts were longer than {} tokens and lost their "
                      "beginning (evaluate.max_length)",
                      result.task, result.shortened, result.questions, longest));
  say(fmt::format("results: {}", (asked.directory / "results.json").string()));
}

template <class A>
void evaluate(comm::Communicator &world, Asked &asked, const checkpoint::Reader &reader,
              const Habits &habits) {
  const eval::Options &options = asked.options;
  const data::Tokenizer tokenizer = infer::load_tokenizer(reader);
  const AskedModel<A> loaded = load_asked_model<A>(world, reader, asked.model, habits);
  eval::EngineModel<A> mine(loaded.dims, loaded.weights.views, tokenizer,
                            options.max_length > 0 ? options.max_length : habits.sequence,
                            asked.model.engine, loaded.group);
  eval::together(world, mine, [&](eval::Model &model) {
    eval::prepare_puzzles(asked.tasks, options, tokenizer, model.longest());
    eval::Evaluation evaluation;
    evaluation.directory = asked.directory, evaluation.runner = asked.runner.get();
    evaluation.model = fmt::format("{} step {} {}", reader.state_hash(), reader.step(),
                                   std::is_same_v<A, float> ? "f32" : "bf16");
    evaluation.wording = wording_of(options, habits, tokenizer, reader);
    evaluation.say = say;
    print_results(asked, eval::evaluate(model, asked.tasks, options, evaluation), model.longest());
  });
}

int evaluate_on(comm::Communicator &world, Asked &asked) {
  const auto reader = open_checkpoint(world, asked.options.checkpoint);
  const Habits habits = habits_of(reader);
  const eval::Precision precision = asked.options.precision;
  if (precision == eval::Precision::deck ? habits.bf16 : precision == eval::Precision::bf16)
    evaluate<numerics::bf16>(world, asked, reader, habits);
  else
    evaluate<float>(world, asked, reader, habits);
  return 0;
}

// Only where a task runs programs; that they were allowed is known by now.
std::unique_ptr<eval::SandboxRunner> runner_of(const std::vector<eval::Prepared> &tasks,
                                               const sandbox::Options &sandbox) {
  for (const eval::Prepared &one : tasks)
    if (one.task.task.kind == eval::Kind::generate &&
        one.task.score.compare == eval::Compare::program) {
      auto runner = std::make_unique<eval::SandboxRunner>(sandbox);
      if (comm::launched_rank() == 0) say("sandbox: " + runner->isolation());
      return runner;
    }
  return nullptr;
}

int run_eval(const EvalArguments &a) {
  deck::Deck deck = open_deck(a.deck, a.overrides);
  Asked asked;
  asked.options = eval::read_options(deck);
  asked.model = read_asked_options(deck);
  const sandbox::Options sandbox = reward::read_sandbox(deck);
  deck.finish();
  if (a.explain) {
    fmt::print("{}", deck.explain());
    return 0;
  }
  asked.tasks = eval::prepare(asked.options, asked.options.programs);
  asked.runner = runner_of(asked.tasks, sandbox);
  if (a.check) {
    fmt::print("{}\nthe deck is valid\n", deck.echo());
    return 0;
  }
  if (asked.options.checkpoint.empty())
    deck.fail("evaluate", "checkpoint", "E009", "Which model? evaluate.checkpoint is missing.");
  asked.directory =
      asked.options.directory.empty()
          ? std::filesystem::path("checkpoints") / std::filesystem::path(a.deck).stem()
          : std::filesystem::path(asked.options.directory);
  return on_ranks([&](comm::Communicator &world) { return evaluate_on(world, asked); });
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
