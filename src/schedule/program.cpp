// SPDX-License-Identifier: Apache-2.0
#include "schedule/program.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "base/error.hpp"
#include "base/text.hpp"

namespace schedule {

// DualPipe: direction 0 goes down the ranks on chunk 0, direction 1 comes up on chunk 1. DualPipeV: every micro-batch goes down
// on chunk 0 and comes back up on chunk 1.
int Program::stage_of(int rank, int chunk) const { return chunk == 0 ? rank : stages - 1 - rank; }

int Program::rank_of(int stage, int direction) const {
  if (kind == Kind::dualpipe) return direction == 0 ? stage : stages - 1 - stage;
  return stage < ranks ? stage : stages - 1 - stage;
}

int Program::chunk_of(int stage, int direction) const {
  if (kind == Kind::dualpipe) return direction;
  return stage < ranks ? 0 : 1;
}

const std::vector<std::string> &words() {
  static const std::vector<std::string> all = {"accumulate", "1f1b", "zb1p", "dualpipe",
                                               "dualpipev"};
  return all;
}

std::string word(Kind kind) { return words()[static_cast<std::size_t>(kind)]; }

Kind kind_of(const std::string &word) {
  const auto found = std::find(words().begin(), words().end(), word);
  if (found != words().end()) return static_cast<Kind>(found - words().begin());
  const std::string near = base::text::nearest(word, words());
  throw base::UserError(base::Exit::deck, "E010", "schedule", base::text::readable(word),
                        fmt::format("This is not a schedule{} There are {}.",
                                    near.empty() ? "." : fmt::format("; did you mean {}?", near),
                                    fmt::join(words(), ", ")));
}

std::string title(const Program &program) {
  return fmt::format("{}: {} rank{}, {} stage{}, {} micro-batch{}", word(program.kind),
                     program.ranks, program.ranks == 1 ? "" : "s", program.stages,
                     program.stages == 1 ? "" : "s", program.micro_batches,
                     program.micro_batches == 1 ? "" : "es");
}

std::string label(const Action &action) {
  const int m = action.at.micro_batch;
  switch (action.verb) {
  case Verb::forward: return fmt::format("F{}", m);
  case Verb::backward_input: return fmt::format("B{}", m);
  case Verb::backward_weight: return fmt::format("W{}", m);
  case Verb::backward: return fmt::format("BW{}", m);
  case Verb::overlap: return fmt::format("F{}&BW{}", m, action.with.micro_batch);
  case Verb::post: return "post";
  case Verb::receive: return "receive";
  case Verb::send: return "send";
  }
  HADAL_CHECK(false, "verb {}", static_cast<int>(action.verb));
  return "";
}

std::string describe(const Program &program, int rank, const Action &action) {
  const auto on = [&](const Piece &piece) {
    return fmt::format("micro-batch {} on stage {}", piece.micro_batch,
                       program.stage_of(rank, piece.chunk));
  };
  const char *what = action.content == Content::activation ? "activation" : "gradient";
  const int m = action.at.micro_batch;
  switch (action.verb) {
  case Verb::forward: return "F of " + on(action.at);
  case Verb::backward_input: return "B of " + on(action.at);
  case Verb::backward_weight: return "W of " + on(action.at);
  case Verb::backward: return "BW of " + on(action.at);
  case Verb::overlap: return fmt::format("F of {} & BW of {}", on(action.at), on(action.with));
  case Verb::post:
    return fmt::format("post {} of micro-batch {} from rank {}", what, m, action.peer);
  case Verb::receive:
    return fmt::format("receive {} of micro-batch {} from rank {}", what, m, action.peer);
  case Verb::send: return fmt::format("send {} of micro-batch {} to rank {}", what, m, action.peer);
  }
  HADAL_CHECK(false, "verb {}", static_cast<int>(action.verb));
  return "";
}

} // namespace schedule
