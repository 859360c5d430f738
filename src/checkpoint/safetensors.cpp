// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/safetensors.hpp"

#include <algorithm>
#include <limits>
#include <optional>
#include <set>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "checkpoint/json_events.hpp"

namespace checkpoint::safetensors {
namespace {

constexpr const char *kAdvice =
    "The file is damaged, cut short or no safetensors file. Fetch it again; nothing was written.";
constexpr const char *kMetadata = "__metadata__";
constexpr std::size_t kMostName = 1024, kMostRank = 64;

struct Kind {
  const char *name;
  unsigned
      bits; // of an element: some are smaller than a byte, their tensors fill whole bytes all the same
  Dtype dtype;
};
constexpr Kind kKinds[] = {
    {"F32", 32, Dtype::f32},          {"BF16", 16, Dtype::bf16},
    {"F16", 16, Dtype::f16},          {"F8_E4M3", 8, Dtype::f8_e4m3},
    {"BOOL", 8, Dtype::other},        {"F4", 4, Dtype::other},
    {"F6_E2M3", 6, Dtype::other},     {"F6_E3M2", 6, Dtype::other},
    {"U8", 8, Dtype::other},          {"I8", 8, Dtype::other},
    {"F8_E5M2", 8, Dtype::other},     {"F8_E8M0", 8, Dtype::other},
    {"F8_E4M3FNUZ", 8, Dtype::other}, {"F8_E5M2FNUZ", 8, Dtype::other},
    {"I16", 16, Dtype::other},        {"U16", 16, Dtype::other},
    {"I32", 32, Dtype::other},        {"U32", 32, Dtype::other},
    {"I64", 64, Dtype::other},        {"U64", 64, Dtype::other},
    {"F64", 64, Dtype::other},        {"C64", 64, Dtype::other},
};

const Kind *find(std::string_view name) {
  const auto *kind = std::ranges::find_if(kKinds, [&](const Kind &k) { return k.name == name; });
  return kind == std::end(kKinds) ? nullptr : kind;
}

// Elements; empty on overflow, also where a zero stands beside extents whose product overflows: nobody can then stumble over it.
std::optional<std::uint64_t> elements(const std::vector<std::int64_t> &shape) {
  std::uint64_t product = 1;
  bool zero = false;
  for (const std::int64_t n : shape) {
    zero = zero || n == 0;
    if (n > 1 && __builtin_mul_overflow(product, static_cast<std::uint64_t>(n), &product))
      return {};
  }
  if (product > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) return {};
  return zero ? 0 : product;
}

std::string tensor(const std::string &name) { return "tensor " + shown(name); }

// The header's members become entries; which of them fit the file is asked afterwards.
class HeaderEvents final : public JsonEvents {
public:
  explicit HeaderEvents(const std::string &where) : JsonEvents(where, "E141", kAdvice) {}
  Header header;

  bool number_unsigned(number_unsigned_t value) override {
    if (in_ == In::shape) {
      if (entry().shape.size() == kMostRank)
        fail(fmt::format("{}: a shape of more than {} dims", tensor(entry().name), kMostRank));
      if (value > static_cast<number_unsigned_t>(std::numeric_limits<std::int64_t>::max()))
        refuse(fmt::format("the number {}", value));
      entry().shape.push_back(static_cast<std::int64_t>(value));
    } else if (in_ == In::offsets) {
      if (offsets_ == 2) fail(tensor(entry().name) + ": data_offsets of more than two numbers");
      (offsets_++ == 0 ? entry().begin : entry().end) = value;
    } else {
      refuse(fmt::format("the number {}", value));
    }
    return true;
  }

  bool string(string_t &text) override {
    if (in_ == In::metadata) {
      header.metadata[key_] = std::move(text);
    } else if (in_ == In::entry && key_ == "dtype") {
      const Kind *kind = find(text);
      if (!kind)
        fail(fmt::format("{}: dtype {} is none of the format's ({})", tensor(entry().name),
                         shown(text), known()));
      entry().dtype = kind->dtype;
      entry().dtype_name = std::move(text);
    } else {
      refuse("the text " + shown(text));
    }
    return true;
  }

  bool start_object(std::size_t) override {
    if (in_ == In::nothing) {
      in_ = In::top;
    } else if (in_ == In::top) {
      in_ = key_ == kMetadata ? In::metadata : In::entry;
      fields_.clear();
    } else {
      refuse("an object");
    }
    return true;
  }

  bool key(string_t &name) override {
    key_ = std::move(name);
    if (in_ == In::top) {
      if (key_ == kMetadata) {
        if (std::exchange(metadata_seen_, true)) fail("__metadata__ stands twice");
      } else {
        add(key_);
      }
    } else if (in_ == In::metadata) {
      if (!header.metadata.emplace(key_, "").second)
        fail(fmt::format("__metadata__: {} stands twice", shown(key_)));
    } else {
      if (key_ != "dtype" && key_ != "shape" && key_ != "data_offsets")
        fail(fmt::format("{}: {} is none of dtype, shape, data_offsets", tensor(entry().name),
                         shown(key_)));
      if (!fields_.insert(key_).second)
        fail(fmt::format("{}: {} stands twice", tensor(entry().name), key_));
    }
    return true;
  }

