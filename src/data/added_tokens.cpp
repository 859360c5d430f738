// SPDX-License-Identifier: Apache-2.0
#include "data/added_tokens.hpp"

#include <algorithm>

#include "base/error.hpp"

namespace data {

namespace {

using Child = std::pair<unsigned char, std::uint32_t>;

} // namespace

TextMatcher::TextMatcher() : nodes_(1) {}

std::uint32_t TextMatcher::child(std::uint32_t node, unsigned char byte) const {
  const std::vector<Child> &children = nodes_[node].children;
  const auto found = std::ranges::lower_bound(children, byte, {}, &Child::first);
  return found != children.end() && found->first == byte ? found->second : 0;
}

void TextMatcher::add(std::string_view text, Token id) {
  HADAL_CHECK(!text.empty(), "added token {} without text", id);
  begins_[static_cast<unsigned char>(text[0])] = true;
  std::uint32_t node = 0;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    std::uint32_t next = child(node, byte);
    if (next == 0) {
      next = static_cast<std::uint32_t>(nodes_.size());
      nodes_.emplace_back();
      std::vector<Child> &children = nodes_[node].children;
      children.insert(std::ranges::lower_bound(children, byte, {}, &Child::first),
                      Child{byte, next});
    }
    node = next;
  }
  HADAL_CHECK(nodes_[node].id < 0, "added tokens {} and {} have the same text", nodes_[node].id,
              id);
  nodes_[node].id = id;
}

bool TextMatcher::find(std::string_view subject, std::size_t from, Match &match) const {
  for (std::size_t begin = from; begin < subject.size(); ++begin) {
    if (!begins_[static_cast<unsigned char>(subject[begin])]) continue;
    std::uint32_t node = 0;
    bool found = false;
    for (std::size_t at = begin; at < subject.size(); ++at) {
      node = child(node, static_cast<unsigned char>(subject[at]));
      if (node == 0) break;
      if (nodes_[node].id >= 0) {
        match = {begin, at + 1, nodes_[node].id};
        found = true;
      }
    }
    if (found) return true;
  }
  return false;
}

} // namespace data
