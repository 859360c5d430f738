// SPDX-License-Identifier: Apache-2.0
#include "data/manifest.hpp"

#include <cmath>
#include <numeric>

#include <nlohmann/json.hpp>

#include "base/error.hpp"

namespace data {
namespace {

using Json = nlohmann::ordered_json;
using base::Exit;
using base::UserError;

constexpr int kVersion = 1;
constexpr std::uint64_t kLargest = std::uint64_t{1}
                                   << 48; // of any count, so that sums cannot overflow

std::int64_t sum(const std::vector<ShardInfo> &shards, std::int64_t ShardInfo::*field) {
  return std::accumulate(shards.begin(), shards.end(), std::int64_t{0},
                         [&](std::int64_t s, const ShardInfo &shard) { return s + shard.*field; });
}

// Reads members of a JSON object; whatever is wrong becomes E120 with the path of the member.
class Node {
public:
  Node(const Json &json, std::string where, std::string path)
      : json_(json), where_(std::move(where)), path_(std::move(path)) {}

  Node operator[](const char *name) const {
    if (!json_.is_object() || !json_.contains(name)) fail(fmt::format("\"{}\" is missing", name));
    return Node(json_.at(name), where_, path_.empty() ? name : path_ + "." + name);
  }
  std::vector<Node> list() const {
    if (!json_.is_array()) fail("is not a list");
    std::vector<Node> nodes;
    for (std::size_t i = 0; i < json_.size(); ++i)
      nodes.emplace_back(json_[i], where_, fmt::format("{}[{}]", path_, i));
    return nodes;
  }
  std::string text() const {
    if (!json_.is_string()) fail("is not a text");
    return json_.get<std::string>();
  }
  bool truth() const {
    if (!json_.is_boolean()) fail("is not true or false");
    return json_.get<bool>();
  }
  std::int64_t count() const {
    const bool fits = json_.is_number_unsigned()
                          ? json_.get<std::uint64_t>() <= kLargest
                          : json_.is_number_integer() && json_.get<std::int64_t>() >= 0;
    if (!fits) fail("is not a whole number from 0 to 2^48");
    return json_.get<std::int64_t>();
  }
  double number() const {
    if (!json_.is_number()) fail("is not a number");
    return json_.get<double>();
  }
  [[noreturn]] void fail(const std::string &why) const {
    throw UserError(Exit::data, "E120", where_,
                    fmt::format("{}: {}", path_.empty() ? "top level" : path_, why),
                    "The file is damaged or was edited. Delete it and run hadal data build again: "
                    "finished shards are kept.");
  }

private:
  const Json &json_;
  std::string where_, path_;
};

Json shard_json(const ShardInfo &shard) {
  return {{"file", shard.file},     {"documents", shard.documents},
          {"tokens", shard.tokens}, {"text_bytes", shard.text_bytes},
          {"size", shard.size},     {"xxh3_128", shard.hash}};
}

ShardInfo shard_of(const Node &node) {
  ShardInfo shard{node["file"].text(),        node["documents"].count(), node["tokens"].count(),
                  node["text_bytes"].count(), node["size"].count(),      node["xxh3_128"].text()};
  const std::filesystem::path path(shard.file);
  if (path.is_absolute() || shard.file.find("..") != std::string::npos)
    node["file"].fail("leads out of the data directory");
  return shard;
}

Json split_json(const SplitInfo &split) {
  Json shards = Json::array();
  for (const ShardInfo &shard : split.shards) shards.push_back(shard_json(shard));
  return {{"documents", split.documents()},
          {"tokens", split.tokens()},
          {"text_bytes", split.text_bytes()},
          {"shards", shards}};
}

SplitInfo split_of(const Node &node) {
  SplitInfo split;
  for (const Node &shard : node["shards"].list()) split.shards.push_back(shard_of(shard));
  if (split.documents() != node["documents"].count() || split.tokens() != node["tokens"].count())
    node.fail("counts that are not the sum of the shards'");
  return split;
}

Json skipped_json(const Skipped &skipped) {
  return {{"empty", skipped.empty}, {"not_utf8", skipped.bad}};
}
Skipped skipped_of(const Node &node) { return {node["empty"].count(), node["not_utf8"].count()}; }

SourceInfo source_of(const Node &node) {
  SourceInfo source;
  source.name = node["name"].text();
  source.weight = node["weight"].number();
  if (!(source.weight >= 0.0) || !std::isfinite(source.weight))
    node["weight"].fail("is negative or not finite");
  source.files = node["files"].count();
  source.file_bytes = node["file_bytes"].count();
  source.skipped = skipped_of(node["skipped"]);
  source.train = split_of(node["train"]);
  source.validation = split_of(node["validation"]);
  return source;
}

Json parse(std::string_view text, const std::string &where) {
  try {
    return Json::parse(text);
  } catch (const Json::exception &) {
    Node(Json(), where, "").fail("is not JSON");
  }
}

void check_format(const Node &root, const char *format) {
  if (root["format"].text() != format) root["format"].fail(fmt::format("is not \"{}\"", format));
  if (root["version"].count() != kVersion)
    root["version"].fail(fmt::format("this program reads version {}", kVersion));
}

constexpr const char *kManifest = "hadal token data", *kPart = "hadal token data part";

} // namespace

std::int64_t SplitInfo::documents() const { return sum(shards, &ShardInfo::documents); }
std::int64_t SplitInfo::tokens() const { return sum(shards, &ShardInfo::tokens); }
std::int64_t SplitInfo::text_bytes() const { return sum(shards, &ShardInfo::text_bytes); }

std::string Manifest::content_hash() const {
  std::string text = tokenizer_hash;
  for (const SourceInfo &source : sources) {
    text += "\nsource " + source.name;
    for (const SplitInfo *split : {&source.train, &source.validation}) {
      text += "\nsplit";
      for (const ShardInfo &shard : split->shards) text += "\n" + shard.hash;
    }
  }
  return base::hash128(text).hex();
}

std::int64_t Manifest::size() const {
  std::int64_t bytes = 0;
  for (const SourceInfo &source : sources)
    bytes += sum(source.train.shards, &ShardInfo::size) +
             sum(source.validation.shards, &ShardInfo::size);
  return bytes;
}

std::string Manifest::to_json() const {
  Json list = Json::array();
  for (const SourceInfo &source : sources)
    list.push_back({{"name", source.name},
                    {"weight", source.weight},
                    {"files", source.files},
                    {"file_bytes", source.file_bytes},
                    {"skipped", skipped_json(source.skipped)},
                    {"train", split_json(source.train)},
                    {"validation", split_json(source.validation)}});
  const Json root = {
      {"format", kManifest},
      {"version", kVersion},
      {"content", content_hash()},
      {"built_from", {{"options", options_hash}, {"inputs", inputs_hash}}},
      {"tokenizer",
       {{"file", tokenizer_file}, {"xxh3_128", tokenizer_hash}, {"vocabulary", vocabulary}}},
      {"token_width", token_width},
      {"sources", list}};
  return root.dump(1) + "\n";
}

Manifest manifest_from_json(std::string_view text, const std::string &where) {
  const Json json = parse(text, where);
  const Node root(json, where, "");
  check_format(root, kManifest);
  Manifest manifest;
  manifest.options_hash = root["built_from"]["options"].text();
  manifest.inputs_hash = root["built_from"]["inputs"].text();
  const Node tokenizer = root["tokenizer"];
  manifest.tokenizer_file = tokenizer["file"].text();
  if (std::filesystem::path(manifest.tokenizer_file).is_absolute() ||
      manifest.tokenizer_file.find("..") != std::string::npos)
    tokenizer["file"].fail("leads out of the data directory");
  manifest.tokenizer_hash = tokenizer["xxh3_128"].text();
  const std::int64_t vocabulary = tokenizer["vocabulary"].count(),
                     width = root["token_width"].count();
  if (vocabulary > (1 << 30)) tokenizer["vocabulary"].fail("is too large");
  if (width != 2 && width != 4) root["token_width"].fail("is neither 2 nor 4");
  manifest.vocabulary = static_cast<int>(vocabulary);
  manifest.token_width = static_cast<int>(width);
  for (const Node &source : root["sources"].list()) manifest.sources.push_back(source_of(source));
  if (manifest.sources.empty()) root["sources"].fail("is empty");
  if (root["content"].text() != manifest.content_hash())
    root["content"].fail("does not fit the shards' checksums");
  return manifest;
}

Manifest read_manifest(const std::filesystem::path &directory) {
  const std::filesystem::path path = manifest_path(directory);
  std::error_code error;
  if (!std::filesystem::exists(path, error))
    throw UserError(Exit::data, "E119", directory.string(),
                    "holds no finished data (no manifest.json)",
                    "Run hadal data build DECK first, or correct data.directory; relative paths "
                    "count from the current folder.");
  return manifest_from_json(base::read_file(path, Exit::data, "E120"), path.string());
}

std::string Part::to_json() const {
  const Json root = {{"format", kPart},
                     {"version", kVersion},
                     {"tokenizer", tokenizer_hash},
                     {"next", {{"file", next.file}, {"offset", next.offset}, {"line", next.line}}},
                     {"last", last},
                     {"skipped", skipped_json(skipped)},
                     {"train", shard_json(train)},
                     {"validation", shard_json(validation)}};
  return root.dump(1) + "\n";
}

Part part_from_json(std::string_view text, const std::string &where) {
  const Json json = parse(text, where);
  const Node root(json, where, "");
  check_format(root, kPart);
  const auto number = [&](const char *name) {
    return static_cast<std::uint64_t>(root["next"][name].count());
  };
  Part part;
  part.tokenizer_hash = root["tokenizer"].text();
  part.next = {number("file"), number("offset"), number("line")};
  part.last = root["last"].truth();
  part.skipped = skipped_of(root["skipped"]);
  part.train = shard_of(root["train"]);
  part.validation = shard_of(root["validation"]);
  return part;
}

} // namespace data
