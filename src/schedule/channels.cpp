// SPDX-License-Identifier: Apache-2.0
#include "schedule/channels.hpp"

#include <fmt/format.h>

namespace schedule {
namespace {

// +1: along the model. Activations are sent that way, gradients against it; receivers look back.
int towards(const Action &action) {
  return (action.verb == Verb::send) == (action.content == Content::activation) ? 1 : -1;
}

} // namespace

Letter Channels::letter(int rank, const Action &action) const {
  const int stage = program_.stage_of(rank, action.at.chunk);
  return {action.verb == Verb::send ? stage + towards(action) : stage, action.at.micro_batch};
}

bool Channels::fits(int rank, const Action &action) const {
  const int other = program_.stage_of(rank, action.at.chunk) + towards(action);
  return other >= 0 && other < program_.stages && action.peer != rank &&
         action.peer == program_.rank_of(other, action.at.direction);
}

bool Channels::ever_sent(int rank, const Action &receive) const {
  for (const Action &action : program_.actions[static_cast<std::size_t>(receive.peer)])
    if (action.verb == Verb::send && action.peer == rank && action.content == receive.content &&
        letter(receive.peer, action) == letter(rank, receive))
      return true;
  return false;
}

int Channels::overfull(int rank, int limit) const {
  for (auto at = channels_.lower_bound({rank, -1, Content::activation});
       at != channels_.end() && std::get<0>(at->first) == rank; ++at)
    if (static_cast<long>(at->second.sent.size()) - static_cast<long>(at->second.posted.size()) >
        limit)
      return std::get<1>(at->first);
  return -1;
}

void Channels::name_the_unreceived(std::vector<std::string> &faults) const {
  for (const auto &[key, channel] : channels_) {
    const auto &[from, to, content] = key;
    const char *what = content == Content::activation ? "activation" : "gradient";
    for (std::size_t i = channel.received; i < channel.sent.size(); ++i)
      faults.push_back(fmt::format("rank {} sends {} of micro-batch {} to rank {}, which never "
                                   "receives it",
                                   from, what, channel.sent[i].micro_batch, to));
    for (std::size_t i = channel.received; i < channel.posted.size(); ++i)
      faults.push_back(fmt::format("rank {} posts {} of micro-batch {} from rank {} and never "
                                   "receives it",
                                   to, what, channel.posted[i].micro_batch, from));
  }
}

} // namespace schedule
