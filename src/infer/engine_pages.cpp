// SPDX-License-Identifier: Apache-2.0
// What happens before a pass through the model: who gets pages, and which rows are computed.
#include <algorithm>

#include "infer/engine_impl.hpp"

namespace infer {

using tensor::Context;

template <class A> void Engine<A>::Impl::give_back(Sequence &sequence) {
  for (const Index page : sequence.pages) pool.drop(page);
  sequence.pages.clear(), sequence.cached = 0;
}

template <class A> void Engine<A>::Impl::preempt_last() {
  auto last = running.extract(std::prev(running.end()));
  Sequence &sequence = last.mapped();
  give_back(sequence);
  if (!sequence.parted()) tasks.at(sequence.order.request).result.prompt.clear(); // scored again
  waiting.insert(std::move(last));
  ++counts.preempted;
}

// Pages for all tokens of a sequence, those of its prompt from a sibling where one has them.
template <class A> bool Engine<A>::Impl::start(Sequence &sequence) {
  const auto tokens = static_cast<Index>(sequence.tokens.size());
  const Index whole = std::min(sequence.prompt, tokens - 1) / kPage; // one row is left to compute
  const Sequence *sibling = nullptr;
  for (const auto &[order, other] : running)
    if (order.request == sequence.order.request && other.cached >= whole * kPage) sibling = &other;
  const Index shared = sibling ? whole : 0;
  Index soon = 0; // pages that those at work begin with their next row
  for (const auto &[order, other] : running) soon += needs_page(other) ? 1 : 0;
  if (pool.free() < pages_for(tokens) - shared + (running.empty() ? 0 : soon)) return false;
  for (Index b = 0; b < shared; ++b) {
    const Index page = sibling->pages[static_cast<std::size_t>(b)];
    pool.share(page), sequence.pages.push_back(page);
  }
  sequence.cached = shared * kPage;
  while (static_cast<Index>(sequence.pages.size()) < pages_for(tokens))
    sequence.pages.push_back(pool.take());
  return true;
}

template <class A> void Engine<A>::Impl::admit() {
  while (!waiting.empty() && static_cast<Index>(running.size()) < options.batch) {
    if (!start(waiting.begin()->second)) return;
    running.insert(waiting.extract(waiting.begin()));
  }
}

// Is the page of the next row missing, or shared with others?
template <class A> bool Engine<A>::Impl::needs_page(const Sequence &s) const {
  const auto block = static_cast<std::size_t>(s.cached / kPage);
  return block == s.pages.size() || pool.users(s.pages[block]) > 1;
}

template <class A> bool Engine<A>::Impl::room_for_row(Context &ctx, Sequence &s) {
  if (!needs_page(s)) return true;
  if (pool.free() == 0) return false;
  const Index page = pool.take();
  const auto block = static_cast<std::size_t>(s.cached / kPage);
  if (block == s.pages.size()) {
    s.pages.push_back(page);
    return true;
  }
  chain.copy(ctx, s.pages[block], page);
  pool.drop(s.pages[block]);
  s.pages[block] = page;
  ++counts.copied_pages;
  return true;
}

// Rows that speak in this step get their page; those that came last give theirs back where there are too few.
template <class A> void Engine<A>::Impl::make_room(Context &ctx) {
  Index rows = 0;
  for (auto it = running.begin(); it != running.end() && rows < options.batch; ++rows) {
    Sequence &sequence = it->second;
    bool last = false;
    while (!room_for_row(ctx, sequence)) {
      last = std::next(it) == running.end();
      if (last) break;
      preempt_last();
    }
    if (last) {
      preempt_last();
      return;
    }
    ++it;
  }
}

template <class A> Planned Engine<A>::Impl::piece_of(Sequence &s, const Index rows) const {
  const Request &request = tasks.at(s.order.request).request;
  Index count = std::min(rows, s.missing());
  // Under absorbed attention the rows of a prompt are exact and the others are not, however they come to be computed.
  const bool exact = options.attention == Attention::exact || s.cached < s.prompt;
  if (exact && options.attention == Attention::absorbed)
    count = std::min(count, s.prompt - s.cached);
  const Index end = s.cached + count;
  Index wanted = end == static_cast<Index>(s.tokens.size()) ? 1 : 0;
  if (!s.parted() && request.score_from > 0) { // row t tells of token t + 1
    const Index from = std::max(request.score_from - 1, s.cached);
    wanted = std::max(wanted, end - from);
  }
  const std::span<const data::Token> tokens(s.tokens);
  return {&s,
          {tokens.subspan(static_cast<std::size_t>(s.cached), static_cast<std::size_t>(count)),
           s.cached, s.pages, exact, std::max<Index>(wanted, 0)}};
}

// One row of each sequence that speaks, then prompts as far as rows are left.
template <class A> std::vector<Planned> Engine<A>::Impl::plan() {
  std::vector<Planned> planned;
  Index left = options.rows;
  for (const bool speaking : {true, false}) {
    Index places = options.batch; // those that make_room went through
    for (auto it = running.begin(); it != running.end() && places > 0 && left > 0; ++it, --places) {
      if ((it->second.missing() == 1) != speaking) continue;
      planned.push_back(piece_of(it->second, left));
      left -= static_cast<Index>(planned.back().piece.tokens.size());
    }
  }
  return planned;
}

template struct Engine<float>::Impl;
template struct Engine<numerics::bf16>::Impl;

} // namespace infer
