// SPDX-License-Identifier: Apache-2.0
#include "tensor/kernel_timer.hpp"

#include "base/clock.hpp"

namespace tensor {
namespace {

std::map<std::string, KernelTime> table;
base::Stopwatch watch;
KernelTime *current = nullptr;
double began = 0;

void begin(const char *name, const std::uint32_t, std::uint64_t *) {
  current = &table[name];
  began = watch.seconds();
}
void end(const std::uint64_t) {
  if constexpr (!kOnHost) Kokkos::fence(); // reason: this is a timer
  if (!current) return;
  current->seconds += watch.seconds() - began;
  ++current->calls;
  current = nullptr;
}

} // namespace

void KernelTimer::start() {
  using namespace Kokkos::Tools::Experimental;
  table.clear();
  set_begin_parallel_for_callback(begin), set_end_parallel_for_callback(end);
  set_begin_parallel_reduce_callback(begin), set_end_parallel_reduce_callback(end);
  set_begin_parallel_scan_callback(begin), set_end_parallel_scan_callback(end);
}

void KernelTimer::stop() {
  using namespace Kokkos::Tools::Experimental;
  set_begin_parallel_for_callback(nullptr), set_end_parallel_for_callback(nullptr);
  set_begin_parallel_reduce_callback(nullptr), set_end_parallel_reduce_callback(nullptr);
  set_begin_parallel_scan_callback(nullptr), set_end_parallel_scan_callback(nullptr);
}

const std::map<std::string, KernelTime> &KernelTimer::times() { return table; }

} // namespace tensor
