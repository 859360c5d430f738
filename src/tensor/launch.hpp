// SPDX-License-Identifier: Apache-2.0
#pragma once
// Launch helpers. A kernel is a lambda over elements (for_each) or over rows whose work is shared by a team (for_rows);
// on the host a row is one thread and its inner loops are vectorised, on a device it is a team. After each launch the context's background
// is polled.
// Row sums have a fixed order on the host: kLanes interleaved partial sums folded in a binary tree, whatever the vector width.
#include <cmath>
#include <string>

#include "tensor/context.hpp"

namespace tensor {

inline constexpr int kLanes = 32;

struct HostRow {}; // the "team" of one host thread

template <class Space> struct RowOf {
  using type = typename Kokkos::TeamPolicy<Space>::member_type;
};
#ifdef KOKKOS_ENABLE_OPENMP
template <> struct RowOf<Kokkos::OpenMP> { using type = HostRow; };
#endif
#ifdef KOKKOS_ENABLE_SERIAL
template <> struct RowOf<Kokkos::Serial> { using type = HostRow; };
#endif
using Row = RowOf<Exec>::type;

// f(i) for i in [0, n).
template <class F> void for_each(Context &ctx, const char *label, Index n, const F &f) {
  if (n <= 0) return;
  Kokkos::parallel_for(label, Kokkos::RangePolicy<Exec, Kokkos::IndexType<Index>>(ctx.exec, 0, n),
                       f);
  ctx.poll();
}

// f(row, t) for t in [0, n); the row goes to the row_* functions below. R is always Row (a template, so that only one branch compiles).
template <class R = Row, class F>
void for_rows(Context &ctx, const char *label, Index n, const F &f) {
  if (n <= 0) return;
  if constexpr (std::is_same_v<R, HostRow>) {
    Kokkos::parallel_for(
        label, Kokkos::RangePolicy<Exec, Kokkos::IndexType<Index>>(ctx.exec, 0, n),
        KOKKOS_LAMBDA(const Index t) { f(R{}, t); });
  } else {
    Kokkos::parallel_for(
        label, Kokkos::TeamPolicy<Exec>(ctx.exec, static_cast<int>(n), Kokkos::AUTO),
        KOKKOS_LAMBDA(const R &row) { f(row, static_cast<Index>(row.league_rank())); });
  }
  ctx.poll();
}

// As for_rows, one task at a time to whichever thread is free: for rows of unequal work.
template <class R = Row, class F>
void for_tasks(Context &ctx, const char *label, Index n, const F &f) {
  if (n <= 0) return;
  if constexpr (std::is_same_v<R, HostRow>) {
    Kokkos::parallel_for(
        label,
        Kokkos::RangePolicy<Exec, Kokkos::Schedule<Kokkos::Dynamic>, Kokkos::IndexType<Index>>(
            ctx.exec, 0, n, Kokkos::ChunkSize(1)),
        KOKKOS_LAMBDA(const Index t) { f(R{}, t); });
    ctx.poll();
  } else {
    for_rows(ctx, label, n, f);
  }
}

// --- inside a row -----------------------------------------------------------------------------------------------------

template <class F> KOKKOS_INLINE_FUNCTION void row_for(const HostRow &, Index n, const F &f) {
#pragma GCC ivdep
  for (Index i = 0; i < n; ++i) f(i);
}

template <class F> KOKKOS_INLINE_FUNCTION float row_sum(const HostRow &, Index n, const F &f) {
  float lane[kLanes] = {};
  const Index whole = n / kLanes * kLanes;
  for (Index i = 0; i < whole; i += kLanes) {
#pragma GCC ivdep
    for (int j = 0; j < kLanes; ++j) lane[j] += f(i + j);
  }
  for (Index i = whole; i < n; ++i) lane[i - whole] += f(i);
  for (int width = kLanes / 2; width > 0; width /= 2)
    for (int j = 0; j < width; ++j) lane[j] += lane[j + width];
  return lane[0];
}

template <class F> KOKKOS_INLINE_FUNCTION float row_max(const HostRow &, Index n, const F &f) {
  float lane[kLanes];
  for (int j = 0; j < kLanes; ++j) lane[j] = -HUGE_VALF;
  const Index whole = n / kLanes * kLanes;
  for (Index i = 0; i < whole; i += kLanes) {
#pragma GCC ivdep
    for (int j = 0; j < kLanes; ++j) {
      const float v = f(i + j);
      lane[j] = lane[j] < v ? v : lane[j];
    }
  }
  for (Index i = whole; i < n; ++i) {
    const float v = f(i);
    lane[i - whole] = lane[i - whole] < v ? v : lane[i - whole];
  }
  for (int j = 1; j < kLanes; ++j) lane[0] = lane[0] < lane[j] ? lane[j] : lane[0];
  return lane[0];
}

// f once per row.
template <class F> KOKKOS_INLINE_FUNCTION void row_once(const HostRow &, const F &f) { f(); }

// What the row has read or written before is done (row_for ends with it; row_once and the sums do not).
KOKKOS_INLINE_FUNCTION void row_barrier(const HostRow &) {}

template <class Member, class F>
KOKKOS_INLINE_FUNCTION void row_for(const Member &team, Index n, const F &f) {
  Kokkos::parallel_for(Kokkos::TeamVectorRange(team, n), [&](const Index i) { f(i); });
  team.team_barrier();
}
template <class Member, class F>
KOKKOS_INLINE_FUNCTION float row_sum(const Member &team, Index n, const F &f) {
  float sum = 0;
  Kokkos::parallel_reduce(
      Kokkos::TeamVectorRange(team, n), [&](const Index i, float &s) { s += f(i); }, sum);
  return sum;
}
template <class Member, class F>
KOKKOS_INLINE_FUNCTION float row_max(const Member &team, Index n, const F &f) {
  float best = -HUGE_VALF;
  Kokkos::parallel_reduce(
      Kokkos::TeamVectorRange(team, n),
      [&](const Index i, float &m) {
        const float v = f(i);
        m = m < v ? v : m;
      },
      Kokkos::Max<float>(best));
  return best;
}
template <class Member, class F>
KOKKOS_INLINE_FUNCTION void row_once(const Member &team, const F &f) {
  Kokkos::single(Kokkos::PerTeam(team), [&] { f(); });
}
template <class Member> KOKKOS_INLINE_FUNCTION void row_barrier(const Member &team) {
  team.team_barrier();
}

} // namespace tensor
