// SPDX-License-Identifier: Apache-2.0
#include "app/commands/data_chats.hpp"

#include <filesystem>

#include "app/open_deck.hpp"
#include "base/error.hpp"
#include "checkpoint/checkpoint.hpp"
#include "infer/load.hpp"
#include "train/options.hpp"

namespace app {
namespace {

namespace fs = std::filesystem;
using base::Exit;
using base::UserError;

bool has_table(const deck::Deck &deck, const std::string &name) {
  return deck.has(name) || deck.has(name + ".source.0");
}

std::shared_ptr<const data::Tokenizer> tokenizer_of(const data::ConversationOptions &options,
                                                    const train::RunTable &run,
                                                    const std::string &deck) {
  const std::string place = options.tokenizer.empty() ? run.init_from : options.tokenizer;
  if (place.empty())
    throw UserError(Exit::deck, "E139", deck, "no tokenizer",
                    "Give run.init_from the checkpoint that the run starts from, or tokenizer the "
                    "path of a tokenizer.json.");
  return std::make_shared<const data::Tokenizer>(tokenizer_at(place));
}

} // namespace

bool is_chat_deck(const std::string &place, const std::vector<std::string> &overrides) {
  std::error_code error;
  if (fs::is_directory(place, error)) return false;
  const deck::Deck deck = open_deck(place, overrides);
  return has_table(deck, "sft") || has_table(deck, "pairs");
}

data::Tokenizer tokenizer_at(const std::string &place) {
  const fs::path path = place;
  if (!fs::is_directory(path)) return data::Tokenizer::load(path);
  if (fs::exists(path / "tokenizer.json") && !fs::exists(path / "manifest.json"))
    return data::Tokenizer::load(path / "tokenizer.json");
  return infer::load_tokenizer(checkpoint::Reader::open(path));
}

Chats open_chats(const std::string &path, const std::vector<std::string> &overrides,
                 std::int64_t sequence) {
  deck::Deck deck = open_deck(path, overrides);
  const bool pairs = has_table(deck, "pairs");
  if (pairs && has_table(deck, "sft"))
    throw UserError(Exit::deck, "E139", deck.where("pairs", ""), "[pairs] beside [sft]",
                    "A deck trains on conversations or on pairs, not on both.");
  data::ChatOptions chats;
  data::PairOptions preferences;
  if (pairs)
    preferences = data::read_pair_options(deck);
  else
    chats = data::read_chat_options(deck);
  train::RunTable run;
  train::BatchTable batch;
  train::TrainTable train;
  deck.read_table("run", run);
  deck.read_table("batch", batch);
  deck.read_table("train", train);
  deck.finish();
  if (sequence == 0) sequence = batch.sequence;
  const auto seed = static_cast<std::uint64_t>(run.seed);
  Chats out;
  if (pairs)
    out.sampler = std::make_unique<data::PairSampler>(
        preferences, tokenizer_of(preferences, run, path), sequence, seed);
  else
    out.sampler =
        std::make_unique<data::ChatSampler>(chats, tokenizer_of(chats, run, path), sequence, seed);
  out.planned_samples =
      train.epochs > 0 ? out.sampler->samples_of(train.epochs) : train.steps * batch.global_batch;
  return out;
}

} // namespace app
