// SPDX-License-Identifier: Apache-2.0
#pragma once
// A reader of GGUF for tests, written from the format's description and sharing nothing with the writer.
#include <cstdint>
#include <cstring>
#include <map>
#include <stdexcept>
#include <string>
#include <variant>
#include <vector>

namespace gguf_reader {

using Value = std::variant<std::uint32_t, float, bool, std::string, std::vector<std::string>,
                           std::vector<std::int32_t>>;
struct Tensor {
  std::vector<std::uint64_t> dims;
  std::uint32_t type = 0;
  std::uint64_t offset = 0; // from the start of the data
};
struct File {
  std::map<std::string, Value> keys;
  std::map<std::string, Tensor> tensors;
  std::vector<std::string> order; // of the tensors
  std::string data;

  template <class T> const T &key(const std::string &name) const {
    return std::get<T>(keys.at(name));
  }
  template <class T> T number(const std::string &tensor, std::uint64_t byte) const {
    T value;
    std::memcpy(&value, data.data() + tensors.at(tensor).offset + byte, sizeof value);
    return value;
  }
};

class Cursor {
public:
  explicit Cursor(const std::string &bytes) : bytes_(bytes) {}
  std::string raw(std::uint64_t count) {
    if (count > bytes_.size() - at_) throw std::runtime_error("cut short");
    at_ += count;
    return bytes_.substr(at_ - count, count);
  }
  template <class T> T number() {
    T value;
    std::memcpy(&value, raw(sizeof(T)).data(), sizeof(T));
    return value;
  }
  std::string text() { return raw(number<std::uint64_t>()); }
  std::size_t at() const { return at_; }

private:
  const std::string &bytes_;
  std::size_t at_ = 0;
};

inline Value value_of(Cursor &in) {
  switch (in.number<std::uint32_t>()) {
  case 4: return in.number<std::uint32_t>();
  case 6: return in.number<float>();
  case 7: return in.number<std::uint8_t>() != 0;
  case 8: return in.text();
  case 9: break;
  default: throw std::runtime_error("a kind of value that is not expected");
  }
  const auto kind = in.number<std::uint32_t>();
  const auto count = in.number<std::uint64_t>();
  if (kind == 5) {
    std::vector<std::int32_t> numbers;
    for (std::uint64_t i = 0; i < count; ++i) numbers.push_back(in.number<std::int32_t>());
    return numbers;
  }
  if (kind != 8) throw std::runtime_error("a kind of list that is not expected");
  std::vector<std::string> texts;
  for (std::uint64_t i = 0; i < count; ++i) texts.push_back(in.text());
  return texts;
}

inline File read(const std::string &bytes) {
  Cursor in(bytes);
  if (in.raw(4) != "GGUF" || in.number<std::uint32_t>() != 3) throw std::runtime_error("no GGUF 3");
  File file;
  const auto tensors = in.number<std::uint64_t>(), keys = in.number<std::uint64_t>();
  for (std::uint64_t i = 0; i < keys; ++i) {
    const std::string name = in.text();
    if (!file.keys.emplace(name, value_of(in)).second) throw std::runtime_error(name + " twice");
  }
  for (std::uint64_t i = 0; i < tensors; ++i) {
    const std::string name = in.text();
    if (name.size() >= 64) throw std::runtime_error(name + " is too long");
    Tensor t;
    t.dims.resize(in.number<std::uint32_t>());
    for (auto &dim : t.dims) dim = in.number<std::uint64_t>();
    t.type = in.number<std::uint32_t>();
    t.offset = in.number<std::uint64_t>();
    if (!file.tensors.emplace(name, t).second) throw std::runtime_error(name + " twice");
    file.order.push_back(name);
  }
  const std::uint64_t alignment = file.key<std::uint32_t>("general.alignment");
  const std::uint64_t start = (in.at() + alignment - 1) / alignment * alignment;
  for (const auto &[name, t] : file.tensors)
    if (t.offset % alignment != 0) throw std::runtime_error(name + " is not aligned");
  file.data = bytes.substr(start);
  return file;
}

} // namespace gguf_reader
