// SPDX-License-Identifier: Apache-2.0
#include "app/commands/habits.hpp"

#include <nlohmann/json.hpp>

#include "data/options.hpp"
#include "train/options.hpp"

namespace app {

bool wants_bos(const std::optional<std::string> &settings) {
  if (!settings) return false;
  const auto json = nlohmann::json::parse(*settings, nullptr, false);
  return json.is_object() && json.contains("add_bos_token") && json.at("add_bos_token") == true;
}

Habits habits_of(const checkpoint::Reader &reader) {
  deck::Deck deck = deck::Deck::parse(reader.deck(), reader.directory().string() + ": deck");
  train::PrecisionTable precision;
  train::BatchTable batch;
  data::Options data;
  deck.read_table("precision", precision);
  deck.read_table("batch", batch);
  deck.read_table("data", data);
  return {precision.compute == train::Compute::bf16, data.mask_documents,
          wants_bos(reader.text_file("tokenizer_config.json")), batch.sequence, precision.experts};
}

} // namespace app
