// SPDX-License-Identifier: Apache-2.0
// hadal inspect and hadal compare: what they print, and the exit codes that scripts rely on.
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

#include "checkpoint/checkpoint.hpp"
#include "tests/unit/app/hadal.hpp"

namespace {

namespace fs = std::filesystem;

using app_test::hadal, app_test::Outcome;

class CheckpointCommands : public testing::Test {
protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "hadal-commands-XXXXXX").string();
    folder_ = mkdtemp(name.data());
    write(1), write(2);
    weights_[4] += 0.5F;
    write(3);
  }
  void TearDown() override { fs::remove_all(folder_); }
  void write(std::int64_t step) {
    checkpoint::Snapshot s;
    s.step = step;
    s.info = {{"phase", "pretrain"}};
    s.sections = {{"weights", {{"layers.0.w", {2, 3}, checkpoint::Type::f32, weights_.data()}}},
                  {"counters", {}, {{"step", step == 2 ? 1 : step}, {"list", {1, 2}}}}};
    s.state_hash = hash_ = checkpoint::state_hash(s.sections);
    checkpoint::Writer writer({folder_, 9, 0});
    writer.start(std::move(s));
    writer.wait();
  }
  std::string at(const std::string &name) const { return (folder_ / name).string(); }

  fs::path folder_;
  std::vector<float> weights_ = {1, 2, 3, 4, 5, 6};
  std::string hash_; // of the last
};

void expect_all(const Outcome &outcome, int code, const std::vector<std::string> &parts) {
  EXPECT_EQ(outcome.code, code) << outcome.err;
  for (const auto &part : parts)
    EXPECT_NE(outcome.out.find(part), std::string::npos) << part << "\n" << outcome.out;
}

TEST_F(CheckpointCommands, InspectTellsAllOfTheNewest) {
  expect_all(hadal({"inspect", folder_.string()}), 0,
             {"step-00000003", "weights", "counters", "list", "pretrain", "state hash " + hash_});
  expect_all(hadal({"inspect", at("step-00000003"), "--tensors"}), 0,
             {"layers.0.w", "f32", "[2, 3]"});
  expect_all(hadal({"inspect", at("step-00000003"), "--hash", "--verify"}), 0,
             {"all checksums are right", "state hash " + hash_ + "\n"});
}

// A checkpoint of two writers, beside one of the same state in one file.
TEST(CheckpointOfManyFiles, IsInspectedAndComparedAsOneFileIs) {
  const std::string fixtures = HADAL_SOURCE_DIR "/checkpoints/fixtures/";
  const std::vector<std::string> both = {"all checksums are right", "[2, 3]",
                                         "state hash 52ed94f23e8e703dbf0622c94aa21020\n"};
  for (const char *format : {"format-1", "format-2"})
    expect_all(hadal({"inspect", fixtures + format, "--verify", "--tensors"}), 0, both);
  expect_all(hadal({"inspect", fixtures + "format-2"}), 0, {"in 2 files"});
  expect_all(hadal({"compare", fixtures + "format-1", fixtures + "format-2"}), 0, {"\nequal\n"});
}

TEST_F(CheckpointCommands, CompareIsZeroForEqualStatesAndOneForOthers) {
  expect_all(hadal({"compare", at("step-00000001"), at("step-00000002")}), 0, {"\nequal\n"});
  expect_all(hadal({"compare", at("step-00000001"), folder_.string()}), 1,
             {"weights/layers.0.w: 1 of 6 elements, max |a - b| = 0.5 at [1, 1]: 5, 5.5",
              "counters/step: 1, 3", "\ndifferent\n"});
}

TEST_F(CheckpointCommands, DamagedAndMissingOnesAreFive) {
  std::fstream file(at("step-00000003/state.h5"), std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(40);
  file.put('\x55');
  file.close();
  for (const std::string &place : {at("step-00000003"), at("nowhere")}) {
    const Outcome verify = hadal({"inspect", place, "--verify"});
    EXPECT_EQ(verify.code, 5) << verify.err;
    EXPECT_EQ(hadal({"compare", at("step-00000001"), place}).code, 5);
  }
  const Outcome newest = hadal({"inspect", folder_.string()});
  EXPECT_EQ(newest.code, 0);
  EXPECT_NE(newest.out.find("step-00000002"), std::string::npos) << newest.out;
  EXPECT_EQ(hadal({"compare", at("step-00000001")}).code, 2);
}

} // namespace
