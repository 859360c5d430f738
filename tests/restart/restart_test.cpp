// SPDX-License-Identifier: Apache-2.0
// A run that was stopped, killed or damaged goes on to the same bits: state hash and losses.
#include <gtest/gtest.h>

#include <csignal>
#include <fstream>
#include <random>
#include <thread>

#include "tests/support/tiny_run.hpp"

namespace {

namespace fs = std::filesystem;
using support::Outcome, support::TinyRun;

TinyRun &tiny() {
  static TinyRun run;
  return run;
}

const std::string kSteps = "train.steps=20";

// The undisturbed run of 20 steps.
const Outcome &straight() {
  static const Outcome out = tiny().train("straight", {kSteps});
  return out;
}

std::vector<std::string> losses(const std::string &directory) {
  return support::column(tiny().at(directory + "/history.csv"), "loss");
}

void expect_like_straight(const Outcome &last, const std::string &directory) {
  EXPECT_EQ(last.code, 0) << last.output;
  ASSERT_FALSE(support::state_hash(straight().output).empty()) << straight().output;
  EXPECT_EQ(support::state_hash(last.output), support::state_hash(straight().output))
      << last.output;
  EXPECT_EQ(losses(directory), losses("straight"));
  EXPECT_EQ(support::column(tiny().at(directory + "/history.csv"), "tokens_hadal"),
            support::column(tiny().at("straight/history.csv"), "tokens_hadal"));
}

TEST(restart, data_can_be_built) { ASSERT_EQ(tiny().built().code, 0) << tiny().built().output; }

TEST(restart, ten_and_ten_is_twenty) {
  ASSERT_EQ(straight().code, 0) << straight().output;
  EXPECT_EQ(losses("straight").size(), 20U);
  const auto first = tiny().train("halves", {"train.steps=10"});
  ASSERT_EQ(first.code, 0) << first.output;
  EXPECT_NE(support::state_hash(first.output), support::state_hash(straight().output));
  expect_like_straight(tiny().train("halves", {kSteps}), "halves");
}

TEST(restart, ten_and_ten_is_twenty_in_bf16_with_average_and_bf16_moments) {
  const std::vector<std::string> how = {"precision.compute=bf16", "optimizer.moments=bf16",
                                        "average.beta=0.9", "run.reproducible=same_layout",
                                        "data.fim_rate=0.5"};
  auto with = [&](const std::string &steps) {
    auto all = how;
    all.push_back(steps);
    return all;
  };
  const auto whole = tiny().train("whole16", with(kSteps));
  ASSERT_EQ(whole.code, 0) << whole.output;
  ASSERT_EQ(tiny().train("halves16", with("train.steps=10")).code, 0);
  const auto second = tiny().train("halves16", with(kSteps));
  EXPECT_EQ(support::state_hash(second.output), support::state_hash(whole.output)) << second.output;
  EXPECT_EQ(losses("halves16"), losses("whole16"));
}

TEST(restart, every_section_of_the_state_moves) {
  ASSERT_EQ(straight().code, 0);
  ASSERT_EQ(tiny().train("sections", {"train.steps=10", "average.beta=0.9"}).code, 0);
  const auto before = support::run({support::hadal(), "inspect", "sections"}, tiny().folder());
  ASSERT_EQ(tiny().train("sections", {"average.beta=0.9", kSteps}).code, 0);
  const auto out = support::run({support::hadal(), "compare", "sections/checkpoints/step-00000010",
                                 "sections/checkpoints/step-00000020"},
                                tiny().folder());
  EXPECT_EQ(out.code, 1) << out.output;
  for (const char *section : {"weights", "first_moment", "second_moment", "average", "counters"})
    EXPECT_NE(out.output.find(section), std::string::npos) << section << "\n" << out.output;
}

TEST(restart, signal_stops_in_good_order) {
  for (const int signal : {SIGTERM, SIGUSR1, SIGINT}) {
    const std::string directory = "signal" + std::to_string(signal);
    support::Child child(tiny().command(directory, {kSteps}), tiny().folder());
    while (child.running() && losses(directory).size() < 3)
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    child.signal(signal);
    const auto out = child.wait();
    EXPECT_EQ(out.code, 75) << out.output;
    EXPECT_NE(out.output.find("stopped: SIG"), std::string::npos) << out.output;
    expect_like_straight(tiny().train(directory, {kSteps}), directory);
  }
}

TEST(restart, wall_clock_stops_in_good_order) {
  int runs = 0;
  Outcome out;
  do
    out = tiny().train("clock", {"train.steps=100", "run.wall_clock=3s", "train.validate_every=0"});
  while (out.code == 75 && ++runs < 40);
  EXPECT_EQ(out.code, 0) << out.output;
  const auto whole = tiny().train("no_clock", {"train.steps=100", "train.validate_every=0"});
  EXPECT_EQ(support::state_hash(out.output), support::state_hash(whole.output));
}

TEST(restart, kill_at_any_moment_loses_at_most_the_steps_since_the_last_checkpoint) {
  std::mt19937 random(7);
  for (int attempt = 0; attempt < 6; ++attempt) {
    support::Child child(tiny().command("killed", {kSteps, "checkpoint.every=1"}), tiny().folder());
    const auto rows = losses("killed").size() + 1 + random() % 3;
    for (int wait = 0; wait < 4000 && child.running() && losses("killed").size() < rows; ++wait)
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    std::this_thread::sleep_for(
        std::chrono::milliseconds(random() % 30)); // often while a checkpoint is being written
    child.signal(SIGKILL);
    child.wait();
  }
  expect_like_straight(tiny().train("killed", {kSteps, "checkpoint.every=1"}), "killed");
}

TEST(restart, damaged_checkpoint_is_named_and_skipped) {
  ASSERT_EQ(tiny().train("damaged", {"train.steps=12", "checkpoint.every=6"}).code, 0);
  const auto state = tiny().at("damaged/checkpoints/step-00000012/state.h5");
  std::fstream file(state, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(static_cast<std::streamoff>(fs::file_size(state) / 2));
  file.put(static_cast<char>(file.peek() ^ 1));
  file.close();
  const auto out = tiny().train("damaged", {kSteps, "checkpoint.every=6"});
  EXPECT_NE(out.output.find("step-00000012"), std::string::npos) << out.output;
  EXPECT_NE(out.output.find("restart from"), std::string::npos);
  expect_like_straight(out, "damaged");
}

TEST(restart, checkpoint_now_writes_and_goes_on) {
  support::Child child(tiny().command("now", {kSteps, "checkpoint.at_end=false"}), tiny().folder());
  while (child.running() && losses("now").size() < 2)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  support::write_text(tiny().at("now/checkpoint_now"), "");
  const auto out = child.wait();
  expect_like_straight(out, "now");
  EXPECT_FALSE(fs::exists(tiny().at("now/checkpoint_now")));
  EXPECT_FALSE(fs::is_empty(tiny().at("now/checkpoints")));
}

TEST(restart, init_from_takes_the_weights_only) {
  ASSERT_EQ(straight().code, 0);
  const auto out = tiny().train("warm", {"run.init_from=straight", "train.steps=3"});
  ASSERT_EQ(out.code, 0) << out.output;
  EXPECT_LT(std::stod(losses("warm").at(0)), std::stod(losses("straight").at(0)) - 0.2);
  EXPECT_EQ(support::column(tiny().at("warm/history.csv"), "step").at(0), "1");
}

TEST(restart, two_runs_cannot_share_a_directory) {
  support::Child child(tiny().command("shared", {"train.steps=4000"}), tiny().folder());
  while (child.running() && losses("shared").empty())
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  const auto second = tiny().train("shared", {"train.steps=4000"});
  EXPECT_EQ(second.code, 3) << second.output;
  EXPECT_NE(second.output.find("E070"), std::string::npos) << second.output;
  child.signal(SIGKILL);
}

TEST(restart, other_order_of_samples_is_said) {
  ASSERT_EQ(tiny().train("order", {"train.steps=2"}).code, 0);
  const auto out = tiny().train(
      "order", {"train.steps=3", "data.fim_rate=0.9", "run.accept_changes=[\"data.fim_rate\"]"});
  EXPECT_EQ(out.code, 0) << out.output;
  EXPECT_NE(out.output.find("data.fim_rate was 0.1"), std::string::npos) << out.output;
}

TEST(restart, named_restart_that_is_missing_is_an_error) {
  const auto out = tiny().train("missing", {kSteps, "--restart", "nowhere"});
  EXPECT_EQ(out.code, 5) << out.output;
  EXPECT_NE(out.output.find("E210"), std::string::npos) << out.output;
}

TEST(restart, fresh_start_never_mixes_with_old_checkpoints) {
  ASSERT_EQ(straight().code, 0);
  const auto out = tiny().train("straight", {kSteps, "--restart", "none"});
  EXPECT_EQ(out.code, 5) << out.output;
  EXPECT_NE(out.output.find("E220"), std::string::npos) << out.output;
}

TEST(restart, recompute_and_threads_change_no_bit) {
  const auto again =
      tiny().train("again", {kSteps, "recompute.norms=true", "recompute.up_projections=true",
                             "recompute.swiglu=true", "recompute.arrivals=false"});
  expect_like_straight(again, "again");
  auto one = tiny().command("one", {kSteps});
  one.insert(one.begin(), {"env", "OMP_NUM_THREADS=1"});
  expect_like_straight(support::run(one, tiny().folder()), "one");
}

TEST(restart, bad_steps_follow_the_deck) {
  // A rate of nearly 0 keeps the loss level, so that the noise of the batches crosses a low threshold now and then.
  const std::vector<std::string> level = {"train.steps=24", "rate.peak=1e-6",
                                          "train.spike_factor=1.0005", "train.validate_every=0"};
  const auto with = [&](const std::vector<std::string> &more) {
    auto all = level;
    all.insert(all.end(), more.begin(), more.end());
    return all;
  };
  const auto stop = tiny().train("bad_stop", with({"train.on_bad_loss=stop"}));
  EXPECT_EQ(stop.code, 4) << stop.output;
  EXPECT_NE(stop.output.find("spikes"), std::string::npos) << stop.output;
  const auto skip = tiny().train("bad_skip", with({"train.on_bad_loss=skip"}));
  EXPECT_EQ(skip.code, 0) << skip.output;
  const auto marks = support::column(tiny().at("bad_skip/history.csv"), "skipped");
  EXPECT_NE(std::find(marks.begin(), marks.end(), "1"), marks.end());
  const std::vector<std::string> how =
      with({"train.on_bad_loss=roll_back", "checkpoint.every=1", "train.roll_backs=100"});
  const auto back = tiny().train("bad_back", how);
  EXPECT_EQ(back.code, 0) << back.output;
  EXPECT_NE(back.output.find("rolled back to step"), std::string::npos) << back.output;
  EXPECT_EQ(support::state_hash(tiny().train("bad_back_twin", how).output),
            support::state_hash(back.output));
  // Roll-backs that lead nowhere end the run instead of going round for ever.
  const auto endless = tiny().train(
      "bad_endless", {"train.steps=24", "rate.peak=1.0", "rate.warmup_steps=3",
                      "optimizer.clip_norm=0", "train.spike_factor=1.05",
                      "train.on_bad_loss=roll_back", "checkpoint.every=1", "train.roll_backs=3"});
  EXPECT_EQ(endless.code, 4) << endless.output;
}

} // namespace
