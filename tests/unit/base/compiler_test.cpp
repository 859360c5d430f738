// SPDX-License-Identifier: Apache-2.0
// A fault of the compiler that would corrupt results in silence: GCC 12.0 to 12.2 with AVX store a constant whose upper half
// is zero and whose lower words agree as if all words agreed (GCC bug 108599). tools/cmake/rooms.cmake works round it.
#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <vector>

namespace {

template <class T> [[gnu::noinline]] void store_four(T *to) {
  const T constant[4] = {1, 1, 0, 0};
  std::memcpy(to, constant, sizeof constant);
}
template <class T> [[gnu::noinline]] void store_eight(T *to) {
  const T constant[8] = {7, 7, 7, 7, 0, 0, 0, 0};
  std::memcpy(to, constant, sizeof constant);
}
[[gnu::noinline]] std::vector<std::int64_t> list_of_four() { return {1, 1, 0, 0}; }

template <class T> double distance_from(const T *v, int n, double value) {
  double sum = 0;
  for (int i = 0; i < n; ++i)
    sum += std::abs(static_cast<double>(v[i]) - (i < n / 2 ? value : 0.0));
  return sum;
}

TEST(Compiler, StoresWideConstantsAsWritten) {
  volatile std::int64_t expected[4] = {0, 0, 0, 0};
  expected[0] = 1;
  expected[1] = 1;
  const auto list = list_of_four();
  for (int i = 0; i < 4; ++i) EXPECT_EQ(list[i], expected[i]) << i;
  std::int64_t words[8];
  store_four(words);
  EXPECT_EQ(distance_from(words, 4, 1), 0);
  store_eight(words);
  EXPECT_EQ(distance_from(words, 8, 7), 0);
  std::int32_t halves[8];
  store_eight(halves);
  EXPECT_EQ(distance_from(halves, 8, 7), 0);
  float floats[8];
  store_eight(floats);
  EXPECT_EQ(distance_from(floats, 8, 7), 0);
}

} // namespace
