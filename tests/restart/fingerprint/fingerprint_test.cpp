// SPDX-License-Identifier: Apache-2.0
// A checkpoint that means something else than the run is refused before the first step: every entry of the fingerprint, changed
// alone, at a restart and at run.init_from; and some through the deck.
#include <gtest/gtest.h>

#include <algorithm>

#include <nlohmann/json.hpp>

#include "base/hash.hpp"
#include "tests/support/tiny_run.hpp"

namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using support::Outcome, support::TinyRun;
using Words = std::vector<std::string>;

// Everything that has entries is switched on; steps of one short sample.
const Words kDeck = {
    "model.rope.factor=4",          "mtp.lambda_tokens=1000000", "balance.gamma_tokens=1000000",
    "run.reproducible=same_layout", "batch.global_batch=1",      "batch.sequence=16",
    "train.validate_every=0",       "data.validation=0",         "data.directory=data"};
constexpr const char *kStep = "checkpoints/step-00000001";

Words operator+(Words a, const Words &b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

TinyRun &tiny() {
  static TinyRun run;
  return run;
}

// With one thread: on a busy machine, small runs would spend their time waiting for the second.
Outcome train(const std::string &directory, const Words &more) {
  return support::run(Words{"env", "OMP_NUM_THREADS=1"} + tiny().command(directory, kDeck + more),
                      tiny().folder());
}

// The run whose checkpoint is changed below, after its only step.
const Outcome &base_run() {
  static const Outcome out = [] {
    auto built = support::run({support::hadal(), "data", "build", "tiny.toml", "data.validation=0",
                               "data.directory=data"},
                              tiny().folder());
    return built.code != 0 ? built : train("base", {"train.steps=1"});
  }();
  return out;
}

json manifest_of(const std::string &run) {
  return json::parse(support::read_text(tiny().at(run) / kStep / "manifest.json"));
}

// A copy of the base run with another manifest, sealed again.
void copy_with(const std::string &run, const json &manifest) {
  fs::create_directories(tiny().at(run) / "checkpoints");
  fs::copy(tiny().at("base") / kStep, tiny().at(run) / kStep, fs::copy_options::recursive);
  const std::string text = manifest.dump();
  support::write_text(tiny().at(run) / kStep / "manifest.json", text);
  support::write_text(tiny().at(run) / kStep / "DONE", base::hash128(text).hex() + "\n");
}

// The names in the table of an E222, in its order.
Words named(const std::string &output) {
  Words names;
  const auto head = output.find("\n  name ");
  for (std::size_t at = output.find('\n', head + 1); at != std::string::npos;
       at = output.find('\n', at + 1)) {
    const std::string line = output.substr(at + 1, output.find('\n', at + 1) - at - 1);
    if (line.find(" | ") == std::string::npos) break;
    names.push_back(line.substr(2, line.find(' ', 2) - 2));
  }
  return names;
}

// The text behind "run.accept_changes" that the message proposes, as a word of the command line.
std::string proposed(const std::string &output) {
  const auto at = output.find("run.accept_changes=[");
  return at == std::string::npos ? "" : output.substr(at, output.find('\n', at) - at);
}

void expect_refused(const Outcome &out, const std::string &run, const Words &names) {
  EXPECT_EQ(out.code, 5) << out.output;
  EXPECT_NE(out.output.find("[E222]"), std::string::npos) << out.output;
  EXPECT_EQ(named(out.output), names) << out.output;
  EXPECT_FALSE(fs::exists(tiny().at(run) / "history.csv")) << "a step was done";
}

void expect_done(const Outcome &out, const std::string &run, const std::string &step) {
  EXPECT_EQ(out.code, 0) << out.output;
  EXPECT_EQ(support::column(tiny().at(run) / "history.csv", "step"), Words{step}) << out.output;
}

Words names_of_base() {
  Words names;
  const json fingerprint = manifest_of("base").at("info").at("fingerprint");
  for (const auto &entry : fingerprint.items()) names.push_back(entry.key());
  return names;
}

// The checkpoint "from" means something else: refused both ways before a step; with what the message proposes the run goes on, also
// under --check (which does not measure the machine: milliseconds, where a run takes a second).
void check_both_ways(const std::string &from, const Words &names, bool whole_runs) {
  const auto restart = train(from, {"train.steps=2"});
  expect_refused(restart, from, names);
  const std::string warm = "warm_" + from;
  const Words fresh = {"train.steps=1", "run.init_from=" + from};
  const auto init = train(warm, fresh);
  expect_refused(init, warm, names);
  EXPECT_FALSE(fs::exists(tiny().at(warm) / kStep));
  EXPECT_EQ(proposed(init.output), proposed(restart.output));
  const auto check = train(warm, fresh + Words{proposed(init.output), "--check"});
  EXPECT_EQ(check.code, 0) << check.output;
  EXPECT_NE(check.output.find("warning: run.accept_changes"), std::string::npos) << check.output;
  if (!whole_runs) return;
  expect_done(train(warm, fresh + Words{proposed(init.output)}), warm, "1");
  expect_done(train(from, {"train.steps=2", proposed(restart.output)}), from, "2");
}

TEST(fingerprint, names_all_that_the_model_means) {
  ASSERT_EQ(base_run().code, 0) << base_run().output;
  const Words names = names_of_base();
  for (const char *name :
       {"model.router.score", "model.router.bias", "model.router.groups",
        "model.router.chosen_groups", "router.mask", "model.router.scale", "model.router.normalise",
        "balance.alpha", "balance.gamma", "mtp.depth", "mtp.lambda", "mtp.lambda_late",
        "model.rope.theta", "model.rope.factor", "model.rope.mscale_all_dim", "model.norm_eps",
        "norm.places", "data.mask_documents", "loss.targets"})
    EXPECT_NE(std::find(names.begin(), names.end(), name), names.end()) << name;
  const auto out = support::run({support::hadal(), "inspect", "base"}, tiny().folder());
  ASSERT_EQ(out.code, 0) << out.output;
  for (const auto &name : names)
    EXPECT_NE(out.output.find("\n  " + name + " "), std::string::npos) << name << out.output;
  EXPECT_EQ(out.output.find("{\"attention.mask"), std::string::npos) << "a blob\n" << out.output;
}

TEST(fingerprint, every_entry_is_caught_alone_before_the_first_step) {
  ASSERT_EQ(base_run().code, 0) << base_run().output;
  int count = 0;
  for (const auto &name : names_of_base()) {
    SCOPED_TRACE(name);
    json manifest = manifest_of("base");
    manifest["info"]["fingerprint"][name] = "something else";
    copy_with("alone_" + name, manifest);
    check_both_ways("alone_" + name, {name}, count++ % 8 == 0);
  }
}

TEST(fingerprint, all_entries_at_once_stand_in_one_table) {
  ASSERT_EQ(base_run().code, 0) << base_run().output;
  json manifest = manifest_of("base");
  for (const auto &name : names_of_base()) manifest["info"]["fingerprint"][name] = name + "?";
  copy_with("all", manifest);
  const auto out = train("all", {"train.steps=2"});
  Words found = named(out.output);
  std::sort(found.begin(), found.end());
  EXPECT_EQ(found, names_of_base()) << out.output;
  check_both_ways("all", named(out.output), true);
}

TEST(fingerprint, deck_that_means_something_else_is_refused) {
  ASSERT_EQ(base_run().code, 0) << base_run().output;
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"model.router.scale", "1.5"},   {"model.rope.theta", "50000.0"},
      {"model.rope.mscale", "0.707"},  {"model.norm_eps", "1e-5"},
      {"balance.alpha", "0.5"},        {"mtp.lambda", "0.2"},
      {"model.router.bias", "false"},  {"mtp.hidden", "pre_norm"},
      {"data.mask_documents", "true"}, {"model.router.score", "softmax"}};
  int count = 0;
  for (const auto &[key, value] : cases) {
    SCOPED_TRACE(key);
    const std::string run = "deck" + std::to_string(count++);
    const Words words = {"train.steps=2", key + "=" + value, "run.init_from=base"};
    expect_refused(train(run, words), run, {key});
    expect_refused(train(run, {"train.steps=2", key + "=" + value, "--restart", "base"}), run,
                   {key});
    expect_refused(train(run, words + Words{"--check"}), run, {key});
  }
  const Words two = {"train.steps=1", "run.init_from=base", "balance.alpha=0.5", "mtp.lambda=0.2"};
  const auto half = train("two", two + Words{"run.accept_changes=[\"mtp.lambda\"]"});
  expect_refused(half, "two", {"balance.alpha"});
  EXPECT_NE(half.output.find("run.accept_changes=[\"mtp.lambda\", \"balance.alpha\"]"),
            std::string::npos)
      << half.output;
  expect_done(train("two", two + Words{proposed(half.output)}), "two", "1");
  // What was accepted is what the new checkpoint means: nothing is left to accept.
  const auto next = train("two", {"train.steps=2", "balance.alpha=0.5", "mtp.lambda=0.2"});
  EXPECT_EQ(next.code, 0) << next.output;
}

