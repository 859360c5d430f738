// SPDX-License-Identifier: Apache-2.0
// FP32 sums: the tree over the ranks, bit for bit, however the pieces are cut.
#include <cmath>

#include "comm/reduce.hpp"
#include "tests/parallel/contract/bodies.hpp"

namespace {

using namespace contract;
using comm::Communicator;
using comm::Cut;
using tensor::Index;

constexpr comm::What kWhat{"sum of gradients", 3};

float value(int rank, int array, Index i) {
  auto h = static_cast<std::uint64_t>(i) * 0x9E3779B97F4A7C15u +
           static_cast<std::uint64_t>(rank * 131 + array) * 0xC2B2AE3D27D4EB4Fu;
  h ^= h >> 31, h *= 0xD6E8FEB86659FD93u, h ^= h >> 29;
  const float mantissa = static_cast<float>(static_cast<std::int64_t>(h % 16777213) - 8388606);
  return std::ldexp(mantissa, static_cast<int>((h >> 40) % 24) - 30);
}

float tree(int ranks, int array, Index i) {
  std::vector<float> level;
  for (int r = 0; r < ranks; ++r) level.push_back(value(r, array, i));
  while (level.size() > 1) {
    std::vector<float> up;
    for (std::size_t r = 0; r < level.size(); r += 2)
      up.push_back(r + 1 < level.size() ? level[r] + level[r + 1] : level[r]);
    level = up;
  }
  return level[0];
}

bool same(float a, float b) { return std::memcmp(&a, &b, sizeof a) == 0; }

// Borders anywhere, some pieces empty: alike on all ranks.
Cut cut_anyhow(Index elements, int ranks, int seed) {
  std::mt19937 random(static_cast<unsigned>(seed));
  Cut cut{{0}};
  for (int r = 1; r < ranks; ++r)
    cut.begin.push_back(static_cast<Index>(random() % static_cast<unsigned>(elements + 1)));
  cut.begin.push_back(elements);
  std::sort(cut.begin.begin(), cut.begin.end());
  return cut;
}

struct Arrays {
  // Memory of its own: Kokkos 3.4 allocates in the thread only that initialised it.
  std::vector<std::vector<float>> memory;
  std::vector<comm::Part> parts;
  std::vector<float> scratch_memory;
  tensor::Vec<float> scratch;

