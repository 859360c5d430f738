// SPDX-License-Identifier: Apache-2.0
#pragma once
// Time by kernel label, through the Kokkos Tools interface: between start and stop every parallel_for, reduce and scan is timed (with a
// fence behind it on devices). The callbacks of Kokkos Tools are process-wide, hence the static functions; one timer at a time.
#include <map>
#include <string>

#include "tensor/types.hpp"

namespace tensor {

struct KernelTime {
  double seconds = 0;
  long calls = 0;
};

class KernelTimer {
public:
  static void start();
  static void stop();
  static const std::map<std::string, KernelTime> &times();
};

} // namespace tensor
