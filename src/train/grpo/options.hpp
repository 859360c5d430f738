// SPDX-License-Identifier: Apache-2.0
#pragma once
// The deck's tables [grpo] and [[grpo.source]] (docs/grpo.md): which problems are asked, how answers are sampled, and what is made of
// their rewards. The rewards themselves: [[reward]].
#include <cstdint>
#include <string>
#include <vector>

#include "arch/dims.hpp"
#include "data/chat_template.hpp"
#include "deck/deck.hpp"
#include "layers/policy/policy.hpp"
#include "reward/options.hpp"

namespace train::grpo {

enum class Spread { deviation, none };     // what advantages are divided by
enum class Mean { answer, token, length }; // over what an answer's loss is a mean
enum class Attention { exact, absorbed };  // of the rollouts

struct PromptSource {
  std::string name;
  std::vector<std::string> paths, include, exclude;
  template <class R> void keys(R &r) {
    r.required(name, "name", "short name of the source: letters, digits, - and _ only");
    r.required(paths, "paths",
               "JSONL files, folders (read recursively) and globs; a line is an object with prompt "
               "(a text) or messages, and the fields that the rewards read");
    r.key(include, "include",
          "file-name patterns that files from folders and globs must match; empty: *.jsonl");
    r.key(exclude, "exclude",
          "file-name patterns of files from folders and globs that are left out");
  }
};

// What a rule of kind "model" names, once it was looked at (train/grpo/models.hpp).
struct RewardModel {
  std::string given, directory, hash; // as the deck says it; the step that was found, its state
  arch::Dims dims;
  std::int64_t longest = 0; // tokens of a conversation
};

struct Options {
  using Ratio = layers::policy::Ratio;
  data::chat::Form form = data::chat::Form::corrected;
  std::vector<PromptSource> sources;
  std::int64_t prompts = 0, group = 0, max_tokens = 0, samples_every = 0, cache = 0, batch = 0;
  double temperature = 1, top_p = 1, clip_low = 0.2, clip_high = 0.2, beta = 0;
  Ratio ratio = Ratio::sequence;
  Spread spread = Spread::deviation;
  Mean mean = Mean::answer;
  Attention attention = Attention::exact;
  std::vector<std::string> stop;
  std::string step_end;
  std::vector<RewardModel> models; // not of the deck

  template <class R> void keys(R &r) {
    r.template choice<data::chat::Form>(
        form, "form", data::chat::Form::corrected,
        {{"original", data::chat::Form::original}, {"corrected", data::chat::Form::corrected}},
        "chat layout of the prompts (docs/chat.md)");
    r.key(prompts, "prompts", 8, 1, 1 << 20, "problems",
          "problems that are asked in one round; prompts x group answers make one round, of which "
          "batch.global_batch answers each make an optimiser step");
    r.key(group, "group", 8, 2, 1 << 16, "answers", "answers to each problem, G of the report");
    r.key(max_tokens, "max_tokens", 64, 1, 1 << 20, "tokens",
          "an answer ends here at the latest; prompt and answer together have batch.sequence + 1 "
          "at most");
    r.key(temperature, "temperature", 1.0, 0.01, 100.0, "", "of the sampling");
    r.key(top_p, "top_p", 1.0, 0.01, 1.0, "",
          "of the sampling; below 1 the ratio is of other probabilities than were sampled from");
    r.key(stop, "stop", "texts behind which an answer ends, beside the end of its turn");
    r.key(step_end, "step_end", "\n",
          "text that ends a step, where rules judge steps (per = \"step\")");
    r.template choice<Ratio>(ratio, "ratio", Ratio::sequence,
                             {{"sequence", Ratio::sequence}, {"token", Ratio::token}},
                             "of probabilities now and when sampled: of whole answers, as the "
                             "report of DeepSeek-V3 writes it, or of each token, as DeepSeekMath");
    r.key(clip_low, "clip_low", 0.2, 0.0, 1.0, "", "the ratio counts down to 1 - clip_low");
    r.key(clip_high, "clip_high", 0.2, 0.0, 1e6, "",
          "and up to 1 + clip_high; larger than clip_low: the clip-higher of DAPO");
    r.key(beta, "beta", 0.0, 0.0, 1e6, "",
          "weight of the divergence from the weights of run.init_from (estimator k3); 0: none, "
          "and these weights are not kept in memory");
    r.template choice<Spread>(spread, "spread", Spread::deviation,
                              {{"deviation", Spread::deviation}, {"none", Spread::none}},
                              "advantages are rewards less the group's mean, divided by its "
                              "standard deviation, or by nothing (Dr. GRPO)");
    r.template choice<Mean>(
        mean, "mean", Mean::answer,
        {{"answer", Mean::answer}, {"token", Mean::token}, {"length", Mean::length}},
        "ratio = token: loss as a mean over each answer, then over answers (GRPO); over all tokens "
        "(DAPO); sum of each answer / max_tokens, then over answers (Dr. GRPO)");
    r.template choice<Attention>(attention, "attention", Attention::exact,
                                 {{"exact", Attention::exact}, {"absorbed", Attention::absorbed}},
                                 "of the rollouts. exact: the trainer's arithmetic, so that the "
                                 "first ratio is exactly 1; absorbed: faster, off by about 1e-4");
    r.key(batch, "batch", 64, 1, 1 << 16, "sequences",
          "answers that are sampled at once, a replica");
    r.key(cache, "cache", 65536, 64, std::int64_t{1} << 40, "tokens",
          "tokens that the latent cache of the rollouts holds, a replica");
    r.key(samples_every, "samples_every", 10, 0, std::int64_t{1} << 40, "rounds",
          "samples/round-N.jsonl has a round's answers with their rewards every so many rounds; 0: "
          "never");
  }
};

Options read_options(deck::Deck &deck);
// E358: rules for steps need ratio = "token", and an end.
void check_steps(const deck::Deck &deck, const Options &options, const reward::Options &rewards);
std::vector<std::pair<std::string, std::vector<deck::KeyInfo>>> declared_keys();

} // namespace train::grpo
