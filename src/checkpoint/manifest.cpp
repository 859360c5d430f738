// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/manifest.hpp"

#include <cstdio>
#include <limits>
#include <memory>
#include <set>

#include <fmt/format.h>
#include <xxhash.h>

#include "base/clock.hpp"
#include "base/files.hpp"
#include "base/hash.hpp"
#include "base/revision.hpp"

namespace checkpoint {

namespace fs = std::filesystem;
using base::Exit, base::UserError;

namespace {

constexpr std::size_t kMostManifestBytes = std::size_t{1} << 30;
constexpr int kMostDepth = 64;
constexpr std::int64_t kMostElements = std::int64_t{1} << 50;

[[noreturn]] void damaged(const fs::path &where, const std::string &what) {
  throw UserError(Exit::checkpoint, "E211", where.string(), what, kDamagedAdvice);
}

std::string read_sealed(const fs::path &directory) {
  std::error_code error;
  if (!fs::exists(directory / kDoneFile, error))
    throw UserError(Exit::checkpoint, "E210", directory.string(),
                    "holds no finished checkpoint (no DONE)",
                    "Give a step directory or a run directory with finished checkpoints.");
  const auto manifest = directory / kManifestFile;
  std::string text = base::read_file(manifest, Exit::checkpoint, "E211", kMostManifestBytes);
  if (base::read_file(directory / kDoneFile, Exit::checkpoint, "E211", 4096) != seal_of(text))
    damaged(manifest, "does not match its checksum in DONE");
  return text;
}

// Numbers are not converted: 1e300 or -1 would become something else.
template <class Int> Int whole(const nlohmann::json &value) {
  if (!value.is_number_integer() ||
      (!value.is_number_unsigned() && value.get<std::int64_t>() < 0) ||
      value.get<std::uint64_t>() >
          static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
    throw std::runtime_error("a whole number from 0 to 2^63-1 is needed");
  return value.get<Int>();
}

StoredTensor tensor_of(const nlohmann::json &j, const FileSum &state) {
  StoredTensor t;
  j.at("name").get_to(t.item.name);
  t.offset = whole<std::uint64_t>(j.at("offset"));
  j.at("xxh3_128").get_to(t.xxh3_128);
  const auto type = type_named(j.at("type").get<std::string>());
  if (!type) throw std::runtime_error(fmt::format("tensor {}: unknown type", t.item.name));
  t.item.type = *type;
  std::int64_t elements = 1;
  for (const auto &extent : j.at("shape")) {
    const auto n = whole<std::int64_t>(extent);
    if (n > 0 && elements > kMostElements / n)
      throw std::runtime_error(fmt::format("tensor {}: impossible shape", t.item.name));
    elements *= n;
    t.item.shape.push_back(n);
  }
  if (t.offset > state.bytes || t.item.bytes() > state.bytes - t.offset)
    throw std::runtime_error(fmt::format("tensor {} ends behind the file", t.item.name));
  return t;
}

void parse(Manifest &m) {
  const nlohmann::json &j = m.json;
  m.step = whole<std::int64_t>(j.at("step"));
  j.at("deck").get_to(m.deck);
  j.at("state_hash").get_to(m.state_hash);
  if (!j.at("info").is_object()) throw std::runtime_error("info is no object");
  const auto &file = j.at("files").at(kStateFile);
  m.state.bytes = whole<std::uint64_t>(file.at("bytes"));
  file.at("xxh3_128").get_to(m.state.xxh3_128);
  for (const auto &[name, sum] : j.at("files").items())
    if (name != kStateFile) m.texts[name] = sum.at("xxh3_128").get<std::string>();
  std::set<std::string> names;
  for (const auto &s : j.at("sections")) {
    StoredSection section{s.at("name").get<std::string>(), s.at("scalars"), {}};
    if (!names.insert(section.name).second)
      throw std::runtime_error(fmt::format("section {} stands twice", section.name));
    if (!section.scalars.is_object()) throw std::runtime_error("scalars are no object");
    std::set<std::string> tensors;
    for (const auto &t : s.at("tensors")) {
      section.tensors.push_back(tensor_of(t, m.state));
      if (!tensors.insert(section.tensors.back().item.name).second)
        throw std::runtime_error(
            fmt::format("tensor {} stands twice", section.tensors.back().item.name));
    }
    m.sections.push_back(std::move(section));
  }
}

} // namespace

std::string seal_of(const std::string &manifest) { return base::hash128(manifest).hex() + "\n"; }

FileSum sum_of(const fs::path &path) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE *)> file(std::fopen(path.c_str(), "rb"),
                                                              std::fclose);
  if (!file) damaged(path, "cannot be opened");
  const std::unique_ptr<XXH3_state_t, XXH_errorcode (*)(XXH3_state_t *)> state(XXH3_createState(),
                                                                               XXH3_freeState);
  XXH3_128bits_reset(state.get());
  std::vector<char> buffer(1 << 20);
  FileSum sum;
  while (const std::size_t n = std::fread(buffer.data(), 1, buffer.size(), file.get())) {
    XXH3_128bits_update(state.get(), buffer.data(), n);
    sum.bytes += n;
  }
  if (std::ferror(file.get()) != 0) damaged(path, "cannot be read");
  const XXH128_hash_t hash = XXH3_128bits_digest(state.get());
  sum.xxh3_128 = base::Hash128{hash.high64, hash.low64}.hex();
  return sum;
}

