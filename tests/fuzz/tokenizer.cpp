// SPDX-License-Identifier: Apache-2.0
// tokenizer.json: a tokenizer that is accepted encodes and decodes, and its own text loads again to the same.
#include "data/tokenizer.hpp"

#include "tests/fuzz/target.hpp"

namespace {

constexpr std::string_view kText =
    "Hello, w\xc3\xb6rld!  123\n\n\xe4\xbd\xa0\xe5\xa5\xbd <|a|> \xf0\x9f\x90\x9f it's";

void use(const data::Tokenizer &tokenizer) {
  for (const bool special : {false, true}) {
    const auto tokens = tokenizer.encode(kText, special);
    for (const data::Token t : tokens)
      fuzz::require(t >= 0 && t < tokenizer.size(), "ids below the size");
    (void)tokenizer.decode(tokens, special);
  }
  for (data::Token id = 0; id < std::min(tokenizer.size(), 300); ++id) {
    (void)tokenizer.is_special(id);
    (void)tokenizer.split_newline(id);
    (void)tokenizer.decode({&id, 1});
  }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size) {
  return fuzz::only_user_errors([&] {
    const auto tokenizer = data::Tokenizer::from_json(fuzz::text_of(data, size), "tokenizer.json");
    fuzz::only_user_errors([&] { use(tokenizer); });
    const std::string json = tokenizer.to_json();
    try {
      fuzz::require(data::Tokenizer::from_json(json, "again").to_json() == json, "the same text");
    } catch (const base::UserError &error) {
      fuzz::require(false, error.what());
    }
  });
}
