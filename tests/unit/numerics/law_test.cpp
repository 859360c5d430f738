// SPDX-License-Identifier: Apache-2.0
// The law of gemm.hpp: a row's bits depend on that row and on w alone; no bits depend on the number of threads.
#include "base/random.hpp"
#include "numerics/cut.hpp"
#include "tests/unit/numerics/products.hpp"

using namespace products;

namespace {

constexpr const char *kLabel = "tests::numerics::law";
constexpr Index kRows = 700;

template <class T> tensor::Mat<T> rows_of(const tensor::Mat<T> &m, Index from, Index count) {
  return tensor::Mat<T>(m.data() + from * static_cast<Index>(m.extent(1)), count, m.extent(1));
}

template <class T> bool same(const tensor::Mat<T> &a, const tensor::Mat<T> &b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

// Rows `from` .. `from + count` computed alone equal the same rows of the whole; returns the number of differences.
template <class A, class Y> int differing_blocks(Bench &b, Index n, Index k, std::uint64_t seed) {
  using base::random::Purpose;
  const auto a = support::mat<A>(support::normal<A>(kRows * k, seed), kRows, k);
  const auto w_forward = support::mat<A>(support::normal<A>(n * k, seed + 1), n, k);
  const auto w_backward = support::mat<A>(support::normal<A>(n * k, seed + 2), k, n);
  const tensor::Mat<Y> y("y", kRows, n), part("part", kRows, n);
  const tensor::Mat<A> dx("dx", kRows, n), dx_part("dx", kRows, n);
  numerics::linear<A, Y>(b.ctx, kLabel, a, w_forward, y);
  numerics::linear_backward_input<A>(b.ctx, kLabel, a, w_backward, dx);
  numerics::linear_backward_input<A>(b.ctx, kLabel, a, w_backward, dx, true);
  int bad = 0;
  for (std::uint64_t trial = 0; trial < 20; ++trial) {
    const Index whole[] = {1, 2, 15, 16, 17, 31, 63, 64, 65, 127, 128, 300, 511, 512, 513};
    const Index count = trial < 15
                            ? whole[trial]
                            : 1 + Index(base::random::bits(seed, Purpose::test, 1, trial) % 600);
    const Index from =
        Index(base::random::bits(seed, Purpose::test, 2, trial) % std::uint64_t(kRows - count));
    const auto rows = rows_of(a, from, count);
    numerics::linear<A, Y>(b.ctx, kLabel, rows, w_forward, rows_of(part, 0, count));
    bad += !same(rows_of(part, 0, count), rows_of(y, from, count));
    const auto input = rows_of(dx_part, 0, count);
    numerics::linear_backward_input<A>(b.ctx, kLabel, rows, w_backward, input);
    numerics::linear_backward_input<A>(b.ctx, kLabel, rows, w_backward, input, true);
    bad += !same(input, rows_of(dx, from, count));
  }
  return bad;
}

template <class A> std::string all_hashes(Bench &b) {
  std::string hashes;
  for (const auto &[T, O, I] :
       {std::array<Index, 3>{1000, 352, 512}, {2048, 64, 96}, {4096, 48, 33}, {777, 513, 100}}) {
    const Offsets offsets{0, 0, T / 7, T / 2, T};
    const auto x = support::mat<A>(support::normal<A>(T * I, 1), T, I);
    const auto dy = support::mat<A>(support::normal<A>(T * O, 3), T, O);
    const auto w = support::cube<A>(support::normal<A>(4 * O * I, 2), 4, O, I);
    const tensor::Mat<const A> w0(w.data(), O, I);
    const tensor::Mat<A> y("y", T, O), dx("dx", T, I);
    const tensor::Cube<float> dw("dw", 4, O, I);
    numerics::linear<A, A>(b.ctx, kLabel, x, w0, y), hashes += hash_of(y) + "\n";
    numerics::linear_backward_input<A>(b.ctx, kLabel, dy, w0, dx), hashes += hash_of(dx) + "\n";
    numerics::linear_backward_weight<A>(b.ctx, kLabel, dy, x, tensor::Mat<float>(dw.data(), O, I)),
        hashes += hash_of(dw) + "\n";
    numerics::grouped_linear<A, A>(b.ctx, kLabel, offsets, x, w, y), hashes += hash_of(y) + "\n";
    numerics::grouped_linear_backward_input<A>(b.ctx, kLabel, offsets, dy, w, dx, true),
        hashes += hash_of(dx) + "\n";
    numerics::grouped_linear_backward_weight<A>(b.ctx, kLabel, offsets, dy, x, dw),
        hashes += hash_of(dw) + "\n";
  }
  return hashes;
}

std::string between(const std::string &text, const std::string &open, const std::string &close) {
  const auto begin = text.find(open), end = text.find(close);
  return begin == std::string::npos || end == std::string::npos ? ""
                                                                : text.substr(begin, end - begin);
}

} // namespace

TEST(Law, RowsDependOnThemselvesAlone) {
  Bench b;
  const std::array<std::array<Index, 2>, 9> shapes = {{{1, 33},
                                                       {17, 33},
                                                       {17, 352},
                                                       {64, 16},
                                                       {64, 352},
                                                       {352, 33},
                                                       {352, 1408},
                                                       {576, 352},
                                                       {512, 512}}};
  for (const auto &[n, k] : shapes) {
    const std::string what =
        fmt::format("n {}, k {}, {}", n, k, numerics::body_name(true, 'n', 64, n, k));
    EXPECT_EQ((differing_blocks<float, float>(b, n, k, 10)), 0) << "float, " << what;
    EXPECT_EQ((differing_blocks<bf16, bf16>(b, n, k, 20)), 0) << "bf16, " << what;
    EXPECT_EQ((differing_blocks<bf16, float>(b, n, k, 30)), 0) << "bf16 to float, " << what;
  }
}

// oneDNN told that the processor is an older one.
TEST(Law, RowsOnOlderProcessors) {
  for (const char *isa : {"AVX2", "AVX512_CORE", "AVX512_CORE_BF16"}) {
    const Child child = run_again(std::string("OMP_NUM_THREADS=1 DNNL_MAX_CPU_ISA=") + isa,
                                  "Law.RowsDependOnThemselvesAlone");
    EXPECT_EQ(child.status, 0) << isa << "\n" << child.output;
  }
}

TEST(Law, PrintHashes) { // read by the next test
  Bench b;
  const std::string hashes = all_hashes<float>(b) + all_hashes<bf16>(b);
  EXPECT_EQ(hashes.size(), 48U * 33U);
  std::printf("hashes begin\n%shashes end\n", hashes.c_str());
}

TEST(Law, NumberOfThreadsDoesNotMatter) {
  std::string first;
  for (const char *threads : {"1", "2", "3"}) {
    const Child child = run_again(std::string("OMP_NUM_THREADS=") + threads, "Law.PrintHashes");
    ASSERT_EQ(child.status, 0) << child.output;
    const std::string hashes = between(child.output, "hashes begin", "hashes end");
    ASSERT_GT(hashes.size(), 1000U) << child.output;
    if (first.empty()) first = hashes;
    EXPECT_EQ(hashes, first) << threads << " threads";
  }
}

TEST(Law, EveryCutCoversItsRowsOnce) {
  for (Index height : {numerics::kGroupTile, numerics::kRowTile, Index(128)})
    for (Index rows = 0; rows < 3000; ++rows) {
      const numerics::RowCut cut(rows, height);
      Index at = 0;
      for (Index i = 0; i < cut.count(); ++i) {
        ASSERT_EQ(cut[i].begin, at) << rows;
        ASSERT_GT(cut[i].size, 0) << rows;
        ASSERT_TRUE(cut[i].size >= numerics::kGrain || rows < numerics::kGrain) << rows;
        ASSERT_TRUE(cut[i].size < 2 * numerics::kGrain || cut[i].size % numerics::kGrain == 0)
            << rows;
        at += cut[i].size;
      }
      ASSERT_EQ(at, rows);
    }
  for (const Index fill : {16, 32})
    for (Index tokens = 0; tokens < 2000; ++tokens) {
      const numerics::Chunks c(tokens, fill);
      ASSERT_EQ(c.whole * numerics::kChunk + c.rest + c.tail, tokens);
      ASSERT_TRUE(c.tail_filled >= c.tail && c.tail_filled - c.tail < fill &&
                  c.tail_filled <= numerics::kGrain);
    }
}