nlohmann::json make_manifest(const Snapshot &snapshot, const FileSum &state,
                             const TensorOffsets &offsets, const Sums &sums) {
  nlohmann::json m;
  m["format"] = "hadal checkpoint";
  m["format_version"] = kFormatVersion;
  m["step"] = snapshot.step;
  m["written"] = base::utc_now();
  m["revision"] = base::revision();
  m["state_hash"] = snapshot.state_hash.empty() ? sums.state_hash : snapshot.state_hash;
  m["info"] = snapshot.info;
  m["deck"] = snapshot.deck;
  m["files"] = {{kStateFile, {{"bytes", state.bytes}, {"xxh3_128", state.xxh3_128}}}};
  const auto text = [&m](const std::string &name, const std::string &content) {
    m["files"][name] = {{"bytes", content.size()}, {"xxh3_128", base::hash128(content).hex()}};
  };
  if (!snapshot.tokenizer.empty()) text("tokenizer.json", snapshot.tokenizer);
  for (const auto &[name, content] : snapshot.companions) text(name, content);
  m["sections"] = nlohmann::json::array();
  for (std::size_t s = 0; s < snapshot.sections.size(); ++s) {
    const Section &section = snapshot.sections[s];
    nlohmann::json out = {
        {"name", section.name}, {"scalars", section.scalars}, {"tensors", nlohmann::json::array()}};
    for (std::size_t i = 0; i < section.items.size(); ++i) {
      const Item &item = section.items[i];
      out["tensors"].push_back({{"name", item.name},
                                {"shape", item.shape},
                                {"type", name_of(item.type)},
                                {"offset", offsets[s][i]},
                                {"xxh3_128", sums.xxh3_128[s][i]}});
    }
    m["sections"].push_back(std::move(out));
  }
  return m;
}

Manifest read_manifest(const fs::path &directory) {
  return parse_manifest(read_sealed(directory), directory);
}

Manifest parse_manifest(const std::string &text, const fs::path &directory) {
  const fs::path path = directory / kManifestFile;
  Manifest m;
  const auto shallow = [&](int depth, nlohmann::json::parse_event_t, nlohmann::json &) {
    if (depth > kMostDepth) damaged(path, fmt::format("nested more than {} deep", kMostDepth));
    return true;
  };
  // nlohmann takes a zero byte for the end of the text.
  if (text.find('\0') != std::string::npos) damaged(path, "holds a zero byte");
  m.json = nlohmann::json::parse(text, shallow, false);
  try {
    if (m.json.at("format") != "hadal checkpoint")
      damaged(path, "is not a manifest of this program");
    const auto &told = m.json.at("format_version");
    if (!told.is_number_integer()) throw std::runtime_error("format_version is no whole number");
    const auto version = told.get<std::int64_t>();
    if (version > kFormatVersion || version < 1)
      throw UserError(Exit::checkpoint, "E212", directory.string(),
                      fmt::format("has format version {}", version),
                      fmt::format("This program reads versions 1 to {}.", kFormatVersion));
    parse(m);
  } catch (const nlohmann::json::exception &error) {
    damaged(path, error.what());
  } catch (const UserError &) {
    throw;
  } catch (const std::runtime_error &error) {
    damaged(path, error.what());
  }
  return m;
}

} // namespace checkpoint
