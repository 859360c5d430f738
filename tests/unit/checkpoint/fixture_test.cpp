// SPDX-License-Identifier: Apache-2.0
// Every format version that was ever released stays readable: checkpoints/fixtures/format-N holds one small checkpoint of each,
// committed once and never changed. HADAL_WRITE_FIXTURE=FOLDER writes the one of this version (for a new format).
#include "tests/unit/checkpoint/sample.hpp"

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

TEST(Fixture, IsThereForThisVersion) {
  if (const char *folder = std::getenv("HADAL_WRITE_FIXTURE")) {
    State state;
    Writer writer(
        {fs::path(folder) / ("format-" + std::to_string(checkpoint::kFormatVersion)), 1, 0});
    writer.start(fixture(state));
    writer.wait();
  }
  for (int version = 1; version <= checkpoint::kFormatVersion; ++version)
    EXPECT_TRUE(
        fs::exists(kFixtures / ("format-" + std::to_string(version)) / "step-00000003/DONE"))
        << version;
}

TEST(Fixture, Format1) {
  const Reader reader = Reader::open(kFixtures / "format-1");
  EXPECT_EQ(reader.manifest().at("format_version"), 1);
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

} // namespace
