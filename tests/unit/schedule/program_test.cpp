// SPDX-License-Identifier: Apache-2.0
// Every program that can be built passes the check, and the published ones are the published ones.
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "base/error.hpp"
#include "programs.hpp"

namespace {

using namespace schedule_test;
using schedule::build;

TEST(SchedulePrograms, AllPassTheCheck) {
  for (const Size &size : sizes())
    EXPECT_EQ(first_fault(build(size.kind, size.ranks, size.micro_batches)), "ok") << name(size);
}

TEST(SchedulePrograms, PlacesOfStagesAgree) {
  for (const Size &size : sizes()) {
    const Program program = build(size.kind, size.ranks, size.micro_batches);
    for (int direction = 0; direction < program.directions; ++direction) {
      std::set<int> held;
      for (int stage = 0; stage < program.stages; ++stage) {
        const int rank = program.rank_of(stage, direction);
        EXPECT_EQ(program.stage_of(rank, program.chunk_of(stage, direction)), stage) << name(size);
        held.insert(rank * 2 + program.chunk_of(stage, direction));
      }
      EXPECT_EQ(static_cast<int>(held.size()), program.stages) << name(size);
    }
  }
}

TEST(SchedulePrograms, OneForwardOneBackward) {
  const Program program = build(Kind::one_f_one_b, 4, 6);
  EXPECT_EQ(work_of(program, 0), "F0 F1 F2 F3 BW0 F4 BW1 F5 BW2 BW3 BW4 BW5");
  EXPECT_EQ(work_of(program, 2), "F0 F1 BW0 F2 BW1 F3 BW2 F4 BW3 F5 BW4 BW5");
  EXPECT_EQ(work_of(program, 3), "F0 BW0 F1 BW1 F2 BW2 F3 BW3 F4 BW4 F5 BW5");
  EXPECT_EQ(work_of(build(Kind::accumulate, 1, 3), 0), "F0 BW0 F1 BW1 F2 BW2");
}

TEST(SchedulePrograms, ZeroBubbleFillsWithW) {
  const Program program = build(Kind::zb1p, 3, 5);
  EXPECT_EQ(work_of(program, 0), "F0 F1 F2 B0 W0 F3 B1 W1 F4 B2 W2 B3 W3 B4 W4");
  EXPECT_EQ(work_of(program, 1), "F0 F1 B0 F2 B1 W0 F3 B2 W1 F4 B3 W2 B4 W3 W4");
  EXPECT_EQ(work_of(program, 2), "F0 B0 F1 B1 F2 B2 W0 F3 B3 W1 F4 B4 W2 W3 W4");
}

// 4 ranks, 8 micro-batches, step by step from the table of the eight steps.
TEST(SchedulePrograms, DualPipe) {
  const Program program = build(Kind::dualpipe, 4, 10);
  EXPECT_EQ(work_of(program, 0), "F0 F1 F2 F5 B5 W5 F6 F3&BW6 F7&BW0 F4&BW7 F8&BW1 BW8 F9&BW2 "
                                 "BW9 B3 W3 B4 W4");
  EXPECT_EQ(work_of(program, 1), "F0 F5 F1 F6 F2 BW5 F7&BW0 F3&BW6 F8&BW1 F4&BW7 F9&BW2 BW8 BW3 "
                                 "B9 B4 W9 W4");
  // The other half is the mirror image: the two directions change their roles.
  EXPECT_EQ(work_of(program, 2), "F5 F0 F6 F1 F7 BW0 F2&BW5 F8&BW1 F3&BW6 F9&BW2 F4&BW7 BW3 BW8 "
                                 "B4 B9 W4 W9");
  EXPECT_EQ(work_of(program, 3), "F5 F6 F7 F0 B0 W0 F1 F8&BW1 F2&BW5 F9&BW2 F3&BW6 BW3 F4&BW7 "
                                 "BW4 B8 W8 B9 W9");
}

TEST(SchedulePrograms, DualPipeV) {
  const Program program = build(Kind::dualpipev, 2, 5);
  EXPECT_EQ(work_of(program, 0), "F0 F1 F2 F0 B0 W0 F1 F3&BW1 F2&BW0 F4&BW2 F3&BW1 BW3 F4&BW2 "
                                 "BW4 B3 W3 B4 W4");
  EXPECT_EQ(work_of(program, 1), "F0 F0 F1 F1 F2 BW0 F2&BW0 F3&BW1 F3&BW1 F4&BW2 F4&BW2 BW3 BW3 "
                                 "B4 B4 W4 W4");
  // One rank is a V of two stages without a message.
  const Program alone = build(Kind::dualpipev, 1, 3);
  for (const Action &action : alone.actions[0]) EXPECT_FALSE(schedule::is_message(action.verb));
}

// 4 ranks need 8 micro-batches for the whole pattern. With 4 it is that of 8 without 0, 1, 4 and 5; 2, 3, 6, 7 are now 0 to 3.
TEST(SchedulePrograms, ShortDualPipe) {
  const Program program = build(Kind::dualpipe, 4, 4);
  EXPECT_EQ(work_of(program, 0), "F0 F1 F2 BW2 F3 BW3 B0 W0 B1 W1");
  EXPECT_EQ(work_of(program, 1), "F0 F2 F1 F3 BW2 BW0 B3 B1 W3 W1");
  const Program v = build(Kind::dualpipev, 2, 1);
  EXPECT_EQ(work_of(v, 0), "F0 F0 BW0 B0 W0");
}

// So many buffers as the largest step needs are enough for every smaller one, and short programs keep no more activations.
TEST(SchedulePrograms, FewerMicroBatchesNeedNoMore) {
  for (const Kind kind : {Kind::one_f_one_b, Kind::zb1p, Kind::dualpipe, Kind::dualpipev})
    for (int ranks = 1; ranks <= (kind == Kind::dualpipev ? 8 : 16); ++ranks) {
      const int step = kind == Kind::dualpipe ? 2 : 1;
      if (ranks % step != 0) continue;
      std::vector<int> slots(static_cast<std::size_t>(ranks)), peaks = slots;
      for (int n = step; n <= 2 * ranks + 4; n += step) {
        const Program program = build(kind, ranks, n);
        const std::vector<int> peak = check(program).peak_activations;
        for (int rank = 0; rank < ranks; ++rank) {
          const auto r = static_cast<std::size_t>(rank);
          const int needed = most_held(program, rank);
          EXPECT_GE(needed, slots[r]) << name({kind, ranks, n}) << " rank " << rank;
          EXPECT_GE(peak[r], peaks[r]) << name({kind, ranks, n}) << " rank " << rank;
          slots[r] = needed, peaks[r] = peak[r];
        }
      }
    }
}

std::map<Verb, int> counts(const Program &program, int rank) {
  std::map<Verb, int> found;
  for (const Action &action : program.actions[static_cast<std::size_t>(rank)]) ++found[action.verb];
  return found;
}

// The counts that follow from the published step numbers, for the example of the repository (8 ranks, 20 micro-batches) and for
// the training of the report (16 ranks, 120 micro-batches).
TEST(SchedulePrograms, DualPipeCounts) {
  const Program small = build(Kind::dualpipe, 8, 20);
  const int pairs[] = {9, 10, 11, 11}, lone[] = {11, 10, 9, 9};
  for (int rank = 0; rank < 8; ++rank) {
    const int h = std::min(rank, 7 - rank);
    EXPECT_EQ(counts(small, rank)[Verb::overlap], pairs[h]);
    EXPECT_EQ(counts(small, rank)[Verb::forward], lone[h]);
  }
  const Program large = build(Kind::dualpipe, 16, 120);
  for (int rank = 0; rank < 16; ++rank) {
    const int h = std::min(rank, 15 - rank);
    std::map<Verb, int> found = counts(large, rank);
    const int forwards = h == 7 ? 17 : 23 - h; // the middle ranks do one pair apart
    EXPECT_EQ(found[Verb::forward], forwards);
    EXPECT_EQ(found[Verb::overlap], 120 - forwards);
    EXPECT_EQ(found[Verb::backward] + found[Verb::backward_input], forwards);
    EXPECT_EQ(found[Verb::backward_input], found[Verb::backward_weight]);
    EXPECT_EQ(found[Verb::backward_weight], 15 - h);
  }
}

// The same counts from the table of steps, for every size: h is the distance from the nearer end, H ranks lie between end and middle.
TEST(SchedulePrograms, PairsOfEverySize) {
  for (const Size &size : sizes()) {
    const bool v = size.kind == Kind::dualpipev;
    if (!(v || size.kind == Kind::dualpipe)) continue;
    if (size.micro_batches < schedule::whole_pattern(size.kind, size.ranks)) continue;
    const int H = v ? size.ranks : size.ranks / 2, n = size.micro_batches / (v ? 1 : 2);
    const Program program = build(size.kind, size.ranks, size.micro_batches);
    for (int rank = 0; rank < size.ranks; ++rank) {
      const int h = v ? rank : std::min(rank, size.ranks - 1 - rank);
      std::map<Verb, int> found = counts(program, rank);
      const int apart = h == H - 1 ? 1 : 0; // the first pair of the middle ranks
      EXPECT_EQ(found[Verb::overlap], 2 * (n - 2 * H + h + 1) + (H - h - 1) - apart) << name(size);
      EXPECT_EQ(found[Verb::forward] + found[Verb::overlap], 2 * n) << name(size);
    }
  }
}

// Receives are posted one computation ahead, so that a message can arrive while the rank computes.
TEST(SchedulePrograms, PostsOneComputationAhead) {
  for (const Size &size : sizes()) {
    const Program program = build(size.kind, size.ranks, size.micro_batches);
    for (const auto &list : program.actions) {
      std::map<std::tuple<int, Content, int>, int> posted; // number of computations before the post
      int computed = 0;
      for (const Action &action : list) {
        const std::tuple key{action.peer, action.content, action.at.micro_batch};
        if (!schedule::is_message(action.verb)) ++computed;
        if (action.verb == Verb::post) posted[key] = computed;
        if (action.verb != Verb::receive) continue;
        EXPECT_EQ(computed - posted.at(key), computed == 0 ? 0 : 1) << name(size);
      }
    }
  }
}

std::string error_of(Kind kind, int ranks, int micro_batches) {
  try {
    build(kind, ranks, micro_batches, "a.toml:7");
  } catch (const base::UserError &error) {
    return error.number() + " " + error.what();
  }
  return "none";
}

TEST(SchedulePrograms, ImpossibleNumbers) {
  EXPECT_EQ(error_of(Kind::dualpipe, 3, 12).substr(0, 37),
            "E015 a.toml:7: dualpipe on 3 ranks\n  ");
  EXPECT_EQ(error_of(Kind::accumulate, 2, 2).substr(0, 4), "E015");
  EXPECT_EQ(error_of(Kind::one_f_one_b, 0, 2).substr(0, 4), "E015");
  EXPECT_EQ(error_of(Kind::dualpipe, 4, 6), "none"); // shortened
  EXPECT_EQ(error_of(Kind::dualpipe, 4, 9).substr(0, 4), "E016");
  EXPECT_EQ(error_of(Kind::dualpipe, 4, 5).substr(0, 4), "E016");
  EXPECT_EQ(error_of(Kind::dualpipe, 4, 0).substr(0, 4), "E016");
  EXPECT_EQ(error_of(Kind::dualpipev, 4, 7), "none");
  EXPECT_EQ(error_of(Kind::dualpipev, 4, 0).substr(0, 4), "E016");
  EXPECT_EQ(error_of(Kind::dualpipev, 3, 7), "none");
  EXPECT_EQ(error_of(Kind::one_f_one_b, 4, 0).substr(0, 4), "E016");
  EXPECT_EQ(error_of(Kind::one_f_one_b, 4, -1).substr(0, 4), "E016");
  EXPECT_EQ(error_of(Kind::zb1p, 1025, 1).substr(0, 4), "E019");
  EXPECT_EQ(error_of(Kind::zb1p, 1024, 1025).substr(0, 4), "E019");
  EXPECT_EQ(error_of(Kind::accumulate, 1, 65537).substr(0, 4), "E019");
}

TEST(SchedulePrograms, Words) {
  for (const std::string &word : schedule::words())
    EXPECT_EQ(schedule::word(schedule::kind_of(word)), word);
  try {
    schedule::kind_of("dualpip");
    FAIL();
  } catch (const base::UserError &error) {
    EXPECT_NE(std::string(error.what()).find("did you mean dualpipe?"), std::string::npos);
  }
}

} // namespace
