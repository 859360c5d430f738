// SPDX-License-Identifier: Apache-2.0
#pragma once
// The tiny deck through `hadal run` on layouts of ranks. Needs HADAL_MPIRUN.
#include <gtest/gtest.h>

#include <set>

#include "tests/support/mpirun.hpp"
#include "tests/support/tiny_run.hpp"

namespace support {

using Words = std::vector<std::string>;

inline Words operator+(Words words, const Words &more) {
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

struct Layout {
  std::string name;
  int ranks = 1;
  Words settings;
};

// ep of the dp ranks share the experts; pp stages under a schedule.
inline Layout layout(int dp, int ep = 1, int pp = 1, const std::string &schedule = "accumulate") {
  const auto text = [](int n) { return std::to_string(n); };
  return {"dp" + text(dp) + "_ep" + text(ep) + "_pp" + text(pp) + "_" + schedule,
          dp * pp,
          {"parallel.dp=" + text(dp), "parallel.ep=" + text(ep), "parallel.pp=" + text(pp),
           "parallel.schedule=" + schedule}};
}
inline Layout on_nodes_of(int ranks, Layout on) {
  on.name += "_nodes_of_" + std::to_string(ranks);
  on.settings.push_back("parallel.ranks_per_node=" + std::to_string(ranks));
  return on;
}

// Everything that a step can do: a ramp of the batch, the average of the weights, clipping (the norm of the first steps is above the
// limit), the balance loss and the router's bias, MTP, FIM. Five layers, so that four stages have a block each.
inline const Words kWhole = {"model.layers=5", "average.beta=0.9", "batch.start=8",
                             "batch.ramp_tokens=3000"};
inline const Words kBf16 = {"precision.compute=bf16", "optimizer.moments=bf16"};

class ManyRanks : public ::testing::Test {
protected:
  static void SetUpTestSuite() {
    tiny = new TinyRun();
    ASSERT_EQ(tiny->built().code, 0) << tiny->built().output;
  }
  static void TearDownTestSuite() { delete tiny; }

  static Words command(const Layout &on, const std::string &directory, const Words &more) {
    const Words words = tiny->command(directory, kWhole + on.settings + more);
    return on.ranks == 1 ? words : mpirun(on.ranks, words);
  }
  static Outcome run(const Layout &on, const std::string &directory, const Words &more) {
    return support::run(command(on, directory, more), tiny->folder(), 300);
  }
  static std::filesystem::path at(const std::string &name) { return tiny->at(name); }
  static Words steps_of(const std::string &directory) {
    return column(at(directory + "/history.csv"), "step");
  }
  // The history without what is measured by the clock: losses, norm, rate, loads, tokens of each source, and the validation, which
  // a run that was stopped in between has once more.
  static std::string history(const std::string &directory, bool validation = true) {
    std::set<std::string> measured = {"step_seconds", "tokens_per_second", "peak_share",
                                      "memory_bytes", "stall_seconds"};
    if (!validation) measured.insert({"validation_loss", "validation_bits_per_byte"});
    const auto csv = at(directory + "/history.csv");
    std::string all;
    for (const auto &name : columns_of(csv))
      if (!measured.contains(name)) {
        all += name + ":";
        for (const auto &value : column(csv, name)) all += " " + value;
        all += "\n";
      }
    return all;
  }
  // Names in the folder of checkpoints, unfinished ones too.
  static std::set<std::string> checkpoints(const std::string &directory) {
    std::set<std::string> names;
    std::error_code none;
    for (const auto &entry :
         std::filesystem::directory_iterator(at(directory + "/checkpoints"), none))
      names.insert(entry.path().filename().string());
    return names;
  }

  static TinyRun *tiny;
};
inline TinyRun *ManyRanks::tiny = nullptr;

inline bool holds(const std::string &text, const std::string &part) {
  return text.find(part) != std::string::npos;
}
inline int count(const std::string &text, const std::string &part) {
  int n = 0;
  for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++n;
  return n;
}

} // namespace support
