// SPDX-License-Identifier: Apache-2.0
#pragma once
// Pipeline schedules as data: for every rank of the pipeline the list of what it does in one step. The trainer interprets the
// list, `check` plays it (check.hpp), `simulate` times it (simulate.hpp), draw.hpp draws it; docs/schedules.md explains it.
//
// Stages are numbered along the model. A chunk is one of the stages that a rank holds. Micro-batches are numbered 0..N-1 in
// the order of the step's data, for the whole pipeline; a stage forms its weight gradients in this order within a direction.
//
// Messages never wait where they are sent: `send` stands right behind the computation that makes the data, `post` opens the
// buffer of a receive one computation ahead, and `receive` is the only action that waits. Between two ranks, messages of one
// content arrive in the order in which they are sent, and are posted in that order.
#include <string>
#include <string_view>
#include <vector>

namespace schedule {

enum class Kind { accumulate, one_f_one_b, zb1p, dualpipe, dualpipev };

enum class Verb {
  forward,         // F
  backward_input,  // B: gradients of the activations only
  backward_weight, // W: gradients of the weights only
  backward,        // BW: B and W, back to back
  overlap,         // F&B: F of `at` and BW of `with`, interleaved; they belong to two micro-batches
  post,            // opens the buffer of a message from `peer`
  receive,         // waits for a message that is posted
  send             // hands a message to `peer` and goes on
};

// activation: output of the stage before, for the F of `at`; gradient: of the stage's output, for the B of `at`.
enum class Content { activation, gradient };

// One micro-batch on one of the rank's chunks. direction: 0, and 1 for the half of DualPipe's micro-batches that enter at the
// last rank. In a message: the place of the receiver for post and receive, of the sender for send.
struct Piece {
  int chunk = 0, micro_batch = 0, direction = 0;
  bool operator==(const Piece &) const = default;
};

struct Action {
  Verb verb = Verb::forward;
  Piece at;
  Piece with{-1, -1, -1};                // overlap: the backward half
  Content content = Content::activation; // messages
  int peer = -1;                         // messages: rank of the pipeline
  bool operator==(const Action &) const = default;
};

inline bool is_message(Verb verb) { return verb >= Verb::post; }
inline bool has_forward(Verb verb) { return verb == Verb::forward || verb == Verb::overlap; }

struct Program {
  Kind kind = Kind::accumulate;
  int ranks = 1, stages = 1, chunks = 1; // chunks: stages held by each rank
  int directions = 1;
  int micro_batches = 1;
  std::vector<std::vector<Action>> actions; // by rank

  int stage_of(int rank, int chunk) const;
  int rank_of(int stage, int direction) const;
  int chunk_of(int stage, int direction) const;
  // The micro-batches [first, last) of a direction.
  int first_of(int direction) const { return micro_batches / directions * direction; }
  int last_of(int direction) const { return micro_batches / directions * (direction + 1); }
  int direction_of(int micro_batch) const { return micro_batch < last_of(0) ? 0 : 1; }
};

// The names of decks and commands: accumulate, 1f1b, zb1p, dualpipe, dualpipev.
const std::vector<std::string> &words();
std::string word(Kind kind);
Kind kind_of(const std::string &word); // UserError E010 for another word

int stages_for(Kind kind, int ranks); // 2 x ranks for DualPipeV, else ranks
// The micro-batches with which the published pattern is whole: with fewer, DualPipe and DualPipeV leave some of it out.
int whole_pattern(Kind kind, int ranks);

// Throws UserError E015 (ranks), E016 (micro-batches) or E019 (too large) when there is no such schedule. where: the deck's line
// or the command.
void check_numbers(Kind kind, int ranks, int micro_batches, std::string_view where);

// The program of `ranks` ranks of one pipeline. The numbers are checked first.
Program build(Kind kind, int ranks, int micro_batches, std::string_view where = "schedule");

// The most micro-batches on chunks that a rank has in hand at once, each from its first action to its last, messages included: so many
// sets of buffers does it need. More micro-batches in a step never need fewer.
int most_held(const Program &program, int rank);

// "dualpipe: 8 ranks, 8 stages, 20 micro-batches".
std::string title(const Program &program);
// "F of micro-batch 3 on stage 1", "receive activation of micro-batch 3 from rank 1".
std::string describe(const Program &program, int rank, const Action &action);
// The same short, without messages: "F3", "BW0", "F8&BW3".
std::string label(const Action &action);

} // namespace schedule
