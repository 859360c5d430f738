// SPDX-License-Identifier: Apache-2.0
// A spoilt program is found, and its fault is named.
#include <gtest/gtest.h>

#include <algorithm>
#include <utility>

#include "programs.hpp"
#include "schedule/simulate.hpp"

namespace {

using namespace schedule_test;
using schedule::build;
using List = std::vector<Action>;

bool holds(const std::string &text, const std::string &part) {
  return text.find(part) != std::string::npos;
}

std::ptrdiff_t find(const List &list, Verb verb, int micro_batch,
                    Content content = Content::activation) {
  for (std::size_t i = 0; i < list.size(); ++i)
    if (list[i].verb == verb && list[i].at.micro_batch == micro_batch &&
        (!schedule::is_message(verb) || list[i].content == content))
      return static_cast<std::ptrdiff_t>(i);
  ADD_FAILURE() << "no such action";
  return 0;
}

void erase(List &list, std::ptrdiff_t index) { list.erase(list.begin() + index); }

TEST(ScheduleCheck, RemovedReceive) {
  Program program = build(Kind::one_f_one_b, 2, 4);
  erase(program.actions[1], find(program.actions[1], Verb::receive, 1));
  EXPECT_EQ(first_fault(program), "rank 1 is stuck at action 6: F of micro-batch 1 on stage 1, "
                                  "whose activation from rank 0 is never received");
}

TEST(ScheduleCheck, RemovedSend) {
  Program program = build(Kind::one_f_one_b, 2, 4);
  erase(program.actions[0], find(program.actions[0], Verb::send, 3));
  EXPECT_EQ(first_fault(program), "rank 1 is stuck at action 16: receive activation of "
                                  "micro-batch 3 from rank 0, which never sends it");
  program = build(Kind::one_f_one_b, 2, 4); // one in the middle: the next one comes in its place
  erase(program.actions[0], find(program.actions[0], Verb::send, 1));
  EXPECT_TRUE(holds(first_fault(program), "rank 1 is stuck at action 6: receive activation of "
                                          "micro-batch 1 from rank 0, which never sends it"))
      << first_fault(program);
}

// The rank that is the cause comes first, those that wait for it behind.
TEST(ScheduleCheck, NamesTheCauseFirst) {
  Program program = build(Kind::one_f_one_b, 4, 4);
  erase(program.actions[3], find(program.actions[3], Verb::send, 3, Content::gradient));
  const schedule::Verdict verdict = schedule::check(program);
  ASSERT_EQ(verdict.faults.size(), 3U);
  EXPECT_TRUE(holds(verdict.faults[0], "rank 2 is stuck at action "));
  EXPECT_TRUE(holds(verdict.faults[0], "receive gradient of micro-batch 3 from rank 3, which "
                                       "never sends it"));
  EXPECT_TRUE(holds(verdict.faults[1], "rank 0 is stuck"));
  EXPECT_TRUE(holds(verdict.faults[1], "from rank 1, which is stuck at action "));
}

// Two ranks that wait for each other: each sends what the other needs only behind its own receive.
TEST(ScheduleCheck, Circle) {
  Program program = build(Kind::one_f_one_b, 2, 2);
  List &list = program.actions[0];
  const std::ptrdiff_t send = find(list, Verb::send, 0);
  const Action moved = list[static_cast<std::size_t>(send)];
  erase(list, send);
  list.insert(list.begin() + find(list, Verb::receive, 0, Content::gradient) + 1, moved);
  const schedule::Verdict verdict = schedule::check(program);
  EXPECT_FALSE(verdict.ok());
  EXPECT_TRUE(holds(verdict.faults[0], "rank 1")) << verdict.faults[0];

  program = build(Kind::one_f_one_b, 2, 1);
  List &only = program.actions[0];
  const Action first = only[static_cast<std::size_t>(find(only, Verb::send, 0))];
  erase(only, find(only, Verb::send, 0));
  only.insert(only.begin() + find(only, Verb::receive, 0, Content::gradient) + 1, first);
  const schedule::Verdict circle = schedule::check(program);
  ASSERT_EQ(circle.faults.size(), 2U);
  EXPECT_TRUE(holds(circle.faults[0], "rank 0 is stuck at action 2: receive gradient of "
                                      "micro-batch 0 from rank 1, which is stuck at action 1"))
      << circle.faults[0];
}

TEST(ScheduleCheck, SwappedSends) {
  Program program = build(Kind::one_f_one_b, 2, 6);
  List &list = program.actions[0];
  std::swap(list[static_cast<std::size_t>(find(list, Verb::send, 1))],
            list[static_cast<std::size_t>(find(list, Verb::send, 2))]);
  EXPECT_TRUE(holds(first_fault(program), "send activation of micro-batch 2 to rank 1: sent before "
                                          "it is computed"))
      << first_fault(program);
  // Both are there, but in the wrong order.
  program = build(Kind::one_f_one_b, 3, 6);
  List &first = program.actions[0];
  const Action early = first[static_cast<std::size_t>(find(first, Verb::send, 0))];
  erase(first, find(first, Verb::send, 0));
  first.insert(first.begin() + find(first, Verb::send, 1) + 1, early);
  EXPECT_TRUE(holds(first_fault(program), "receive activation of micro-batch 0 from rank 0: out of "
                                          "order, rank 0 sends micro-batch 1 first"))
      << first_fault(program);
}

TEST(ScheduleCheck, OrderOfComputations) {
  const auto spoilt = [](Kind kind, Verb a, int m, Verb b, int n) {
    Program program = build(kind, 1, 4);
    List &list = program.actions[0];
    std::swap(list[static_cast<std::size_t>(find(list, a, m))],
              list[static_cast<std::size_t>(find(list, b, n))]);
    return first_fault(program);
  };
  using enum Verb;
  EXPECT_EQ(spoilt(Kind::zb1p, backward_input, 1, backward_weight, 1),
            "rank 0 fails at action 4: W of micro-batch 1 on stage 0: W before B");
  EXPECT_EQ(spoilt(Kind::zb1p, forward, 2, backward_input, 2),
            "rank 0 fails at action 6: B of micro-batch 2 on stage 0: B before F");
  EXPECT_EQ(spoilt(Kind::accumulate, forward, 0, forward, 1),
            "rank 0 fails at action 1: BW of micro-batch 0 on stage 0: B before F");
  // All of B, then W in the wrong order: only the sums would tell.
  Program program = build(Kind::zb1p, 2, 4);
  List &list = program.actions[1];
  std::swap(list[static_cast<std::size_t>(find(list, backward_weight, 2))],
            list[static_cast<std::size_t>(find(list, backward_weight, 3))]);
  EXPECT_TRUE(holds(first_fault(program), "W of micro-batch 3 on stage 1: out of order, W of "
                                          "micro-batch 2 comes first"));
}

TEST(ScheduleCheck, DuplicatedAndForeign) {
  Program program = build(Kind::accumulate, 1, 3);
  program.actions[0].insert(program.actions[0].begin() + 2, program.actions[0][0]);
  EXPECT_EQ(first_fault(program),
            "rank 0 fails at action 2: F of micro-batch 0 on stage 0: its F is done twice");
  program = build(Kind::accumulate, 1, 3);
  program.actions[0].pop_back();
  EXPECT_EQ(first_fault(program), "rank 0 never does B of micro-batch 2 on stage 0");
  program = build(Kind::accumulate, 1, 3);
  program.actions[0][0].at.micro_batch = 3;
  EXPECT_TRUE(holds(first_fault(program), "there is no such chunk, micro-batch or direction"));
  program = build(Kind::dualpipe, 2, 4);
  program.actions[0][0].at.direction ^= 1;
  EXPECT_TRUE(holds(first_fault(program), "there is no such chunk, micro-batch or direction"));
  program = build(Kind::one_f_one_b, 3, 3);
  List &list = program.actions[0];
  list[static_cast<std::size_t>(find(list, Verb::send, 0))].peer = 2;
  EXPECT_TRUE(holds(first_fault(program), "has no such neighbour there")) << first_fault(program);
}

// No action of any program can be left out, done twice, or given to another micro-batch.
TEST(ScheduleCheck, EveryActionCounts) {
  for (const Size &size :
       {Size{Kind::accumulate, 1, 3}, Size{Kind::one_f_one_b, 3, 4}, Size{Kind::zb1p, 3, 5},
        Size{Kind::dualpipe, 4, 8}, Size{Kind::dualpipev, 2, 5}}) {
    const Program whole = build(size.kind, size.ranks, size.micro_batches);
    for (std::size_t rank = 0; rank < whole.actions.size(); ++rank)
      for (std::size_t i = 0; i < whole.actions[rank].size(); ++i) {
        const std::string what =
            name(size) + ": " + describe(whole, static_cast<int>(rank), whole.actions[rank][i]);
        Program program = whole;
        erase(program.actions[rank], static_cast<std::ptrdiff_t>(i));
        EXPECT_NE(first_fault(program), "ok") << "without " << what;
        program = whole;
        List &list = program.actions[rank];
        list.insert(list.begin() + static_cast<std::ptrdiff_t>(i), whole.actions[rank][i]);
        EXPECT_NE(first_fault(program), "ok") << "twice " << what;
        program = whole;
        int &m = program.actions[rank][i].at.micro_batch;
        m = (m + 1) % whole.micro_batches;
        EXPECT_NE(first_fault(program), "ok") << "another micro-batch: " << what;
      }
  }
}

// Transports whose sends wait for the receiver to post: one message ahead is enough for all, none is not for DualPipe.
TEST(ScheduleCheck, OpenSends) {
  int stuck = 0;
  for (const Size &size : sizes()) {
    const Program program = build(size.kind, size.ranks, size.micro_batches);
    for (const int open : {1, 2, 3})
      EXPECT_TRUE(schedule::check(program, open).ok()) << name(size) << ", " << open;
    const bool ok = schedule::check(program, 0).ok();
    if (size.kind != Kind::dualpipe && size.kind != Kind::dualpipev) {
      EXPECT_TRUE(ok) << name(size);
    }
    stuck += !ok;
  }
  EXPECT_GT(stuck, 0);
  const schedule::Verdict verdict = schedule::check(build(Kind::dualpipev, 4, 8), 0);
  ASSERT_FALSE(verdict.ok());
  EXPECT_TRUE(holds(verdict.faults[0], "is stuck at action ")) << verdict.faults[0];
  EXPECT_TRUE(holds(verdict.faults[0], "before it posts what was sent to it")) << verdict.faults[0];
}

// Whatever is done to a program: the check says something, or the clock runs to the end.
TEST(ScheduleCheck, SpoiltAtRandom) {
  std::uint64_t state = 1;
  const auto draw = [&](std::size_t below) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    return static_cast<std::size_t>((state >> 33) % below);
  };
  const std::vector<Size> some = {{Kind::one_f_one_b, 3, 4},
                                  {Kind::zb1p, 3, 5},
                                  {Kind::dualpipe, 4, 8},
                                  {Kind::dualpipev, 2, 5}};
  int passed = 0, trials = 4000;
  for (int trial = 0; trial < trials; ++trial) {
    const Size &size = some[draw(some.size())];
    Program program = build(size.kind, size.ranks, size.micro_batches);
    for (std::size_t edits = 1 + draw(3); edits > 0; --edits) {
      List &list = program.actions[draw(program.actions.size())];
      const std::size_t at = draw(list.size() - 1);
      const int number = static_cast<int>(draw(12)) - 2;
      switch (draw(7)) {
      case 0: std::swap(list[at], list[at + 1]); break;
      case 1: std::swap(list[at], list[draw(list.size())]); break;
      case 2: list[at].at.micro_batch = number; break;
      case 3: list[at].peer = number; break;
      case 4: list[at].with.micro_batch = number; break;
      case 5: list[at].verb = static_cast<Verb>(draw(8)); break;
      case 6: list[at].at.chunk = number; break;
      }
    }
    const bool ok = schedule::check(program).ok();
    const bool bounded = schedule::check(program, static_cast<int>(draw(2))).ok();
    EXPECT_TRUE(ok || !bounded); // less room never helps
    if (!ok) continue;
    ++passed;
    EXPECT_GT(simulate(program, {}).makespan, 0);
  }
  EXPECT_GT(passed, 100); // a post or a send may stand elsewhere
  EXPECT_LT(passed, trials / 2);
}

TEST(ScheduleCheck, CountsActivations) {
  using Peaks = std::vector<int>;
  EXPECT_EQ(schedule::check(build(Kind::accumulate, 1, 5)).peak_activations, Peaks({1}));
  EXPECT_EQ(schedule::check(build(Kind::one_f_one_b, 4, 8)).peak_activations, Peaks({4, 3, 2, 1}));
  EXPECT_EQ(schedule::check(build(Kind::one_f_one_b, 4, 2)).peak_activations, Peaks({2, 2, 2, 1}));
  EXPECT_EQ(schedule::check(build(Kind::zb1p, 4, 8)).peak_activations, Peaks({4, 4, 4, 4}));
  EXPECT_EQ(schedule::check(build(Kind::dualpipe, 4, 12)).peak_activations, Peaks({5, 5, 5, 5}));
  EXPECT_EQ(schedule::check(build(Kind::dualpipev, 2, 6)).peak_activations, Peaks({5, 5}));
}

} // namespace
