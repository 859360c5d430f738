// SPDX-License-Identifier: Apache-2.0
#pragma once
// What build.cpp puts together: the computations of a rank, and the messages round them.
#include "schedule/program.hpp"

namespace schedule {

// DualPipe and DualPipeV: the eight steps of one rank.
std::vector<Action> dualpipe_rank(const Program &program, int rank);

// Puts post, receive and send round the computations of every rank.
void add_messages(Program &program);

// A message that a computation needs or makes.
struct Message {
  Content content = Content::activation;
  Piece at;
  int peer = -1;
};
std::vector<Message> messages_before(const Program &program, int rank, const Action &action);
std::vector<Message> messages_after(const Program &program, int rank, const Action &action);

} // namespace schedule
