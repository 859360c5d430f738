// SPDX-License-Identifier: Apache-2.0
#include "schedule/simulate.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "schedule/channels.hpp"

namespace schedule {
namespace {

class Clock {
public:
  Clock(const Program &program, const Costs &costs)
      : program_(program), costs_(costs), channels_(program),
        at_(static_cast<std::size_t>(program.ranks)), now_(at_.size()), live_(at_.size()) {
    line_.spans.resize(at_.size());
    line_.waiting.resize(at_.size());
    line_.peak_activations.resize(at_.size());
    line_.parameter_copies = program.chunks;
  }

  Timeline run() {
    bool moved = true;
    while (moved) {
      moved = false;
      for (std::size_t rank = 0; rank < at_.size(); ++rank)
        while (at_[rank] < program_.actions[rank].size() && step(rank)) {
          ++at_[rank];
          moved = true;
        }
    }
    for (std::size_t rank = 0; rank < at_.size(); ++rank) {
      HADAL_CHECK(at_[rank] == program_.actions[rank].size(),
                  "rank {} is stuck at action {}: the program was not checked", rank, at_[rank]);
      line_.makespan = std::max(line_.makespan, now_[rank]);
    }
    for (const std::vector<Span> &spans : line_.spans) {
      double busy = 0;
      for (const Span &span : spans) busy += span.end - span.begin;
      line_.busy.push_back(busy);
      line_.bubble.push_back(line_.makespan - busy);
    }
    return line_;
  }

private:
  // False: the message is not sent yet.
  bool step(std::size_t rank) {
    const Action &action = program_.actions[rank][at_[rank]];
    if (!is_message(action.verb)) {
      compute(rank, action);
      return true;
    }
    if (action.verb == Verb::post) return true;
    Channel &channel = channels_.of(static_cast<int>(rank), action);
    if (action.verb == Verb::send) {
      channel.arrives.push_back(now_[rank] + costs_.send);
      return true;
    }
    if (channel.arrives.size() <= channel.received) return false;
    const double arrival = channel.arrives[channel.received++];
    line_.waiting[rank] += std::max(0.0, arrival - now_[rank]);
    now_[rank] = std::max(now_[rank], arrival);
    return true;
  }

  void compute(std::size_t rank, const Action &action) {
    const double end = now_[rank] + costs_.of(program_, static_cast<int>(rank), action);
    line_.spans[rank].push_back({now_[rank], end, static_cast<int>(at_[rank])});
    now_[rank] = end;
    // A pair needs room for its forward half before the backward half gives any back.
    if (has_forward(action.verb)) ++live_[rank];
    line_.peak_activations[rank] = std::max(line_.peak_activations[rank], live_[rank]);
    if (action.verb != Verb::forward && action.verb != Verb::backward_input) --live_[rank];
  }

  const Program &program_;
  const Costs &costs_;
  Channels channels_;
  std::vector<std::size_t> at_;
  std::vector<double> now_;
  std::vector<int> live_;
  Timeline line_;
};

} // namespace

double Costs::of(const Program &program, int rank, const Action &action) const {
  const StageCosts &here = of(program.stage_of(rank, action.at.chunk));
  const auto whole = [](const StageCosts &c) { return c.backward_input + c.backward_weight; };
  const auto saved = [&](const StageCosts &c) { return c.forward + whole(c) - c.pair; };
  switch (action.verb) {
  case Verb::forward: return here.forward;
  case Verb::backward_input: return here.backward_input;
  case Verb::backward_weight: return here.backward_weight;
  case Verb::backward: return whole(here);
  case Verb::overlap: {
    const StageCosts &other = of(program.stage_of(rank, action.with.chunk));
    return here.forward + whole(other) - std::min(saved(here), saved(other));
  }
  case Verb::post:
  case Verb::receive:
  case Verb::send: break;
  }
  return 0;
}

double Timeline::largest_bubble() const { return *std::max_element(bubble.begin(), bubble.end()); }
int Timeline::most_activations() const {
  return *std::max_element(peak_activations.begin(), peak_activations.end());
}

Timeline simulate(const Program &program, const Costs &costs) {
  HADAL_CHECK(costs.stages.size() == 1 ||
                  costs.stages.size() == static_cast<std::size_t>(program.stages),
              "{} costs, {} stages", costs.stages.size(), program.stages);
  return Clock(program, costs).run();
}

} // namespace schedule
