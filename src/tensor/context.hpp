// SPDX-License-Identifier: Apache-2.0
#pragma once
// What every kernel needs, handed over first. Nothing is global.
#include <map>
#include <string>

#include "base/mesh.hpp"
#include "tensor/arena.hpp"
#include "tensor/types.hpp"

namespace tensor {

// Work done under a label: counted at launch (where counting is on), so that a breakdown can show rates.
struct Work {
  double flops = 0, bytes = 0;
  long calls = 0;
};

class WorkCounter {
public:
  void add(const std::string &label, double flops, double bytes) {
    Work &w = work_[label];
    w.flops += flops, w.bytes += bytes, ++w.calls;
  }
  const std::map<std::string, Work> &work() const { return work_; }
  void clear() { work_.clear(); }

private:
  std::map<std::string, Work> work_;
};

// What goes on beside the kernels (messages of a body without a thread of its own): polled after each launch. What it launches itself does
// not poll it again.
class Background {
public:
  virtual ~Background() = default;
  void poll() {
    if (busy_) return;
    const Busy busy(busy_);
    progress();
  }

private:
  struct Busy {
    explicit Busy(bool &flag) : flag_(flag) { flag_ = true; }
    ~Busy() { flag_ = false; }
    bool &flag_;
  };
  virtual void progress() = 0; // never waits
  bool busy_ = false;
};

struct Context {
  Exec exec;
  Arena &arena;
  base::Mesh mesh = {};
  WorkCounter *counter = nullptr;   // null: nothing is counted
  Background *background = nullptr; // null: nothing is polled

  void count(const char *label, double flops, double bytes) {
    if (counter) counter->add(label, flops, bytes);
  }
  void poll() const {
    if (background) background->poll();
  }
  // The same with its memory elsewhere.
  Context within(Arena &other) const { return {exec, other, mesh, counter, background}; }
};

// Waits for all launched work. The reason is the name under which profilers show it (Kokkos 4; older ones take no name).
inline void fence(const Context &ctx, [[maybe_unused]] const char *reason) {
#if KOKKOS_VERSION >= 30500
  ctx.exec.fence(reason);
#else
  ctx.exec.fence();
#endif
}

} // namespace tensor
