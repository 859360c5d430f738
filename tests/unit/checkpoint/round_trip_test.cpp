// SPDX-License-Identifier: Apache-2.0
// What is written is read: bits, names, shapes, types, values; by other tools too.
#include <cstdio>

#include "tests/unit/checkpoint/sample.hpp"

namespace {

using namespace sample;

template <class T> void spoil(std::vector<T> &v) {
  for (T &x : v) x = T(99);
}
template <class T> bool same(const std::vector<T> &a, const std::vector<T> &b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

TEST(RoundTrip, EveryTypeAndShapeKeepsItsBits) {
  Scratch scratch;
  const auto place = put(scratch.path(), 12);
  State read, expected;
  spoil(read.matrix), spoil(read.half), spoil(read.exact), spoil(read.big), spoil(read.small);
  spoil(read.bytes), spoil(read.moments), read.alone = 0;
  const Reader reader = Reader::open(place);
  for (const Section &section : read.sections()) reader.read(section.name, section.items);
  EXPECT_TRUE(same(read.matrix, expected.matrix));
  EXPECT_TRUE(same(read.half, expected.half));
  EXPECT_TRUE(same(read.exact, expected.exact));
  EXPECT_TRUE(same(read.big, expected.big));
  EXPECT_TRUE(same(read.small, expected.small));
  EXPECT_TRUE(same(read.bytes, expected.bytes));
  EXPECT_TRUE(same(read.moments, expected.moments));
  EXPECT_EQ(read.alone, expected.alone);
}

TEST(RoundTrip, ManifestTellsWhatLiesThere) {
  Scratch scratch;
  const Reader reader = Reader::open(put(scratch.path(), 12));
  EXPECT_EQ(reader.step(), 12);
  EXPECT_EQ(reader.directory().filename(), "step-00000012");
  EXPECT_EQ(reader.deck(), "[run]\nseed = 1\n");
  EXPECT_EQ(reader.section_names(), (std::vector<std::string>{"weights", "moments", "counters"}));
  EXPECT_TRUE(reader.has("moments"));
  EXPECT_FALSE(reader.has("average"));
  EXPECT_EQ(reader.scalars("counters").dump(), R"({"list":[1,2],"mean":0.1,"step":12})");
  EXPECT_EQ(reader.scalars("weights").at("remark"), "ü");
  State state;
  for (const Section &section : state.sections()) {
    const auto found = reader.describe(section.name);
    ASSERT_EQ(found.size(), section.items.size());
    for (std::size_t i = 0; i < found.size(); ++i) {
      EXPECT_EQ(found[i].name, section.items[i].name);
      EXPECT_EQ(found[i].shape, section.items[i].shape);
      EXPECT_EQ(found[i].type, section.items[i].type);
      EXPECT_EQ(found[i].data, nullptr);
    }
  }
  EXPECT_EQ(names(reader.directory()),
            (std::vector<std::string>{"DONE", "deck.toml", "manifest.json", "state.h5",
                                      "tokenizer.json"}));
  EXPECT_EQ(read(reader.directory() / "deck.toml"), "[run]\nseed = 1\n");
  EXPECT_EQ(read(reader.directory() / "tokenizer.json"), "{\"tokenizer\": 1}\n");
}

TEST(RoundTrip, PartsAreThoseOfTheWhole) {
  Scratch scratch;
  const Reader reader = Reader::open(put(scratch.path(), 1));
  State state;
  float value = 0;
  reader.read_part("weights", "layers.0.w", 8, 4, &value);
  EXPECT_EQ(value, 2.5F);
  std::uint16_t half[2];
  reader.read_part("weights", "half", 2, 4, half);
  EXPECT_EQ(half[0], state.half[1]);
  EXPECT_EQ(half[1], state.half[2]);
  EXPECT_THROW(reader.read_part("weights", "layers.0.w", 20, 8, half), base::Fault);
  EXPECT_EQ(fault([&] { reader.read_part("weights", "nothing", 0, 4, half); }), "E213");
}

TEST(RoundTrip, OneTensorAlone) {
  Scratch scratch;
  const Reader reader = Reader::open(put(scratch.path(), 1));
  std::vector<double> exact(2);
  reader.read("weights", {{"exact", {2}, Type::f64, exact.data()}}, false);
  EXPECT_EQ(exact[1], 1e300);
}

TEST(RoundTrip, EqualStatesGiveEqualFiles) {
  Scratch scratch;
  const auto a = put(scratch / "a", 3), b = put(scratch / "b", 3);
  EXPECT_EQ(read(a / "state.h5"), read(b / "state.h5"));
}

std::string output_of(const std::string &command) {
  std::string text;
  FILE *pipe = popen((command + " 2>&1").c_str(), "r");
  if (!pipe) return "";
  char buffer[4096];
  while (const std::size_t n = fread(buffer, 1, sizeof(buffer), pipe)) text.append(buffer, n);
  pclose(pipe);
  return text;
}

TEST(RoundTrip, H5dumpShowsRealBf16Values) {
  if (std::system("h5dump --version > /dev/null 2>&1") != 0)
    GTEST_SKIP() << "h5dump is missing (hdf5-tools)";
  Scratch scratch;
  const auto file = (put(scratch.path(), 3) / "state.h5").string();
  const std::string half = output_of("h5dump -d /weights/half " + file);
  EXPECT_NE(half.find("1.5, -2.25"), std::string::npos) << half;
  EXPECT_NE(half.find("0.0078125, -384"), std::string::npos) << half;
  const std::string matrix = output_of("h5dump -d /weights/layers.0.w " + file);
  EXPECT_NE(matrix.find("1, -0, 2.5"), std::string::npos) << matrix;
}

TEST(StateHash, IsTheSameForStateFileAndNote) {
  Scratch scratch;
  State state;
  const std::string hash = state.snapshot(12).state_hash;
  const Reader reader = Reader::open(put(scratch.path(), 12));
  EXPECT_EQ(reader.state_hash(), hash);
  EXPECT_EQ(reader.compute_state_hash(), hash);
  EXPECT_EQ(hash.size(), 32U);
}

TEST(StateHash, FeelsEveryPart) {
  State state;
  const auto hash = [&] { return checkpoint::state_hash(state.sections()); };
  const std::string before = hash();
  std::vector<std::string> all = {before};
  state.moments[599999] = std::bit_cast<float>(std::bit_cast<std::uint32_t>(0.25F) ^ 1U);
  all.push_back(hash());
  state.moments[599999] = 0.25F;
  EXPECT_EQ(hash(), before);
  state.alone = 43, all.push_back(hash()), state.alone = 42;
  state.matrix[1] = 0.0F, all.push_back(hash()), state.matrix[1] = -0.0F;
  state.steps = 1, all.push_back(hash()), state.steps = 0;
  EXPECT_EQ(hash(), before);
  auto sections = state.sections();
  sections[0].items[0].name = "layers.1.w";
  all.push_back(checkpoint::state_hash(sections));
  sections = state.sections();
  std::swap(sections[0].items[0], sections[0].items[1]);
  all.push_back(checkpoint::state_hash(sections));
  std::sort(all.begin(), all.end());
  EXPECT_EQ(std::unique(all.begin(), all.end()), all.end()) << "two of the states have one hash";
}

TEST(StateHash, BlocksInOrderAreTheWhole) {
  std::vector<char> data((std::size_t{5} << 19) + 3, 'x');
  checkpoint::StateHash whole, blocks;
  whole.add("a", data.data(), data.size());
  for (std::size_t block = 0; block < 3; ++block) {
    const std::size_t first = block << 20;
    blocks.add_block("a", block, data.data() + first,
                     std::min<std::size_t>(1 << 20, data.size() - first));
  }
  EXPECT_EQ(whole.hex(), blocks.hex());
}

} // namespace
