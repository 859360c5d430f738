// SPDX-License-Identifier: Apache-2.0
#pragma once
// Rates of the tokenizer beside those of a plain copy of the same bytes, all on one thread, as a table.
#include <string>

namespace data {

struct TokenizerBench {
  std::string tokenizer; // path of a tokenizer.json; "": one of 4096 ids, trained on the text
  std::string text;      // path; "": words of random letters, frequent ones often (4 MB)
  int rounds = 5;        // the best one counts
};
std::string tokenizer_bench(const TokenizerBench &options);

} // namespace data
