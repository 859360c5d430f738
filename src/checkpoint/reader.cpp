// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <map>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/files.hpp"
#include "base/log.hpp"
#include "checkpoint/hdf5_file.hpp"
#include "checkpoint/manifest.hpp"

namespace checkpoint {

namespace fs = std::filesystem;
using base::Exit, base::UserError;

struct Reader::Impl {
  fs::path directory;
  nlohmann::json manifest;
  mutable bool verified = false;
};

Reader::Reader(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Reader::Reader(Reader &&) noexcept = default;
Reader::~Reader() = default;

std::vector<fs::path> Reader::list(const fs::path &run_directory) {
  const fs::path inner = run_directory / "checkpoints";
  const fs::path place = fs::is_directory(inner) ? inner : run_directory;
  std::vector<fs::path> found;
  std::error_code error;
  for (const auto &entry : fs::directory_iterator(place, error)) {
    const auto name = entry.path().filename().string();
    const bool digits = name.size() > 5 && std::all_of(name.begin() + 5, name.end(), [](char c) { return c >= '0' && c <= '9'; });
    if (name.rfind("step-", 0) == 0 && digits && fs::exists(entry.path() / kDoneFile)) found.push_back(entry.path());
  }
  std::sort(found.begin(), found.end(), [](const fs::path &a, const fs::path &b) {
    const auto x = a.filename().string(), y = b.filename().string();
    return x.size() != y.size() ? x.size() < y.size() : x < y;
  });
  return found;
}

std::optional<Reader> Reader::newest(const fs::path &run_directory) {
  auto all = list(run_directory);
  std::reverse(all.begin(), all.end());
  for (const auto &directory : all) {
    try {
      Reader reader = open(directory);
      if (const auto fault = reader.verify(); fault.empty()) return reader;
      else base::log::warn("checkpoint {} is damaged ({}); skipped, not deleted", directory.string(), fault);
    } catch (const UserError &error) {
      base::log::warn("{}\n  skipped, not deleted", error.what());
    }
  }
  return std::nullopt;
}

Reader Reader::open(const fs::path &path) {
  if (!fs::exists(path)) throw UserError(Exit::checkpoint, "E210", path.string(), "does not exist", "give a step directory or a run directory");
  if (!fs::exists(path / kDoneFile) && !fs::exists(path / kManifestFile)) {
    if (auto reader = newest(path)) return std::move(*reader);
    throw UserError(Exit::checkpoint, "E210", path.string(), "holds no finished, undamaged checkpoint", "give a step directory or a run directory with finished checkpoints");
  }
  auto impl = std::make_unique<Impl>();
  impl->directory = path;
  impl->manifest = read_manifest(path);
  return Reader(std::move(impl));
}

const fs::path &Reader::directory() const { return impl_->directory; }
const nlohmann::json &Reader::manifest() const { return impl_->manifest; }
std::int64_t Reader::step() const { return impl_->manifest.value("step", std::int64_t{0}); }
std::string Reader::deck() const { return impl_->manifest.value("deck", ""); }
std::string Reader::state_hash() const { return impl_->manifest.value("state_hash", ""); }

std::vector<std::string> Reader::section_names() const {
  std::vector<std::string> names;
  for (const auto &s : impl_->manifest.at("sections")) names.push_back(s.at("name").get<std::string>());
  return names;
}
bool Reader::has(const std::string &section) const {
  const auto names = section_names();
  return std::find(names.begin(), names.end(), section) != names.end();
}
nlohmann::json Reader::scalars(const std::string &section) const {
  for (const auto &s : impl_->manifest.at("sections"))
    if (s.at("name") == section) return s.at("scalars");
  throw UserError(Exit::checkpoint, "E213", impl_->directory.string(), "has no section " + section, "the checkpoint comes from another kind of run");
}
std::vector<Item> Reader::describe(const std::string &section) const { return items_of(impl_->manifest, section, (impl_->directory / kManifestFile).string()); }

std::string Reader::verify() const {
  if (impl_->verified) return "";
  try {
    const auto &said = impl_->manifest.at("files").at(kStateFile);
    const auto path = impl_->directory / kStateFile;
    std::error_code error;
    const auto bytes = fs::file_size(path, error);
    if (error) return fmt::format("{}: {}", kStateFile, error.message());
    if (bytes != said.at("bytes").get<std::uint64_t>()) return fmt::format("{} has {} bytes, {} were written", kStateFile, bytes, said.at("bytes").get<std::uint64_t>());
    if (sum_of(path).xxh3_128 != said.at("xxh3_128")) return fmt::format("{} does not match its checksum", kStateFile);
  } catch (const nlohmann::json::exception &error) {
    return fmt::format("{}: {}", kManifestFile, error.what());
  } catch (const UserError &error) {
    return error.what();
  }
  impl_->verified = true;
  return "";
}

void Reader::read(const std::string &section, const std::vector<Item> &items, bool exact) const {
  // The whole file is verified before HDF5 sees it: damaged metadata never reaches the library.
  if (const auto fault = verify(); !fault.empty())
    throw UserError(Exit::checkpoint, "E211", impl_->directory.string(), fault, "the checkpoint is damaged; use another one (nothing was deleted)");
  std::map<std::string, Item> in_file;
  for (auto &item : describe(section)) in_file[item.name] = item;
  std::string wrong;
  for (const Item &item : items) {
    const auto it = in_file.find(item.name);
    if (it == in_file.end()) wrong += fmt::format("\n    {}: not in the file, expected {} [{}]", item.name, name_of(item.type), fmt::join(item.shape, ", "));
    else if (it->second.shape != item.shape || it->second.type != item.type)
      wrong += fmt::format("\n    {}: {} [{}] in the file, expected {} [{}]", item.name, name_of(it->second.type), fmt::join(it->second.shape, ", "), name_of(item.type), fmt::join(item.shape, ", "));
    if (it != in_file.end()) in_file.erase(it);
  }
  if (exact)
    for (const auto &[name, item] : in_file) wrong += fmt::format("\n    {}: {} [{}] in the file, not in this model", name, name_of(item.type), fmt::join(item.shape, ", "));
  if (!wrong.empty()) throw UserError(Exit::checkpoint, "E213", impl_->directory.string() + ", section " + section, "tensors differ:" + wrong, "use the deck that the checkpoint was written with");
  try {
    read_hdf5(impl_->directory / kStateFile, section, items);
  } catch (const Hdf5Failure &error) {
    throw UserError(Exit::checkpoint, "E211", (impl_->directory / kStateFile).string(), error.what(), "the checkpoint is damaged; use another one (nothing was deleted)");
  }
}

} // namespace checkpoint