TEST(fingerprint, checkpoint_without_one_is_judged_by_its_deck) {
  ASSERT_EQ(base_run().code, 0) << base_run().output;
  json manifest = manifest_of("base");
  manifest["info"].erase("fingerprint");
  copy_with("older", manifest);
  expect_refused(train("older", {"train.steps=2", "model.router.scale=1.5", "mtp.lambda=0.2"}),
                 "older", {"model.router.scale", "mtp.lambda"});
  const auto shown = support::run({support::hadal(), "inspect", "older"}, tiny().folder());
  EXPECT_NE(shown.output.find("none is stored"), std::string::npos) << shown.output;
  EXPECT_NE(shown.output.find("  model.router.scale "), std::string::npos) << shown.output;
  expect_done(train("older", {"train.steps=2"}), "older", "2");
  manifest["info"]["fingerprint"] = json::array();
  copy_with("list", manifest);
  const auto list = train("list", {"train.steps=2"});
  EXPECT_EQ(list.code, 5) << list.output;
  EXPECT_NE(list.output.find("[E211]"), std::string::npos) << list.output;
}

TEST(fingerprint, entries_that_one_side_lacks_are_said_not_refused) {
  ASSERT_EQ(base_run().code, 0) << base_run().output;
  json manifest = manifest_of("base");
  manifest["info"]["fingerprint"].erase("mtp.lambda");
  manifest["info"]["fingerprint"]["of.another.program"] = "\x1b[31m";
  copy_with("lacking", manifest);
  const auto out = train("lacking", {"train.steps=2"});
  expect_done(out, "lacking", "2");
  EXPECT_NE(out.output.find("does not tell it: mtp.lambda\n"), std::string::npos) << out.output;
  const auto shown = support::run(
      {support::hadal(), "inspect", "lacking/checkpoints/step-00000001"}, tiny().folder());
  EXPECT_NE(shown.output.find("of.another.program"), std::string::npos) << shown.output;
  EXPECT_EQ(shown.output.find('\x1b'), std::string::npos) << shown.output;
}

TEST(fingerprint, unknown_names_are_a_fault_of_the_deck) {
  const auto out = train("unknown", {"run.accept_changes=[\"model.router.scales\"]", "--check"});
  EXPECT_EQ(out.code, 2) << out.output;
  EXPECT_NE(out.output.find("[E029]"), std::string::npos) << out.output;
  EXPECT_NE(out.output.find("did you mean model.router.scale?"), std::string::npos) << out.output;
  const auto part = train("unknown", {"run.accept_changes=[\"theta\"]", "--check"});
  EXPECT_NE(part.output.find("did you mean model.rope.theta?"), std::string::npos) << part.output;
}

} // namespace
