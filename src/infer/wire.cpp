// SPDX-License-Identifier: Apache-2.0
#include "infer/wire.hpp"

namespace infer::wire {

using base::Exit, base::UserError;

void write(Writer &to, const UserError &fault) {
  to.number(fault.code());
  to.text(fault.number());
  to.text(fault.what());
}

// The text is taken apart again as UserError put it together: "what was read", then indented advice, then the number.
UserError read_fault(Reader &from) {
  const auto code = from.number<Exit>();
  std::string number, text;
  from.text(number), from.text(text);
  const std::string end = fmt::format("     [{}]", number);
  if (text.ends_with(end)) text.resize(text.size() - end.size());
  const std::size_t cut = text.find("\n  ");
  if (cut == std::string::npos) return {code, number, "", "", text};
  std::string advice = text.substr(cut + 3);
  for (std::size_t at = 0; (at = advice.find("\n  ", at)) != std::string::npos; ++at)
    advice.erase(at + 1, 2);
  return {code, number, "", text.substr(0, cut), advice};
}

} // namespace infer::wire
