// SPDX-License-Identifier: Apache-2.0
// Shards, manifests and part files: round trips and every kind of damage.
#include "data/manifest.hpp"
#include "data/shards.hpp"
#include "data_support.hpp"

namespace {

using base::Exit;
using data::Token;
using namespace data::test;

const std::vector<std::vector<Token>> kDocuments = {{1, 2, 3}, {}, {65535, 0}, {7}};

data::ShardInfo write_shard(const TemporaryFolder &folder, int width) {
  data::ShardWriter writer(width);
  for (const auto &document : kDocuments) writer.add(document, 10);
  EXPECT_EQ(writer.tokens(), 6);
  return writer.write(folder.path(), "a.tokens");
}

TEST(Shards, RoundTrip) {
  for (const int width : {2, 4}) {
    const TemporaryFolder folder;
    const data::ShardInfo info = write_shard(folder, width);
    EXPECT_EQ(info.documents, 4);
    EXPECT_EQ(info.text_bytes, 40);
    EXPECT_EQ(info.size, 64 + 5 * 8 + 6 * width);
    const data::Shard shard(folder.path(), info);
    shard.verify();
    for (std::size_t d = 0; d < kDocuments.size(); ++d) {
      const auto at = static_cast<std::int64_t>(d);
      std::vector<Token> tokens(static_cast<std::size_t>(shard.length(at)));
      shard.copy(shard.begin(at), shard.length(at), 65536, tokens.data());
      EXPECT_EQ(tokens, kDocuments[d]);
    }
  }
}

TEST(Shards, ForeignTokenIsAnError) {
  const TemporaryFolder folder;
  const data::Shard shard(folder.path(), write_shard(folder, 4));
  std::vector<Token> tokens(6);
  expect_error(error_of([&] { shard.copy(0, 6, 65535, tokens.data()); }), Exit::data, "E122",
               {"a.tokens", "token 65535", "65535 ids"});
}

TEST(Shards, EveryFlippedBitIsFound) {
  const TemporaryFolder folder;
  const data::ShardInfo info = write_shard(folder, 2);
  const std::string bytes = base::read_file(folder / "a.tokens", Exit::fault, "");
  for (std::size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
    std::string damaged = bytes;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << (bit % 8)));
    folder.write("a.tokens", damaged);
    const auto error = error_of([&] { data::Shard(folder.path(), info).verify(); });
    EXPECT_TRUE(error.number() == "E121" || error.number() == "E122")
        << "bit " << bit << ": " << error.what();
  }
}

TEST(Shards, EveryTruncationIsFound) {
  const TemporaryFolder folder;
  const data::ShardInfo info = write_shard(folder, 2);
  const std::string bytes = base::read_file(folder / "a.tokens", Exit::fault, "");
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    folder.write("a.tokens", bytes.substr(0, size));
    expect_error(error_of([&] { data::Shard(folder.path(), info); }), Exit::data, "E121",
                 {"a.tokens", "bytes long"});
  }
  std::filesystem::remove(folder / "a.tokens");
  expect_error(error_of([&] { data::Shard(folder.path(), info); }), Exit::data, "E121",
               {"a.tokens", "No such file"});
}

data::Manifest made_up_manifest() {
  data::Manifest manifest;
  manifest.options_hash = "aa";
  manifest.inputs_hash = "bb";
  manifest.tokenizer_file = "tokens-x/tokenizer.json";
  manifest.tokenizer_hash = "cc";
  manifest.vocabulary = 420;
  data::SourceInfo source;
  source.name = "prose";
  source.weight = 0.1;
  source.files = 3;
  source.file_bytes = 99;
  source.skipped = {1, 2};
  source.train.shards = {{"tokens-x/a", 2, 30, 80, 200, "dd"}, {"tokens-x/b", 1, 5, 9, 100, "ee"}};
  manifest.sources = {source};
  return manifest;
}

TEST(Manifest, RoundTrip) {
  const data::Manifest manifest = made_up_manifest();
  const data::Manifest again = data::manifest_from_json(manifest.to_json(), "m");
  EXPECT_EQ(again.to_json(), manifest.to_json());
  EXPECT_EQ(again.sources[0].train.shards, manifest.sources[0].train.shards);
  EXPECT_EQ(again.sources[0].weight, 0.1);
  EXPECT_EQ(again.sources[0].train.tokens(), 35);
  data::Manifest heavier = manifest;
  heavier.sources[0].weight = 2;
  EXPECT_EQ(heavier.content_hash(), manifest.content_hash()) << "weights are not content";
  heavier.sources[0].train.shards[0].hash = "ff";
  EXPECT_NE(heavier.content_hash(), manifest.content_hash());
}

TEST(Manifest, DamageIsNamed) {
  const std::string good = made_up_manifest().to_json();
  const auto fault = [&](const std::string &from, const std::string &to) {
    std::string text = good;
    const std::size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    text.replace(at, from.size(), to);
    return error_of([&] { data::manifest_from_json(text, "m.json"); });
  };
  expect_error(fault("\"format\"", "\"x\""), Exit::data, "E120",
               {"m.json", "\"format\" is missing"});
  expect_error(fault("hadal token data", "photos"), Exit::data, "E120", {"format"});
  expect_error(fault("\"version\": 1", "\"version\": 2"), Exit::data, "E120",
               {"version", "reads version 1"});
  expect_error(fault("\"documents\": 2", "\"documents\": -2"), Exit::data, "E120",
               {"sources[0].train.shards[0].documents"});
  expect_error(fault("\"documents\": 2", "\"documents\": 2.5"), Exit::data, "E120",
               {"whole number"});
  expect_error(fault("\"documents\": 2", "\"documents\": 18446744073709551615"), Exit::data, "E120",
               {"whole number"});
  expect_error(fault("\"documents\": 2", "\"documents\": 4"), Exit::data, "E120",
               {"sum of the shards"});
  expect_error(fault("tokens-x/a", "../../etc/passwd"), Exit::data, "E120",
               {"out of the data directory"});
  expect_error(fault("tokens-x/tok", "/tokens-x/tok"), Exit::data, "E120",
               {"out of the data directory"});
  expect_error(fault("\"weight\": 0.1", "\"weight\": -1"), Exit::data, "E120",
               {"sources[0].weight"});
  expect_error(fault("\"dd\"", "\"d0\""), Exit::data, "E120", {"checksums"});
  expect_error(fault("\"token_width\": 2", "\"token_width\": 3"), Exit::data, "E120",
               {"token_width"});
  expect_error(
      error_of([&] { data::manifest_from_json(good.substr(0, good.size() / 2), "m.json"); }),
      Exit::data, "E120", {"not JSON"});
  expect_error(error_of([&] { data::manifest_from_json("[]", "m.json"); }), Exit::data, "E120",
               {"missing"});
  const TemporaryFolder folder;
  expect_error(error_of([&] { data::read_manifest(folder.path()); }), Exit::data, "E119",
               {"no finished data", "data build"});
}

TEST(Parts, RoundTrip) {
  data::Part part;
  part.tokenizer_hash = "t";
  part.next = {3, 1ULL << 40, 17};
  part.last = true;
  part.skipped = {4, 5};
  part.train = {"f", 1, 2, 3, 4, "h"};
  const data::Part again = data::part_from_json(part.to_json(), "p");
  EXPECT_EQ(again.to_json(), part.to_json());
  EXPECT_EQ(again.next, part.next);
  EXPECT_TRUE(again.last);
  expect_error(error_of([] { data::part_from_json("{}", "p.json"); }), Exit::data, "E120",
               {"p.json", "format"});
}

} // namespace
