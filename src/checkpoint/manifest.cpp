// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/manifest.hpp"

#include <cstdio>
#include <limits>
#include <memory>
#include <set>

#include <fmt/format.h>

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

// The piece of `width` bytes an element ends within its file.
void require_within(const Manifest &m, const StoredTensor &t, const StoredPiece &piece) {
  const auto file = m.states.find(piece.file);
  if (file == m.states.end())
    throw std::runtime_error(
        fmt::format("tensor {}: {} is not among the files", t.item.name, piece.file));
  const std::uint64_t bytes = piece.count * bytes_of(t.item.type);
  if (piece.offset > file->second.bytes || bytes > file->second.bytes - piece.offset)
    throw std::runtime_error(fmt::format("tensor {} ends behind the file", t.item.name));
}

void read_pieces(const nlohmann::json &j, const Manifest &m, StoredTensor &t) {
  const std::uint64_t elements = t.item.tensor_size();
  if (m.version == 1) {
    t.pieces.push_back({kStateFile, 0, elements, whole<std::uint64_t>(j.at("offset")),
                        j.at("xxh3_128").get<std::string>()});
    return require_within(m, t, t.pieces.back());
  }
  std::uint64_t next = 0;
  for (const auto &p : j.at("pieces")) {
    StoredPiece piece{p.at("file").get<std::string>(), whole<std::uint64_t>(p.at("first")),
                      whole<std::uint64_t>(p.at("count")), whole<std::uint64_t>(p.at("offset")),
                      p.at("xxh3_128").get<std::string>()};
    if (piece.first != next || piece.count == 0 || piece.count > elements - next)
      throw std::runtime_error(
          fmt::format("tensor {}: pieces leave a hole, overlap or are too many", t.item.name));
    next += piece.count;
    require_within(m, t, piece);
    t.pieces.push_back(std::move(piece));
  }
  if (next != elements)
    throw std::runtime_error(fmt::format("tensor {}: the last elements are missing", t.item.name));
}

StoredTensor tensor_of(const nlohmann::json &j, const Manifest &m) {
  StoredTensor t;
  j.at("name").get_to(t.item.name);
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
  read_pieces(j, m, t);
  return t;
}

void read_files(const nlohmann::json &files, Manifest &m) {
  for (const auto &[name, file] : files.items()) {
    auto sum = file.at("xxh3_128").get<std::string>();
    if (m.version == 1 ? name == kStateFile : is_state_file(name))
      m.states[name] = {whole<std::uint64_t>(file.at("bytes")), std::move(sum)};
    else
      m.texts[name] = std::move(sum);
  }
  if (m.states.empty()) throw std::runtime_error("files: there is none of tensors");
}

void parse(Manifest &m) {
  const nlohmann::json &j = m.json;
  m.step = whole<std::int64_t>(j.at("step"));
  j.at("deck").get_to(m.deck);
  j.at("state_hash").get_to(m.state_hash);
  if (!j.at("info").is_object()) throw std::runtime_error("info is no object");
  read_files(j.at("files"), m);
  std::set<std::string> names;
  for (const auto &s : j.at("sections")) {
    StoredSection section{s.at("name").get<std::string>(), s.at("scalars"), {}};
    if (!names.insert(section.name).second)
      throw std::runtime_error(fmt::format("section {} stands twice", section.name));
    if (!section.scalars.is_object()) throw std::runtime_error("scalars are no object");
    std::set<std::string> tensors;
    for (const auto &t : s.at("tensors")) {
      section.tensors.push_back(tensor_of(t, m));
      if (!tensors.insert(section.tensors.back().item.name).second)
        throw std::runtime_error(
            fmt::format("tensor {} stands twice", section.tensors.back().item.name));
    }
    m.sections.push_back(std::move(section));
  }
}

} // namespace

std::string state_file_of(int writer) { return fmt::format("state-{:05}.h5", writer); }

bool is_state_file(const std::string &name) {
  const std::string_view front = "state-", back = ".h5";
  if (!name.starts_with(front) || !name.ends_with(back)) return false;
  const auto digits = std::string_view(name).substr(front.size());
  return digits.find_first_not_of("0123456789") == digits.size() - back.size() &&
         digits.size() >= back.size() + 5;
}

std::string seal_of(const std::string &manifest) { return base::hash128(manifest).hex() + "\n"; }

FileSum sum_of(const fs::path &path) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE *)> file(std::fopen(path.c_str(), "rb"),
                                                              std::fclose);
  if (!file) damaged(path, "cannot be opened");
  base::Digest128 digest;
  std::vector<char> buffer(1 << 20);
  FileSum sum;
  while (const std::size_t n = std::fread(buffer.data(), 1, buffer.size(), file.get())) {
    digest.add(buffer.data(), n);
    sum.bytes += n;
  }
  if (std::ferror(file.get()) != 0) damaged(path, "cannot be read");
  sum.xxh3_128 = digest.value().hex();
  return sum;
}

nlohmann::json manifest_head(const Snapshot &snapshot, int version, const std::string &state_hash) {
  nlohmann::json m;
  m["format"] = "hadal checkpoint";
  m["format_version"] = version;
  m["step"] = snapshot.step;
  m["written"] = base::utc_now();
  m["revision"] = base::revision();
  m["state_hash"] = state_hash;
  m["info"] = snapshot.info;
  m["deck"] = snapshot.deck;
  m["files"] = nlohmann::json::object();
  const auto text = [&m](const std::string &name, const std::string &content) {
    m["files"][name] = {{"bytes", content.size()}, {"xxh3_128", base::hash128(content).hex()}};
  };
  if (!snapshot.tokenizer.empty()) text("tokenizer.json", snapshot.tokenizer);
  for (const auto &[name, content] : snapshot.companions) text(name, content);
  return m;
}

nlohmann::json make_manifest(const Snapshot &snapshot, const std::string &state_hash,
                             const FileSum &state, const TensorOffsets &offsets, const Sums &sums) {
  nlohmann::json m = manifest_head(snapshot, 1, state_hash);
  m["files"][kStateFile] = {{"bytes", state.bytes}, {"xxh3_128", state.xxh3_128}};
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
    m.version = version;
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
