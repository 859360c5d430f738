// SPDX-License-Identifier: Apache-2.0
#pragma once
// Engines with an arena of exactly what they ask for, requests by chance, and the trainer's log-probabilities.
#include "infer/engine.hpp"
#include "layers/head_loss/head_loss.hpp"
#include "tests/unit/infer/tiny.hpp"

namespace infer_test {

using infer::Answer;
using infer::Engine;
using infer::EngineOptions;
using infer::Finish;
using infer::Request;
using infer::Result;

inline EngineOptions options(Index batch, Index rows, Index tokens,
                             infer::Attention attention = infer::Attention::exact) {
  EngineOptions o;
  o.attention = attention, o.batch = batch, o.rows = rows, o.tokens = tokens;
  return o;
}

template <class A> class EngineSession {
public:
  EngineSession(const Model<A> &m, const EngineOptions &o,
                const data::Tokenizer *tokenizer = nullptr)
      : arena_("test::engine", Engine<A>::arena_bytes(m.dims(), o)),
        engine(m.dims(), m.weights(), o, tokenizer) {}
  std::vector<Result> run(const std::vector<Request> &requests) {
    return engine.run(ctx_, requests);
  }
  std::vector<infer::Event> step() { return engine.step(ctx_); }

private:
  tensor::Arena arena_;
  tensor::Context ctx_{tensor::Exec(), arena_};

public:
  Engine<A> engine;
};

// Number `index` of a stream of chance, below n.
inline Index chance(std::uint64_t seed, std::uint64_t index, Index n) {
  return static_cast<Index>(base::random::bits(seed, base::random::Purpose::test, 1, index) %
                            static_cast<std::uint64_t>(n));
}

inline Request random_request(const arch::Dims &dims, std::uint64_t seed,
                              Index longest_prompt = 130, Index most_tokens = 24) {
  Request r;
  r.prompt = random_tokens(dims, 1 + chance(seed, 0, longest_prompt), seed);
  r.sampling.max_tokens = 1 + chance(seed, 1, most_tokens);
  r.sampling.temperature = static_cast<double>(chance(seed, 2, 4)) * 0.4;
  r.sampling.top_p = chance(seed, 3, 2) == 0 ? 1.0 : 0.9;
  r.sampling.seed = static_cast<std::uint64_t>(chance(seed, 4, 3));
  r.stream = static_cast<std::uint64_t>(chance(seed, 5, 1000));
  return r;
}

inline bool same(const Answer &a, const Answer &b) {
  return a.tokens == b.tokens && a.logprobs == b.logprobs && a.text == b.text &&
         a.finish == b.finish;
}
inline bool same(const std::vector<infer::Score> &a, const std::vector<infer::Score> &b) {
  bool equal = a.size() == b.size();
  for (std::size_t i = 0; equal && i < a.size(); ++i)
    equal = a[i].logprob == b[i].logprob && a[i].best == b[i].best;
  return equal;
}
inline bool same(const Result &a, const Result &b) {
  bool equal = a.answers.size() == b.answers.size();
  for (std::size_t i = 0; equal && i < a.answers.size(); ++i)
    equal = same(a.answers[i], b.answers[i]);
  return equal && same(a.prompt, b.prompt) && same(a.choices, b.choices);
}

// By the trainer's forward pass and loss: entry t is the log-probability of tokens[t + 1].
template <class A> std::vector<float> trainer_logprobs(const Model<A> &m, const Tokens &tokens) {
  const auto T = static_cast<Index>(tokens.size()) - 1;
  model::Stage<A> stage(m.dims(), {}, 1, T);
  tensor::Arena arena("test::stage", stage.arena_bytes());
  tensor::Context ctx{tensor::Exec(), arena};
  const std::vector<std::int32_t> start = {0};
  const model::HostSample host{tokens, start};
  model::BatchBuffers buffers(1, T, m.dims().mtp_depth);
  const auto batch = buffers.load(ctx, std::span(&host, 1));
  const auto weights = m.weights();
  const Mat<A> n = stage.hidden(ctx, weights, batch.main);
  const Vec<float> lse("test::lse", T), loss("test::loss", T);
  layers::head_loss::forward(ctx, Mat<const A>(n), weights.head_WD, batch.main.target_T, lse, loss);
  tensor::fence(ctx, "test"); // the tests read the losses
  std::vector<float> all;
  for (Index t = 0; t < T; ++t) all.push_back(-loss(t));
  return all;
}

} // namespace infer_test
