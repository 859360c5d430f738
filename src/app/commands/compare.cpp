// SPDX-License-Identifier: Apache-2.0
// hadal compare A B [--all]: exit code 0 when the states are equal bit for bit, 1 when not.
#include <algorithm>
#include <memory>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "app/commands/commands.hpp"
#include "checkpoint/compare.hpp"

namespace app {
namespace {

struct CompareArguments {
  std::string a, b;
  bool all = false;
};

constexpr std::size_t kShown = 3;

void print_sections(const checkpoint::Comparison &c) {
  fmt::print("\n{:<16} {:>8} {:>8} {:>12} {:>7} {:>7}\n", "section", "tensors", "differ",
             "max |a - b|", "values", "differ");
  for (const auto &s : c.sections) {
    if (!s.what.empty()) {
      fmt::print("{:<16} {:>8} {:>8} {:>12} {:>7} {:>7}\n", s.name, s.tensors, "-", s.what,
                 s.values, "-");
      continue;
    }
    fmt::print("{:<16} {:>8} {:>8} {:>12} {:>7} {:>7}\n", s.name, s.tensors, s.differing_tensors,
               s.differing_tensors > 0 ? fmt::format("{:.3g}", s.largest) : "", s.values,
               s.differing_values);
  }
}

void print_tensor(const checkpoint::TensorDifference &d) {
  if (!d.what.empty()) {
    fmt::print("  {}/{}: {}\n", d.section, d.name, d.what);
    return;
  }
  fmt::print("  {}/{}: {} of {} elements, max |a - b| = {:.3g} at [{}]: {:.9g}, {:.9g}\n",
             d.section, d.name, d.differing, d.elements, d.largest, fmt::join(d.place, ", "), d.a,
             d.b);
}

// The first differing tensors of every section, and all differing values.
void print_details(const checkpoint::Comparison &c, bool all) {
  if (!c.tensors.empty()) fmt::print("\ntensors that differ\n");
  for (const auto &s : c.sections) {
    std::size_t shown = 0;
    for (const auto &d : c.tensors)
      if (d.section == s.name && (all || shown < kShown)) print_tensor(d), ++shown;
    if (s.differing_tensors > shown)
      fmt::print("  {}: {} more (--all prints them)\n", s.name, s.differing_tensors - shown);
  }
  if (!c.values.empty()) fmt::print("\nvalues that differ\n");
  for (const auto &v : c.values)
    fmt::print("  {}/{}: {}, {}\n", v.section, v.name, v.a.empty() ? "none" : v.a,
               v.b.empty() ? "none" : v.b);
}

int compare(const CompareArguments &arguments) {
  const auto a = checkpoint::Reader::open(arguments.a), b = checkpoint::Reader::open(arguments.b);
  const auto c = checkpoint::compare(a, b);
  fmt::print("A  {} (step {})\nB  {} (step {})\n", a.directory().string(), a.step(),
             b.directory().string(), b.step());
  print_sections(c);
  print_details(c, arguments.all);
  if (a.deck() != b.deck()) fmt::print("\nnote: the decks differ (deck.toml in both places)\n");
  fmt::print("\n{}\n", c.equal() ? "equal" : "different");
  return c.equal() ? 0 : 1;
}

} // namespace

void add_compare(CLI::App &program, Action &action) {
  CLI::App *command = program.add_subcommand(
      "compare", "two checkpoints, bit by bit; exit code 1 when they differ");
  auto arguments = std::make_shared<CompareArguments>();
  command->add_option("A", arguments->a, "a step directory or a run directory")->required();
  command->add_option("B", arguments->b, "another")->required();
  command->add_flag("--all", arguments->all, "print every tensor that differs");
  command->callback([arguments, &action] { action = [arguments] { return compare(*arguments); }; });
}

} // namespace app
