// SPDX-License-Identifier: Apache-2.0
#pragma once
// Kokkos for the commands that compute: initialised when the object is made, finalised when it
// goes. Threads and their places are those of the environment (OMP_NUM_THREADS, OMP_PROC_BIND,
// KOKKOS_*).
#include <Kokkos_Core.hpp>

namespace app {

class KokkosSession {
public:
  KokkosSession() {
    // Understood alike by 3.4 and 4.x, whose structs of settings differ.
    char program[] = "hadal", quiet[] = "--kokkos-disable-warnings";
    char *arguments[] = {program, quiet, nullptr};
    int count = 2;
    Kokkos::initialize(count, arguments);
  }
  ~KokkosSession() { Kokkos::finalize(); }
  KokkosSession(const KokkosSession &) = delete;
  KokkosSession &operator=(const KokkosSession &) = delete;
};

} // namespace app
