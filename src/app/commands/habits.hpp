// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the deck and the files of a checkpoint say of how documents were seen in training, and in which dtype.
#include <cstdint>
#include <optional>
#include <string>

#include "checkpoint/checkpoint.hpp"
#include "layers/dispatch/formats.hpp"

namespace app {

struct Habits {
  bool bf16 = false, masked = false;
  bool bos = false; // the tokenizer's settings ask for the begin token (add_bos_token)
  std::int64_t sequence = 0;
  layers::dispatch::Formats experts = {}; // of rows on their way to experts and back
};
// Of a tokenizer_config.json.
bool wants_bos(const std::optional<std::string> &settings);
Habits habits_of(const checkpoint::Reader &reader);

} // namespace app
