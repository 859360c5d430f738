// SPDX-License-Identifier: Apache-2.0
// DualPipe and DualPipeV: one pattern of eight steps. H ranks lie between an end and the middle (R/2; in the V all R), h is the
// distance of a rank from its end, n the number of micro-batches of a phase (N/2; in the V all N, each of which passes twice).
// Phase 0 is what enters at the nearer end, phase 1 what arrives from beyond the middle.
//   1  2(H-h-1) x  F0
//   2     (h+1) x  F0 F1
//   3   (H-h-1) x  B1 W F1
//   4 (n-2H+h+1) x F0&B1 F1&B0     the first pair of the middle rank stays apart: that makes the bubble smaller
//   5   (H-h-1) x  BW1 F1&B0
//   6     (h+1) x  BW1 BW0         from the middle on W is deferred: those are B
//   7   (H-h-1) x  W B0
//   8     (h+1) x  W
// W takes the oldest B whose W is still to be done.
//
// The pattern needs n >= 2H. With fewer micro-batches (the early steps of a batch ramp) it is the program of 2H without the first
// ones: what is left keeps its order, so that nothing waits for what is gone; a pair that loses one half becomes F or BW. (Without
// the last ones it would be slower: W is deferred at the end.)
#include <algorithm>
#include <array>
#include <deque>

#include "base/error.hpp"
#include "schedule/parts.hpp"

namespace schedule {
namespace {

class Steps {
public:
  Steps(const Program &program, int rank) : program_(program) {
    const bool v = program.kind == Kind::dualpipev;
    const bool far_half = !v && rank >= program.ranks / 2;
    half_ = v ? program.ranks : program.ranks / 2;
    h_ = far_half ? program.ranks - 1 - rank : rank;
    const int wanted = v ? program.micro_batches : program.micro_batches / 2;
    per_phase_ = std::max(wanted, 2 * half_);
    missing_ = per_phase_ - wanted;
    chunk_of_phase_ = far_half ? std::array{1, 0} : std::array{0, 1};
  }

  std::vector<Action> all() {
    fill();
    middle();
    drain();
    HADAL_CHECK(forwards_[0] == per_phase_ && forwards_[1] == per_phase_ &&
                    backwards_[0] == per_phase_ && backwards_[1] == per_phase_ && deferred_.empty(),
                "{} {} {} {} of {}, {} left", forwards_[0], forwards_[1], backwards_[0],
                backwards_[1], per_phase_, deferred_.size());
    return missing_ == 0 ? std::move(actions_) : shortened();
  }

private:
  void fill() {
    const int to_middle = half_ - h_ - 1;
    for (int i = 0; i < 2 * to_middle; ++i) forward(0); // 1
    for (int i = 0; i <= h_; ++i) {                     // 2
      forward(0);
      forward(1);
    }
    for (int i = 0; i < to_middle; ++i) { // 3
      backward_input(1);
      weight();
      forward(1);
    }
  }
  void middle() {
    const int to_middle = half_ - h_ - 1;
    for (int i = 0; i < per_phase_ - 2 * half_ + h_ + 1; ++i) { // 4
      if (i == 0 && to_middle == 0) {
        forward(0);
        backward(1);
      } else {
        overlap(0, 1);
      }
      overlap(1, 0);
    }
    for (int i = 0; i < to_middle; ++i) { // 5
      backward(1);
      overlap(1, 0);
    }
  }
  void drain() {
    bool defer = false;
    for (int i = 0; i <= h_; ++i) { // 6
      const bool half_way = i == (h_ + 1) / 2;
      defer = defer || (half_way && h_ % 2 == 1);
      defer ? backward_input(1) : backward(1);
      defer = defer || half_way;
      defer ? backward_input(0) : backward(0);
    }
    for (int i = 0; i < half_ - h_ - 1; ++i) { // 7
      weight();
      backward_input(0);
    }
    for (int i = 0; i <= h_; ++i) weight(); // 8
  }

  // The first ones of each phase, numbered below its first, do not exist.
  bool exists(const Piece &piece) const {
    return piece.micro_batch >= program_.first_of(piece.direction);
  }
  std::vector<Action> shortened() const {
    std::vector<Action> left;
    for (const Action &action : actions_) {
      const bool pair = action.verb == Verb::overlap;
      if (pair && !exists(action.at) && exists(action.with))
        left.push_back({Verb::backward, action.with});
      else if (pair && exists(action.at) && !exists(action.with))
        left.push_back({Verb::forward, action.at});
      else if (exists(action.at))
        left.push_back(action);
    }
    return left;
  }

  Piece next(int phase, std::array<int, 2> &counts) {
    const int chunk = chunk_of_phase_[static_cast<std::size_t>(phase)];
    const int direction = program_.directions == 2 ? chunk : 0;
    const int index = counts[static_cast<std::size_t>(phase)]++ - missing_;
    return {chunk, program_.first_of(direction) + index, direction};
  }
  void forward(int phase) { actions_.push_back({Verb::forward, next(phase, forwards_)}); }
  void backward(int phase) { actions_.push_back({Verb::backward, next(phase, backwards_)}); }
  void backward_input(int phase) {
    actions_.push_back({Verb::backward_input, next(phase, backwards_)});
    deferred_.push_back(actions_.back().at);
  }
  void weight() {
    HADAL_CHECK(!deferred_.empty(), "no W is left after {} actions", actions_.size());
    actions_.push_back({Verb::backward_weight, deferred_.front()});
    deferred_.pop_front();
  }
  void overlap(int forward_phase, int backward_phase) {
    const Piece at = next(forward_phase, forwards_);
    actions_.push_back({Verb::overlap, at, next(backward_phase, backwards_)});
  }

  const Program &program_;
  int half_ = 1, h_ = 0;
  int per_phase_ = 0, missing_ = 0; // micro-batches of the pattern in a phase; of these, not there
  std::array<int, 2> chunk_of_phase_{}, forwards_{}, backwards_{};
  std::deque<Piece> deferred_; // W still to be done
  std::vector<Action> actions_;
};

} // namespace

std::vector<Action> dualpipe_rank(const Program &program, int rank) {
  return Steps(program, rank).all();
}

} // namespace schedule
