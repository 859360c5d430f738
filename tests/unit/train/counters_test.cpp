// SPDX-License-Identifier: Apache-2.0
// Counters through JSON, and the history files across a restart.
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "train/history.hpp"
#include "train/state.hpp"

namespace {

namespace fs = std::filesystem;

TEST(Counters, RoundTripThroughJson) {
  train::Counters c;
  c.step = 123456789012, c.updates = 123456789000, c.tokens = std::int64_t{1} << 60, c.samples = 77,
  c.skipped = 3, c.rolled_back = 2;
  c.mean_loss = 2.0 / 3.0; // not a short decimal
  c.cursor.next_sample = 987654321, c.cursor.source_samples = {5, 0, std::int64_t{1} << 40};
  c.avoid = {{10, 20}, {30, 35}};
  const auto back = train::Counters::from_json(nlohmann::json::parse(c.to_json().dump()));
  EXPECT_EQ(back.step, c.step);
  EXPECT_EQ(back.updates, c.updates);
  EXPECT_EQ(back.tokens, c.tokens);
  EXPECT_EQ(back.samples, c.samples);
  EXPECT_EQ(back.skipped, c.skipped);
  EXPECT_EQ(back.rolled_back, c.rolled_back);
  EXPECT_EQ(back.mean_loss, c.mean_loss);
  EXPECT_EQ(back.cursor, c.cursor);
  EXPECT_EQ(back.avoid, c.avoid);
}

// Every member is written: a counter that is forgotten would come back as its default.
TEST(Counters, EveryKeyIsNeeded) {
  const auto whole = train::Counters().to_json();
  EXPECT_EQ(whole.size(), 10U);
  for (auto it = whole.begin(); it != whole.end(); ++it) {
    auto part = whole;
    part.erase(it.key());
    EXPECT_THROW(train::Counters::from_json(part), nlohmann::json::exception) << it.key();
  }
}

class HistoryFiles : public ::testing::Test {
protected:
  void SetUp() override {
    directory = fs::temp_directory_path() / ("hadal_history_" + std::to_string(::getpid()));
    fs::create_directories(directory);
  }
  void TearDown() override { fs::remove_all(directory); }

  // Writes steps first .. last, with a loss that tells the run.
  void run(const std::int64_t start, const std::int64_t first, const std::int64_t last,
           const double loss) {
    train::History history(directory, {"web", "code"}, start, true);
    for (std::int64_t step = first; step <= last; ++step) {
      train::Row row;
      row.step = step, row.loss = loss, row.source_tokens = {step * 10, step};
      if (step % 2 == 0) row.validation_loss = 1.5, row.validation_bits_per_byte = 0.75;
      history.write(row);
      const std::int64_t load[] = {step, 1, 2};
      for (const std::int64_t layer : {1, 2}) history.write_loads(step, layer, load, 3);
    }
  }
  std::vector<std::string> lines(const char *name) const {
    std::ifstream in(directory / name);
    std::vector<std::string> all;
    for (std::string line; std::getline(in, line);) all.push_back(line);
    return all;
  }
  fs::path directory;
};

std::vector<std::string> cells(const std::string &line) {
  std::vector<std::string> all;
  std::istringstream in(line + ",");
  for (std::string cell; std::getline(in, cell, ',');) all.push_back(cell);
  return all;
}

TEST_F(HistoryFiles, EveryRowHasEveryColumn) {
  run(0, 1, 4, 2.5);
  const auto rows = lines("history.csv");
  ASSERT_EQ(rows.size(), 6U);
  const auto names = cells(rows[0]);
  EXPECT_EQ(names.front(), "step");
  EXPECT_EQ(names.back(), "tokens_code");
  EXPECT_EQ(rows[1][0], '#'); // units
  for (const auto &row : rows) EXPECT_EQ(cells(row).size(), names.size()) << row;
  const auto column = [&](const std::string &name) {
    return std::find(names.begin(), names.end(), name) - names.begin();
  };
  EXPECT_EQ(cells(rows[2])[column("loss")], "2.5");
  EXPECT_EQ(cells(rows[2])[column("validation_loss")], "");
  EXPECT_EQ(cells(rows[3])[column("validation_loss")], "1.5");
  EXPECT_EQ(cells(rows[5])[column("tokens_web")], "40");
  EXPECT_EQ(lines("expert_load.csv").size(), 1U + 8U);
}

// Rows after the restart point are removed, those up to it stay as they were.
TEST_F(HistoryFiles, ARestartDropsLaterRows) {
  run(0, 1, 12, 2.5);
  const auto before = lines("history.csv");
  run(9, 10, 11, 1.25);
  const auto after = lines("history.csv");
  ASSERT_EQ(after.size(), 2U + 11U);
  for (std::size_t i = 0; i < 11; ++i) EXPECT_EQ(after[i], before[i]) << i;
  for (const std::size_t i : {11, 12}) EXPECT_EQ(cells(after[i])[3], "1.25");
  EXPECT_EQ(cells(after[12])[0], "11");
  const auto loads = lines("expert_load.csv");
  ASSERT_EQ(loads.size(), 1U + 22U);
  EXPECT_EQ(loads[0], "step,layer,e0,e1,e2");
  EXPECT_EQ(loads[22], "11,2,11,1,2");
}

TEST_F(HistoryFiles, AFreshRunStartsAnew) {
  run(0, 1, 5, 2.5);
  run(0, 1, 2, 1.25);
  EXPECT_EQ(lines("history.csv").size(), 4U);
  EXPECT_EQ(lines("expert_load.csv").size(), 5U);
}

// A restart whose files were moved away writes a head of its own.
TEST_F(HistoryFiles, ARestartWithoutFilesHasAHead) {
  run(7, 8, 8, 2.5);
  EXPECT_EQ(lines("history.csv").size(), 3U);
  EXPECT_EQ(lines("expert_load.csv")[0], "step,layer,e0,e1,e2");
}

TEST_F(HistoryFiles, AFolderThatIsNotThereIsTheUsersFault) {
  try {
    train::History history(directory / "missing", {}, 0, false);
    FAIL() << "nothing was thrown";
  } catch (const base::UserError &error) {
    EXPECT_EQ(error.code(), base::Exit::machine);
    EXPECT_NE(std::string(error.what()).find("missing"), std::string::npos) << error.what();
  }
}

} // namespace
