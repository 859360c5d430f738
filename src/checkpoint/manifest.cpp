// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/manifest.hpp"

#include <cstdio>
#include <memory>

#include <fmt/format.h>
#include <xxhash.h>

#include "base/clock.hpp"
#include "base/files.hpp"
#include "base/hash.hpp"
#include "checkpoint/revision.hpp"

namespace checkpoint {

namespace fs = std::filesystem;
using base::Exit, base::UserError;

namespace {

constexpr std::pair<Type, const char *> kTypes[] = {{Type::f32, "f32"}, {Type::bf16, "bf16"}, {Type::f64, "f64"}, {Type::i64, "i64"}, {Type::i32, "i32"}, {Type::u8, "u8"}};

[[noreturn]] void damaged(const fs::path &where, const std::string &what) {
  throw UserError(Exit::checkpoint, "E211", where.string(), what, "the checkpoint is damaged; use another one (nothing was deleted)");
}

} // namespace

std::string step_name(std::int64_t step) { return fmt::format("step-{:08}", step); }

const char *name_of(Type type) {
  for (const auto &[t, name] : kTypes)
    if (t == type) return name;
  return "?";
}

FileSum sum_of(const fs::path &path) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE *)> file(std::fopen(path.c_str(), "rb"), std::fclose);
  if (!file) damaged(path, "cannot be opened");
  const std::unique_ptr<XXH3_state_t, XXH_errorcode (*)(XXH3_state_t *)> state(XXH3_createState(), XXH3_freeState);
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

nlohmann::json make_manifest(const Snapshot &snapshot, const FileSum &state) {
  nlohmann::json m;
  m["format"] = "hadal checkpoint";
  m["format_version"] = kFormatVersion;
  m["step"] = snapshot.step;
  m["written"] = base::utc_now();
  m["revision"] = source_revision();
  m["state_hash"] = snapshot.state_hash;
  m["info"] = snapshot.info;
  m["deck"] = snapshot.deck;
  m["files"] = {{kStateFile, {{"bytes", state.bytes}, {"xxh3_128", state.xxh3_128}}}};
  m["sections"] = nlohmann::json::array();
  for (const Section &section : snapshot.sections) {
    nlohmann::json s = {{"name", section.name}, {"scalars", section.scalars}, {"tensors", nlohmann::json::array()}};
    for (const Item &item : section.items) s["tensors"].push_back({{"name", item.name}, {"shape", item.shape}, {"type", name_of(item.type)}});
    m["sections"].push_back(std::move(s));
  }
  return m;
}

nlohmann::json read_manifest(const fs::path &directory) {
  if (!fs::exists(directory / kDoneFile))
    throw UserError(Exit::checkpoint, "E210", directory.string(), "holds no finished checkpoint (no DONE)", "give a step directory or a run directory with finished checkpoints");
  const std::string text = base::read_file(directory / kManifestFile, Exit::checkpoint, "E211");
  const std::string seal = base::read_file(directory / kDoneFile, Exit::checkpoint, "E211");
  if (seal != base::hash128(text).hex() + "\n") damaged(directory / kManifestFile, "does not match its checksum in DONE");
  const auto m = nlohmann::json::parse(text, nullptr, false);
  if (m.is_discarded() || !m.is_object() || m.value("format", "") != "hadal checkpoint") damaged(directory / kManifestFile, "is not a manifest of this program");
  const auto version = m.find("format_version");
  if (version == m.end() || !version->is_number_integer()) damaged(directory / kManifestFile, "names no format version");
  if (version->get<int>() > kFormatVersion || version->get<int>() < 1)
    throw UserError(Exit::checkpoint, "E212", directory.string(), fmt::format("format version {}", version->get<int>()), fmt::format("this program reads versions 1 to {}", kFormatVersion));
  return m;
}

std::vector<Item> items_of(const nlohmann::json &manifest, const std::string &section, const std::string &where) {
  std::vector<Item> items;
  try {
    for (const auto &s : manifest.at("sections")) {
      if (s.at("name") != section) continue;
      for (const auto &t : s.at("tensors")) {
        Item item;
        item.name = t.at("name").get<std::string>();
        item.shape = t.at("shape").get<std::vector<std::int64_t>>();
        const auto type = t.at("type").get<std::string>();
        bool known = false;
        for (const auto &[value, name] : kTypes)
          if (type == name) item.type = value, known = true;
        if (!known) damaged(where, fmt::format("tensor {} has the unknown type {}", item.name, type));
        items.push_back(std::move(item));
      }
      return items;
    }
  } catch (const nlohmann::json::exception &error) {
    damaged(where, error.what());
  }
  throw UserError(Exit::checkpoint, "E213", where, "has no section " + section, "the checkpoint comes from another kind of run");
}

} // namespace checkpoint
