// SPDX-License-Identifier: Apache-2.0
#include "eval/engine_model.hpp"

#include <algorithm>
#include <map>

namespace eval {

using infer::Index;
using Tokens = std::vector<data::Token>;

namespace {

infer::EngineOptions completed(infer::EngineOptions o, const arch::Dims &dims,
                               const data::Tokenizer &tokenizer, std::int64_t longest) {
  o.tokens = std::max(longest, std::min(o.tokens, o.batch * longest));
  o.sequence = longest;
  o.vocabulary = std::min(tokenizer.size(), static_cast<int>(dims.vocabulary));
  return o;
}

// A sequence and those who ask for the tokens behind its last ones.
struct Asked {
  Index from = 0; // first position that anybody asks for
  std::vector<std::size_t> askers;
};

// What one of them is told: the scores of the tokens of the prompt, then its own choice.
void tell(const Continuation &one, const infer::Result &result, Index from, std::size_t choice,
          Likelihood &to) {
  const auto add = [&](const infer::Score &score) {
    to.sum += static_cast<double>(score.logprob);
    to.greedy = to.greedy && score.best;
  };
  const auto first = static_cast<std::size_t>(static_cast<Index>(one.context.size()) - from);
  for (std::size_t i = 0; i + 1 < one.continuation.size(); ++i) add(result.prompt[first + i]);
  add(result.choices[choice]);
}

} // namespace

template <class A>
EngineModel<A>::EngineModel(const arch::Dims &dims, model::Weights<A> weights,
                            const data::Tokenizer &tokenizer, std::int64_t longest,
                            const infer::EngineOptions &engine, const infer::Group &group)
    : tokenizer_(tokenizer), longest_(longest),
      options_(completed(engine, dims, tokenizer, longest)),
      arena_("eval::engine_model", infer::Engine<A>::arena_bytes(dims, options_, group)),
      engine_(dims, std::move(weights), options_, &tokenizer, group) {}

template <class A>
std::vector<infer::Result> EngineModel<A>::run(const std::vector<infer::Request> &requests) {
  tensor::Context ctx{tensor::Exec(), arena_};
  return engine_.run(ctx, requests);
}

template <class A>
std::vector<Likelihood> EngineModel<A>::log_likelihoods(const std::vector<Continuation> &requests) {
  std::map<Tokens, Asked> sequences;
  for (std::size_t r = 0; r < requests.size(); ++r) {
    const Continuation &one = requests[r];
    HADAL_CHECK(!one.context.empty() && !one.continuation.empty(), "request {}", r);
    Tokens input = one.context;
    input.insert(input.end(), one.continuation.begin(), one.continuation.end() - 1);
    Asked &asked = sequences[std::move(input)];
    const auto from = static_cast<Index>(one.context.size());
    asked.from = asked.askers.empty() ? from : std::min(asked.from, from);
    asked.askers.push_back(r);
  }
  std::vector<infer::Request> asked;
  for (const auto &[input, who] : sequences) {
    infer::Request request;
    request.prompt = input, request.sampling.max_tokens = 0;
    if (who.from < static_cast<Index>(input.size())) request.score_from = who.from;
    for (const std::size_t r : who.askers)
      request.choices.push_back(requests[r].continuation.back());
    asked.push_back(std::move(request));
  }
  const auto said = run(asked);
  std::vector<Likelihood> results(requests.size(), Likelihood{0, true});
  auto result = said.begin();
  for (const auto &[input, who] : sequences) {
    for (std::size_t k = 0; k < who.askers.size(); ++k)
      tell(requests[who.askers[k]], *result, who.from, k, results[who.askers[k]]);
    ++result;
  }
  return results;
}

template <class A>
std::vector<Generated> EngineModel<A>::generate(const std::vector<Prompt> &prompts) {
  std::vector<infer::Request> asked;
  for (const Prompt &prompt : prompts) {
    if (prompt.max_tokens == 0) continue;
    infer::Request request;
    request.prompt = prompt.tokens;
    request.sampling = {prompt.temperature, prompt.top_p, prompt.seed, prompt.max_tokens};
    request.stop_tokens = {tokenizer_.eos()};
    for (const std::string &stop : prompt.stop)
      if (!stop.empty()) request.stop_strings.push_back(stop);
    asked.push_back(std::move(request));
  }
  auto said = run(asked);
  std::vector<Generated> all(prompts.size());
  auto result = said.begin();
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    if (prompts[i].max_tokens == 0) continue;
    infer::Answer &answer = (result++)->answers[0];
    all[i] = {std::move(answer.text), static_cast<std::int64_t>(answer.tokens.size()),
              answer.finish != infer::Finish::length};
  }
  return all;
}

template class EngineModel<float>;
template class EngineModel<numerics::bf16>;

} // namespace eval
