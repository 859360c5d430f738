// SPDX-License-Identifier: Apache-2.0
#include <iterator>

#include "checkpoint/checkpoint.hpp"

namespace checkpoint {
namespace {

struct Row {
  Type type;
  const char *name;
  std::size_t bytes;
};
// In the order of the enumeration.
constexpr Row kTypes[] = {{Type::f32, "f32", 4}, {Type::bf16, "bf16", 2}, {Type::f64, "f64", 8},
                          {Type::i64, "i64", 8}, {Type::i32, "i32", 4},   {Type::u8, "u8", 1}};

const Row &row_of(Type type) {
  const auto index = static_cast<std::size_t>(type);
  HADAL_CHECK(index < std::size(kTypes) && kTypes[index].type == type, "type {}", index);
  return kTypes[index];
}

} // namespace

std::size_t bytes_of(Type type) { return row_of(type).bytes; }
const char *name_of(Type type) { return row_of(type).name; }

std::optional<Type> type_named(const std::string &name) {
  for (const Row &row : kTypes)
    if (name == row.name) return row.type;
  return std::nullopt;
}

std::size_t Item::tensor_size() const {
  std::size_t n = 1;
  for (const auto extent : shape) n *= static_cast<std::size_t>(extent);
  return n;
}

std::size_t Item::size() const {
  return count >= 0 ? static_cast<std::size_t>(count)
                    : tensor_size() - static_cast<std::size_t>(first);
}

} // namespace checkpoint
