// SPDX-License-Identifier: Apache-2.0
#include "reward/tested.hpp"

#include <sstream>

#include "base/hash.hpp"
#include "reward/extract.hpp"

namespace reward {

Tested with_mark(sandbox::Program program) {
  Tested out;
  const bool python = program.language == "python", shell = program.language == "sh";
  if (python || shell) {
    // A function of the program, so that the same program is run each time. Who reads his own file can find it; nothing inside one
    // process can prevent that.
    out.mark = "end-" + std::to_string(base::hash64("end" + program.source));
    program.source += python ? "\n__import__('os').write(1, b'\\n" + out.mark + "\\n')\n"
                             : "\nprintf '\\n%s\\n' " + out.mark + "\n";
  }
  out.program = std::move(program);
  return out;
}

bool passed(const Tested &tested, sandbox::Outcome &outcome) {
  if (tested.mark.empty()) return outcome.finished;
  const std::string line = "\n" + tested.mark + "\n";
  const std::size_t at = outcome.output.find(line);
  if (at == std::string::npos) return false;
  outcome.output.erase(at, line.size());
  return outcome.finished;
}

bool same_output(const std::string &a, const std::string &b) {
  const auto settled = [](const std::string &text) {
    std::string out, line;
    std::istringstream stream(text);
    while (std::getline(stream, line))
      out += line.substr(0, line.find_last_not_of(" \t\r") + 1) + "\n";
    return trimmed(out);
  };
  return settled(a) == settled(b);
}

} // namespace reward
