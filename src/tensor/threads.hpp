// SPDX-License-Identifier: Apache-2.0
#pragma once
// Scratch of its own for every host thread of a kernel: slot i of host_threads() equal parts of one arena array.
// What a task computes must not depend on which slot it got.
#include "tensor/types.hpp"

namespace tensor {

using HostToken =
    Kokkos::Experimental::UniqueToken<Exec, Kokkos::Experimental::UniqueTokenScope::Global>;

inline Index host_threads() { return static_cast<Index>(HostToken().size()); }

// The calling thread's slot while the object lives.
class HostSlot {
public:
  HostSlot() : slot_(token_.acquire()) {}
  ~HostSlot() { token_.release(slot_); }
  HostSlot(const HostSlot &) = delete;
  HostSlot &operator=(const HostSlot &) = delete;
  Index index() const { return static_cast<Index>(slot_); }

private:
  HostToken token_;
  HostToken::size_type slot_;
};

} // namespace tensor
