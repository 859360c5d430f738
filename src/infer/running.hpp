// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the engine keeps of requests and of their sequences.
#include <compare>
#include <map>

#include "infer/engine.hpp"

namespace infer {

// Who comes first. sample -1: the prompt, before its samples part.
struct Order {
  RequestId request;
  Index sample;
  auto operator<=>(const Order &) const = default;
};

struct Sequence {
  Order order;
  std::vector<data::Token> tokens; // prompt and what was said
  Index prompt;                    // tokens of the prompt
  Index cached = 0;                // tokens whose latents are in the cache
  std::vector<Index> pages;

  Sequence(const Order &o, std::vector<data::Token> t)
      : order(o), tokens(std::move(t)), prompt(static_cast<Index>(tokens.size())) {}
  bool parted() const { return order.sample >= 0; }
  Index missing() const { return static_cast<Index>(tokens.size()) - cached; }
};
using Sequences = std::map<Order, Sequence>;

// How far a sample's text has gone.
struct Spoken {
  StopText stops;
  Utf8Stream characters;
};

struct Task {
  Request request;
  Result result;
  std::vector<Spoken> spoken; // by sample
  Index open;                 // samples that have not ended

  explicit Task(Request r) : request(std::move(r)), open(request.samples) {
    const auto samples = static_cast<std::size_t>(request.samples);
    result.answers.resize(samples);
    for (std::size_t i = 0; i < samples; ++i)
      spoken.push_back({StopText(request.stop_strings), {}});
  }
  // Are all tokens of the prompt that are asked for scored? Choices come behind them.
  bool scored() const {
    return request.score_from < 0 ||
           static_cast<Index>(result.prompt.size()) >=
               static_cast<Index>(request.prompt.size()) - request.score_from;
  }
};

// A sequence's share of the step under way.
struct Planned {
  Sequence *sequence;
  Piece piece;
};

} // namespace infer
