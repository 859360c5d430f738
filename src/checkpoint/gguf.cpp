// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/gguf.hpp"

#include <algorithm>
#include <cstring>
#include <sys/statvfs.h>

#include <fmt/format.h>

#include "base/error.hpp"
#include "base/output_file.hpp"
#include "base/text.hpp"

namespace checkpoint::gguf {

namespace fs = std::filesystem;
using base::Exit, base::UserError;

namespace {

// Kinds of values in the file.
constexpr std::uint32_t kU32 = 4, kI32 = 5, kF32 = 6, kBool = 7, kString = 8, kArray = 9;
constexpr std::size_t kBufferBytes = std::size_t{1} << 20;

template <class T> void put(std::string &out, T value) {
  char bytes[sizeof(T)];
  std::memcpy(bytes, &value, sizeof(T));
  out.append(bytes, sizeof(T));
}
void put_text(std::string &out, std::string_view text) {
  put(out, static_cast<std::uint64_t>(text.size()));
  out += text;
}

std::uint64_t aligned(std::uint64_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

std::string header_of(const KeyValues &keys, const std::vector<Tensor> &tensors) {
  std::string header = "GGUF";
  put(header, kVersion);
  put(header, static_cast<std::uint64_t>(tensors.size()));
  put(header, keys.count());
  header += keys.bytes();
  std::uint64_t offset = 0;
  for (const Tensor &t : tensors) {
    HADAL_CHECK(t.name.size() <= kLongestName, "the name {} is too long", t.name);
    HADAL_CHECK(!t.dims.empty() && t.dims.size() <= kMostDims, "{} has {} dims", t.name,
                t.dims.size());
    HADAL_CHECK(t.type != Type::q8_0 || t.dims[0] % kBlock == 0, "rows of {} in {} are no blocks",
                t.dims[0], t.name);
    put_text(header, t.name);
    put(header, static_cast<std::uint32_t>(t.dims.size()));
    for (const std::uint64_t dim : t.dims) put(header, dim);
    put(header, static_cast<std::uint32_t>(t.type));
    put(header, offset);
    offset += aligned(bytes_of(t.type, t.size()));
  }
  header.resize(aligned(header.size()), '\0');
  return header;
}

// A missing gigabyte is said before an hour of writing.
void require_space(const fs::path &path, std::uint64_t bytes) {
  struct statvfs disk {};
  const fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
  if (::statvfs(folder.c_str(), &disk) != 0) return;
  const std::uint64_t left = static_cast<std::uint64_t>(disk.f_bavail) * disk.f_frsize;
  const auto text = [](std::uint64_t n) { return base::text::bytes(static_cast<std::int64_t>(n)); };
  if (left < bytes)
    throw UserError(Exit::checkpoint, "E149", path.string(),
                    fmt::format("needs {}, the file system has {} left", text(bytes), text(left)),
                    "Free some space, take another folder or a smaller type.");
}

} // namespace

std::size_t Tensor::size() const {
  std::size_t elements = 1;
  for (const std::uint64_t dim : dims) elements *= dim;
  return elements;
}

void KeyValues::key(std::string_view key, std::uint32_t type) {
  HADAL_CHECK(std::find(keys_.begin(), keys_.end(), key) == keys_.end(), "key {} twice", key);
  keys_.emplace_back(key);
  put_text(bytes_, key);
  put(bytes_, type);
}
void KeyValues::add(std::string_view name, std::uint32_t value) {
  key(name, kU32);
  put(bytes_, value);
}
void KeyValues::add(std::string_view name, float value) {
  key(name, kF32);
  put(bytes_, value);
}
void KeyValues::add(std::string_view name, bool value) {
  key(name, kBool);
  put(bytes_, static_cast<std::uint8_t>(value ? 1 : 0));
}
void KeyValues::add(std::string_view name, std::string_view value) {
  key(name, kString);
  put_text(bytes_, value);
}
void KeyValues::add(std::string_view name, const std::vector<std::string> &values) {
  key(name, kArray);
  put(bytes_, kString);
  put(bytes_, static_cast<std::uint64_t>(values.size()));
  for (const std::string &value : values) put_text(bytes_, value);
}
void KeyValues::add(std::string_view name, const std::vector<std::int32_t> &values) {
  key(name, kArray);
  put(bytes_, kI32);
  put(bytes_, static_cast<std::uint64_t>(values.size()));
  for (const std::int32_t value : values) put(bytes_, value);
}

struct Writer::Impl {
  std::optional<base::OutputFile> file;
  std::vector<Tensor> tensors;
  std::size_t current = 0, filled = 0; // tensor, elements of it
  std::uint64_t total = 0;
  std::vector<std::byte> buffer;

  void write(const void *data, std::size_t bytes) {
    file->write({static_cast<const char *>(data), bytes});
  }

  // Past tensors that are full, those without elements too.
  void advance() {
    static constexpr char kZeros[kAlignment] = {};
    while (current < tensors.size() && filled == tensors[current].size()) {
      write(kZeros, aligned(file->written()) - file->written());
      ++current;
      filled = 0;
    }
  }
};

Writer::Writer(const fs::path &path, KeyValues keys, std::vector<Tensor> tensors)
    : impl_(std::make_unique<Impl>()) {
  keys.add("general.alignment", static_cast<std::uint32_t>(kAlignment));
  impl_->tensors = std::move(tensors);
  const std::string header = header_of(keys, impl_->tensors);
  impl_->total = header.size();
  for (const Tensor &t : impl_->tensors) impl_->total += aligned(bytes_of(t.type, t.size()));
  require_space(path, impl_->total);
  impl_->file.emplace(path, Exit::checkpoint, "E149");
  impl_->write(header.data(), header.size());
  impl_->advance();
}

Writer::~Writer() = default;

std::uint64_t Writer::bytes() const { return impl_->total; }

void Writer::append(std::span<const float> values) {
  while (!values.empty()) {
    HADAL_CHECK(impl_->current < impl_->tensors.size(), "{} values too many", values.size());
    const Tensor &t = impl_->tensors[impl_->current];
    const std::size_t n =
        std::min({values.size(), t.size() - impl_->filled, kBufferBytes / sizeof(float)});
    impl_->buffer.resize(bytes_of(t.type, n));
    encode(t.type, values.first(n), impl_->buffer.data());
    impl_->write(impl_->buffer.data(), impl_->buffer.size());
    impl_->filled += n;
    values = values.subspan(n);
    impl_->advance();
  }
}

void Writer::finish() {
  HADAL_CHECK(impl_->current == impl_->tensors.size() && impl_->file->written() == impl_->total,
              "{} of {} tensors, {} of {} bytes", impl_->current, impl_->tensors.size(),
              impl_->file->written(), impl_->total);
  impl_->file->finish();
}

} // namespace checkpoint::gguf
