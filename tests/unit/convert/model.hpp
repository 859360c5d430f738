// SPDX-License-Identifier: Apache-2.0
#pragma once
// Small random models as checkpoints and as Hugging Face directories.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <sstream>

#include <nlohmann/json.hpp>

#include "arch/options.hpp"
#include "arch/registry.hpp"
#include "base/hash.hpp"
#include "base/random.hpp"
#include "checkpoint/checkpoint.hpp"
#include "checkpoint/safetensors.hpp"

namespace converted {

namespace fs = std::filesystem;
namespace st = checkpoint::safetensors;

class Scratch {
public:
  Scratch() {
    std::string name = (fs::temp_directory_path() / "hadal-convert-XXXXXX").string();
    path_ = ::mkdtemp(name.data());
  }
  ~Scratch() { fs::remove_all(path_); }
  fs::path operator/(const std::string &name) const { return path_ / name; }

private:
  fs::path path_;
};

inline std::string read(const fs::path &path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}
inline void write(const fs::path &path, const std::string &text) {
  std::ofstream(path, std::ios::binary) << text;
}

// Two layers, one of them dense; more than one ragged block in some matrices.
inline arch::Dims dims() {
  arch::Dims d;
  d.vocabulary = 70, d.model = 136, d.layers = 2, d.dense_layers = 1, d.dense_hidden = 144;
  d.heads = 2, d.q_rank = 24, d.kv_rank = 132, d.nope = 6, d.rope = 4, d.value = 5;
  d.experts = 4, d.expert_hidden = 12, d.chosen = 2, d.groups = 2, d.chosen_groups = 1;
  d.mtp_depth = 1;
  return d;
}

// A value of a tensor: any other place, another number.
inline float value(const std::string &tensor, std::uint64_t i) {
  return static_cast<float>(
      base::random::normal(base::hash64(tensor), base::random::Purpose::test, 0, i));
}

// A checkpoint of such a model, as a run would have left it.
inline fs::path checkpoint_of(const fs::path &place, const arch::Dims &d) {
  checkpoint::Snapshot s;
  s.step = 7;
  s.deck = arch::deck_text(d) + "\n[batch]\nsequence = 64\n";
  checkpoint::Section weights;
  weights.name = "weights";
  for (const auto &spec : arch::registry(d)) {
    checkpoint::Item item{spec.name, spec.shape, checkpoint::Type::f32};
    item.produce = [name = spec.name](std::uint64_t first, std::size_t bytes, void *to) {
      for (std::size_t i = 0; i < bytes / 4; ++i) {
        const float x = value(name, first / 4 + i);
        std::memcpy(static_cast<char *>(to) + 4 * i, &x, 4);
      }
    };
    weights.items.push_back(item);
  }
  s.sections = {weights};
  checkpoint::Writer writer({place / "checkpoints", 1, 0});
  writer.start(std::move(s));
  writer.wait();
  return place;
}

inline std::vector<float> tensor_of(const checkpoint::Reader &reader, const std::string &section,
                                    const std::string &name) {
  for (const auto &item : reader.describe(section)) {
    if (item.name != name) continue;
    std::vector<float> values(item.size());
    reader.read_part(section, name, 0, item.bytes(), values.data());
    return values;
  }
  ADD_FAILURE() << "no " << section << "/" << name;
  return {};
}

// A safetensors file taken apart, to be changed and put together again.
struct Loose {
  struct Tensor {
    st::Entry entry;
    std::string bytes;
  };
  std::vector<Tensor> tensors;

  static Loose open(const fs::path &path) {
    const std::string file = read(path);
    const st::Header header = st::parse_header(file, file.size(), path.string());
    Loose loose;
    for (const auto &e : header.entries)
      loose.tensors.push_back({e, file.substr(header.data_begin + e.begin, e.bytes())});
    return loose;
  }
  Tensor &at(const std::string &name) {
    for (Tensor &t : tensors)
      if (t.entry.name == name) return t;
    throw std::runtime_error("no tensor " + name);
  }
  void drop(const std::function<bool(const std::string &)> &which) {
    std::erase_if(tensors, [&](const Tensor &t) { return which(t.entry.name); });
  }
  void save(const fs::path &path) const {
    std::vector<st::Entry> entries;
    std::string data;
    for (const Tensor &t : tensors) entries.push_back(t.entry), data += t.bytes;
    write(path, st::make_header(entries, {{"format", "pt"}}) + data);
  }
};

// The number of the UserError that f throws; "" when it throws none.
inline std::string fault(const std::function<void()> &f, std::string *text = nullptr) {
  try {
    f();
  } catch (const base::UserError &error) {
    EXPECT_TRUE(error.code() == base::Exit::checkpoint || error.code() == base::Exit::data)
        << error.what();
    if (text != nullptr) *text = error.what();
    return error.number();
  }
  return "";
}

} // namespace converted
