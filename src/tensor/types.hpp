// SPDX-License-Identifier: Apache-2.0
#pragma once
// Aliases of the arrays and of the execution space. Arrays are packed and row-major; their names end in their dims.
#include <cstdint>

#include <Kokkos_Core.hpp>

namespace tensor {

using Exec = Kokkos::DefaultExecutionSpace;
using Memory = Exec::memory_space;
using Index = std::int64_t;

template <class T> using Vec = Kokkos::View<T *, Kokkos::LayoutRight, Memory>;
template <class T> using Mat = Kokkos::View<T **, Kokkos::LayoutRight, Memory>;
template <class T> using Cube = Kokkos::View<T ***, Kokkos::LayoutRight, Memory>;

// Is the memory of Exec reachable from the host?
inline constexpr bool kOnHost = Kokkos::SpaceAccessibility<Kokkos::HostSpace, Memory>::accessible;

} // namespace tensor
