// SPDX-License-Identifier: Apache-2.0
#pragma once
// One allocation, handed out from the bottom up. Scratch lives until the end of its scope; nothing is freed singly. After
// construction a training step allocates nothing else (a test listens).
#include <cstddef>
#include <string>

#include "base/error.hpp"
#include "tensor/types.hpp"

namespace tensor {

class Arena {
public:
  Arena(std::string label, std::size_t capacity_bytes);
  // A part of another arena, for what does not end in the order in which it began. It lives in the other's open scope.
  Arena(std::string label, Arena &whole, std::size_t capacity_bytes);
  // An arena without memory: counts what would be taken (its arrays must not be touched).
  static Arena counting(std::string label);

  // Packed arrays of undefined content, aligned to 256 bytes. A full arena is a Fault that says how much is missing.
  template <class T> Vec<T> vec(Index n) { return Vec<T>(static_cast<T *>(take(n, sizeof(T))), n); }
  template <class T> Mat<T> mat(Index n, Index m) {
    return Mat<T>(static_cast<T *>(take(n * m, sizeof(T))), n, m);
  }
  template <class T> Cube<T> cube(Index n, Index m, Index k) {
    return Cube<T>(static_cast<T *>(take(n * m * k, sizeof(T))), n, m, k);
  }

  std::size_t used() const { return used_; }
  std::size_t high_water() const { return high_water_; }
  std::size_t capacity() const { return capacity_; }

  // Everything taken while the scope lives is given back at its end.
  class Scope {
  public:
    explicit Scope(Arena &arena) : arena_(arena), mark_(arena.used_) {}
    ~Scope() { arena_.used_ = mark_; }
    Scope(const Scope &) = delete;

  private:
    Arena &arena_;
    std::size_t mark_;
  };

  static constexpr std::size_t kAlignment = 256;
  // What an array of this many bytes takes.
  static constexpr std::size_t padded(std::size_t bytes) {
    return (bytes + kAlignment - 1) / kAlignment * kAlignment;
  }

private:
  Arena(std::string label, std::size_t capacity_bytes, bool counting_only);
  void *take(Index elements, std::size_t element_bytes);
  std::string label_;
  std::size_t capacity_ = 0, used_ = 0, high_water_ = 0;
  Vec<char> memory_;
};

} // namespace tensor
