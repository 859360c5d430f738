// SPDX-License-Identifier: Apache-2.0
// What a rank takes: planned bytes against what is allocated, against the formula of the law of who holds what, and that the state
// of a replica falls with their number.
#include <gtest/gtest.h>

#include "tests/support/kokkos_listener.hpp"
#include "tests/unit/train/virtual_ranks.hpp"
#include "train/memory.hpp"
#include "train/step.hpp"

namespace {

using namespace train_test;
using train::Options;

class NoSamples : public data::SampleSource {
  std::vector<data::Sample> next(data::Cursor &, std::int64_t) const override { return {}; }
  void skip(data::Cursor &, std::int64_t) const override {}
};

// Kokkos puts a header of at most this many bytes before an array, and may count it.
constexpr std::uint64_t kHeader = 256;

template <class A> void expect_allocated(const Options &o, const train::Ranks &ranks) {
  const model::Layout layout(o.dims, ranks.share());
  const train::Memory planned = train::planned_memory<A>(o, ranks, layout);
  support::KokkosListener listener;
  train::State state(o, ranks, layout);
  const NoSamples source;
  train::Trainer<A> trainer(o, ranks, state, source);
  state.initialise(trainer.context(), 1);
  state.sections(trainer.context(), true);
  const auto expect = [&](const std::vector<std::string> &names, std::size_t bytes) {
    std::uint64_t got = 0, most = 0;
    for (const auto &name : names) got += listener.bytes(name);
    for (const auto &name : listener.allocations())
      most += std::ranges::count(names, name) ? kHeader : 0;
    EXPECT_GE(got, bytes) << names[0];
    EXPECT_LE(got, bytes + most) << names[0];
  };
  expect({"train::master"}, planned.weights);
  expect({"train::compute"}, planned.copies);
  expect({"train::first_moment", "train::second_moment"}, planned.moments);
  expect({"train::average"}, planned.average);
  expect({"train::gradients"}, planned.gradients);
  expect({"train::exchange"}, planned.exchange);
  expect({"tensor::arena::train::pipeline::slot", "tensor::arena::train::pipeline::pair",
          "train::pipeline::x", "train::pipeline::dy", "train::pipeline::dx"},
         planned.activations);
  expect({"tensor::arena::train"}, planned.scratch);
  expect({"train::state::copy"}, planned.snapshot);
  EXPECT_EQ(trainer.planned_bytes() + planned.snapshot, planned.total());
}

template <class A>
std::vector<train::Memory> planned(const std::vector<std::string> &overrides, bool compare = true) {
  const Options o = options_of(kSmall, overrides);
  VirtualRanks ranks(o);
  std::vector<train::Memory> all;
  for (int r = 0; r < ranks.count(); ++r) {
    const model::Layout layout(o.dims, ranks.at(r).share());
    all.push_back(train::planned_memory<A>(o, ranks.at(r), layout));
    if (compare) expect_allocated<A>(o, ranks.at(r));
  }
  return all;
}

const std::vector<std::string> kHalf = {"precision.compute=bf16", "average.beta=0.9"};
std::vector<std::string> with(std::vector<std::string> words,
                              const std::vector<std::string> &more) {
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

TEST(PlannedMemory, IsWhatIsAllocated) {
  planned<float>({});
  planned<float>({"parallel.dp=2", "parallel.ep=2", "average.beta=0.9"});
  planned<numerics::bf16>(kHalf);
  planned<numerics::bf16>(
      with(kHalf, {"parallel.dp=4", "parallel.ep=2", "optimizer.moments=bf16"}));
  planned<numerics::bf16>(with(kHalf, {"parallel.pp=2", "parallel.schedule=zb1p"}));
  planned<numerics::bf16>(
      with(kHalf, {"parallel.pp=2", "parallel.dp=2", "parallel.schedule=dualpipe"}));
}

// Elements of the registry: those that every replica has whole, and all.
struct Elements {
  std::size_t plain = 0, all = 0;
};
Elements elements(const arch::Dims &dims) {
  Elements e;
  for (const auto &spec : arch::registry(dims)) {
    const auto n = static_cast<std::size_t>(model::aligned(spec.size()));
    e.all += n;
    if (spec.kind != arch::Kind::matrix) e.plain += n;
  }
  return e;
}

// Over all replicas every matrix is held once, with its moments and its average; the plain tensors are on each.
TEST(PlannedMemory, ReplicasShareTheState) {
  const Elements e = elements(options_of(kSmall, {}).dims);
  std::size_t before = 0;
  for (const std::size_t dp : {1U, 2U, 4U}) {
    const auto all =
        planned<numerics::bf16>(with(kHalf, {"parallel.dp=" + std::to_string(dp)}), false);
    std::size_t weights = 0, moments = 0, average = 0, largest = 0;
    for (const train::Memory &m : all) {
      weights += m.weights, moments += m.moments, average += m.average;
      EXPECT_EQ(m.copies, 2 * e.all);
      largest = std::max(largest, m.weights + m.moments + m.average + m.snapshot);
      EXPECT_EQ(m.exchange > 0, dp > 1);
    }
    EXPECT_EQ(weights, 4 * (dp * e.plain + e.all - e.plain)) << dp;
    EXPECT_EQ(moments, 8 * e.all) << dp;
    EXPECT_EQ(average, 4 * e.all) << dp;
    if (dp > 1) {
      EXPECT_LT(largest, before * 7 / 10) << dp; // halves but for the size of the tensors
    }
    before = largest;
  }
}

// With f32 the weights that layers read are the FP32 values: whole on each replica, and no copies.
TEST(PlannedMemory, InF32WeightsStayWhole) {
  const Elements e = elements(options_of(kSmall, {}).dims);
  for (const train::Memory &m : planned<float>({"parallel.dp=2"}, false)) {
    EXPECT_EQ(m.weights, 4 * e.all);
    EXPECT_EQ(m.copies, 0U);
    EXPECT_LT(m.moments, 8 * e.all * 7 / 10);
  }
}

} // namespace
