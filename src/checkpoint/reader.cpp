// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <map>
#include <unistd.h>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <xxhash.h>

#include "base/files.hpp"
#include "base/hash.hpp"
#include "base/log.hpp"
#include "checkpoint/hdf5_file.hpp"
#include "checkpoint/manifest.hpp"
#include "checkpoint/places.hpp"

namespace checkpoint {

namespace fs = std::filesystem;
using base::Exit, base::UserError;

namespace {

[[noreturn]] void damaged(const fs::path &where, const std::string &what) {
  throw UserError(Exit::checkpoint, "E211", where.string(), what, kDamagedAdvice);
}

// The state file, read by place. Opened at the first use.
class StateBytes {
public:
  explicit StateBytes(fs::path path) : path_(std::move(path)) {}
  ~StateBytes() {
    if (file_ >= 0) ::close(file_);
  }
  StateBytes(const StateBytes &) = delete;
  void read(std::uint64_t offset, std::size_t bytes, void *to) {
    if (file_ < 0) file_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC);
    if (file_ < 0) damaged(path_, std::strerror(errno));
    auto *place = static_cast<char *>(to);
    while (bytes > 0) {
      const ssize_t n = ::pread(file_, place, bytes, static_cast<off_t>(offset));
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) damaged(path_, n < 0 ? std::strerror(errno) : "ends too early");
      place += n, offset += static_cast<std::uint64_t>(n), bytes -= static_cast<std::size_t>(n);
    }
  }

private:
  fs::path path_;
  int file_ = -1;
};

constexpr std::size_t kMostTextBytes = std::size_t{1} << 28;

std::string shape_text(const Item &item) {
  return fmt::format("{} [{}]", name_of(item.type), fmt::join(item.shape, ", "));
}

} // namespace

struct Reader::Impl {
  Impl(const fs::path &place)
      : directory(place), manifest(read_manifest(place)), bytes(place / kStateFile) {}
  fs::path directory;
  Manifest manifest;
  mutable StateBytes bytes;
  mutable bool verified = false;

  const StoredSection &section(const std::string &name) const {
    for (const StoredSection &s : manifest.sections)
      if (s.name == name) return s;
    throw UserError(Exit::checkpoint, "E213", directory.string(), "has no section " + name,
                    "It comes from another kind of run.");
  }
  // The blocks of a tensor in order.
  template <class F> void walk(const StoredTensor &t, const F &f) const {
    std::vector<char> buffer(std::min(t.item.bytes(), StateHash::kBlockBytes));
    for (std::uint64_t first = 0, block = 0; first < t.item.bytes() || block == 0;
         first += buffer.size(), ++block) {
      const std::size_t count = std::min<std::size_t>(buffer.size(), t.item.bytes() - first);
      bytes.read(t.offset + first, count, buffer.data());
      f(block, buffer.data(), count);
    }
  }
  // The first tensor whose bytes are not those that were written, or "".
  std::string first_damaged() const {
    for (const StoredSection &s : manifest.sections)
      for (const StoredTensor &t : s.tensors) {
        const std::unique_ptr<XXH3_state_t, XXH_errorcode (*)(XXH3_state_t *)> state(
            XXH3_createState(), XXH3_freeState);
        XXH3_128bits_reset(state.get());
        walk(t, [&](std::uint64_t, const char *data, std::size_t n) {
          XXH3_128bits_update(state.get(), data, n);
        });
        const XXH128_hash_t hash = XXH3_128bits_digest(state.get());
        if (base::Hash128{hash.high64, hash.low64}.hex() != t.xxh3_128)
          return s.name + "/" + t.item.name;
      }
    return "";
  }
};

