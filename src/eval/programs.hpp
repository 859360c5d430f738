// SPDX-License-Identifier: Apache-2.0
#pragma once
// The runner that puts programs into the sandbox.
#include "eval/runner.hpp"
#include "sandbox/options.hpp"

namespace eval {

class SandboxRunner : public Runner {
public:
  // Error E340-E344 when the sandbox is not to be had here.
  explicit SandboxRunner(sandbox::Options options);
  std::vector<RunOutcome> run(const std::vector<Program> &programs) override;
  const std::string &isolation() const { return isolation_; } // for the log

private:
  sandbox::Options options_;
  std::string isolation_;
};

} // namespace eval
