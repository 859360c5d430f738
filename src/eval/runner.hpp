// SPDX-License-Identifier: Apache-2.0
#pragma once
// Who runs programs that a model wrote. The evaluation itself never does: without a runner, tasks that need one are refused (E310).
#include <string>
#include <vector>

namespace eval {

struct Program {
  std::string language = "python";
  std::string source, input; // input: what stands on standard input
  bool tests_inside = false; // right if it comes to its end, not if it leaves before with success
};
struct RunOutcome {
  bool finished =
      false; // ended by itself with exit code 0, within all limits; at its end if tests_inside
  std::string output; // standard output
};

class Runner {
public:
  virtual ~Runner() = default;
  virtual std::vector<RunOutcome> run(const std::vector<Program> &programs) = 0;
};

} // namespace eval