  bool end_object() override {
    if (in_ == In::entry) {
      for (const char *field : {"dtype", "shape", "data_offsets"})
        if (!fields_.contains(field))
          fail(fmt::format("{}: {} is missing", tensor(entry().name), field));
    }
    in_ = in_ == In::top ? In::nothing : In::top;
    return true;
  }

  bool start_array(std::size_t) override {
    if (in_ != In::entry || key_ == "dtype") refuse("an array");
    in_ = key_ == "shape" ? In::shape : In::offsets;
    offsets_ = 0;
    return true;
  }
  bool end_array() override {
    if (in_ == In::offsets && offsets_ != 2)
      fail(fmt::format("{}: data_offsets of {} numbers; two are needed", tensor(entry().name),
                       offsets_));
    in_ = In::entry;
    return true;
  }

private:
  enum class In { nothing, top, entry, metadata, shape, offsets };

  Entry &entry() { return header.entries.back(); }

  void add(const std::string &name) {
    if (name.empty()) fail("a tensor without a name");
    if (name.size() > kMostName)
      fail(fmt::format("{}: a name of more than {} bytes", tensor(name), kMostName));
    if (std::ranges::any_of(name, [](unsigned char c) { return c < 0x20 || c == 0x7F; }))
      fail(tensor(name) + ": control characters in a name");
    header.entries.emplace_back().name = name;
  }

  static std::string known() {
    std::string all;
    for (const Kind &kind : kKinds) all += fmt::format("{}{}", all.empty() ? "" : ", ", kind.name);
    return all;
  }

  std::string refusal(const std::string &what) const override {
    switch (in_) {
    case In::nothing: return fmt::format("the header is {}; an object is needed", what);
    case In::metadata:
      return fmt::format("__metadata__: {} is {}; a text is needed", shown(key_), what);
    case In::top:
      return fmt::format("{} is {}; an object is needed",
                         key_ == kMetadata ? kMetadata : tensor(key_), what);
    case In::entry:
      return fmt::format("{}: {} is {}; {} is needed", tensor(header.entries.back().name), key_,
                         what, key_ == "dtype" ? "a text" : "an array");
    case In::shape:
    case In::offsets: break;
    }
    return fmt::format("{}: {} holds {}; only whole numbers from 0 to {} are allowed",
                       tensor(header.entries.back().name), key_, what,
                       in_ == In::shape ? "2^63-1" : "2^64-1");
  }