Reader::Reader(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Reader::Reader(Reader &&) noexcept = default;
Reader::~Reader() = default;

std::vector<fs::path> Reader::list(const fs::path &run_directory) {
  std::error_code error;
  const fs::path inner = run_directory / "checkpoints";
  const fs::path place = fs::is_directory(inner, error) ? inner : run_directory;
  std::vector<fs::path> found;
  for (const auto &entry : fs::directory_iterator(place, error))
    if (step_of(entry.path()) && fs::exists(entry.path() / kDoneFile, error))
      found.push_back(entry.path());
  std::sort(found.begin(), found.end(),
            [](const fs::path &a, const fs::path &b) { return step_of(a) < step_of(b); });
  return found;
}

std::optional<Reader> Reader::newest(const fs::path &run_directory) {
  auto all = list(run_directory);
  std::reverse(all.begin(), all.end());
  for (const auto &directory : all) {
    try {
      Reader reader = open(directory);
      if (const auto fault = reader.verify(); fault.empty())
        return reader;
      else
        base::log::warn("checkpoint {} is damaged ({}); skipped, not deleted", directory.string(),
                        fault);
    } catch (const UserError &error) {
      base::log::warn("{}\n  skipped, not deleted", error.what());
    }
  }
  if (!all.empty())
    throw UserError(
        Exit::checkpoint, "E211", run_directory.string(),
        fmt::format("holds {} checkpoint{}, all damaged", all.size(), all.size() == 1 ? "" : "s"),
        "The warnings above name the damage; nothing was deleted. To start afresh, take another "
        "run.directory or move these away.");
  return std::nullopt;
}

Reader Reader::open(const fs::path &path) {
  std::error_code error;
  if (!fs::exists(path, error))
    throw UserError(Exit::checkpoint, "E210", path.string(),
                    error ? error.message() : "does not exist",
                    "Give a step directory or a run directory.");
  if (!fs::exists(path / kDoneFile, error) && !fs::exists(path / kManifestFile, error)) {
    if (auto reader = newest(path)) return std::move(*reader);
    throw UserError(Exit::checkpoint, "E210", path.string(), "holds no finished checkpoint",
                    "Give a step directory or a run directory with finished checkpoints.");
  }
  return Reader(std::make_unique<Impl>(path));
}

const fs::path &Reader::directory() const { return impl_->directory; }
const nlohmann::json &Reader::manifest() const { return impl_->manifest.json; }
std::int64_t Reader::step() const { return impl_->manifest.step; }
std::string Reader::deck() const { return impl_->manifest.deck; }
std::string Reader::state_hash() const { return impl_->manifest.state_hash; }

std::optional<std::string> Reader::text_file(const std::string &name) const {
  const fs::path path = impl_->directory / name;
  const auto known = impl_->manifest.texts.find(name);
  std::error_code error;
  if (known == impl_->manifest.texts.end() && !fs::exists(path, error)) return std::nullopt;
  std::string text = base::read_file(path, Exit::checkpoint, "E211", kMostTextBytes);
  // Before these files stood in the manifest, or put there by hand: taken as they are.
  if (known != impl_->manifest.texts.end() && base::hash128(text).hex() != known->second)
    damaged(path, "does not match its checksum in the manifest");
  return text;
}

std::vector<std::pair<std::string, std::string>> Reader::companions() const {
  std::vector<std::pair<std::string, std::string>> all;
  for (const char *name : kCompanions)
    if (auto text = text_file(name)) all.emplace_back(name, std::move(*text));
  return all;
}

std::vector<std::string> Reader::section_names() const {
  std::vector<std::string> names;
  for (const StoredSection &s : impl_->manifest.sections) names.push_back(s.name);
  return names;
}
bool Reader::has(const std::string &section) const {
  const auto names = section_names();
  return std::find(names.begin(), names.end(), section) != names.end();
}
nlohmann::json Reader::scalars(const std::string &section) const {
  return impl_->section(section).scalars;
}
std::vector<Item> Reader::describe(const std::string &section) const {
  std::vector<Item> items;
  for (const StoredTensor &t : impl_->section(section).tensors) items.push_back(t.item);
  return items;
}

std::string Reader::verify() const {
  if (impl_->verified) return "";
  const FileSum &said = impl_->manifest.state;
  const auto path = impl_->directory / kStateFile;
  std::error_code error;
  const auto bytes = fs::file_size(path, error);
  if (error) return fmt::format("{}: {}", kStateFile, error.message());
  if (bytes != said.bytes)
    return fmt::format("{} has {} bytes, {} were written", kStateFile, bytes, said.bytes);
  try {
    if (sum_of(path).xxh3_128 != said.xxh3_128) {
      const std::string tensor = impl_->first_damaged();
      return fmt::format("{} does not match its checksum: {}", kStateFile,
                         tensor.empty() ? "its structure was changed, no tensor"
                                        : tensor + " was changed");
    }
  } catch (const UserError &fault) {
    return fault.what();
  }
  impl_->verified = true;
  return "";
}

void Reader::require_intact() const {
  if (const auto fault = verify(); !fault.empty()) damaged(impl_->directory, fault);
}

std::string Reader::compute_state_hash() const {
  require_intact();
  StateHash hash;
  for (const StoredSection &s : impl_->manifest.sections) {
    for (const StoredTensor &t : s.tensors)
      impl_->walk(t, [&](std::uint64_t block, const char *data, std::size_t n) {
        hash.add_block(s.name + "/" + t.item.name, block, data, n);
      });
    const std::string scalars = s.scalars.dump();
    hash.add(s.name, scalars.data(), scalars.size());
  }
  return hash.hex();
}

void Reader::read_part(const std::string &section, const std::string &tensor, std::uint64_t first,
                       std::size_t bytes, void *to) const {
  require_intact();
  for (const StoredTensor &t : impl_->section(section).tensors) {
    if (t.item.name != tensor) continue;
    HADAL_CHECK(first <= t.item.bytes() && bytes <= t.item.bytes() - first,
                "{}/{}: bytes {} + {} of {}", section, tensor, first, bytes, t.item.bytes());
    return impl_->bytes.read(t.offset + first, bytes, to);
  }
  throw UserError(Exit::checkpoint, "E213", impl_->directory.string() + ", section " + section,
                  "has no tensor " + tensor, "It comes from another model.");
}

void Reader::require(const std::string &section, const std::vector<Item> &items, bool exact) const {
  require_intact(); // the whole file, before HDF5 sees it: damaged metadata never reaches the library
  std::map<std::string, Item> in_file;
  for (auto &item : describe(section)) in_file[item.name] = item;
  std::string wrong;
  for (const Item &item : items) {
    const auto it = in_file.find(item.name);
    if (it == in_file.end())
      wrong += fmt::format("\n    {}: not in the file, expected {}", item.name, shape_text(item));
    else if (it->second.shape != item.shape || it->second.type != item.type)
      wrong += fmt::format("\n    {}: {} in the file, expected {}", item.name,
                           shape_text(it->second), shape_text(item));
    if (it != in_file.end()) in_file.erase(it);
  }
  if (exact)
    for (const auto &[name, item] : in_file)
      wrong += fmt::format("\n    {}: {} in the file, not in this model", name, shape_text(item));
  if (!wrong.empty())
    throw UserError(Exit::checkpoint, "E213", impl_->directory.string() + ", section " + section,
                    "tensors differ:" + wrong,
                    "Use the deck that the checkpoint was written with.");
}

void Reader::read(const std::string &section, const std::vector<Item> &items, bool exact) const {
  require(section, items, exact);
  if (items.empty()) return;
  try {
    read_hdf5(impl_->directory / kStateFile, section, items);
  } catch (const Hdf5Failure &error) {
    damaged(impl_->directory / kStateFile, error.what());
  }
}

} // namespace checkpoint
