// SPDX-License-Identifier: Apache-2.0
#pragma once
// A command line run inside the test: exit code and both streams.
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "app/command_line.hpp"

namespace app_test {

struct Outcome {
  int code;
  std::string out, err;
};

inline Outcome hadal(const std::vector<std::string> &arguments) {
  ::testing::internal::CaptureStdout();
  ::testing::internal::CaptureStderr();
  const int code = app::run_command_line(arguments);
  return {code, ::testing::internal::GetCapturedStdout(), ::testing::internal::GetCapturedStderr()};
}

} // namespace app_test
