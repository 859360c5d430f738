// SPDX-License-Identifier: Apache-2.0
#pragma once
// Many sequences at once. Requests come and go between steps; a step is one pass through the model with one new row of each sequence that
// speaks and pieces of the prompts that are read.
//   order       first come, first served: (number of the request, sample). Who comes first has its row, its pages and its prompt read first
//   admission   a sequence starts when one of `batch` places and the pages of all its tokens are free; who comes later waits
//   n samples   the prompt is read once; its pages are shared, the last one is copied by who writes behind the prompt
//   short of pages: the sequence that came last gives its pages back and is computed again later (pages of its prompt that a sibling holds
//               are shared again). A request that fits when it is alone always ends
// A sequence's tokens and log-probabilities are functions of the weights, its prompt and its sampling (seed, stream): not of the other
// requests, the batch, the pieces in which prompts are read, nor of interruptions. With Attention::exact the log-probabilities are those of
// the trainer's forward pass over the same tokens, bit for bit.
//
// On many ranks (group.hpp) the weights are those that each rank holds: its stages, its experts. They are not copied; between two runs they
// may change in place. The bits are those of one rank. run() is called by all ranks with the same requests and gives all of them all results.
// add(), step() and cancel() are the same on the ranks of one pipeline, each replica has requests of its own; where experts are shared, the
// replicas of an expert group call step() equally often.
#include <map>
#include <memory>
#include <set>

#include "infer/generator.hpp"
#include "infer/group.hpp"
#include "infer/stops.hpp"

namespace infer {

struct EngineOptions {
  Attention attention = Attention::exact;
  Index batch = 64;     // sequences that have rows in one step
  Index rows = 512;     // of one step, at least batch
  Index tokens = 65536; // of the cache, rounded up to whole pages
  Index sequence = 0;   // longest sequence, prompt and answer; 0: as many tokens as the cache holds
  int vocabulary = 0;   // ids below may be chosen; 0: all
  bool keeps_kv =
      false; // exact steps read keys and values from the cache in place of making them: faster, and a larger cache
};

struct Request {
  std::vector<data::Token> prompt;
  Index samples = 1;
  SamplingOptions sampling; // stop_at_eos is the caller's: a stop token
  std::uint64_t stream = 0; // sample i draws from the random numbers (seed, stream + i, position)
  std::vector<data::Token> stop_tokens;
  std::vector<std::string> stop_strings;
  Index score_from =
      -1; // log-probabilities of the prompt's tokens from this position on (1 at least); -1: none
  std::vector<data::Token> choices; // log-probabilities of these tokens behind the prompt
};

enum class Finish { none, stop_token, stop_string, length };

struct Answer {
  std::vector<data::Token> tokens; // a stop token included
  std::vector<float> logprobs;     // of tokens: the model's own (temperature 1, whole vocabulary)
  std::string text;                // without stop token and stop string; whole characters
  Finish finish = Finish::none;
};
struct Score {
  float logprob;
  bool best; // no token is more probable
};
struct Result {
  std::vector<Answer> answers;
  std::vector<Score> prompt;  // from score_from on
  std::vector<Score> choices; // as asked for
};

using RequestId = std::int64_t;
// A token that was chosen.
struct Event {
  RequestId request;
  Index sample;
  data::Token token;
  float logprob;
  std::string text; // what may be shown now
  Finish finish;    // none: it goes on
};

struct EngineCounts {
  std::int64_t steps = 0, rows = 0; // rows computed
  std::int64_t preempted = 0, copied_pages = 0;
  Index most_running = 0; // sequences with pages
};

template <class A> class Engine {
public:
  // tokenizer: for texts and stop strings; may be null. It and the group's communicators live longer than the engine.
  Engine(const arch::Dims &dims, model::Weights<A> weights, const EngineOptions &options,
         const data::Tokenizer *tokenizer = nullptr, const Group &group = {});
  ~Engine();
  // Errors: E260 (longer than a sequence may be), E261 (token outside the vocabulary), E264 (more pages than there are), E265 (a sampling
  // number out of range, nothing to do), E266 (stop string: empty, or no tokenizer).
  RequestId add(Request request);
  // One pass through the model; what was chosen, in order. Nothing to do: no events. Error E262, on all ranks of the pipeline.
  std::vector<Event> step(tensor::Context &ctx);
  bool idle() const; // no request is under way
  bool finished(RequestId id) const;
  // Result of a finished request, once. Error E267: no such request.
  Result take(RequestId id);
  void cancel(RequestId id); // whatever its state; error E267

  // All of them together, to the end. On many ranks each replica takes a share of the samples. An error of any rank is thrown on all;
  // none of the requests is left then.
  std::vector<Result> run(tensor::Context &ctx, const std::vector<Request> &requests);

  const EngineOptions &options() const;
  const EngineCounts &counts() const;
  Index free_pages() const;
  Index pages() const;
  std::size_t cache_bytes() const;
  // Of one rank of the group.
  static std::size_t cache_bytes(const arch::Dims &dims, const EngineOptions &options,
                                 const Group &group = {});
  static std::size_t arena_bytes(const arch::Dims &dims, const EngineOptions &options,
                                 const Group &group = {});

private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

} // namespace infer
