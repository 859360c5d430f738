// SPDX-License-Identifier: Apache-2.0
#pragma once
// Samples as a reader sees them: borders of tokens, ends of documents, masks, parts of fill-in-the-middle.
#include <cstdint>
#include <string>
#include <string_view>

#include "data/sampler.hpp"

namespace data {

// Text of tokens made safe for a terminal: control characters become escapes, line breaks a sign and a break, bytes that are
// not whole characters \xHH.
std::string visible(std::string_view bytes);

// The body of a sample. With colour, tokens alternate in shade and FIM parts in hue; without, a | stands between tokens.
// Document ends, borders of masks and FIM marks are words in ⟨⟩ in both.
std::string render(const Sample &sample, const Tokenizer &tokenizer, bool colour);

// Samples [first, first + count) of training or validation, each with a head line; then a legend.
struct ShowRequest {
  std::int64_t first = 0, count = 3;
  bool validation = false, colour = false;
};
std::string show(const Sampler &sampler, const ShowRequest &request); // error E129: no such samples

} // namespace data
