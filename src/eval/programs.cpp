// SPDX-License-Identifier: Apache-2.0
#include "eval/programs.hpp"

#include "reward/tested.hpp"
#include "sandbox/sandbox.hpp"

namespace eval {

SandboxRunner::SandboxRunner(sandbox::Options options)
    : options_(std::move(options)), isolation_(sandbox::check(options_, {"python"}).text()) {}

std::vector<RunOutcome> SandboxRunner::run(const std::vector<Program> &programs) {
  std::vector<reward::Tested> tested;
  std::vector<sandbox::Program> all;
  for (const Program &one : programs) {
    sandbox::Program program{one.language, one.source, one.input};
    tested.push_back(one.tests_inside ? reward::with_mark(std::move(program))
                                      : reward::Tested{std::move(program), ""});
    all.push_back(tested.back().program);
  }
  std::vector<sandbox::Outcome> outcomes = sandbox::run_all(all, options_);
  std::vector<RunOutcome> out;
  for (std::size_t i = 0; i < outcomes.size(); ++i) {
    const bool finished = reward::passed(tested[i], outcomes[i]);
    out.push_back({finished, std::move(outcomes[i].output)});
  }
  return out;
}

} // namespace eval
