// SPDX-License-Identifier: Apache-2.0
#include "comm/launcher.hpp"

#include <charconv>
#include <cstdlib>
#include <cstring>

#include "base/error.hpp"

namespace comm {
namespace {

// A whole number of the environment; 0 when there is none. SLURM_TASKS_PER_NODE is "4(x2),3": the first number counts.
int number(const Environment &environment, const char *name) {
  const char *text = environment(name);
  int value = 0;
  if (text) std::from_chars(text, text + std::strlen(text), value);
  return value > 0 ? value : 0;
}

} // namespace

Launch find_launch(const Environment &environment) {
  const auto has = [&](const char *name) { return environment(name) != nullptr; };
  const int tasks = number(environment, "SLURM_STEP_NUM_TASKS");
  if (has("OMPI_COMM_WORLD_SIZE"))
    return {true, "mpirun", number(environment, "OMPI_COMM_WORLD_SIZE"),
            number(environment, "OMPI_COMM_WORLD_LOCAL_SIZE")};
  // PMI_RANK: MPICH's hydra and srun --mpi=pmi2; PMIX_RANK: srun --mpi=pmix, prun.
  if (has("PMI_RANK") || has("PMI_FD") || has("PMIX_RANK"))
    return {true, tasks > 0 ? "srun" : "mpiexec",
            tasks > 0 ? tasks : number(environment, "PMI_SIZE"),
            tasks > 0 ? number(environment, "SLURM_STEP_TASKS_PER_NODE")
                      : number(environment, "MPI_LOCALNRANKS")};
  if (tasks > 1)
    throw base::UserError(
        base::Exit::machine, "E081", "srun",
        fmt::format("{} tasks, and no PMI in the environment", tasks),
        "The tasks cannot find each other and would be so many runs of one rank. "
        "Start them by srun --mpi=pmix (srun\n--mpi=list shows what there is), or "
        "by mpirun inside the job.");
  return {};
}

namespace {
const char *of_this_process(const char *name) { return std::getenv(name); }
} // namespace

Launch find_launch() { return find_launch(of_this_process); }

int launched_rank(const Environment &environment) {
  for (const char *name : {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID"})
    if (environment(name)) return number(environment, name);
  return 0;
}
int launched_rank() { return launched_rank(of_this_process); }

} // namespace comm
