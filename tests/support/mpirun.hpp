// SPDX-License-Identifier: Apache-2.0
#pragma once
// The command that starts a program as several ranks on this machine, more than it has cores too, and as root too.
#include <cstdlib>
#include <string>
#include <vector>

namespace support {

inline std::vector<std::string> mpirun(int ranks, const std::vector<std::string> &command) {
  setenv("OMPI_ALLOW_RUN_AS_ROOT", "1", 1);
  setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", 1);
  setenv("OMPI_MCA_btl_vader_single_copy_mechanism", "none", 0); // containers forbid the other
  setenv("OMPI_MCA_rmaps_base_oversubscribe", "1", 1);
  std::vector<std::string> words{HADAL_MPIRUN, "--oversubscribe",    "--bind-to", "none",
                                 "-np",        std::to_string(ranks)};
  words.insert(words.end(), command.begin(), command.end());
  return words;
}

} // namespace support
