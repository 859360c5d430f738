// SPDX-License-Identifier: Apache-2.0
#pragma once
// Was this process started by mpirun or srun? Read from the environment, so that a plain `hadal run` needs no MPI.
#include <functional>
#include <string>

namespace comm {

using Environment = std::function<const char *(const char *name)>; // as std::getenv

struct Launch {
  bool parallel = false;  // MPI is to be initialised
  std::string by;         // "mpirun", "srun", ... ; "" for none
  int ranks = 1;          // as the launcher says; 0: it does not say
  int ranks_per_node = 0; // on this node; 0: it does not say
};

// Throws E081 when srun started several tasks without the means by which MPI finds its peers.
Launch find_launch(const Environment &environment);
Launch find_launch(); // the environment of this process

// This process's number before MPI knows it, as the launcher says; 0 where it does not say.
int launched_rank(const Environment &environment);
int launched_rank();

} // namespace comm
