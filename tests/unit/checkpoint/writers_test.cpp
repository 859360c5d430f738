// SPDX-License-Identifier: Apache-2.0
// Many writers behind one manifest: any cut is read back on any other cut, and the state hash does not know of it.
#include <fmt/format.h>

#include "checkpoint/block_hashes.hpp"
#include "checkpoint/compare.hpp"
#include "checkpoint/hdf5_file.hpp"
#include "tests/unit/checkpoint/many.hpp"

namespace {

using namespace sample;
using Names = std::vector<std::string>;

std::string hash_of_sample(std::int64_t step) {
  State state;
  return state.snapshot(step).state_hash;
}

const std::vector<Cut> kCuts = {{1, true, 1, 0},  {2, true, 1, 0},     {2, false, 1, 1},
                                {3, false, 7, 0}, {5, false, 4096, 2}, {5, true, 1, 3}};

TEST(Writers, AnyCutIsReadOnAnyOther) {
  const std::string hash = hash_of_sample(7);
  for (const Cut &written : kCuts) {
    Scratch scratch;
    ASSERT_EQ(put_many(scratch.path(), 7, written), all_well(written.n)) << written.n;
    ASSERT_EQ(names(scratch.path()), Names{"step-00000007"}) << written.n;
    const fs::path place = scratch / "step-00000007";
    const Reader reader = Reader::open(place);
    EXPECT_EQ(reader.manifest().at("format_version"), written.n == 1 ? 1 : 2);
    EXPECT_EQ(reader.verify(), "");
    EXPECT_EQ(reader.state_hash(), hash);
    EXPECT_EQ(reader.compute_state_hash(), hash);
    for (const Cut &wanted :
         {Cut{1, true, 1, 0}, Cut{2, false, 1, 0}, Cut{4, false, 5, 1}, Cut{4, true, 1, 2}})
      for (const bool verified : {false, true})
        EXPECT_EQ(read_back(place, wanted, verified), hash)
            << written.n << " writers, " << wanted.n << " readers, verified " << verified;
  }
}

TEST(Writers, FilesAndManifest) {
  Scratch scratch;
  ASSERT_EQ(put_many(scratch.path(), 3, {3, false, 1, 0}), all_well(3));
  const fs::path place = scratch / "step-00000003";
  EXPECT_EQ(names(place), (Names{"DONE", "attempt", "deck.toml", "manifest.json", "state-00000.h5",
                                 "state-00001.h5", "state-00002.h5", "tokenizer.json"}));
  const Reader reader = Reader::open(place);
  const auto &tensor = reader.manifest().at("sections")[1].at("tensors")[0];
  EXPECT_EQ(tensor.at("shape"), (std::vector<int>{600, 1000}));
  ASSERT_EQ(tensor.at("pieces").size(), 3U);
  EXPECT_EQ(tensor.at("pieces")[1].at("first"), 200000);
  EXPECT_EQ(tensor.at("pieces")[1].at("count"), 200000);
  // The offset tells the place of the bytes without HDF5.
  const auto &second = tensor.at("pieces")[1];
  const std::string file = read(place / second.at("file").get<std::string>());
  float value = 0;
  std::memcpy(&value, file.data() + second.at("offset").get<std::size_t>(), sizeof(value));
  EXPECT_EQ(value, 0.25F);
  // And HDF5 knows the piece by tensor and first element.
  std::vector<float> moments(200000);
  checkpoint::read_hdf5(place / second.at("file").get<std::string>(), "moments",
                        {{"layers.0.w@200000", {200000}, Type::f32, moments.data()}});
  EXPECT_EQ(moments, std::vector<float>(200000, 0.25F));
  // Tensors are global for those who look.
  const auto items = reader.describe("moments");
  ASSERT_EQ(items.size(), 1U);
  EXPECT_TRUE(items[0].whole());
  EXPECT_EQ(items[0].shape, (std::vector<std::int64_t>{600, 1000}));
  EXPECT_EQ(reader.scalars("counters").at("mean"), 0.1);
  EXPECT_EQ(reader.text_file("tokenizer.json"), "{\"tokenizer\": 1}\n");
}

// One writer of whole tensors: what it always was, byte for byte, whatever is told beside.
TEST(Writers, OneWriterWritesVersion1) {
  Scratch scratch;
  put(scratch / "old", 4);
  ASSERT_EQ(put_many(scratch / "new", 4, {1, true, 1, 0}), all_well(1));
  const fs::path a = scratch / "old/step-00000004", b = scratch / "new/step-00000004";
  EXPECT_EQ(names(a), names(b));
  EXPECT_EQ(read(a / "state.h5"), read(b / "state.h5"));
  auto x = Reader::open(a).manifest(), y = Reader::open(b).manifest();
  x.erase("written"), y.erase("written");
  EXPECT_EQ(x, y);
}

// One writer whose memory holds a tensor in two pieces.
TEST(Writers, OneWriterOfPieces) {
  Scratch scratch;
  const Spoil halves = [](int, Snapshot &s) {
    const Item whole = s.sections[1].items[0];
    s.sections[1].items = {piece(whole, 300000, 300000), piece(whole, 0, 300000)};
    return true;
  };
  ASSERT_EQ(put_many(scratch.path(), 5, {1, true, 1, 0}, 60, halves), all_well(1));
  const Reader reader = Reader::open(scratch.path());
  EXPECT_EQ(reader.manifest().at("format_version"), 2);
  EXPECT_EQ(reader.compute_state_hash(), hash_of_sample(5));
  // Both pieces asked for in one call, too.
  State state;
  state.moments.assign(600000, 0);
  const Item whole = state.sections()[1].items[0];
  reader.read("moments", {piece(whole, 100, 599900), piece(whole, 0, 100)});
  EXPECT_EQ(state.moments, State().moments);
}

TEST(Writers, HashIsMadeWhileWriting) {
  for (const Cut &cut : kCuts) {
    Scratch scratch;
    const Spoil no_hash = [](int, Snapshot &s) {
      s.state_hash.clear();
      return true;
    };
    ASSERT_EQ(put_many(scratch.path(), 7, cut, 60, no_hash), all_well(cut.n));
    EXPECT_EQ(Reader::open(scratch.path()).state_hash(), hash_of_sample(7)) << cut.n;
  }
}

// Tensors that no memory holds whole, each writer its piece.
TEST(Writers, ProducedPieces) {
  Scratch scratch;
  const Spoil produced = [](int, Snapshot &s) {
    s.state_hash.clear();
    for (Section &section : s.sections)
      for (Item &item : section.items) {
        item.produce = [from = static_cast<const char *>(item.data)](std::uint64_t first,
                                                                     std::size_t bytes, void *to) {
          std::memcpy(to, from + first, bytes);
        };
        item.data = nullptr;
      }
    return true;
  };
  ASSERT_EQ(put_many(scratch.path(), 7, {3, false, 1, 0}, 60, produced), all_well(3));
  const Reader reader = Reader::open(scratch.path());
  EXPECT_EQ(reader.state_hash(), hash_of_sample(7));
  EXPECT_EQ(reader.compute_state_hash(), hash_of_sample(7));
}

TEST(Writers, RetentionAndStepsAfterAnother) {
  Scratch scratch;
  for (const std::int64_t step : {1, 2, 3, 4})
    ASSERT_EQ(put_many(scratch.path(), step, {2, false, 1, 0}, 60, {}, 2), all_well(2));
  EXPECT_EQ(names(scratch.path()), (Names{"step-00000003", "step-00000004"}));
  ASSERT_EQ(put_many(scratch.path(), 4, {3, false, 1, 0}, 60, {}, 2), all_well(3));
  EXPECT_EQ(names(scratch.path()), (Names{"step-00000003", "step-00000004"}));
  EXPECT_EQ(Reader::open(scratch.path())
                .manifest()
                .at("sections")[1]
                .at("tensors")[0]
                .at("pieces")
                .size(),
            3U);
  fs::resize_file(scratch / "step-00000003/state-00001.h5",
                  10); // damaged: neither counted nor removed
  put(scratch.path(), 5, 1);
  EXPECT_EQ(names(scratch.path()), (Names{"step-00000003", "step-00000005"}));
}

TEST(Writers, CompareOverFormats) {
  Scratch scratch;
  put(scratch / "one", 7);
  ASSERT_EQ(put_many(scratch / "many", 7, {3, false, 1, 0}), all_well(3));
  const Reader one = Reader::open(scratch / "one"), many = Reader::open(scratch / "many");
  EXPECT_TRUE(checkpoint::compare(one, many).equal());
  std::vector<float> some(50);
  many.read_part("moments", "layers.0.w", 4 * 199975, 200, some.data()); // over a border
  EXPECT_EQ(some, std::vector<float>(50, 0.25F));
}

TEST(BlockHashes, ListsFoldToTheHashOfTheWhole) {
  State state;
  for (std::size_t i = 0; i < state.moments.size(); ++i)
    state.moments[i] = static_cast<float>(i % 1021);
  const auto sections = state.sections();
  const std::string hash = checkpoint::state_hash(sections);
  for (const Cut &cut : kCuts) {
    std::vector<std::string> lists;
    for (int w = cut.n; w-- > 0;)
      lists.push_back(checkpoint::BlockHashes::of(share(sections, cut, w)));
    EXPECT_EQ(checkpoint::fold(outline(sections), lists), hash) << cut.n;
  }
}

TEST(BlockHashes, CutsBetweenBlocksNeedNoBytes) {
  std::vector<double> big(3 * checkpoint::kCutElements / 2 + 5, 0.5);
  const auto size = static_cast<std::int64_t>(big.size());
  const std::vector<Section> whole = {{"weights", {{"w", {size}, Type::f64, big.data()}}, {}}};
  const auto list = [&](std::int64_t first, std::int64_t last) {
    return checkpoint::BlockHashes::of(
        {{"weights", {piece(whole[0].items[0], first, last - first)}, {}}});
  };
  const std::int64_t cut = checkpoint::kCutElements;
  const auto a = list(0, cut), b = list(cut, size);
  EXPECT_LT(a.size() + b.size(), 1000U);
  Section section = whole[0];
  section.scalars = nlohmann::json::object();
  EXPECT_EQ(checkpoint::fold({section}, {b, a}), checkpoint::state_hash({section}));
  // Elsewhere the bytes of one block travel, in two halves.
  const auto c = list(0, cut + 1), d = list(cut + 1, size);
  EXPECT_GT(c.size() + d.size(), 1U << 20);
  EXPECT_EQ(checkpoint::fold({section}, {c, d}), checkpoint::state_hash({section}));
  // What is twice or nowhere there is found.
  const auto faulty = [&](const std::vector<std::string> &lists) {
    EXPECT_THROW(checkpoint::fold({section}, lists), base::Fault);
  };
  faulty({a}), faulty({b}), faulty({}), faulty({a, b, b}), faulty({c, b}), faulty({a, d});
  faulty({c, d, list(cut - 1, cut + 1)}), faulty({c, list(cut + 2, size)});
  faulty({a + "x", b}), faulty({a, b.substr(0, b.size() - 1)});
  EXPECT_THROW(checkpoint::fold({{"other", {}, {}}}, {a}), base::Fault);
}

} // namespace
