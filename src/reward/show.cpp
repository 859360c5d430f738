// SPDX-License-Identifier: Apache-2.0
#include "reward/show.hpp"

#include "reward/columns.hpp"
#include "reward/extract.hpp"

namespace reward {

namespace {

// Walks through the text: words between fields to `text`, names of fields to `name`. What is wrong, or "".
template <class Text, class Name>
std::string walk(const std::string &show, const Text &text, const Name &name) {
  std::size_t at = 0;
  for (;;) {
    const std::size_t open = show.find("{{", at);
    text(show.substr(at, open == std::string::npos ? open : open - at));
    if (open == std::string::npos) return "";
    const std::size_t close = show.find("}}", open);
    if (close == std::string::npos) return "{{ without }}";
    const std::string field = trimmed(show.substr(open + 2, close - open - 2));
    if (field.empty()) return "{{ }} without a field's name";
    name(field);
    at = close + 2;
  }
}

} // namespace

std::string fault_of_show(const std::string &show) {
  bool any = false;
  const std::string fault = walk(
      show, [](const std::string &) {}, [&](const std::string &) { any = true; });
  if (fault.empty() && !any) return "no {{field}}: every problem would look the same";
  return fault;
}

std::string shown(const RuleOptions &rule, const data::Json &problem, const std::string &place) {
  std::string out;
  walk(
      rule.show, [&](const std::string &text) { out += text; },
      [&](const std::string &name) { out += field_text(rule, problem, place, name); });
  return out;
}

} // namespace reward
