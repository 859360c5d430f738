// SPDX-License-Identifier: Apache-2.0
// The first byte chooses: even, the rest is the file; odd, the rest is the header's JSON, whose length and the file's size are
// made to fit, so that the reading goes deep. What was read is written and must read the same again.
#include "checkpoint/safetensors.hpp"

#include "tests/fuzz/target.hpp"

namespace st = checkpoint::safetensors;

namespace {

st::Header parse_fitting(std::string_view json, std::uint64_t data_bytes) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes += static_cast<char>(json.size() >> (8 * i) & 0xFF);
  bytes += json;
  return st::parse_header(bytes, bytes.size() + data_bytes, "fuzz.safetensors");
}

void again(const st::Header &header) {
  std::uint64_t at = 0;
  for (const st::Entry &e : header.entries) {
    fuzz::require(e.begin == at && e.end >= e.begin, "entries lie one behind another");
    at = e.end;
  }
  auto entries = header.entries;
  for (const st::Entry &e : entries) (void)e.size();
  const std::string bytes = st::make_header(entries, header.metadata);
  fuzz::require(bytes.size() % 8 == 0, "data aligned to 8");
  const st::Header copy = st::parse_header(bytes, bytes.size() + at, "again.safetensors");
  fuzz::require(copy.metadata == header.metadata, "the same metadata");
  fuzz::require(copy.entries.size() == header.entries.size(), "as many entries");
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const st::Entry &a = header.entries[i], &b = copy.entries[i];
    fuzz::require(a.name == b.name && a.dtype == b.dtype && a.dtype_name == b.dtype_name &&
                      a.shape == b.shape && a.begin == b.begin && a.end == b.end,
                  "the same entry");
  }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view rest = fuzz::text_of(data + 1, size - 1);
  return fuzz::only_user_errors([&] {
    if (data[0] % 2 == 0) {
      again(st::parse_header(rest, rest.size(), "fuzz.safetensors"));
    } else {
      again(parse_fitting(rest, data[0] / 2));
    }
  });
}
