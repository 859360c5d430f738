// SPDX-License-Identifier: Apache-2.0
// hadal schedule NAME --stages S --micro-batches N: a pipeline's program, played, timed and drawn (docs/schedules.md).
#include <charconv>
#include <cmath>
#include <memory>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "app/commands/commands.hpp"
#include "base/error.hpp"
#include "base/files.hpp"
#include "base/text.hpp"
#include "schedule/check.hpp"
#include "schedule/draw.hpp"
#include "schedule/formulas.hpp"

namespace app {
namespace {

using base::Exit;
using base::UserError;

struct ScheduleArguments {
  std::string name, costs, svg;
  int stages = 0, ranks = 0, micro_batches = 0; // 0: not given
  int columns = 160;
  bool list = false, no_drawing = false;
};

[[noreturn]] void bad_costs(const std::string &text, const std::string &why) {
  throw UserError(Exit::deck, "E017", "--costs", base::text::readable(text),
                  why + " Costs are F,B,W[,F&B[,MESSAGE]], such as 1,1,1,2.5,0.1: times in any "
                        "unit, B without the gradients of the weights.");
}

schedule::Costs read_costs(const std::string &text) {
  std::vector<double> values;
  std::string_view rest = text;
  for (bool more = true; more;) {
    const std::string_view part = rest.substr(0, rest.find(','));
    more = part.size() < rest.size();
    rest.remove_prefix(part.size() + (more ? 1 : 0));
    double value = -1;
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), value);
    if (error != std::errc() || end != part.data() + part.size())
      bad_costs(text, fmt::format("'{}' is not a number.", base::text::readable(part)));
    if (!(value >= 0 && value <= 1e6))
      bad_costs(text, fmt::format("{} is not between 0 and 1000000.", part));
    values.push_back(value);
  }
  if (values.size() < 3 || values.size() > 5)
    bad_costs(text, fmt::format("{} number{}.", values.size(), values.size() == 1 ? "" : "s"));
  if (values.size() < 4) values.push_back(values[0] + values[1] + values[2]);
  if (values.size() < 5) values.push_back(0);
  if (values[3] < std::max(values[0], values[1] + values[2]))
    bad_costs(text, fmt::format("F&B = {:g} is shorter than one of its halves.", values[3]));
  if (values[0] + values[1] + values[2] <= 0) bad_costs(text, "All computations take no time.");
  schedule::Costs costs;
  costs.stages = {{values[0], values[1], values[2], values[3]}};
  costs.send = values[4];
  return costs;
}

// --stages and --ranks say the same; either is enough.
int ranks_of(schedule::Kind kind, const ScheduleArguments &arguments) {
  const bool folded = kind == schedule::Kind::dualpipev;
  int ranks = arguments.ranks;
  if (ranks == 0 && arguments.stages == 0 && kind == schedule::Kind::accumulate) ranks = 1;
  if (ranks == 0 && arguments.stages == 0)
    throw UserError(Exit::deck, "E015", "hadal schedule", arguments.name,
                    "Give the size of the pipeline: --stages S or --ranks R.");
  if (ranks == 0) {
    if (folded && arguments.stages % 2 != 0)
      throw UserError(Exit::deck, "E015", "--stages", fmt::format("{}", arguments.stages),
                      "Under dualpipev each rank holds two stages: their number must be even.");
    ranks = folded ? arguments.stages / 2 : arguments.stages;
  }
  if (arguments.stages != 0 && arguments.stages != schedule::stages_for(kind, ranks))
    throw UserError(Exit::deck, "E015", "--ranks",
                    fmt::format("{} ranks, {} stages", ranks, arguments.stages),
                    fmt::format("{} on {} ranks has {} stages; one of the two options is enough.",
                                arguments.name, ranks, schedule::stages_for(kind, ranks)));
  return ranks;
}

std::string percent(double part, double whole) {
  return fmt::format("{:.1f} %", whole > 0 ? 100 * part / whole : 0);
}

