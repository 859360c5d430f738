// SPDX-License-Identifier: Apache-2.0
#pragma once
// Inner header of the engine: who runs, who waits, who has which page.
#include "infer/chain.hpp"
#include "infer/running.hpp"

namespace infer {

template <class A> struct Engine<A>::Impl {
  EngineOptions options;
  arch::Dims dims;
  const data::Tokenizer *tokenizer;
  Group group;
  Chain<A> chain;
  PagePool pool;
  std::map<RequestId, Task> tasks; // those not taken yet
  Sequences running, waiting;      // by Order
  RequestId next = 0;
  EngineCounts counts;

  Impl(const arch::Dims &d, model::Weights<A> w, const EngineOptions &o, const data::Tokenizer *t,
       const Group &g);

  void check(const Request &request) const; // engine.cpp
  // Before the pass: engine_pages.cpp
  void admit();
  bool start(Sequence &sequence);
  void make_room(tensor::Context &ctx);
  bool needs_page(const Sequence &sequence) const;
  bool room_for_row(tensor::Context &ctx, Sequence &sequence);
  void preempt_last();
  void give_back(Sequence &sequence);
  std::vector<Planned> plan();
  Planned piece_of(Sequence &sequence, Index rows) const;
  // Behind it: engine.cpp
  void take_logits(const std::vector<Planned> &planned, const Logits &logits,
                   std::vector<Drawn> &drawn);
  void settle(const std::vector<Planned> &planned, const std::vector<Drawn> &drawn,
              std::vector<Event> &events);
  void fork(const Order &order);
  void speak(Sequence &sequence, const Drawn &drawn, std::vector<Event> &events);
  void retire(const Order &order);
};

} // namespace infer
