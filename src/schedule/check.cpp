// SPDX-License-Identifier: Apache-2.0
#include "schedule/check.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "base/error.hpp"
#include "schedule/channels.hpp"

namespace schedule {
namespace {

// What has happened to one micro-batch on one stage.
struct State {
  bool input = false, gradient = false; // received
  bool forward = false, backward = false, weight = false;
};

class Play {
public:
  Play(const Program &program, int open_sends)
      : program_(program), open_sends_(open_sends), channels_(program), at_(count(program.ranks)),
        live_(count(program.ranks)), weights_(count(program.ranks) * count(program.chunks)),
        states_(count(program.ranks) * count(program.chunks) * count(program.micro_batches)) {
    verdict_.peak_activations.resize(count(program.ranks));
  }

  Verdict run() {
    HADAL_CHECK(program_.actions.size() == count(program_.ranks), "{} lists, {} ranks",
                program_.actions.size(), program_.ranks);
    bool moved = true;
    while (moved && verdict_.ok()) {
      moved = false;
      for (int rank = 0; rank < program_.ranks && verdict_.ok(); ++rank)
        while (!finished(rank) && step(rank)) moved = true;
    }
    if (verdict_.ok()) name_the_stuck();
    if (verdict_.ok()) name_the_missing();
    return verdict_;
  }

private:
  static std::size_t count(int n) { return static_cast<std::size_t>(n); }
  const std::vector<Action> &list(int rank) const { return program_.actions[count(rank)]; }
  bool finished(int rank) const { return at_[count(rank)] == list(rank).size(); }
  const Action &current(int rank) const { return list(rank)[at_[count(rank)]]; }
  State &state(int rank, int chunk, int m) {
    return states_[(count(rank) * count(program_.chunks) + count(chunk)) *
                       count(program_.micro_batches) +
                   count(m)];
  }
  int &weights_done(int rank, int chunk) {
    return weights_[count(rank) * count(program_.chunks) + count(chunk)];
  }

  // Always false, so that `return fault(...)` ends a step.
  bool fault(int rank, const std::string &reason, const char *verb = "fails") {
    verdict_.faults.push_back(fmt::format("rank {} {} at action {}: {}{}", rank, verb,
                                          at_[count(rank)], describe(program_, rank, current(rank)),
                                          reason));
    return false;
  }
  bool stuck(int rank, const std::string &reason) { return fault(rank, reason, "is stuck"); }

  // False: the rank waits, or a fault was found.
  bool step(int rank) {
    const Action &action = current(rank);
    if (!sensible(rank, action) || behind_sends(rank) >= 0) return false;
    if (action.verb == Verb::overlap) {
      // Both halves must be possible before the first of them.
      if (!may_forward(rank, action.at) || !may_backward(rank, action.with)) return false;
      if (!may_weigh(rank, action.with, true)) return false;
      forward(rank, action.at);
      backward(rank, action.with);
      weigh(rank, action.with);
    } else if (is_message(action.verb)) {
      if (!message(rank, action)) return false;
    } else if (!compute(rank, action)) {
      return false;
    }
    ++at_[count(rank)];
    return true;
  }

  // The neighbour that must post before this rank goes on; -1: none.
  int behind_sends(int rank) const {
    const Verb verb = current(rank).verb;
    if (open_sends_ == kAnyNumber || verb == Verb::send || verb == Verb::post) return -1;
    return channels_.overfull(rank, open_sends_);
  }

  bool compute(int rank, const Action &action) {
    const Piece &at = action.at;
    const bool both = action.verb == Verb::backward;
    if (action.verb == Verb::forward) {
      if (!may_forward(rank, at)) return false;
      forward(rank, at);
    }
    if (action.verb == Verb::backward_input || both) {
      if (!may_backward(rank, at) || (both && !may_weigh(rank, at, true))) return false;
      backward(rank, at);
    }
    if (action.verb == Verb::backward_weight || both) {
      if (!may_weigh(rank, at, both)) return false;
      weigh(rank, at);
    }
    return true;
  }

  void forward(int rank, const Piece &at) {
    state(rank, at.chunk, at.micro_batch).forward = true;
    int &peak = verdict_.peak_activations[count(rank)];
    peak = std::max(peak, ++live_[count(rank)]);
  }
  void backward(int rank, const Piece &at) {
    state(rank, at.chunk, at.micro_batch).backward = true;
  }
  void weigh(int rank, const Piece &at) {
    state(rank, at.chunk, at.micro_batch).weight = true;
    ++weights_done(rank, at.chunk);
    --live_[count(rank)];
  }

  bool sensible(int rank, const Action &action) {
    const auto exists = [&](const Piece &p) {
      if (p.chunk < 0 || p.chunk >= program_.chunks || p.direction < 0) return false;
      if (p.direction >= program_.directions || p.micro_batch < program_.first_of(p.direction))
        return false;
      return p.micro_batch < program_.last_of(p.direction) &&
             (program_.directions == 1 || p.chunk == p.direction);
    };
    if (!exists(action.at) || (action.verb == Verb::overlap && !exists(action.with)))
      return fault(rank, ": there is no such chunk, micro-batch or direction");
    if (is_message(action.verb) && (action.peer < 0 || action.peer >= program_.ranks))
      return fault(rank, ": there is no such rank");
    return true;
  }

