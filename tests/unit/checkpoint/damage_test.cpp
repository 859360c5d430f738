// SPDX-License-Identifier: Apache-2.0
// Every damage has a name; no damaged byte reaches HDF5; nothing is deleted.
#include "tests/unit/checkpoint/sample.hpp"

namespace {

using namespace sample;

// Opens and reads all of it.
void read_all(const fs::path &place) {
  State state;
  const Reader reader = Reader::open(place);
  for (const Section &section : state.sections()) {
    reader.read(section.name, section.items);
    reader.scalars(section.name);
  }
}

class Damage : public testing::Test {
protected:
  Scratch scratch_;
  fs::path place_ = put(scratch_.path(), 7);
  std::string text_;
  std::string damage(const std::string &file, const std::string &content) {
    write(place_ / file, content);
    return fault([&] { read_all(place_); }, &text_);
  }
};

TEST_F(Damage, NoneIsNoFault) {
  EXPECT_EQ(fault([&] { read_all(place_); }), "");
}

TEST_F(Damage, TruncatedAtAnyLength) {
  const std::string whole = read(place_ / "state.h5");
  for (const std::size_t length :
       {std::size_t{0}, std::size_t{1}, std::size_t{96}, whole.size() / 2, whole.size() - 1}) {
    EXPECT_EQ(damage("state.h5", whole.substr(0, length)), "E211") << length;
    EXPECT_NE(text_.find("bytes"), std::string::npos) << text_;
  }
  EXPECT_EQ(damage("state.h5", whole + "x"), "E211");
}

TEST_F(Damage, FlippedByteAnywhereInTheState) {
  const std::string whole = read(place_ / "state.h5");
  for (std::size_t at = 0; at < whole.size(); at += at < 4096 ? 61 : whole.size() / 23) {
    std::string other = whole;
    other[at] = static_cast<char>(other[at] ^ 0x40);
    EXPECT_EQ(damage("state.h5", other), "E211") << at;
  }
}

TEST_F(Damage, NamesTheTensorOrTheStructure) {
  const auto manifest = Reader::open(place_).manifest();
  const auto offset = manifest.at("sections")[1].at("tensors")[0].at("offset").get<std::size_t>();
  flip(place_ / "state.h5", offset + 2'000'000);
  EXPECT_EQ(Reader::open(place_).verify(),
            "state.h5 does not match its checksum: moments/layers.0.w was changed");
  flip(place_ / "state.h5", offset + 2'000'000);
  EXPECT_EQ(Reader::open(place_).verify(), "");
  flip(place_ / "state.h5", 9); // the superblock of HDF5
  EXPECT_NE(Reader::open(place_).verify().find("structure"), std::string::npos);
}

TEST_F(Damage, FlippedByteAnywhereInTheManifest) {
  const std::string whole = read(place_ / "manifest.json");
  for (std::size_t at = 0; at < whole.size(); at += 37) {
    std::string other = whole;
    other[at] = static_cast<char>(other[at] ^ 1);
    EXPECT_EQ(damage("manifest.json", other), "E211") << at;
  }
  EXPECT_EQ(damage("manifest.json", ""), "E211");
  EXPECT_EQ(damage("manifest.json", whole), "");
}

TEST_F(Damage, Seal) {
  for (const char *seal : {"", "x", "00000000000000000000000000000000\n"})
    EXPECT_EQ(damage("DONE", seal), "E211");
  fs::remove(place_ / "DONE");
  EXPECT_EQ(fault([&] { read_all(place_); }, &text_), "E210");
  EXPECT_NE(text_.find("no DONE"), std::string::npos) << text_;
  fs::create_directory(place_ / "DONE");
  EXPECT_EQ(fault([&] { read_all(place_); }), "E211");
}

TEST_F(Damage, MissingFiles) {
  fs::rename(place_ / "state.h5", place_ / "away");
  EXPECT_EQ(fault([&] { read_all(place_); }), "E211");
  fs::rename(place_ / "away", place_ / "state.h5");
  fs::remove(place_ / "manifest.json");
  EXPECT_EQ(fault([&] { read_all(place_); }), "E211");
  EXPECT_EQ(fault([&] { Reader::open(scratch_ / "nowhere"); }), "E210");
  fs::create_directory(scratch_ / "empty");
  EXPECT_EQ(fault([&] { Reader::open(scratch_ / "empty"); }), "E210");
  write(scratch_ / "file", "text");
  EXPECT_EQ(fault([&] { Reader::open(scratch_ / "file"); }), "E210");
  EXPECT_EQ(fault([&] { Reader::open(scratch_ / "file/below"); }), "E210");
}

TEST_F(Damage, OtherFormatVersions) {
  for (const int version : {3, 0, -1, 1000}) {
    forge(place_, [&](nlohmann::json &m) { m["format_version"] = version; });
    EXPECT_EQ(fault([&] { read_all(place_); }, &text_), "E212") << version;
    EXPECT_NE(text_.find(std::to_string(version)), std::string::npos) << text_;
  }
}

TEST_F(Damage, SealedButNotOurs) {
  using J = nlohmann::json;
  const std::string good = read(place_ / "manifest.json");
  const std::function<void(J &)> changes[] = {
      [](J &m) { m = J::array(); },
      [](J &m) { m = 1; },
      [](J &m) { m.erase("format"); },
      [](J &m) { m["format"] = "another"; },
      [](J &m) { m.erase("format_version"); },
      [](J &m) { m["format_version"] = "1"; },
      [](J &m) { m["step"] = "one"; },
      [](J &m) { m.erase("deck"); },
      [](J &m) { m["deck"] = 3; },
      [](J &m) { m["format_version"] = 1.0; },
      [](J &m) { m["step"] = 1e300; },
      [](J &m) { m["step"] = -1; },
      [](J &m) { m["files"]["state.h5"]["bytes"] = 1e300; },
      [](J &m) { m["files"]["state.h5"]["bytes"] = -1; },
      [](J &m) { m["sections"][0]["tensors"][0]["offset"] = 0.5; },
      [](J &m) {
        J deep = J::array();
        for (int i = 0; i < 5000; ++i) deep = J::array({std::move(deep)});
        m["info"]["x"] = std::move(deep);
      },
      [](J &m) { m["info"] = "text"; },
      [](J &m) { m["files"] = J::object(); },
      [](J &m) { m["files"]["state.h5"]["bytes"] = "many"; },
      [](J &m) { m["sections"] = 5; },
      [](J &m) { m["sections"][0].erase("name"); },
      [](J &m) { m["sections"][1]["name"] = "weights"; },
      [](J &m) { m["sections"][0]["scalars"] = 5; },
      [](J &m) { m["sections"][0]["tensors"][0]["type"] = "f8"; },
      [](J &m) {
        m["sections"][0]["tensors"][0]["shape"] = {-1, 3};
      },
      [](J &m) { m["sections"][0]["tensors"][0]["shape"] = {1.5}; },
      [](J &m) {
        m["sections"][0]["tensors"][0]["shape"] = {1LL << 40, 1LL << 40};
      },
      [](J &m) { m["sections"][0]["tensors"][0]["shape"] = {1LL << 40}; },
      [](J &m) { m["sections"][0]["tensors"][0]["shape"] = "square"; },
      [](J &m) { m["sections"][0]["tensors"][0]["offset"] = 1LL << 62; },
      [](J &m) { m["sections"][0]["tensors"][1]["name"] = "layers.0.w"; },
  };
  int number = 0;
  for (const auto &change : changes) {
    write(place_ / "manifest.json", good);
    forge(place_, change);
    EXPECT_EQ(fault([&] { read_all(place_); }), "E211") << "change " << number;
    ++number;
  }
}

// HDF5 is asked for what its file does not have: its own message, no crash.
TEST_F(Damage, ManifestAndFileDisagree) {
  forge(place_, [](nlohmann::json &m) { m["sections"][0]["tensors"][0]["name"] = "layers.7.w"; });
  State state;
  const Reader reader = Reader::open(place_);
  const auto read = [&](Item item) {
    return fault([&] { reader.read("weights", {item}, false); }, &text_);
  };
  EXPECT_EQ(read({"layers.7.w", {2, 3}, Type::f32, state.matrix.data()}), "E211");
  EXPECT_NE(text_.find("layers.7.w"), std::string::npos) << text_;
  forge(place_, [](nlohmann::json &m) { m["sections"][0]["tensors"][2]["type"] = "i64"; });
  const Reader other = Reader::open(place_);
  EXPECT_EQ(fault([&] {
              other.read("weights", {{"exact", {2}, Type::i64, state.big.data()}}, false);
            }),
            "E211");
}

TEST_F(Damage, AnotherModel) {
  State state;
  const Reader reader = Reader::open(place_);
  const auto read = [&](const std::vector<Item> &items, bool exact = false) {
    return fault([&] { reader.read("weights", items, exact); }, &text_);
  };
  EXPECT_EQ(read({{"layers.1.w", {2, 3}, Type::f32, state.matrix.data()}}), "E213");
  EXPECT_NE(text_.find("layers.1.w: not in the file, expected f32 [2, 3]"), std::string::npos)
      << text_;
  EXPECT_EQ(read({{"layers.0.w", {3, 2}, Type::f32, state.matrix.data()}}), "E213");
  EXPECT_NE(text_.find("layers.0.w: f32 [2, 3] in the file, expected f32 [3, 2]"),
            std::string::npos)
      << text_;
  EXPECT_EQ(read({{"half", {2, 2}, Type::f32, state.matrix.data()}}), "E213");
  EXPECT_NE(text_.find("half: bf16 [2, 2] in the file, expected f32 [2, 2]"), std::string::npos)
      << text_;
  EXPECT_EQ(read({{"half", {2, 2}, Type::bf16, state.half.data()}}, true), "E213");
  EXPECT_NE(text_.find("big: i64 [2] in the file, not in this model"), std::string::npos) << text_;
  EXPECT_EQ(fault([&] { reader.read("average", {}); }), "E213");
  EXPECT_EQ(fault([&] { reader.scalars("average"); }), "E213");
  EXPECT_EQ(fault([&] { reader.describe("average"); }), "E213");
}

TEST(Newest, DamagedOnesAreSkippedAndStay) {
  Scratch scratch;
  const auto a = put(scratch / "checkpoints", 1), b = put(scratch / "checkpoints", 2),
             c = put(scratch / "checkpoints", 10);
  EXPECT_EQ(Reader::newest(scratch.path())->step(), 10);
  flip(c / "state.h5", 3000);
  EXPECT_EQ(Reader::newest(scratch.path())->step(), 2);
  EXPECT_EQ(Reader::open(scratch.path()).step(), 2);
  EXPECT_EQ(Reader::open(scratch / "checkpoints").step(), 2);
  fs::remove(b / "DONE");
  EXPECT_EQ(Reader::newest(scratch.path())->step(), 1);
  write(a / "manifest.json", "{}");
  std::string text;
  EXPECT_EQ(fault([&] { Reader::newest(scratch.path()); }, &text), "E211");
  EXPECT_NE(text.find("2 checkpoints, all damaged"), std::string::npos) << text;
  EXPECT_EQ(fault([&] { Reader::open(scratch.path()); }), "E211");
  EXPECT_EQ(names(scratch / "checkpoints").size(), 3U);
}

TEST(Newest, OnlyStepDirectoriesCount) {
  Scratch scratch;
  EXPECT_FALSE(Reader::newest(scratch.path()));
  EXPECT_FALSE(Reader::newest(scratch / "nowhere"));
  const auto place = put(scratch.path(), 5);
  for (const char *other :
       {"step-00000009.partial", "step-00000009.damaged", "step-9", "step-0000000x", "other",
        "step--0000009", "step-99999999999999999999999"})
    fs::copy(place, scratch / other);
  EXPECT_EQ(Reader::list(scratch.path()), std::vector<fs::path>{place});
  EXPECT_EQ(Reader::newest(scratch.path())->step(), 5);
}

TEST(Newest, StepsAreOrderedAsNumbers) {
  Scratch scratch;
  for (const std::int64_t step : {99999999, 100000000, 3}) {
    State state;
    Writer writer({scratch / std::to_string(step), 5, 0});
    writer.start(state.snapshot(step));
    writer.wait();
  }
  for (const char *name : {"99999999/step-99999999", "100000000/step-100000000", "3/step-00000003"})
    fs::rename(scratch / name, scratch / fs::path(name).filename().string());
  const auto all = Reader::list(scratch.path());
  ASSERT_EQ(all.size(), 3U);
  EXPECT_EQ(all[0].filename(), "step-00000003");
  EXPECT_EQ(all[2].filename(), "step-100000000");
}

} // namespace
