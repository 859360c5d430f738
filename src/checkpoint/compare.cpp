// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/compare.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace checkpoint {
namespace {

constexpr std::size_t kPiece = std::size_t{1} << 20;

template <class T> double value_as(const char *bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof(T));
  return static_cast<double>(value);
}

double value_at(Type type, const char *bytes) {
  switch (type) {
  case Type::f32: return value_as<float>(bytes);
  case Type::f64: return value_as<double>(bytes);
  case Type::i64: return value_as<std::int64_t>(bytes);
  case Type::i32: return value_as<std::int32_t>(bytes);
  case Type::u8: return value_as<std::uint8_t>(bytes);
  case Type::bf16: {
    std::uint16_t half;
    std::memcpy(&half, bytes, sizeof(half));
    return std::bit_cast<float>(static_cast<std::uint32_t>(half) << 16);
  }
  }
  return 0;
}

std::vector<std::int64_t> place_of(std::size_t index, const std::vector<std::int64_t> &shape) {
  std::vector<std::int64_t> place(shape.size());
  for (std::size_t d = shape.size(); d-- > 0;) {
    const auto extent = static_cast<std::size_t>(shape[d]);
    place[d] = static_cast<std::int64_t>(index % extent);
    index /= extent;
  }
  return place;
}

// NaN counts as larger than any number.
bool larger(double x, double than) { return x > than || (std::isnan(x) && !std::isnan(than)); }

TensorDifference compare_values(const Reader &a, const Reader &b, const std::string &section,
                                const Item &item) {
  TensorDifference d;
  d.section = section, d.name = item.name, d.elements = item.size();
  const std::size_t width = bytes_of(item.type);
  std::vector<char> left(std::min(kPiece, item.bytes())), right(left.size());
  std::size_t worst = 0;
  for (std::size_t first = 0; first < item.bytes(); first += left.size()) {
    const std::size_t count = std::min(left.size(), item.bytes() - first);
    a.read_part(section, item.name, first, count, left.data());
    b.read_part(section, item.name, first, count, right.data());
    if (std::memcmp(left.data(), right.data(), count) == 0) continue;
    for (std::size_t at = 0; at < count; at += width) {
      if (std::memcmp(&left[at], &right[at], width) == 0) continue;
      const double x = value_at(item.type, &left[at]), y = value_at(item.type, &right[at]);
      if (const double distance = std::abs(x - y);
          d.differing++ == 0 || larger(distance, d.largest))
        d.largest = distance, worst = (first + at) / width, d.a = x, d.b = y;
    }
  }
  if (d.differing > 0) d.place = place_of(worst, item.shape);
  return d;
}

std::string shape_text(const Item &item) {
  return fmt::format("{} [{}]", name_of(item.type), fmt::join(item.shape, ", "));
}

void compare_tensors(const Reader &a, const Reader &b, SectionComparison &s, Comparison &all) {
  auto others = b.describe(s.name);
  const auto note = [&](TensorDifference d) {
    ++s.differing_tensors;
    if (larger(d.largest, s.largest)) s.largest = d.largest;
    all.tensors.push_back(std::move(d));
  };
  const auto odd = [&](const Item &item, const std::string &what) {
    TensorDifference d;
    d.section = s.name, d.name = item.name, d.what = what, d.elements = item.size();
    note(std::move(d));
  };
  for (const Item &item : a.describe(s.name)) {
    ++s.tensors;
    const auto other = std::find_if(others.begin(), others.end(),
                                    [&](const Item &o) { return o.name == item.name; });
    if (other == others.end()) {
      odd(item, "only in A");
      continue;
    }
    if (other->shape != item.shape || other->type != item.type)
      odd(item, fmt::format("{} in A, {} in B", shape_text(item), shape_text(*other)));
    else if (auto d = compare_values(a, b, s.name, item); d.differing > 0)
      note(std::move(d));
    others.erase(other);
  }
  for (const Item &item : others) {
    ++s.tensors;
    odd(item, "only in B");
  }
}

void compare_scalars(const Reader &a, const Reader &b, SectionComparison &s, Comparison &all) {
  const auto left = a.scalars(s.name), right = b.scalars(s.name);
  const auto text = [](const nlohmann::json &j, const std::string &key) {
    return j.contains(key) ? j.at(key).dump() : "";
  };
  nlohmann::json keys = left; // the names of both, sorted
  keys.update(right);
  for (const auto &[key, unused] : keys.items()) {
    ++s.values;
    ValueDifference d{s.name, key, text(left, key), text(right, key)};
    if (d.a == d.b) continue;
    ++s.differing_values;
    all.values.push_back(std::move(d));
  }
}

} // namespace

bool Comparison::equal() const {
  return std::all_of(sections.begin(), sections.end(), [](const auto &s) { return s.equal(); });
}

Comparison compare(const Reader &a, const Reader &b) {
  Comparison all;
  auto names = a.section_names();
  for (const auto &name : b.section_names())
    if (!a.has(name)) names.push_back(name);
  for (const auto &name : names) {
    SectionComparison s;
    s.name = name;
    if (!a.has(name) || !b.has(name)) {
      const Reader &owner = a.has(name) ? a : b;
      s.what = a.has(name) ? "only in A" : "only in B";
      s.tensors = owner.describe(name).size(), s.values = owner.scalars(name).size();
    } else {
      compare_tensors(a, b, s, all);
      compare_scalars(a, b, s, all);
    }
    all.sections.push_back(std::move(s));
  }
  return all;
}

} // namespace checkpoint
