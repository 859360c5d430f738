// SPDX-License-Identifier: Apache-2.0
// Small values, barriers, splits.
#include <atomic>
#include <cmath>
#include <thread>

#include "tests/parallel/contract/bodies.hpp"

namespace {

using namespace contract;
using comm::Communicator;

constexpr comm::What kWhat{"contract test"};

TEST(Values, WholeNumbersAreSummedAndCompared) {
  on_all_bodies([](Communicator &c) {
    std::vector<std::int64_t> sum, most;
    for (int i = 0; i < 300; ++i) {
      sum.push_back((std::int64_t(1) << 40) * c.rank() + i);
      most.push_back(i % c.size() == c.rank() ? 1000 + i : -i);
    }
    c.all_reduce_sum(sum, kWhat);
    c.all_reduce_max(most, kWhat);
    const std::int64_t n = c.size();
    for (int i = 0; i < 300; ++i) {
      EXPECT_EQ(sum[static_cast<std::size_t>(i)],
                (std::int64_t(1) << 40) * (n * (n - 1) / 2) + n * i);
      EXPECT_EQ(most[static_cast<std::size_t>(i)], 1000 + i);
    }
    std::vector<std::int64_t> none;
    c.all_reduce_sum(none, kWhat);
  });
}

// Values whose sum depends on the order.
double value(int rank, int i) {
  std::mt19937_64 random(static_cast<unsigned>(rank * 977 + i));
  const double mantissa = static_cast<double>(static_cast<std::int64_t>(random()));
  return std::ldexp(mantissa, static_cast<int>(random() % 12) - 70);
}

double tree(std::vector<double> values) {
  while (values.size() > 1) {
    std::vector<double> level;
    for (std::size_t r = 0; r < values.size(); r += 2)
      level.push_back(r + 1 < values.size() ? values[r] + values[r + 1] : values[r]);
    values = level;
  }
  return values[0];
}

TEST(Values, DoublesAreSummedByTheTree) {
  on_all_bodies([](Communicator &c) {
    constexpr int kMany = 200;
    std::vector<double> sums;
    for (int i = 0; i < kMany; ++i) sums.push_back(value(c.rank(), i));
    c.all_reduce_tree(sums, kWhat);
    int other_order = 0;
    for (int i = 0; i < kMany; ++i) {
      std::vector<double> all;
      double in_line = 0;
      for (int r = 0; r < c.size(); ++r) all.push_back(value(r, i)), in_line += all.back();
      const double sum = sums[static_cast<std::size_t>(i)], expected = tree(all);
      EXPECT_EQ(std::memcmp(&sum, &expected, sizeof sum), 0) << sum << " " << expected;
      other_order += in_line != expected;
    }
    if (c.size() >= 4) { // else the order would not be tested
      EXPECT_GT(other_order, 10);
    }
  });
}

TEST(Values, TextsByRank) {
  on_all_bodies([](Communicator &c) {
    const auto texts =
        c.all_gather_text(std::string(static_cast<std::size_t>(c.rank()), 'x'), kWhat);
    ASSERT_EQ(texts.size(), static_cast<std::size_t>(c.size()));
    for (std::size_t r = 0; r < texts.size(); ++r) EXPECT_EQ(texts[r], std::string(r, 'x'));
    EXPECT_EQ(c.all_gather_number(5 * c.rank(), kWhat).back(), 5 * (c.size() - 1));
  });
}

// Nobody leaves before the last one came. (Ranks in one process share the counter; with MPI the last one is late.)
TEST(Barrier, HoldsUntilTheLastCame) {
  if (session().parallel()) {
    Communicator &c = session().world();
    const auto begin = std::chrono::steady_clock::now();
    c.barrier();
    if (c.rank() == c.size() - 1) std::this_thread::sleep_for(std::chrono::milliseconds(200));
    c.barrier();
    const double waited =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    EXPECT_GT(waited, c.size() > 1 ? 0.19 : 0.0);
    return;
  }
  for (const int ranks : {2, 3, 8}) {
    std::atomic<int> came{0};
    comm::loopback::run(ranks, {60}, [&](Communicator &c) {
      for (int round = 1; round <= 5; ++round) {
        if (c.rank() == round % ranks) std::this_thread::sleep_for(std::chrono::milliseconds(5));
        ++came;
        c.barrier();
        EXPECT_GE(came.load(), round * ranks);
      }
    });
  }
}

TEST(Split, ByColourInOrderOfKey) {
  on_all_bodies([](Communicator &c) {
    const int colour = c.rank() % 2, key = -c.rank(); // reversed
    const auto half = c.split(colour, key, "half");
    std::vector<int> members;
    for (int r = c.size() - 1; r >= 0; --r)
      if (r % 2 == colour) members.push_back(r);
    ASSERT_EQ(half->size(), static_cast<int>(members.size()));
    EXPECT_EQ(members[static_cast<std::size_t>(half->rank())], c.rank());
    EXPECT_EQ(half->place().world_ranks, members);
    EXPECT_EQ(half->axis(), "half");
    // Messages of the new axis and of the old one with the same tag do not meet.
    Buffer<int> out(1, c.rank()), across(1, 1000 + c.rank()), in(1), from(1);
    const int n = half->size();
    const int next = (half->rank() + 1) % n, before = (half->rank() + n - 1) % n;
    comm::Request requests[] = {
        c.isend((c.rank() + 1) % c.size(), 2, across.data(), sizeof(int), kWhat),
        half->isend(next, 2, out.data(), sizeof(int), kWhat),
        half->irecv(before, 2, in.data(), sizeof(int), kWhat),
        c.irecv((c.rank() + c.size() - 1) % c.size(), 2, from.data(), sizeof(int), kWhat)};
    comm::wait_all(requests);
    in.download(), from.download();
    EXPECT_EQ(in[0], members[static_cast<std::size_t>(before)]);
    EXPECT_EQ(from[0], 1000 + (c.rank() + c.size() - 1) % c.size());
  });
}

TEST(Split, SomeBelongToNobody) {
  on_all_bodies([](Communicator &c) {
    const auto first = c.split(c.rank() == 0 ? 4 : -1, 0, "first");
    EXPECT_EQ(first != nullptr, c.rank() == 0);
    EXPECT_TRUE(!first || first->size() == 1);
    c.barrier();
  });
}

} // namespace
