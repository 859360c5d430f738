// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <map>
#include <set>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/files.hpp"
#include "base/hash.hpp"
#include "base/log.hpp"
#include "checkpoint/hdf5_file.hpp"
#include "checkpoint/manifest.hpp"
#include "checkpoint/places.hpp"
#include "checkpoint/state_files.hpp"

namespace checkpoint {

namespace fs = std::filesystem;
using base::Exit, base::UserError;

namespace {

[[noreturn]] void damaged(const fs::path &where, const std::string &what) {
  throw UserError(Exit::checkpoint, "E211", where.string(), what, kDamagedAdvice);
}

constexpr std::size_t kMostTextBytes = std::size_t{1} << 28;

std::string shape_text(const Item &item) {
  return fmt::format("{} [{}]", name_of(item.type), fmt::join(item.shape, ", "));
}

} // namespace

struct Reader::Impl {
  explicit Impl(const fs::path &place)
      : directory(place), manifest(read_manifest(place)), files(place) {}
  fs::path directory;
  Manifest manifest;
  mutable StateFiles files;
  mutable bool verified = false; // all of it
  bool trusted = false;          // verified by another rank

  const StoredSection &section(const std::string &name) const {
    for (const StoredSection &s : manifest.sections)
      if (s.name == name) return s;
    throw UserError(Exit::checkpoint, "E213", directory.string(), "has no section " + name,
                    "It comes from another kind of run.");
  }
  const StoredTensor &tensor(const std::string &in, const std::string &name) const {
    for (const StoredTensor &t : section(in).tensors)
      if (t.item.name == name) return t;
    throw UserError(Exit::checkpoint, "E213", directory.string() + ", section " + in,
                    "has no tensor " + name, "It comes from another model.");
  }
  StateFiles::Check check() const {
    if (verified) return StateFiles::Check::none;
    return trusted ? StateFiles::Check::whole : StateFiles::Check::touched;
  }
  // One file is verified as a whole, because HDF5 reads it; of many files the pieces that are touched.
  bool whole_first() const { return manifest.version == 1 && !trusted; }
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

Reader Reader::open_verified(const fs::path &step_directory) {
  auto impl = std::make_unique<Impl>(step_directory);
  impl->trusted = true;
  return Reader(std::move(impl));
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
  for (const auto &[file, sum] : impl_->manifest.states)
    if (auto fault = impl_->files.fault_of(file, impl_->manifest); !fault.empty()) return fault;
  impl_->verified = true;
  return "";
}

void Reader::require_intact() const {
  if (const auto fault = verify(); !fault.empty()) damaged(impl_->directory, fault);
}

std::string Reader::compute_state_hash() const {
  require_intact();
  StateHash hash;
  std::vector<char> buffer(StateHash::kBlockBytes);
  for (const StoredSection &s : impl_->manifest.sections) {
    for (const StoredTensor &t : s.tensors) {
      const std::string name = s.name + "/" + t.item.name;
      const std::uint64_t bytes = t.item.bytes();
      for (std::uint64_t first = 0; first < bytes || first == 0; first += buffer.size()) {
        const auto n =
            static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), bytes - first));
        impl_->files.read(name, t, first, n, buffer.data(), StateFiles::Check::none);
        hash.add_block(name, first / buffer.size(), buffer.data(), n);
      }
    }
    hash.add_scalars({s.name, {}, s.scalars});
  }
  return hash.hex();
}

void Reader::read_part(const std::string &section, const std::string &tensor, std::uint64_t first,
                       std::size_t bytes, void *to) const {
  if (impl_->whole_first()) require_intact();
  const StoredTensor &t = impl_->tensor(section, tensor);
  HADAL_CHECK(first <= t.item.bytes() && bytes <= t.item.bytes() - first,
              "{}/{}: bytes {} + {} of {}", section, tensor, first, bytes, t.item.bytes());
  impl_->files.read(section + "/" + tensor, t, first, bytes, to, impl_->check());
}

void Reader::require(const std::string &section, const std::vector<Item> &items, bool exact) const {
  // The whole file, before HDF5 sees it: damaged metadata never reaches the library.
  if (impl_->whole_first()) require_intact();
  require_shapes(section, items, exact);
  if (impl_->check() != StateFiles::Check::touched) return;
  for (const Item &item : items)
    impl_->files.verify(section + "/" + item.name, impl_->tensor(section, item.name),
                        item.first_byte(), item.bytes());
}

void Reader::require_shapes(const std::string &section, const std::vector<Item> &items,
                            bool exact) const {
  std::map<std::string, Item> in_file;
  for (auto &item : describe(section)) in_file[item.name] = item;
  std::string wrong;
  std::set<std::string> asked; // a tensor may be asked for in several pieces
  for (const Item &item : items) {
    const auto it = in_file.find(item.name);
    if (it == in_file.end())
      wrong += fmt::format("\n    {}: not in the file, expected {}", item.name, shape_text(item));
    else if (it->second.shape != item.shape || it->second.type != item.type)
      wrong += fmt::format("\n    {}: {} in the file, expected {}", item.name,
                           shape_text(it->second), shape_text(item));
    else
      HADAL_CHECK(item.first >= 0 && item.first_byte() + item.bytes() <= item.tensor_bytes(),
                  "{}: elements {} + {}", item.name, item.first, item.count);
    asked.insert(item.name);
  }
  if (exact)
    for (const auto &[name, item] : in_file)
      if (!asked.contains(name))
        wrong += fmt::format("\n    {}: {} in the file, not in this model", name, shape_text(item));
  if (!wrong.empty())
    throw UserError(Exit::checkpoint, "E213", impl_->directory.string() + ", section " + section,
                    "tensors differ:" + wrong,
                    "Use the deck that the checkpoint was written with.");
}

void Reader::read(const std::string &section, const std::vector<Item> &items, bool exact) const {
  if (impl_->whole_first()) require_intact();
  require_shapes(section, items, exact);
  if (items.empty()) return;
  if (impl_->whole_first() && std::ranges::all_of(items, &Item::whole)) {
    try {
      return read_hdf5(impl_->directory / kStateFile, section, items);
    } catch (const Hdf5Failure &error) {
      damaged(impl_->directory / kStateFile, error.what());
    }
  }
  for (const Item &item : items)
    impl_->files.read(section + "/" + item.name, impl_->tensor(section, item.name),
                      item.first_byte(), item.bytes(), item.data, impl_->check());
}

} // namespace checkpoint