  In in_ = In::nothing;
  std::string key_; // the last read
  std::set<std::string> fields_;
  int offsets_ = 0;
  bool metadata_seen_ = false;
};

// Length of the JSON; everything that can be said before reading it.
std::uint64_t header_length(std::string_view bytes, std::uint64_t file_size,
                            const JsonEvents &told) {
  if (file_size < 8)
    told.fail(fmt::format("has {} bytes; already the header's length takes 8", file_size));
  HADAL_CHECK(bytes.size() >= 8 && bytes.size() <= file_size, "{} of {} bytes", bytes.size(),
              file_size);
  std::uint64_t length = 0;
  for (int i = 7; i >= 0; --i)
    length = length << 8 | static_cast<unsigned char>(bytes[static_cast<std::size_t>(i)]);
  if (length > kMostHeaderBytes)
    told.fail(fmt::format("a header of {} bytes; the format allows {}", length, kMostHeaderBytes));
  if (length > file_size - 8)
    told.fail(fmt::format("a header of {} bytes in a file of {}", length, file_size));
  if (length == 0) told.fail("an empty header");
  HADAL_CHECK(bytes.size() - 8 >= length, "{} bytes, header of {}", bytes.size(), length);
  if (bytes[8] != '{')
    told.fail(fmt::format("the header starts with {}, not with {{", shown(bytes.substr(8, 1))));
  return length;
}

void check_entry(const Entry &e, std::uint64_t data_bytes, const JsonEvents &told) {
  const auto size = elements(e.shape);
  std::uint64_t bits = 0;
  if (!size || __builtin_mul_overflow(*size, std::uint64_t{find(e.dtype_name)->bits}, &bits))
    told.fail(fmt::format("{}: the shape [{}] has more elements than can be counted",
                          tensor(e.name), fmt::join(e.shape, ", ")));
  if (e.end < e.begin)
    told.fail(
        fmt::format("{}: data_offsets [{}, {}] run backwards", tensor(e.name), e.begin, e.end));
  if (bits % 8 != 0)
    told.fail(fmt::format("{}: [{}] of {} take {} bits, no whole number of bytes", tensor(e.name),
                          fmt::join(e.shape, ", "), e.dtype_name, bits));
  if (bits / 8 != e.bytes())
    told.fail(fmt::format("{}: [{}] of {} take {} bytes, data_offsets [{}, {}] hold {}",
                          tensor(e.name), fmt::join(e.shape, ", "), e.dtype_name, bits / 8, e.begin,
                          e.end, e.bytes()));
  if (e.end > data_bytes)
    told.fail(fmt::format("{}: ends at byte {} of the data, the file has {} bytes of data",
                          tensor(e.name), e.end, data_bytes));
}

void check_names(const std::vector<Entry> &entries, const JsonEvents &told) {
  std::vector<std::string_view> names;
  names.reserve(entries.size());
  for (const Entry &e : entries) names.emplace_back(e.name);
  std::ranges::sort(names);
  if (const auto twice = std::ranges::adjacent_find(names); twice != names.end())
    told.fail(fmt::format("{} stands twice", tensor(std::string(*twice))));
}

// Sorted entries lie one behind another from 0 to the end of the file.
void check_cover(const std::vector<Entry> &entries, std::uint64_t data_bytes,
                 const JsonEvents &told) {
  std::uint64_t covered = 0;
  const Entry *before = nullptr;
  for (const Entry &e : entries) {
    if (e.begin < covered)
      told.fail(fmt::format("{} begins at byte {} of the data, inside {}, which ends at {}",
                            tensor(e.name), e.begin, tensor(before->name), covered));
    if (e.begin > covered)
      told.fail(fmt::format("bytes [{}, {}) of the data, before {}, belong to no tensor", covered,
                            e.begin, tensor(e.name)));
    covered = e.end;
    before = &e;
  }
  if (covered != data_bytes)
    told.fail(fmt::format("the tensors end at byte {} of the data, the file has {} bytes of data",
                          covered, data_bytes));
}

} // namespace

std::uint64_t Entry::size() const {
  const auto size = elements(shape);
  HADAL_CHECK(size.has_value(), "{}", name);
  return *size;
}

const char *name_of(Dtype dtype) {
  for (const Kind &kind : kKinds)
    if (kind.dtype == dtype && dtype != Dtype::other) return kind.name;
  return "other";
}

std::size_t bytes_of(Dtype dtype) {
  for (const Kind &kind : kKinds)
    if (kind.dtype == dtype && dtype != Dtype::other) return kind.bits / 8;
  return 0;
}

Header parse_header(std::string_view bytes, std::uint64_t file_size, const std::string &where) {
  HeaderEvents events(where);
  const std::uint64_t length = header_length(bytes, file_size, events);
  events.read(bytes.substr(8, length));
  Header &header = events.header;
  header.data_begin = 8 + length;
  const std::uint64_t data_bytes = file_size - header.data_begin;
  check_names(header.entries, events);
  for (const Entry &e : header.entries) check_entry(e, data_bytes, events);
  std::ranges::stable_sort(header.entries, {},
                           [](const Entry &e) { return std::pair(e.begin, e.end); });
  check_cover(header.entries, data_bytes, events);
  return std::move(header);
}

std::string make_header(std::vector<Entry> &entries,
                        const std::map<std::string, std::string> &metadata) {
  const auto quoted = [](const std::string &text) { return nlohmann::json(text).dump(); };
  std::string text = "{";
  if (!metadata.empty())
    text += fmt::format("\"{}\":{}", kMetadata, nlohmann::json(metadata).dump());
  std::uint64_t at = 0;
  std::set<std::string_view> names;
  for (Entry &e : entries) {
    if (e.dtype_name.empty()) e.dtype_name = name_of(e.dtype);
    const Kind *kind = find(e.dtype_name);
    HADAL_CHECK(kind && kind->dtype == e.dtype, "{}: dtype {}", e.name, e.dtype_name);
    HADAL_CHECK(!e.name.empty() && e.name != kMetadata && names.insert(e.name).second, "{}",
                e.name);
    HADAL_CHECK(e.size() * kind->bits % 8 == 0, "{}: {} elements of {}", e.name, e.size(),
                e.dtype_name);
    e.begin = at;
    e.end = at += e.size() * kind->bits / 8;
    text += fmt::format("{}{}:{{\"dtype\":\"{}\",\"shape\":[{}],\"data_offsets\":[{},{}]}}",
                        text.size() > 1 ? "," : "", quoted(e.name), e.dtype_name,
                        fmt::join(e.shape, ","), e.begin, e.end);
  }
  text += '}';
  text.append((8 - text.size() % 8) % 8, ' ');
  HADAL_CHECK(text.size() <= kMostHeaderBytes, "{} bytes", text.size());
  std::string header;
  for (int i = 0; i < 8; ++i) header += static_cast<char>(text.size() >> (8 * i) & 0xFF);
  return header + text;
}

} // namespace checkpoint::safetensors
