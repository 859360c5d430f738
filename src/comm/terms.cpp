// SPDX-License-Identifier: Apache-2.0
#include "comm/terms.hpp"

#include <fmt/format.h>

namespace comm {

void Terms::set_options(const Options &options) {
  const std::lock_guard lock(mutex_);
  options_ = options;
}

double Terms::stop_log() const {
  const std::lock_guard lock(mutex_);
  return options_.stop_log;
}

double Terms::stop_grace() const {
  const std::lock_guard lock(mutex_);
  return options_.stop_grace;
}

void Terms::stop_when(std::function<bool()> stop) {
  const std::lock_guard lock(mutex_);
  stop_ = std::move(stop);
}

bool Terms::stopped() const {
  if (asked_) return true;
  const std::lock_guard lock(mutex_);
  return stop_ && stop_();
}

void Terms::began(const What &what) {
  operation_.store(what.operation, std::memory_order_relaxed);
  micro_batch_.store(what.micro_batch, std::memory_order_relaxed);
}

std::string Terms::last_operation() const {
  const char *operation = operation_.load(std::memory_order_relaxed);
  if (!operation) return "none";
  const long micro_batch = micro_batch_.load(std::memory_order_relaxed);
  return micro_batch < 0 ? std::string(operation)
                         : fmt::format("{}, micro-batch {}", operation, micro_batch);
}

void Terms::open_wait(std::string text, Clock::time_point since, double limit) {
  const std::lock_guard lock(mutex_);
  wait_ = {std::move(text), since, limit, true};
}

void Terms::close_wait() {
  const std::lock_guard lock(mutex_);
  wait_ = {};
}

Terms::Wait Terms::wait_now() const {
  const std::lock_guard lock(mutex_);
  return wait_;
}

} // namespace comm
