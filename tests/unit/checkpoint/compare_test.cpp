// SPDX-License-Identifier: Apache-2.0
// The comparer finds a flipped bit, wherever it is.
#include "checkpoint/compare.hpp"

#include <cmath>

#include "tests/unit/checkpoint/sample.hpp"

namespace {

using namespace sample;
using checkpoint::compare, checkpoint::Comparison;

class Compare : public testing::Test {
protected:
  Scratch scratch_;
  int count_ = 0;
  Reader put_changed(const std::function<void(State &, Snapshot &)> &change) {
    State state;
    Snapshot s = state.snapshot(1);
    change(state, s);
    const auto folder = scratch_ / std::to_string(count_++);
    Writer writer({folder, 1, 0});
    writer.start(s);
    writer.wait();
    return Reader::open(folder);
  }
  Reader original() {
    return put_changed([](State &, Snapshot &) {});
  }
  Comparison with(const std::function<void(State &, Snapshot &)> &change) {
    return compare(original(), put_changed(change));
  }
};

TEST_F(Compare, EqualStates) {
  const auto c = compare(original(), original());
  EXPECT_TRUE(c.equal());
  ASSERT_EQ(c.sections.size(), 3U);
  EXPECT_EQ(c.sections[0].tensors, 8U);
  EXPECT_EQ(c.sections[2].values, 3U);
}

TEST_F(Compare, OneBitInALargeTensor) {
  const auto c =
      with([](State &s, Snapshot &) { s.moments[432109] = std::nextafter(0.25F, 1.0F); });
  EXPECT_FALSE(c.equal());
  ASSERT_EQ(c.tensors.size(), 1U);
  const auto &d = c.tensors[0];
  EXPECT_EQ(d.section, "moments");
  EXPECT_EQ(d.name, "layers.0.w");
  EXPECT_EQ(d.elements, 600000U);
  EXPECT_EQ(d.differing, 1U);
  EXPECT_EQ(d.place, (std::vector<std::int64_t>{432, 109}));
  EXPECT_EQ(d.a, 0.25);
  EXPECT_EQ(d.largest, std::nextafter(0.25F, 1.0F) - 0.25F);
}

TEST_F(Compare, TheLargestDifferenceIsShown) {
  const auto c = with([](State &s, Snapshot &) {
    s.half[1] = bf16(-2.5F), s.half[3] = bf16(-388), s.half[0] = bf16(1.75F);
  });
  ASSERT_EQ(c.tensors.size(), 1U);
  EXPECT_EQ(c.tensors[0].differing, 3U);
  EXPECT_EQ(c.tensors[0].largest, 4);
  EXPECT_EQ(c.tensors[0].place, (std::vector<std::int64_t>{1, 1}));
  EXPECT_EQ(c.tensors[0].b, -388);
  EXPECT_EQ(c.sections[0].largest, 4);
}

TEST_F(Compare, BitsCountNotValues) {
  EXPECT_FALSE(with([](State &s, Snapshot &) { s.matrix[1] = 0.0F; }).equal()); // -0
  EXPECT_TRUE(
      with([](State &s, Snapshot &) { s.matrix[5] = std::bit_cast<float>(0x7fc12345U); }).equal());
  const auto c = with([](State &s, Snapshot &) { s.matrix[0] = 100, s.matrix[3] = NAN; });
  EXPECT_TRUE(std::isnan(c.tensors.at(0).largest)); // worse than any number
  EXPECT_EQ(c.tensors[0].place, (std::vector<std::int64_t>{1, 0}));
}

TEST_F(Compare, EveryTypeIsSeen) {
  EXPECT_EQ(with([](State &s, Snapshot &) { s.exact[0] += 1; }).tensors.at(0).largest, 1);
  EXPECT_EQ(with([](State &s, Snapshot &) { s.big[0] += 5; }).tensors.at(0).largest, 5);
  EXPECT_EQ(with([](State &s, Snapshot &) { s.small[2] -= 6; }).tensors.at(0).largest, 6);
  EXPECT_EQ(with([](State &s, Snapshot &) { s.bytes[1] = 0; }).tensors.at(0).largest, 255);
  const auto c = with([](State &s, Snapshot &) { s.alone = 41; });
  EXPECT_EQ(c.tensors.at(0).largest, 1);
  EXPECT_TRUE(c.tensors[0].place.empty());
}

TEST_F(Compare, ValuesOfCounters) {
  const auto c = with([](State &, Snapshot &s) {
    s.sections[2].scalars["step"] = 2;
    s.sections[2].scalars.erase("mean");
    s.sections[2].scalars["new"] = true;
  });
  EXPECT_FALSE(c.equal());
  EXPECT_TRUE(c.tensors.empty());
  ASSERT_EQ(c.values.size(), 3U);
  EXPECT_EQ(c.values[0].name + c.values[0].a + c.values[0].b, "mean0.1");
  EXPECT_EQ(c.values[1].name + c.values[1].a + c.values[1].b, "newtrue");
  EXPECT_EQ(c.values[2].a, "1");
  EXPECT_EQ(c.values[2].b, "2");
  EXPECT_EQ(c.sections[2].differing_values, 3U);
}

TEST_F(Compare, OtherTensorsShapesAndSections) {
  const auto c = with([](State &, Snapshot &s) {
    s.sections[0].items[0].shape = {3, 2};
    s.sections[0].items[2].name = "renamed";
    s.sections[1].name = "average";
  });
  EXPECT_FALSE(c.equal());
  ASSERT_EQ(c.tensors.size(), 3U);
  EXPECT_EQ(c.tensors[0].what, "f32 [2, 3] in A, f32 [3, 2] in B");
  EXPECT_EQ(c.tensors[1].name + ": " + c.tensors[1].what, "exact: only in A");
  EXPECT_EQ(c.tensors[2].name + ": " + c.tensors[2].what, "renamed: only in B");
  ASSERT_EQ(c.sections.size(), 4U);
  EXPECT_EQ(c.sections[1].what, "only in A");
  EXPECT_EQ(c.sections[3].name + " " + c.sections[3].what, "average only in B");
}

TEST_F(Compare, DamagedOnesAreRefused) {
  const Reader a = original();
  const fs::path place = original().directory();
  flip(place / "state.h5", 5000);
  const Reader b = Reader::open(place);
  EXPECT_EQ(fault([&] { compare(a, b); }), "E211");
}

} // namespace
