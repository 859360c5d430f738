// SPDX-License-Identifier: Apache-2.0
#include "train/reading.hpp"

#include <filesystem>

#include <fmt/format.h>

#include "base/files.hpp"
#include "checkpoint/checkpoint.hpp"
#include "data/packed_sampler.hpp"
#include "data/sampler.hpp"
#include "train/grpo/rollouts.hpp"

namespace train {
namespace {

namespace fs = std::filesystem;
using base::Exit, base::UserError;

Reading of_shards(const Options &o) {
  data::SamplerOptions s;
  s.directory = data::directory_of(o.data, o.deck_path);
  s.seed = static_cast<std::uint64_t>(o.run.seed);
  s.sequence = o.batch.sequence;
  s.mask_documents = o.data.mask_documents, s.fim_rate = o.data.fim_rate,
  s.weights = o.data.weights();
  Reading r;
  r.samples = std::make_unique<data::Sampler>(s);
  r.tokenizer = base::read_file(s.directory / "tokenizer.json", Exit::data, "E100");
  return r;
}

std::string tokenizer_of(const checkpoint::Reader &reader) {
  if (auto text = reader.text_file("tokenizer.json")) return *text;
  throw UserError(Exit::data, "E139", reader.directory().string(), "it holds no tokenizer.json",
                  "give the tokenizer of [sft] or [pairs] the path of one");
}

// Rank 0 looks: where the deck says, in the run's own checkpoints when it goes on, in the checkpoint that it starts from.
std::string find_tokenizer(const std::string &given, const Options &o) {
  if (!given.empty()) {
    fs::path path = given;
    if (fs::is_directory(path)) {
      if (!fs::exists(path / "tokenizer.json") || fs::exists(path / "manifest.json"))
        return tokenizer_of(checkpoint::Reader::open(path));
      path /= "tokenizer.json";
    }
    return base::read_file(path, Exit::data, "E100");
  }
  const auto own = checkpoint::Reader::list(o.run.directory);
  if (!own.empty()) return tokenizer_of(checkpoint::Reader::open_verified(own.back()));
  return tokenizer_of(checkpoint::Reader::open(o.run.init_from));
}

// A tokenizer and its text: rank 0 finds it.
std::shared_ptr<const data::Tokenizer> share_tokenizer(const std::string &given, const Options &o,
                                                       const Ranks &ranks, Reading &reading) {
  reading.tokenizer = ranks.world().all_gather_text(ranks.first() ? find_tokenizer(given, o) : "",
                                                    {"tokenizer"})[0];
  return std::make_shared<const data::Tokenizer>(
      data::Tokenizer::from_json(reading.tokenizer, "tokenizer.json"));
}

// Conversations, or pairs of them.
template <class Sampler, class Table>
Reading of_conversations(const Table &table, const Options &o, const Ranks &ranks) {
  Reading r;
  auto tokenizer = share_tokenizer(table.tokenizer, o, ranks, r);
  auto sampler = std::make_unique<Sampler>(table, std::move(tokenizer), o.batch.sequence,
                                           static_cast<std::uint64_t>(o.run.seed));
  r.samples_of_run = o.train.epochs > 0 ? sampler->samples_of(o.train.epochs) : 0;
  r.remarks = sampler->remarks();
  r.samples = std::move(sampler);
  return r;
}

Reading of_problems(const Options &o, const Ranks &ranks) {
  Reading r;
  auto answers = std::make_unique<grpo::Answers>(o, share_tokenizer("", o, ranks, r));
  r.answers = answers.get();
  r.samples = std::move(answers);
  return r;
}

} // namespace

Reading open_reading(const Options &options, const Ranks &ranks) {
  switch (options.run.phase) {
  case Phase::sft: return of_conversations<data::ChatSampler>(options.sft, options, ranks);
  case Phase::reward: return of_conversations<data::PairSampler>(options.pairs, options, ranks);
  case Phase::grpo: return of_problems(options, ranks);
  default: return of_shards(options);
  }
}

Options resolved(Options o, const Reading &reading) {
  if (reading.samples_of_run > 0)
    o.train.steps = (reading.samples_of_run + o.batch.global_batch - 1) / o.batch.global_batch;
  if (!o.rate.whole_run) return o;
  const std::int64_t a_step = o.batch.global_batch * o.batch.sequence,
                     warm = std::min(o.rate.warmup_steps, o.train.steps);
  o.rate.constant_tokens = warm * a_step;
  o.rate.cosine_tokens = std::max<std::int64_t>(1, (o.train.steps - warm) * a_step);
  return o;
}

} // namespace train
