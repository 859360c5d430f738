// SPDX-License-Identifier: Apache-2.0
#pragma once
// Programs that carry their tests: they are right if they come to their end. An answer that leaves early with success
// (exit(0) before the tests) must not count, so that a last line says that the end was reached.
#include <string>

#include "sandbox/sandbox.hpp"

namespace reward {

struct Tested {
  sandbox::Program program;
  std::string mark; // "": the language has no such line, success is exit code 0
};
Tested with_mark(sandbox::Program program);
// Finished, and the mark was written; the mark is taken out of the output.
bool passed(const Tested &tested, sandbox::Outcome &outcome);
// Outputs agree but for blanks at ends of lines and empty lines at the end.
bool same_output(const std::string &a, const std::string &b);

} // namespace reward