void print_numbers(const schedule::Program &program, const schedule::Timeline &line,
                   const schedule::Costs &costs) {
  const schedule::StageCosts &one = costs.stages[0];
  const schedule::Formula paper = schedule::formula(program, one, costs.send);
  const double bubble = line.largest_bubble();
  fmt::print("costs        F {:g}, B {:g}, W {:g}, F&B {:g}, message {:g}\n", one.forward,
             one.backward_input, one.backward_weight, one.pair, costs.send);
  fmt::print("time         {:g}\n", line.makespan);
  fmt::print("bubble       {:g} ({} of the time), the largest of the ranks\n", bubble,
             percent(bubble, line.makespan));
  const bool equal = std::abs(bubble - paper.bubble) <= 1e-9 * line.makespan;
  fmt::print("  published  {} = {:g}: {}\n", paper.text, paper.bubble,
             equal         ? "equal"
             : paper.exact ? "NOT EQUAL"
                           : fmt::format("another; exact for {}", paper.condition));
  fmt::print("activations  {} of a stage, the most of the ranks; published {}\n",
             line.most_activations(), paper.activations);
  fmt::print("parameters   {}x of a stage on each rank\n", line.parameter_copies);
}

void print_list(const schedule::Program &program) {
  for (int rank = 0; rank < program.ranks; ++rank) {
    int index = 0;
    for (const schedule::Action &action : program.actions[static_cast<std::size_t>(rank)])
      fmt::print("rank {} {:>5}  {}\n", rank, index++, describe(program, rank, action));
  }
}

int draw(const ScheduleArguments &arguments) {
  const schedule::Kind kind = schedule::kind_of(arguments.name);
  const schedule::Costs costs = read_costs(arguments.costs);
  const schedule::Program program =
      schedule::build(kind, ranks_of(kind, arguments), arguments.micro_batches, "hadal schedule");
  const schedule::Verdict verdict = schedule::check(program);
  HADAL_CHECK(verdict.ok(), "{}", verdict.faults.front());
  const schedule::Timeline line = schedule::simulate(program, costs);
  fmt::print("{}\ncheck        ok\n", title(program));
  print_numbers(program, line, costs);
  if (!arguments.no_drawing)
    fmt::print("\n{}", schedule::draw_text(program, line, {arguments.columns}));
  if (arguments.list) {
    fmt::print("\n");
    print_list(program);
  }
  if (!arguments.svg.empty())
    base::write_file_atomic(arguments.svg, schedule::draw_svg(program, line, costs), Exit::machine,
                            "E072");
  return 0;
}

} // namespace

void add_schedule(CLI::App &program, Action &action) {
  CLI::App *command =
      program.add_subcommand("schedule", "a pipeline's program: checked, timed, drawn");
  auto arguments = std::make_shared<ScheduleArguments>();
  arguments->costs = "1,1,1";
  const CLI::Range number(1, 1 << 20);
  command
      ->add_option("NAME", arguments->name, fmt::format("{}", fmt::join(schedule::words(), ", ")))
      ->required();
  command->add_option("--stages", arguments->stages, "stages of the pipeline")->check(number);
  command->add_option("--ranks", arguments->ranks, "its ranks, in place of --stages")
      ->check(number);
  command->add_option("--micro-batches", arguments->micro_batches, "micro-batches of a step")
      ->required()
      ->check(number);
  command->add_option("--costs", arguments->costs,
                      "times of F,B,W[,F&B[,MESSAGE]]; default: 1,1,1,3,0");
  command->add_option("--svg", arguments->svg, "writes the picture to this file");
  command->add_option("--columns", arguments->columns, "width of the drawing; default: 160")
      ->check(CLI::Range(20, 1 << 20));
  command->add_flag("--list", arguments->list, "prints all actions, messages too");
  command->add_flag("--no-drawing", arguments->no_drawing, "numbers only");
  command->callback([arguments, &action] { action = [arguments] { return draw(*arguments); }; });
}

} // namespace app
