// SPDX-License-Identifier: Apache-2.0
#pragma once
// A Hugging Face directory taken apart and put together again, so that tests can spoil one thing and leave the rest sound. Shares
// nothing with the program.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <utility>

#include <nlohmann/json.hpp>

#include "tests/support/process.hpp"

namespace hf_directory {

namespace fs = std::filesystem;
using nlohmann::json;

inline std::string read(const fs::path &path) { return support::read_text(path); }
inline void write(const fs::path &path, const std::string &bytes) {
  support::write_text(path, bytes);
}

struct Tensor {
  std::string name, dtype;
  std::vector<std::int64_t> shape;
  std::string bytes;
};
using Shard = std::vector<Tensor>;

inline std::string length_field(std::uint64_t length) {
  std::string out;
  for (int i = 0; i < 8; ++i) out += static_cast<char>(length >> (8 * i) & 0xFF);
  return out;
}
inline std::string header_of(const std::string &file) {
  std::uint64_t length = 0;
  std::memcpy(&length, file.data(), 8);
  return file.substr(8, length);
}
// The file with another header in front of the same data.
inline std::string with_header(const std::string &file, const std::string &header) {
  return length_field(header.size()) + header + file.substr(8 + header_of(file).size());
}

inline Shard parse(const std::string &file) {
  const std::string text = header_of(file);
  const json header = json::parse(text);
  Shard shard;
  for (const auto &[name, entry] : header.items()) {
    if (name == "__metadata__") continue;
    const auto begin = entry["data_offsets"][0].get<std::size_t>();
    const auto end = entry["data_offsets"][1].get<std::size_t>();
    shard.push_back(
        {name, entry["dtype"], entry["shape"], file.substr(8 + text.size() + begin, end - begin)});
  }
  return shard;
}
inline std::string to_file(const Shard &shard) {
  json header = {{"__metadata__", {{"format", "pt"}}}};
  std::string data;
  for (const Tensor &t : shard) {
    header[t.name] = {{"dtype", t.dtype},
                      {"shape", t.shape},
                      {"data_offsets", {data.size(), data.size() + t.bytes.size()}}};
    data += t.bytes;
  }
  const std::string text = header.dump();
  return length_field(text.size()) + text + data;
}

// A folder with shards; what is changed is written again so that everything else fits.
struct Directory {
  fs::path path;

  std::vector<fs::path> shards() const {
    std::vector<fs::path> found;
    for (const auto &entry : fs::directory_iterator(path))
      if (entry.path().extension() == ".safetensors") found.push_back(entry.path());
    std::sort(found.begin(), found.end());
    return found;
  }
  fs::path index() const { return path / "model.safetensors.index.json"; }
  fs::path first() const { return shards().front(); }

  // Applies change to every tensor, drops those for which it gives false, and makes the index anew.
  void each(const std::function<bool(Tensor &)> &change, const Shard &added = {}) const {
    json map;
    std::size_t total = 0;
    bool extra = true;
    for (const fs::path &file : shards()) {
      Shard kept;
      for (Tensor &t : parse(read(file)))
        if (change(t)) kept.push_back(t);
      if (std::exchange(extra, false)) kept.insert(kept.end(), added.begin(), added.end());
      for (const Tensor &t : kept) map[t.name] = file.filename().string(), total += t.bytes.size();
      write(file, to_file(kept));
    }
    write(index(), json{{"metadata", {{"total_size", total}}}, {"weight_map", map}}.dump());
  }
  void change(const std::string &end_of_name, const std::function<void(Tensor &)> &how) const {
    int changed = 0;
    each([&](Tensor &t) {
      if (changed == 0 && t.name.ends_with(end_of_name)) how(t), ++changed;
      return true;
    });
    EXPECT_EQ(changed, 1) << end_of_name;
  }
  void drop(const std::string &end_of_name) const {
    int dropped = 0;
    each([&](Tensor &t) { return !t.name.ends_with(end_of_name) || dropped++ > 0; });
    EXPECT_GT(dropped, 0) << end_of_name;
  }
  void edit_json(const std::string &file, const std::function<void(json &)> &how) const {
    json document = json::parse(read(path / file));
    how(document);
    write(path / file, document.dump());
  }
  // Changes the header of the first shard as text.
  void edit_header(const std::function<std::string(json)> &how) const {
    const std::string file = read(first());
    write(first(), with_header(file, how(json::parse(header_of(file)))));
  }
};

} // namespace hf_directory
