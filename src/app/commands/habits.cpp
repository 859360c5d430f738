// SPDX-License-Identifier: Apache-2.0
#include "app/commands/habits.hpp"

#include <nlohmann/json.hpp>

#include "data/options.hpp"
#include "train/options.hpp"

namespace app {
namespace {

bool wants_bos(const checkpoint::Reader &reader) {
  const auto settings = reader.text_file("tokenizer_config.json");
  if (!settings) return false;
  const auto json = nlohmann::json::parse(*settings, nullptr, false);
  return json.is_object() && json.contains("add_bos_token") && json.at("add_bos_token") == true;
}

} // namespace

Habits habits_of(const checkpoint::Reader &reader) {
  deck::Deck deck = deck::Deck::parse(reader.deck(), reader.directory().string() + ": deck");
  train::PrecisionTable precision;
  train::BatchTable batch;
  data::Options data;
  deck.read_table("precision", precision);
  deck.read_table("batch", batch);
  deck.read_table("data", data);
  return {precision.compute == train::Compute::bf16, data.mask_documents, wants_bos(reader),
          batch.sequence, precision.experts};
}

} // namespace app
