// SPDX-License-Identifier: Apache-2.0
#pragma once
// Independent pieces of work shared among threads.
#include <algorithm>
#include <atomic>
#include <cstddef>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace data {

// body(i) for i in [0, count); the first exception is thrown on.
template <class Body> void parallel_for(std::size_t count, int threads, const Body &body) {
  std::atomic<std::size_t> next{0};
  std::exception_ptr error;
  std::mutex mutex;
  const auto work = [&] {
    try {
      for (std::size_t i = next++; i < count; i = next++) body(i);
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (!error) error = std::current_exception();
      next = count;
    }
  };
  std::vector<std::jthread> helpers;
  for (int t = 1; t < std::min<int>(threads, static_cast<int>(std::min<std::size_t>(count, 256)));
       ++t)
    helpers.emplace_back(work);
  work();
  helpers.clear(); // joins
  if (error) std::rethrow_exception(error);
}

} // namespace data
