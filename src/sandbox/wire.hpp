// SPDX-License-Identifier: Apache-2.0
#pragma once
// What goes between the caller and the launcher, both of one executable: values one behind the other, in frames with their length.
#include <cstdint>
#include <cstring>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "sandbox/sandbox.hpp"

namespace sandbox::wire {

class Writer {
public:
  std::string bytes;
  template <class T> Writer &operator&(const T &value) {
    if constexpr (std::is_same_v<T, std::string>) {
      *this &static_cast<std::uint64_t>(value.size());
      bytes += value;
    } else if constexpr (std::is_arithmetic_v<T> || std::is_enum_v<T>) {
      bytes.append(reinterpret_cast<const char *>(&value), sizeof value);
    } else if constexpr (requires { value.begin(); }) {
      *this &static_cast<std::uint64_t>(value.size());
      for (const auto &one : value) *this &one;
    } else {
      T copy = value;
      each(*this, copy);
    }
    return *this;
  }
};

class Reader {
public:
  explicit Reader(std::string_view bytes) : left_(bytes) {}
  template <class T> Reader &operator&(T &value) {
    if constexpr (std::is_same_v<T, std::string>) {
      std::uint64_t size = 0;
      *this &size;
      value = std::string(take(size));
    } else if constexpr (std::is_arithmetic_v<T> || std::is_enum_v<T>) {
      std::memcpy(&value, take(sizeof value).data(), sizeof value);
    } else if constexpr (requires { value.begin(); }) {
      std::uint64_t size = 0;
      *this &size;
      if (size > left_.size()) throw std::runtime_error("a list longer than its frame");
      value.resize(size);
      for (auto &one : value) *this &one;
    } else {
      each(*this, value);
    }
    return *this;
  }

private:
  std::string_view take(std::uint64_t size) {
    if (size > left_.size()) throw std::runtime_error("a frame that is too short");
    const std::string_view head = left_.substr(0, size);
    left_.remove_prefix(size);
    return head;
  }
  std::string_view left_;
};

// Members of each struct, in order; for both directions.
template <class A> void each(A &a, Language &v) { a &v.name &v.file &v.compile &v.run; }
template <class A> void each(A &a, Limits &v) {
  a &v.wall &v.cpu &v.memory &v.processes &v.file &v.output &v.open_files;
}
template <class A> void each(A &a, Options &v) {
  a &v.limits &v.require &v.parallel &v.visible &v.directory &v.languages &v.try_namespaces;
}
template <class A> void each(A &a, Program &v) { a &v.language &v.source &v.input; }
template <class A> void each(A &a, Outcome &v) {
  a &v.finished &v.compiled &v.timed_out &v.hit &v.exit_code &v.signal &v.output &v.errors &v
      .seconds &v.cpu_seconds;
}
template <class A> void each(A &a, Isolation &v) {
  a &v.namespaces &v.own_proc &v.system_calls &v.other_user &v.landlock &v.why;
}

struct Request {
  Options options;                 // parallel is 1 at least, directory is not empty
  std::vector<std::string> wanted; // languages whose commands must be there
  std::vector<Program> programs;
};
template <class A> void each(A &a, Request &v) { a &v.options &v.wanted &v.programs; }

// The launcher's first words, and its last ones where it refuses or fails.
struct Report {
  Isolation isolation;
  std::string number, read, advice; // number "": go on
};
template <class A> void each(A &a, Report &v) { a &v.isolation &v.number &v.read &v.advice; }

// One more outcome, or (index -1) a report of failure.
struct Answer {
  std::int64_t index = -1;
  Outcome outcome;
  Report failure;
};
template <class A> void each(A &a, Answer &v) { a &v.index &v.outcome &v.failure; }

template <class T> std::string frame(const T &value) {
  Writer body, whole;
  body &value;
  whole &body.bytes; // its length, then itself
  return whole.bytes;
}

} // namespace sandbox::wire
