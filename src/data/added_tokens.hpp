// SPDX-License-Identifier: Apache-2.0
#pragma once
// Finds added tokens in text: leftmost, and of those that begin there the longest.
#include <cstddef>
#include <string_view>
#include <utility>
#include <vector>

#include "data/tokenizer.hpp"

namespace data {

class TextMatcher {
public:
  struct Match {
    std::size_t begin = 0, end = 0;
    Token id = 0;
  };
  TextMatcher();
  void add(std::string_view text, Token id); // not empty, not there already
  bool empty() const { return nodes_.size() == 1; }
  bool find(std::string_view subject, std::size_t from,
            Match &match) const; // first match at or after `from`

private:
  struct Node {
    Token id = -1; // of the text that ends here, or -1
    std::vector<std::pair<unsigned char, std::uint32_t>> children; // by byte, in order
  };
  std::uint32_t child(std::uint32_t node, unsigned char byte) const; // 0: none
  std::vector<Node> nodes_;
  bool begins_[256] = {}; // bytes with which some text begins
};

} // namespace data
