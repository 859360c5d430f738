// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "base/error.hpp"
#include "train/grpo/advantages.hpp"
#include "train/grpo/rollouts.hpp"

namespace train::grpo {

Answers::Answers(const train::Options &options, std::shared_ptr<const data::Tokenizer> tokenizer)
    : prompts(options.grpo, *tokenizer, options.batch.sequence, // one token of an answer at least
              static_cast<std::uint64_t>(options.run.seed)),
      options_(options), tokenizer_(std::move(tokenizer)) {}

data::Cursor Answers::start() const {
  data::Cursor cursor;
  cursor.source_samples = {0};
  return cursor;
}

std::vector<data::Sample> Answers::next(data::Cursor &cursor, std::int64_t count) const {
  std::vector<data::Sample> samples;
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t at = cursor.next_sample + i;
    HADAL_CHECK(at / round_size() == round, "sample {} while round {} is there", at, round);
    samples.push_back(sample(at % round_size()));
  }
  skip(cursor, count);
  return samples;
}

void Answers::skip(data::Cursor &cursor, std::int64_t count) const {
  cursor.next_sample += count;
  cursor.source_samples.at(0) += count;
}

std::vector<double> Answers::epochs(const data::Cursor &cursor) const {
  return {static_cast<double>(cursor.next_sample / options_.grpo.group) /
          static_cast<double>(prompts.size())};
}

data::Sample Answers::validation(std::int64_t index) const {
  HADAL_CHECK(false, "held-out sample {} of a run that has none", index);
  return {};
}

std::string Answers::tokenizer_hash() const { return tokenizer_->hash().hex(); }
int Answers::vocabulary() const { return tokenizer_->size(); }

// Weights are those of the optimiser step that the answer belongs to.
data::Sample Answers::sample(std::int64_t index) const {
  const Answered &a = answers.at(static_cast<std::size_t>(index));
  const auto length = static_cast<std::size_t>(options_.batch.sequence) + 1,
             prompt = a.problem->prompt.size();
  const std::int64_t begin = index / options_.batch.global_batch * options_.batch.global_batch;
  std::int64_t tokens = 0;
  for (std::int64_t i = begin; i < begin + options_.batch.global_batch; ++i)
    tokens += static_cast<std::int64_t>(answers[static_cast<std::size_t>(i)].tokens.size());
  data::Sample s;
  s.tokens = a.problem->prompt;
  s.tokens.insert(s.tokens.end(), a.tokens.begin(), a.tokens.end());
  HADAL_CHECK(s.tokens.size() <= length, "{} tokens in a sample of {}", s.tokens.size(), length);
  s.segments = {0};
  if (s.tokens.size() < length) s.segments.push_back(static_cast<std::int32_t>(s.tokens.size()));
  s.tokens.resize(length, tokenizer_->eos());
  s.trained.assign(length, 0);
  for (auto *values : {&s.old_logp, &s.ref_logp, &s.advantage, &s.weight})
    values->assign(length, 0.0F);
  const double weight = token_weight(options_.grpo, static_cast<std::int64_t>(a.tokens.size()),
                                     options_.batch.global_batch, tokens);
  auto step = a.steps.begin();
  for (std::size_t i = 0; i < a.tokens.size(); ++i) {
    if (step != a.steps.end() && i >= step->end) ++step;
    const double of_step = step != a.steps.end() ? step->advantage : 0.0;
    s.trained[prompt + i] = 1;
    s.old_logp[prompt + i] = a.logp[i];
    s.advantage[prompt + i] = static_cast<float>(a.advantage + of_step);
    s.weight[prompt + i] = static_cast<float>(weight);
    if (!a.ref_logp.empty()) s.ref_logp[prompt + i] = a.ref_logp[i];
  }
  return s;
}

} // namespace train::grpo