  // The neighbour stage's result: received, or made on this rank.
  bool may_forward(int rank, const Piece &at) {
    State &here = state(rank, at.chunk, at.micro_batch);
    if (here.forward) return fault(rank, ": its F is done twice");
    const int stage = program_.stage_of(rank, at.chunk);
    if (stage == 0) return true;
    const int peer = program_.rank_of(stage - 1, at.direction);
    if (peer != rank) return here.input || missing(rank, at, Content::activation, peer);
    const int chunk = program_.chunk_of(stage - 1, at.direction);
    return state(rank, chunk, at.micro_batch).forward ||
           fault(rank, fmt::format(": before its F on stage {}", stage - 1));
  }
  bool may_backward(int rank, const Piece &at) {
    State &here = state(rank, at.chunk, at.micro_batch);
    if (here.backward) return fault(rank, ": its B is done twice");
    if (!here.forward) return fault(rank, ": B before F");
    const int stage = program_.stage_of(rank, at.chunk);
    if (stage == program_.stages - 1) return true;
    const int peer = program_.rank_of(stage + 1, at.direction);
    if (peer != rank) return here.gradient || missing(rank, at, Content::gradient, peer);
    const int chunk = program_.chunk_of(stage + 1, at.direction);
    return state(rank, chunk, at.micro_batch).backward ||
           fault(rank, fmt::format(": before its B on stage {}", stage + 1));
  }
  // with_backward: B is a part of the same action.
  bool may_weigh(int rank, const Piece &at, bool with_backward) {
    const State &here = state(rank, at.chunk, at.micro_batch);
    if (here.weight) return fault(rank, ": its W is done twice");
    if (!here.backward && !with_backward) return fault(rank, ": W before B");
    const int due = program_.first_of(at.direction) + weights_done(rank, at.chunk);
    return at.micro_batch == due ||
           fault(rank, fmt::format(": out of order, W of micro-batch {} comes first", due));
  }
  bool missing(int rank, const Piece &at, Content content, int peer) {
    const Action wanted{Verb::receive, at, {-1, -1, -1}, content, peer};
    const std::vector<Action> &all = list(rank);
    const bool later = std::find(all.begin() + static_cast<std::ptrdiff_t>(at_[count(rank)]),
                                 all.end(), wanted) != all.end();
    return stuck(rank, fmt::format(", whose {} from rank {} is {}",
                                   content == Content::activation ? "activation" : "gradient", peer,
                                   later ? "received only later" : "never received"));
  }

  bool message(int rank, const Action &action) {
    if (!channels_.fits(rank, action))
      return fault(rank, fmt::format(": stage {} has no such neighbour there",
                                     program_.stage_of(rank, action.at.chunk)));
    State &here = state(rank, action.at.chunk, action.at.micro_batch);
    Channel &channel = channels_.of(rank, action);
    const Letter letter = channels_.letter(rank, action);
    if (action.verb == Verb::send) {
      const bool made = action.content == Content::activation ? here.forward : here.backward;
      if (!made) return fault(rank, ": sent before it is computed");
      channel.sent.push_back(letter);
      return true;
    }
    if (action.verb == Verb::post) {
      channel.posted.push_back(letter);
      return true;
    }
    if (channel.posted.size() <= channel.received || !(channel.posted[channel.received] == letter))
      return fault(rank, ": it is not the next one that is posted");
    if (channel.sent.size() <= channel.received) return false; // waits
    if (!(channel.sent[channel.received] == letter)) return out_of_order(rank, action, channel);
    ++channel.received;
    (action.content == Content::activation ? here.input : here.gradient) = true;
    return true;
  }
  bool out_of_order(int rank, const Action &action, const Channel &channel) {
    if (!channels_.ever_sent(rank, action)) return stuck(rank, ", which never sends it");
    return fault(rank, fmt::format(": out of order, rank {} sends micro-batch {} first",
                                   action.peer, channel.sent[channel.received].micro_batch));
  }

  void name_the_stuck() {
    std::vector<int> followers;
    for (int rank = 0; rank < program_.ranks; ++rank) {
      if (finished(rank)) continue;
      if (behind_sends(rank) >= 0 || channels_.ever_sent(rank, current(rank)))
        followers.push_back(rank);
      else
        stuck(rank, ", which never sends it");
    }
    for (const int rank : followers) {
      const bool sends = behind_sends(rank) >= 0;
      const int peer = sends ? behind_sends(rank) : current(rank).peer;
      const char *what = sends ? "posts what was sent to it" : "sends it";
      stuck(rank, (sends ? fmt::format(", behind sends to rank {}", peer) : "") +
                      (finished(peer) ? fmt::format(", which ends before it {}", what)
                                      : fmt::format(", which is stuck at action {} before it {}",
                                                    at_[count(peer)], what)));
    }
  }

  void name_the_missing() {
    channels_.name_the_unreceived(verdict_.faults);
    for (int rank = 0; rank < program_.ranks; ++rank)
      for (int chunk = 0; chunk < program_.chunks; ++chunk) {
        const int direction = program_.directions == 2 ? chunk : 0;
        for (int m = program_.first_of(direction); m < program_.last_of(direction); ++m) {
          const State &one = state(rank, chunk, m);
          if (one.forward && one.backward && one.weight) continue;
          verdict_.faults.push_back(
              fmt::format("rank {} never does {} of micro-batch {} on stage {}", rank,
                          !one.forward    ? "F"
                          : !one.backward ? "B"
                                          : "W",
                          m, program_.stage_of(rank, chunk)));
        }
      }
  }

  const Program &program_;
  const int open_sends_;
  Channels channels_;
  std::vector<std::size_t> at_;
  std::vector<int> live_, weights_;
  std::vector<State> states_;
  Verdict verdict_;
};

} // namespace

Verdict check(const Program &program, int open_sends) { return Play(program, open_sends).run(); }

} // namespace schedule
