// SPDX-License-Identifier: Apache-2.0
#pragma once
// How a step directory comes into being and goes: everything is written and brought to the disk in
// "step-N.partial", DONE last; one rename makes it "step-N". At every moment each name is a whole
// checkpoint or does not exist; what a killed run leaves behind ends in ".partial".
#include <cstdint>
#include <filesystem>
#include <set>

#include "checkpoint/checkpoint.hpp"

namespace checkpoint {

// Writes a snapshot below `directory`; gives the bytes of state.h5. A good checkpoint of the same
// step is replaced in one act, a damaged or foreign directory in its place is set aside
// ("step-N.damaged"). Those of later steps belong to a course of the run that was left by a
// restart from an earlier one: they are set aside as "step-N.superseded". Fault: E201, and what
// was there is as before.
std::uint64_t publish(const std::filesystem::path &directory, const Snapshot &snapshot);

// Removes what killed runs left: "step-*.partial".
void remove_partial(const std::filesystem::path &directory);

// Which checkpoints go when a newer one is there. Damaged and foreign directories are never
// removed, nor counted among those kept.
class Keeper {
public:
  explicit Keeper(const WriterOptions &options) : options_(options) {}
  void retire(std::int64_t newest);

private:
  bool good(const std::filesystem::path &directory, std::int64_t step);

  const WriterOptions &options_;
  std::set<std::int64_t> seen_good_; // checksums were right, or this process wrote them
};

} // namespace checkpoint
