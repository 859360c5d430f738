// SPDX-License-Identifier: Apache-2.0
#pragma once
// The messages under way between the ranks of a program that is being played.
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "schedule/program.hpp"

namespace schedule {

// A message by its target.
struct Letter {
  int stage = 0, micro_batch = 0;
  bool operator==(const Letter &) const = default;
};

// From one rank to another, one content: first in, first out.
struct Channel {
  std::vector<Letter> sent, posted;
  std::size_t received = 0;
  std::vector<double> arrives; // of what is sent, by the virtual clock
};

class Channels {
public:
  explicit Channels(const Program &program) : program_(program) {}

  Channel &of(int rank, const Action &action) {
    const bool out = action.verb == Verb::send;
    return channels_[{out ? rank : action.peer, out ? action.peer : rank, action.content}];
  }
  Letter letter(int rank, const Action &action) const;
  // Is the peer the one that holds the neighbour stage?
  bool fits(int rank, const Action &action) const;
  // Does the peer's program send what this action receives?
  bool ever_sent(int rank, const Action &receive) const;
  // The neighbour to which more than `limit` messages are sent that it has not posted; -1: none.
  int overfull(int rank, int limit) const;
  void name_the_unreceived(std::vector<std::string> &faults) const;

private:
  const Program &program_;
  std::map<std::tuple<int, int, Content>, Channel> channels_;
};

} // namespace schedule
