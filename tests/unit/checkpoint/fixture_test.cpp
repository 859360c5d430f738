// SPDX-License-Identifier: Apache-2.0
// Every format version that was ever released stays readable: checkpoints/fixtures/format-N holds one small checkpoint of each,
// committed once and never changed. HADAL_WRITE_FIXTURE=FOLDER writes the one of this version (for a new format).
#include "tests/unit/checkpoint/many.hpp"

namespace {

using namespace sample;

const fs::path kFixtures = fs::path(HADAL_SOURCE_DIR) / "checkpoints/fixtures";

Snapshot fixture(State &state) {
  state.moments.resize(6);
  Snapshot s;
  s.step = state.steps = 3;
  s.deck = "[run]\nseed = 1\n";
  s.info = {{"phase", "pretrain"}, {"tokenizer", "0123456789abcdef0123456789abcdef"}};
  s.tokenizer = "{\"tokenizer\": 1}\n";
  s.sections = state.sections();
  s.sections[1].items[0].shape = {2, 3};
  s.state_hash = checkpoint::state_hash(s.sections);
  return s;
}

TEST(Fixtures, AreThereForAllVersions) {
  if (const char *folder = std::getenv("HADAL_WRITE_FIXTURE")) {
    State state;
    const Snapshot whole = fixture(state);
    Writer first({fs::path(folder) / "format-2", 1, 0, 0, 2, 60}),
        second({fs::path(folder) / "format-2", 1, 0, 1, 2, 60});
    for (int w = 0; w < 2; ++w) {
      Snapshot s = whole;
      s.whole = outline(whole.sections), s.sections = share(whole.sections, {2, false, 1, 0}, w);
      s.attempt = "fixture";
      (w == 0 ? first : second).start(std::move(s));
    }
    first.wait(), second.wait();
  }
  for (int version = 1; version <= checkpoint::kFormatVersion; ++version)
    EXPECT_TRUE(
        fs::exists(kFixtures / ("format-" + std::to_string(version)) / "step-00000003/DONE"))
        << version;
}

// Version 1: one file; version 2: two files, every tensor cut that can be.
class Fixture : public testing::TestWithParam<int> {};

TEST_P(Fixture, IsRead) {
  const Reader reader = Reader::open(kFixtures / ("format-" + std::to_string(GetParam())));
  EXPECT_EQ(reader.manifest().at("format_version"), GetParam());
  EXPECT_EQ(reader.step(), 3);
  EXPECT_EQ(reader.deck(), "[run]\nseed = 1\n");
  EXPECT_EQ(reader.manifest().at("info").at("tokenizer"), "0123456789abcdef0123456789abcdef");
  EXPECT_EQ(reader.verify(), "");
  // As it was computed by the program that wrote the file.
  EXPECT_EQ(reader.state_hash(), "52ed94f23e8e703dbf0622c94aa21020");
  EXPECT_EQ(reader.compute_state_hash(), reader.state_hash());
  State expected, read;
  const Snapshot wanted = fixture(expected), blank = fixture(read);
  EXPECT_EQ(checkpoint::state_hash(wanted.sections), reader.state_hash());
  read.matrix.assign(6, 0), read.half.assign(4, 0), read.exact.assign(2, 0), read.big.assign(2, 0);
  read.small.assign(3, 0), read.bytes.assign(2, 9), read.moments.assign(6, 0), read.alone = 0;
  for (const Section &section : blank.sections) {
    reader.read(section.name, section.items);
    EXPECT_EQ(reader.scalars(section.name), section.scalars);
  }
  EXPECT_EQ(checkpoint::state_hash(blank.sections), reader.state_hash());
}

// Equal states give equal files, whatever version of the program wrote them.
TEST(Fixtures, OneWriterStillWritesTheSameBytes) {
  Scratch scratch;
  State state;
  Writer writer({scratch.path(), 1, 0});
  writer.start(fixture(state));
  writer.wait();
  EXPECT_TRUE(read(scratch / "step-00000003/state.h5") ==
              read(kFixtures / "format-1/step-00000003/state.h5"));
  auto now = Reader::open(scratch.path()).manifest(),
       then = Reader::open(kFixtures / "format-1").manifest();
  for (auto *manifest : {&now, &then}) manifest->erase("written"), manifest->erase("revision");
  now["files"].erase("tokenizer.json"); // not in the manifest yet when the fixture was made
  EXPECT_EQ(now, then);
}

INSTANTIATE_TEST_SUITE_P(Versions, Fixture, testing::Range(1, checkpoint::kFormatVersion + 1));

} // namespace
