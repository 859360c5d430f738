// SPDX-License-Identifier: Apache-2.0
// Which schedules there are, for which numbers, and the three classic ones. R ranks, N micro-batches, rank r of R:
//   accumulate  F, BW of each micro-batch; one rank
//   1f1b        R-1-r forwards ahead, then F and BW in turn, then the backwards that are left
//   zb1p        the same order with B and W apart: W stays r micro-batches behind B, so that every rank keeps at most R
//               activations and the ranks that end their B early still have W to do (zero-bubble H1)
#include <algorithm>

#include <fmt/format.h>

#include "base/error.hpp"
#include "schedule/parts.hpp"

namespace schedule {
namespace {

using base::Exit;
using base::UserError;

// Actions are kept for all ranks: about 200 bytes for each micro-batch on a rank.
constexpr int kMostRanks = 1024, kMostMicroBatches = 1 << 16;
constexpr long kMostPieces = 1L << 20;

void check_size(Kind kind, int ranks, int micro_batches, std::string_view where) {
  if (ranks > kMostRanks || micro_batches > kMostMicroBatches ||
      static_cast<long>(ranks) * micro_batches > kMostPieces)
    throw UserError(
        Exit::deck, "E019", where,
        fmt::format("{} on {} ranks with {} micro-batches", word(kind), ranks, micro_batches),
        fmt::format("Too large: at most {} ranks, {} micro-batches, and {} for ranks x "
                    "micro-batches.",
                    kMostRanks, kMostMicroBatches, kMostPieces));
}

std::vector<Action> accumulate_rank(int micro_batches) {
  std::vector<Action> actions;
  for (int m = 0; m < micro_batches; ++m) {
    actions.push_back({Verb::forward, {0, m, 0}});
    actions.push_back({Verb::backward, {0, m, 0}});
  }
  return actions;
}

// deferred: how many micro-batches W stays behind B; -1: not apart.
std::vector<Action> one_f_one_b_rank(int ranks, int rank, int micro_batches, int deferred) {
  std::vector<Action> actions;
  int forwards = 0, weights = 0;
  const auto add = [&](Verb verb, int m) { actions.push_back({verb, {0, m, 0}}); };
  for (; forwards < std::min(ranks - 1 - rank, micro_batches); ++forwards)
    add(Verb::forward, forwards);
  for (int m = 0; m < micro_batches; ++m) {
    if (forwards < micro_batches) add(Verb::forward, forwards++);
    if (deferred < 0) {
      add(Verb::backward, m);
      continue;
    }
    add(Verb::backward_input, m);
    if (m >= deferred) add(Verb::backward_weight, weights++);
  }
  while (deferred >= 0 && weights < micro_batches) add(Verb::backward_weight, weights++);
  return actions;
}

std::vector<Action> computations(const Program &program, int rank) {
  switch (program.kind) {
  case Kind::accumulate: return accumulate_rank(program.micro_batches);
  case Kind::one_f_one_b: return one_f_one_b_rank(program.ranks, rank, program.micro_batches, -1);
  case Kind::zb1p: return one_f_one_b_rank(program.ranks, rank, program.micro_batches, rank);
  case Kind::dualpipe:
  case Kind::dualpipev: return dualpipe_rank(program, rank);
  }
  HADAL_CHECK(false, "kind {}", static_cast<int>(program.kind));
  return {};
}

} // namespace

int stages_for(Kind kind, int ranks) { return kind == Kind::dualpipev ? 2 * ranks : ranks; }

int whole_pattern(Kind kind, int ranks) {
  return kind == Kind::dualpipe || kind == Kind::dualpipev ? 2 * ranks : 1;
}

void check_numbers(Kind kind, int ranks, int micro_batches, std::string_view where) {
  const auto fail = [&](const char *number, const std::string &read, const std::string &advice) {
    throw UserError(Exit::deck, number, where, read, advice);
  };
  const std::string on_ranks =
      fmt::format("{} on {} rank{}", word(kind), ranks, ranks == 1 ? "" : "s");
  if (ranks < 1) fail("E015", on_ranks, "A pipeline has at least one rank.");
  if (kind == Kind::accumulate && ranks != 1)
    fail("E015", on_ranks,
         "It is no pipeline and runs on one rank; 1f1b, zb1p and dualpipev take any number, "
         "dualpipe an even one.");
  if (kind == Kind::dualpipe && ranks % 2 != 0)
    fail("E015", on_ranks,
         fmt::format("Its two directions meet in the middle: the ranks must be even, such as {}; "
                     "1f1b, zb1p and dualpipev take any number.",
                     ranks + 1));
  check_size(kind, ranks, micro_batches, where);
  const std::string with = fmt::format("{} with {} micro-batch{}", on_ranks, micro_batches,
                                       micro_batches == 1 ? "" : "es");
  if (micro_batches < 1) fail("E016", with, "A step has at least one micro-batch.");
  if (kind == Kind::dualpipe && micro_batches % 2 != 0)
    fail("E016", with, "Half of the micro-batches enter at each end: their number must be even.");
}

Program build(Kind kind, int ranks, int micro_batches, std::string_view where) {
  check_numbers(kind, ranks, micro_batches, where);
  Program program;
  program.kind = kind;
  program.ranks = ranks;
  program.stages = stages_for(kind, ranks);
  program.chunks = kind == Kind::dualpipe || kind == Kind::dualpipev ? 2 : 1;
  program.directions = kind == Kind::dualpipe ? 2 : 1;
  program.micro_batches = micro_batches;
  for (int rank = 0; rank < ranks; ++rank) program.actions.push_back(computations(program, rank));
  add_messages(program);
  return program;
}

} // namespace schedule