  Arrays(const Communicator &c, const std::vector<Cut> &cuts) {
    for (const Cut &cut : cuts) {
      const int array = static_cast<int>(memory.size());
      memory.emplace_back(static_cast<std::size_t>(cut.elements()));
      for (Index i = 0; i < cut.elements(); ++i)
        memory.back()[static_cast<std::size_t>(i)] = value(c.rank(), array, i);
      parts.push_back({memory.back().data(), cut});
    }
    const Index n = comm::ReduceScatter::scratch_elements(parts, c.rank(), c.size());
    scratch_memory.resize(static_cast<std::size_t>(n));
    scratch = tensor::Vec<float>(scratch_memory.data(), static_cast<std::size_t>(n));
  }
};

std::vector<Cut> cuts(int ranks) {
  std::vector<Cut> all;
  int first = 0;
  for (const Index elements : {0, 1, 4095, 4096, 4097, 5 * 4096 + 17, 70001})
    all.push_back(comm::cut_evenly(elements, ranks, first++));
  for (const Index elements : {1, 1000, 30011}) all.push_back(cut_anyhow(elements, ranks, 5));
  return all;
}

TEST(Cuts, WholeBlocksSharedEvenly) {
  for (const int ranks : {1, 2, 3, 8})
    for (const Index elements : {0, 1, 4096, 4097, 40960, 100000})
      for (const int first : {0, 1, 5}) {
        const Cut cut = comm::cut_evenly(elements, ranks, first);
        ASSERT_EQ(cut.begin.size(), static_cast<std::size_t>(ranks) + 1);
        EXPECT_EQ(cut.elements(), elements);
        Index least = elements, most = 0;
        for (int r = 0; r < ranks; ++r) {
          EXPECT_GE(cut.size(r), 0);
          if (r > 0 && cut.size(r) > 0) {
            EXPECT_EQ(cut.begin[static_cast<std::size_t>(r)] % comm::kCutBlock, 0);
          }
          const Index blocks = (cut.size(r) + comm::kCutBlock - 1) / comm::kCutBlock;
          least = std::min(least, blocks), most = std::max(most, blocks);
        }
        EXPECT_LE(most - least, 1);
      }
  EXPECT_EQ(comm::cut_evenly(100, 4, 2).size(2), 100); // the only block goes where it is told to
}

TEST(Reduce, OwnersGetTheTreeSum) {
  on_all_bodies([](Communicator &c) {
    auto arena = tensor::Arena::counting("test");
    tensor::Context ctx{tensor::Exec(), arena};
    Arrays a(c, cuts(c.size()));
    comm::reduce_scatter(ctx, c, a.parts, a.scratch, kWhat);
    Index wrong = 0, other_order = 0;
    for (std::size_t k = 0; k < a.parts.size(); ++k) {
      const int array = static_cast<int>(k);
      for (int owner = 0; owner < c.size(); ++owner) {
        const auto &begin = a.parts[k].cut.begin;
        for (Index i = begin[static_cast<std::size_t>(owner)];
             i < begin[static_cast<std::size_t>(owner) + 1]; ++i) {
          const float now = a.memory[k][static_cast<std::size_t>(i)];
          if (owner != c.rank()) {
            wrong += !same(now, value(c.rank(), array, i)); // not ours: untouched
            continue;
          }
          const float expected = tree(c.size(), array, i);
          float in_line = value(0, array, i);
          for (int r = 1; r < c.size(); ++r) in_line += value(r, array, i);
          wrong += !same(now, expected), other_order += !same(in_line, expected);
        }
      }
    }
    EXPECT_EQ(wrong, 0);
    if (c.size() >= 4) { // else the order would not be tested
      EXPECT_GT(other_order, 100);
    }
  });
}

TEST(Reduce, EverybodyEndsWithTheSameBits) {
  on_all_bodies([](Communicator &c) {
    auto arena = tensor::Arena::counting("test");
    tensor::Context ctx{tensor::Exec(), arena};
    Arrays a(c, cuts(c.size()));
    comm::all_reduce(ctx, c, a.parts, a.scratch, kWhat);
    Index wrong = 0;
    for (std::size_t k = 0; k < a.parts.size(); ++k)
      for (Index i = 0; i < a.parts[k].cut.elements(); ++i)
        wrong +=
            !same(a.memory[k][static_cast<std::size_t>(i)], tree(c.size(), static_cast<int>(k), i));
    EXPECT_EQ(wrong, 0);
  });
}

// Two sums and a gathering of 2-byte numbers under way at once, progressed now and then, ended in another order.
TEST(Reduce, SeveralUnderWay) {
  on_all_bodies([](Communicator &c) {
    auto arena = tensor::Arena::counting("test");
    tensor::Context ctx{tensor::Exec(), arena};
    Arrays a(c, {comm::cut_evenly(50000, c.size())}), b(c, {comm::cut_evenly(9000, c.size(), 1)});
    const Cut cut = cut_anyhow(20000, c.size(), 9);
    std::vector<std::uint16_t> weights(20000, 0);
    for (Index i = cut.begin[static_cast<std::size_t>(c.rank())];
         i < cut.begin[static_cast<std::size_t>(c.rank()) + 1]; ++i)
      weights[static_cast<std::size_t>(i)] = static_cast<std::uint16_t>(i * 3 + 1);
    comm::ReduceScatter first, second;
    comm::AllGather gathering;
    first.start(ctx, c, a.parts, a.scratch, kWhat);
    second.start(ctx, c, b.parts, b.scratch, kWhat);
    const comm::Pieces pieces[] = {{weights.data(), sizeof(std::uint16_t), cut}};
    gathering.start(ctx, c, pieces, {"gathering of weights"});
    EXPECT_TRUE(first.active());
    for (int i = 0; i < 3; ++i) first.progress(), gathering.progress();
    gathering.finish();
    second.finish(ctx);
    first.finish(ctx);
    EXPECT_FALSE(first.active());
    Index wrong = 0;
    for (Index i = 0; i < 20000; ++i)
      wrong += weights[static_cast<std::size_t>(i)] != static_cast<std::uint16_t>(i * 3 + 1);
    for (const Arrays *arrays : {&a, &b}) {
      const Cut &of = arrays->parts[0].cut;
      for (Index i = of.begin[static_cast<std::size_t>(c.rank())];
           i < of.begin[static_cast<std::size_t>(c.rank()) + 1]; ++i)
        wrong += !same(arrays->memory[0][static_cast<std::size_t>(i)], tree(c.size(), 0, i));
    }
    EXPECT_EQ(wrong, 0);
  });
}

TEST(Reduce, FaultsOfTheCallerAreNamed) {
  on_all_bodies([](Communicator &c) {
    auto arena = tensor::Arena::counting("test");
    tensor::Context ctx{tensor::Exec(), arena};
    Arrays a(c, {comm::cut_evenly(50000, c.size() + 1)});
    comm::ReduceScatter sum;
    EXPECT_THROW(sum.start(ctx, c, a.parts, a.scratch, kWhat), base::Fault);
    c.barrier();
  });
}

} // namespace
