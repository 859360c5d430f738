// SPDX-License-Identifier: Apache-2.0
#pragma once
// Small structures as bytes, for messages between ranks of one program: numbers as they lie in memory, lists and texts behind their length.
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/error.hpp"

namespace infer::wire {

class Writer {
public:
  template <class T> void number(const T &value) {
    static_assert(std::is_trivially_copyable_v<T>);
    bytes_.append(reinterpret_cast<const char *>(&value), sizeof(T));
  }
  template <class T> void list(const std::vector<T> &values) {
    static_assert(std::is_trivially_copyable_v<T>);
    number(values.size());
    bytes_.append(reinterpret_cast<const char *>(values.data()), values.size() * sizeof(T));
  }
  void text(const std::string &text) {
    number(text.size());
    bytes_ += text;
  }
  void texts(const std::vector<std::string> &texts) {
    number(texts.size());
    for (const std::string &one : texts) text(one);
  }
  const std::string &bytes() const { return bytes_; }

private:
  std::string bytes_;
};

class Reader {
public:
  explicit Reader(std::string_view bytes) : left_(bytes) {}
  template <class T> void number(T &value) {
    static_assert(std::is_trivially_copyable_v<T>);
    std::memcpy(&value, take(sizeof(T)).data(), sizeof(T));
  }
  template <class T> T number() {
    T value;
    number(value);
    return value;
  }
  template <class T> void list(std::vector<T> &values) {
    values.resize(size(sizeof(T)));
    const std::size_t bytes = values.size() * sizeof(T);
    if (bytes > 0) std::memcpy(values.data(), take(bytes).data(), bytes);
  }
  void text(std::string &text) { text = take(size(1)); }
  void texts(std::vector<std::string> &texts) {
    texts.resize(size(1));
    for (std::string &one : texts) text(one);
  }
  bool done() const { return left_.empty(); }

private:
  std::string_view take(std::size_t bytes) {
    HADAL_CHECK(bytes <= left_.size(), "{} bytes wanted, {} are left", bytes, left_.size());
    const std::string_view taken = left_.substr(0, bytes);
    left_.remove_prefix(bytes);
    return taken;
  }
  std::size_t size(std::size_t each) {
    const auto n = number<std::size_t>();
    HADAL_CHECK(n <= left_.size() / each, "{} elements of {} bytes, {} are left", n, each,
                left_.size());
    return n;
  }
  std::string_view left_;
};

// A fault as one rank has found it, to be thrown on the others too.
void write(Writer &to, const base::UserError &fault);
base::UserError read_fault(Reader &from);

} // namespace infer::wire
