// SPDX-License-Identifier: Apache-2.0
#pragma once
// Two checkpoints, bit by bit: sections, tensors, scalars. Tensors are walked in pieces, so that
// the memory needed does not grow with the model.
#include <array>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.hpp"

namespace checkpoint {

struct TensorDifference {
  std::string section, name;
  std::string what; // "only in A", other shapes; "" when the values differ:
  std::size_t elements = 0, differing = 0;
  double largest = 0;              // max |a - b| over the elements; NaN when one of two is NaN
  std::vector<std::int64_t> place; // where it is
  double a = 0, b = 0;             // the values there
};
struct ValueDifference {
  std::string section, name, a, b; // JSON texts; "" where there is none
};
struct SectionComparison {
  std::string name;
  std::string what; // "only in A", "only in B" or ""
  std::size_t tensors = 0, values = 0;
  std::size_t differing_tensors = 0, differing_values = 0;
  double largest = 0;
  bool equal() const { return what.empty() && differing_tensors + differing_values == 0; }
};
struct Comparison {
  std::vector<SectionComparison> sections;
  std::vector<TensorDifference> tensors; // in the order of A's file, then those only in B
  std::vector<ValueDifference> values;
  bool equal() const;
};

// Equal means equal bits: -0 differs from +0, two NaNs with the same bits are equal.
Comparison compare(const Reader &a, const Reader &b);

} // namespace checkpoint
