// SPDX-License-Identifier: Apache-2.0
// hadal run on many ranks: a stop in good order, and another layout goes on.
#include <chrono>
#include <csignal>
#include <thread>

#include "tests/support/many_ranks.hpp"

namespace {

using support::layout, support::Layout;

class Stops : public support::ManyRanks {};

TEST_F(Stops, ASignalStopsAllInGoodOrderAndAnotherLayoutFinishes) {
  support::Child child(command(layout(2, 2, 2, "dualpipe"), "signal", {"train.steps=400"}),
                       tiny->folder());
  for (int i = 0; i < 2400 && steps_of("signal").size() < 3 && child.running(); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(25));
  child.signal(SIGUSR1); // mpirun hands it on to all ranks
  const auto stopped = child.wait(60);
  EXPECT_EQ(stopped.code, 75) << stopped.output;
  EXPECT_TRUE(support::holds(stopped.output, "stopped: SIGUSR1")) << stopped.output;
  const auto steps = steps_of("signal");
  ASSERT_FALSE(steps.empty());
  const std::string end = "train.steps=" + std::to_string(std::stol(steps.back()) + 3);
  const auto finished = run(layout(2, 2), "signal", {end});
  const auto straight = run(Layout(), "straight", {end});
  EXPECT_EQ(finished.code, 0) << finished.output;
  ASSERT_EQ(support::state_hash(straight.output).size(), 32U) << straight.output;
  EXPECT_EQ(support::state_hash(finished.output), support::state_hash(straight.output));
}

} // namespace
