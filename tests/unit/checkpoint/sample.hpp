// SPDX-License-Identifier: Apache-2.0
#pragma once
// A small state with every type and odd shapes, and helpers of the tests of checkpoints.
#include <gtest/gtest.h>

#include <bit>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <sstream>

#include "base/hash.hpp"
#include "checkpoint/checkpoint.hpp"

namespace sample {

namespace fs = std::filesystem;
using checkpoint::Item, checkpoint::Reader, checkpoint::Section, checkpoint::Snapshot,
    checkpoint::Type, checkpoint::Writer;

// A folder that is removed at the end.
class Scratch {
public:
  Scratch() {
    std::string name = (fs::temp_directory_path() / "hadal-checkpoint-XXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  ~Scratch() {
    std::error_code error;
    fs::remove_all(path_, error);
  }
  Scratch(const Scratch &) = delete;
  fs::path operator/(const std::string &name) const { return path_ / name; }
  const fs::path &path() const { return path_; }

private:
  fs::path path_;
};

inline std::string read(const fs::path &path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}
inline void write(const fs::path &path, const std::string &text) {
  fs::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << text;
}
inline void flip(const fs::path &path, std::size_t byte) {
  std::string text = read(path);
  text.at(byte) = static_cast<char>(text.at(byte) ^ 0x10);
  write(path, text);
}

// The upper half of a float: exact for values with seven bits of fraction.
inline std::uint16_t bf16(float value) {
  return static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(value) >> 16);
}

// Owns the memory that its sections point to.
struct State {
  std::vector<float> matrix = {1, -0.0F, 2.5F, 3, 4, std::bit_cast<float>(0x7fc12345U)};
  std::vector<std::uint16_t> half = {bf16(1.5F), bf16(-2.25F), bf16(0.0078125F), bf16(-384)};
  std::vector<double> exact = {1.0 / 3, 1e300};
  std::vector<std::int64_t> big = {-1, std::int64_t{1} << 60};
  std::vector<std::int32_t> small = {7, -8, 9};
  std::vector<std::uint8_t> bytes = {0, 255};
  float alone = 42;
  std::vector<float> moments = std::vector<float>(600000, 0.25F); // more than two hash blocks
  std::int64_t steps = 0;

  std::vector<Section> sections() {
    Section weights{"weights",
                    {{"layers.0.w", {2, 3}, Type::f32, matrix.data()},
                     {"half", {2, 2}, Type::bf16, half.data()},
                     {"exact", {2}, Type::f64, exact.data()},
                     {"big", {2}, Type::i64, big.data()},
                     {"small", {3, 1}, Type::i32, small.data()},
                     {"bytes", {1, 2, 1}, Type::u8, bytes.data()},
                     {"alone", {}, Type::f32, &alone},
                     {"none", {0, 5}, Type::f32, nullptr}},
                    {{"remark", "ü"}}};
    Section second{"moments", {{"layers.0.w", {600, 1000}, Type::f32, moments.data()}}};
    Section counters{"counters", {}, {{"step", steps}, {"mean", 0.1}, {"list", {1, 2}}}};
    return {weights, second, counters};
  }
  Snapshot snapshot(std::int64_t step) {
    Snapshot s;
    steps = s.step = step;
    s.deck = "[run]\nseed = 1\n";
    s.info = {{"phase", "pretrain"}};
    s.tokenizer = "{\"tokenizer\": 1}\n";
    s.sections = sections();
    s.state_hash = checkpoint::state_hash(s.sections);
    return s;
  }
};

// Writes and waits; gives the step directory.
inline fs::path put(const fs::path &directory, std::int64_t step, std::int64_t keep_last = 1000,
                    std::int64_t keep_every = 0) {
  State state;
  Writer writer({directory, keep_last, keep_every});
  writer.start(state.snapshot(step));
  writer.wait();
  return Reader::open(directory).directory();
}

// Puts another manifest in place, sealed: what a faulty or foreign program could have written.
inline void forge(const fs::path &directory, const std::function<void(nlohmann::json &)> &change) {
  auto manifest = nlohmann::json::parse(read(directory / "manifest.json"));
  change(manifest);
  const std::string text = manifest.dump();
  write(directory / "manifest.json", text);
  write(directory / "DONE", base::hash128(text).hex() + "\n");
}

// The number of the UserError that f throws, checked to be a checkpoint's; "" when it throws none.
inline std::string fault(const std::function<void()> &f, std::string *text = nullptr) {
  try {
    f();
  } catch (const base::UserError &error) {
    EXPECT_EQ(error.code(), base::Exit::checkpoint) << error.what();
    if (text) *text = error.what();
    return error.number();
  }
  return "";
}

inline std::vector<std::string> names(const fs::path &directory) {
  std::vector<std::string> found;
  for (const auto &entry : fs::directory_iterator(directory))
    found.push_back(entry.path().filename().string());
  std::sort(found.begin(), found.end());
  return found;
}

} // namespace sample
