// SPDX-License-Identifier: Apache-2.0
#include "schedule/parts.hpp"

namespace schedule {
namespace {

// The stage whose output, or whose input gradient, this computation takes or makes; none beyond the ends, and no message where
// the neighbour lies on the same rank (the turn of the V).
void add(std::vector<Message> &list, const Program &program, int rank, const Piece &piece,
         Content content, int stage) {
  if (stage < 0 || stage >= program.stages) return;
  const int peer = program.rank_of(stage, piece.direction);
  if (peer != rank) list.push_back({content, piece, peer});
}

bool has_backward(Verb verb) {
  return verb == Verb::backward_input || verb == Verb::backward || verb == Verb::overlap;
}

Piece backward_half(const Action &action) {
  return action.verb == Verb::overlap ? action.with : action.at;
}

std::vector<Action> with_messages(const Program &program, int rank) {
  const std::vector<Action> &work = program.actions[static_cast<std::size_t>(rank)];
  std::vector<Action> all;
  const auto put = [&all](Verb verb, const std::vector<Message> &messages) {
    for (const Message &one : messages)
      all.push_back({verb, one.at, {-1, -1, -1}, one.content, one.peer});
  };
  if (!work.empty()) put(Verb::post, messages_before(program, rank, work[0]));
  for (std::size_t i = 0; i < work.size(); ++i) {
    if (i + 1 < work.size()) put(Verb::post, messages_before(program, rank, work[i + 1]));
    put(Verb::receive, messages_before(program, rank, work[i]));
    all.push_back(work[i]);
    put(Verb::send, messages_after(program, rank, work[i]));
  }
  return all;
}

} // namespace

std::vector<Message> messages_before(const Program &program, int rank, const Action &action) {
  std::vector<Message> list;
  if (has_forward(action.verb))
    add(list, program, rank, action.at, Content::activation,
        program.stage_of(rank, action.at.chunk) - 1);
  const Piece back = backward_half(action);
  if (has_backward(action.verb))
    add(list, program, rank, back, Content::gradient, program.stage_of(rank, back.chunk) + 1);
  return list;
}

std::vector<Message> messages_after(const Program &program, int rank, const Action &action) {
  std::vector<Message> list;
  if (has_forward(action.verb))
    add(list, program, rank, action.at, Content::activation,
        program.stage_of(rank, action.at.chunk) + 1);
  const Piece back = backward_half(action);
  if (has_backward(action.verb))
    add(list, program, rank, back, Content::gradient, program.stage_of(rank, back.chunk) - 1);
  return list;
}

void add_messages(Program &program) {
  for (int rank = 0; rank < program.ranks; ++rank)
    program.actions[static_cast<std::size_t>(rank)] = with_messages(program, rank);
}

} // namespace schedule
