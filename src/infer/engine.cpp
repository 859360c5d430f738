// SPDX-License-Identifier: Apache-2.0
#include "infer/engine.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "infer/engine_impl.hpp"

namespace infer {

using base::Exit;
using base::UserError;
using tensor::Context;

namespace {

Limits limits_of(const EngineOptions &o) {
  return {
      o.rows, o.batch, o.sequence, pages_for(o.tokens), o.keeps_kv, std::min<Index>(o.rows, 256)};
}

EngineOptions completed(EngineOptions o, const arch::Dims &dims) {
  if (o.sequence == 0) o.sequence = pages_for(o.tokens) * kPage;
  if (o.vocabulary == 0) o.vocabulary = static_cast<int>(dims.vocabulary);
  HADAL_CHECK(o.batch > 0 && o.rows >= o.batch && o.tokens > 0 && o.vocabulary <= dims.vocabulary,
              "batch {}, rows {}, tokens {}, vocabulary {}", o.batch, o.rows, o.tokens,
              o.vocabulary);
  return o;
}

[[noreturn]] void refuse(Exit exit, const char *number, std::string read, std::string advice) {
  throw UserError(exit, number, "generation", std::move(read), std::move(advice));
}

} // namespace

template <class A>
Engine<A>::Impl::Impl(const arch::Dims &d, model::Weights<A> w, const EngineOptions &o,
                      const data::Tokenizer *t, const Group &g)
    : options(completed(o, d)), dims(d), tokenizer(t), group(g), chain(d, w, limits_of(options), g),
      pool(pages_for(options.tokens)) {}

template <class A> void Engine<A>::Impl::check(const Request &r) const {
  const SamplingOptions &s = r.sampling;
  const auto prompt = static_cast<Index>(r.prompt.size());
  const bool draws = s.max_tokens > 0;
  if (r.prompt.empty() || s.max_tokens < 0 || !(s.temperature >= 0) || !(s.top_p > 0) ||
      !(s.top_p <= 1) || r.samples < 1 || r.score_from == 0 || r.score_from < -1 ||
      (!draws && r.score_from < 0 && r.choices.empty()))
    refuse(Exit::deck, "E265",
           fmt::format("{} tokens of prompt, {} samples of {} tokens, temperature {}, top_p {}, "
                       "scores from {}",
                       prompt, r.samples, s.max_tokens, s.temperature, s.top_p, r.score_from),
           "A request has a prompt of one token at least, one sample at least, a temperature of 0 "
           "or more, top_p above 0 up to 1, and tokens to generate or a prompt to score from its "
           "second token on.");
  check_tokens(r.prompt, dims.vocabulary, "prompt");
  check_tokens(r.stop_tokens, dims.vocabulary, "stop token");
  check_tokens(r.choices, dims.vocabulary, "choice");
  if (s.max_tokens > options.sequence - prompt)
    refuse(Exit::deck, "E260", fmt::format("{} tokens and {} to follow", prompt, s.max_tokens),
           fmt::format("A sequence has {} tokens at most. Shorten the prompt or ask for fewer "
                       "tokens.",
                       options.sequence));
  // The last token is never read.
  const Index pages = pages_for(std::max(prompt, prompt + s.max_tokens - 1));
  if (pages > pool.size())
    refuse(
        Exit::deck, "E264", fmt::format("{} pages of {} tokens", pages, kPage),
        fmt::format("The cache has {} pages. Give it more tokens or ask for fewer.", pool.size()));
  for (const std::string &stop : r.stop_strings)
    if (stop.empty() || !tokenizer)
      refuse(Exit::deck, "E266", stop.empty() ? "an empty stop string" : stop,
             stop.empty() ? "It would stop every text before its first token."
                          : "Stop strings need the model's tokenizer.");
}

// --- behind the pass ------------------------------------------------------------------------------------------------

template <class A>
void Engine<A>::Impl::take_logits(const std::vector<Planned> &planned, const Logits &logits,
                                  std::vector<Drawn> &drawn) {
  std::vector<Draw> draws;
  Index row = 0;
  const Index last = logits.first + static_cast<Index>(logits.lse_R.size());
  for (std::size_t i = 0; i < planned.size(); ++i) {
    const Sequence &s = *planned[i].sequence;
    const Piece &piece = planned[i].piece;
    const Index end = piece.position + static_cast<Index>(piece.tokens.size()),
                all = static_cast<Index>(s.tokens.size());
    const Request &request = tasks.at(s.order.request).request;
    for (Index t = end - piece.wanted; t < end; ++t, ++row) {
      if (row < logits.first || row >= last) continue;
      const Index r = row - logits.first;
      if (t + 1 < all) {
        draws.push_back({i, r, s.tokens[static_cast<std::size_t>(t + 1)], 0, {}, t + 1});
        continue;
      }
      if (!s.parted())
        for (const data::Token choice : request.choices)
          draws.push_back({i, r, choice, 0, {}, t + 1});
      if (request.sampling.max_tokens == 0) continue;
      const Index first = s.parted() ? s.order.sample : 0, count = s.parted() ? 1 : request.samples;
      for (Index k = first; k < first + count; ++k)
        draws.push_back(
            {i, r, -1, request.stream + static_cast<std::uint64_t>(k), request.sampling, t + 1});
    }
  }
  draw_all(draws, logits, options.vocabulary, drawn);
}

template <class A> void Engine<A>::Impl::retire(const Order &order) {
  const auto it = running.find(order);
  give_back(it->second);
  running.erase(it);
}

// The samples of a prompt that has been read: each has all its pages.
template <class A> void Engine<A>::Impl::fork(const Order &order) {
  auto whole = running.extract(order);
  Sequence &prompt = whole.mapped();
  const Index samples = tasks.at(order.request).request.samples;
  for (Index k = 0; k < samples; ++k) {
    Sequence sequence = prompt;
    sequence.order.sample = k;
    if (k > 0)
      for (const Index page : sequence.pages) pool.share(page);
    running.emplace(sequence.order, std::move(sequence));
  }
}

// A sequence has its next token.
template <class A>
void Engine<A>::Impl::speak(Sequence &s, const Drawn &drawn, std::vector<Event> &events) {
  Task &task = tasks.at(s.order.request);
  const Request &request = task.request;
  const auto sample = static_cast<std::size_t>(s.order.sample);
  Answer &answer = task.result.answers[sample];
  Spoken &spoken = task.spoken[sample];
  s.tokens.push_back(drawn.token);
  answer.tokens.push_back(drawn.token), answer.logprobs.push_back(drawn.logprob);
  const auto &stops = request.stop_tokens;
  std::string text;
  if (std::find(stops.begin(), stops.end(), drawn.token) != stops.end())
    answer.finish = Finish::stop_token;
  else if (tokenizer)
    text = spoken.characters.push(spoken.stops.push(tokenizer->token_bytes(drawn.token)));
  if (spoken.stops.found()) answer.finish = Finish::stop_string;
  if (answer.finish == Finish::none &&
      static_cast<std::int64_t>(answer.tokens.size()) == request.sampling.max_tokens)
    answer.finish = Finish::length;
  if (answer.finish != Finish::none)
    text += spoken.characters.push(spoken.stops.rest()) + spoken.characters.rest();
  answer.text += text;
  events.push_back({s.order.request, s.order.sample, drawn.token, drawn.logprob, std::move(text),
                    answer.finish});
}

template <class A>
void Engine<A>::Impl::settle(const std::vector<Planned> &planned, const std::vector<Drawn> &drawn,
                             std::vector<Event> &events) {
  std::size_t next = 0;
  for (std::size_t i = 0; i < planned.size(); ++i) {
    Sequence &s = *planned[i].sequence;
    Task &task = tasks.at(s.order.request);
    s.cached += static_cast<Index>(planned[i].piece.tokens.size());
    counts.rows += static_cast<std::int64_t>(planned[i].piece.tokens.size());
    for (; next < drawn.size() && drawn[next].of == i && drawn[next].scored; ++next)
      (task.scored() ? task.result.choices : task.result.prompt)
          .push_back({drawn[next].logprob, drawn[next].best});
    if (s.missing() > 0) continue;
    Order order = s.order;
    const bool whole = !s.parted();
    if (whole && task.request.sampling.max_tokens == 0) {
      task.open = 0;
      retire(order);
      continue;
    }
    if (whole) fork(order); // s is gone
    for (; next < drawn.size() && drawn[next].of == i; ++next) {
      if (whole) order.sample = order.sample < 0 ? 0 : order.sample + 1;
      speak(running.at(order), drawn[next], events);
      if (events.back().finish != Finish::none) retire(order), --task.open;
    }
  }
}

// --- the class ------------------------------------------------------------------------------------------------------

template <class A>
Engine<A>::Engine(const arch::Dims &dims, model::Weights<A> weights, const EngineOptions &options,
                  const data::Tokenizer *tokenizer, const Group &group)
    : impl_(std::make_unique<Impl>(dims, std::move(weights), options, tokenizer, group)) {}
template <class A> Engine<A>::~Engine() = default;

template <class A> RequestId Engine<A>::add(Request request) {
  Impl &e = *impl_;
  e.check(request);
  const RequestId id = e.next++;
  const Order order{id, -1};
  e.waiting.emplace(order, Sequence(order, request.prompt));
  e.tasks.emplace(id, Task(std::move(request)));
  return id;
}

template <class A> std::vector<Event> Engine<A>::step(Context &ctx) {
  Impl &e = *impl_;
  std::vector<Event> events;
  e.make_room(ctx);
  e.admit();
  e.counts.most_running = std::max(e.counts.most_running, static_cast<Index>(e.running.size()));
  const std::vector<Planned> planned = e.plan();
  if (planned.empty() && !e.chain.in_step()) return events;
  std::vector<Piece> pieces;
  for (const Planned &p : planned) pieces.push_back(p.piece);
  const std::vector<Drawn> drawn =
      e.chain.run(ctx, pieces, [&](const Logits &l, std::vector<Drawn> &of_step) {
        e.take_logits(planned, l, of_step);
      });
  if (planned.empty()) return events;
  e.settle(planned, drawn, events);
  ++e.counts.steps;
  return events;
}

template <class A> bool Engine<A>::idle() const {
  return impl_->running.empty() && impl_->waiting.empty();
}

template <class A> bool Engine<A>::finished(RequestId id) const {
  const auto task = impl_->tasks.find(id);
  return task != impl_->tasks.end() && task->second.open == 0;
}

namespace {

[[noreturn]] void unknown(const RequestId id, const char *what) {
  refuse(Exit::deck, "E267", fmt::format("request {}", id), what);
}

} // namespace

template <class A> Result Engine<A>::take(RequestId id) {
  Impl &e = *impl_;
  if (!finished(id)) unknown(id, "There is no finished request of this number.");
  Result result = std::move(e.tasks.at(id).result);
  e.tasks.erase(id);
  return result;
}

template <class A> void Engine<A>::cancel(RequestId id) {
  Impl &e = *impl_;
  if (!e.tasks.contains(id)) unknown(id, "There is no request of this number.");
  for (Sequences *list : {&e.running, &e.waiting}) {
    for (auto it = list->lower_bound({id, -1}); it != list->end() && it->first.request == id;) {
      e.give_back(it->second);
      it = list->erase(it);
    }
  }
  e.tasks.erase(id);
}

template <class A> const EngineOptions &Engine<A>::options() const { return impl_->options; }
template <class A> const EngineCounts &Engine<A>::counts() const { return impl_->counts; }
template <class A> Index Engine<A>::free_pages() const { return impl_->pool.free(); }
template <class A> Index Engine<A>::pages() const { return impl_->pool.size(); }
template <class A> std::size_t Engine<A>::cache_bytes() const { return impl_->chain.cache_bytes(); }

template <class A>
std::size_t Engine<A>::cache_bytes(const arch::Dims &dims, const EngineOptions &options,
                                   const Group &group) {
  std::size_t bytes = 0;
  for (const model::Part &part : group.parts(dims))
    bytes +=
        Cache<A>::bytes(dims, part.last - part.first, pages_for(options.tokens), options.keeps_kv);
  return bytes;
}
template <class A>
std::size_t Engine<A>::arena_bytes(const arch::Dims &dims, const EngineOptions &options,
                                   const Group &group) {
  return Forward<A>::arena_bytes(dims, limits_of(completed(options, dims)), group.experts);
}

// run() and what it needs of these: engine_run.cpp
template void Engine<float>::Impl::check(const Request &) const;
template void Engine<numerics::bf16>::Impl::check(const Request &) const;
template class Engine<float>;
template class Engine<numerics::bf16>;

} // namespace infer
