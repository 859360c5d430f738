// SPDX-License-Identifier: Apache-2.0
// Generating says what the trainer's forward pass says, however the tokens come in.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>

#include "arch/counts.hpp"
#include "tests/unit/infer/tiny.hpp"

namespace {

using namespace infer_test;

constexpr double kLogits = 1e-4; // of logits of order one, FP32

struct Agreement {
  double worst = 0;
  Index positions = 0, same_best = 0;
};

template <class A>
void compare(const Model<A> &m, const Values &expected, const Values &got,
             const std::vector<Index> &seen, Agreement &a) {
  const Index W = m.dims().vocabulary;
  ASSERT_EQ(got.size(), seen.size() * static_cast<std::size_t>(W));
  for (std::size_t i = 0; i < seen.size(); ++i) {
    const Values want = row(expected, W, seen[i]), have = row(got, W, static_cast<Index>(i));
    a.worst = std::max(a.worst, support::max_error(have, want));
    ++a.positions, a.same_best += best(want) == best(have);
  }
}

class Variants : public testing::TestWithParam<Variant> {};
INSTANTIATE_TEST_SUITE_P(Infer, Variants, testing::ValuesIn(variants()),
                         [](const auto &info) { return variant_name(info.param); });

TEST_P(Variants, TokenByTokenAsTheTrainer) {
  const Model<float> m(GetParam().dims);
  const Tokens tokens = random_tokens(m.dims(), 200, 1);
  Session<float> session(m, 200);
  std::vector<Index> seen;
  Agreement a;
  compare(m, trainer_logits(m, tokens), session.pieces(tokens, {}, seen), seen, a);
  EXPECT_EQ(a.positions, 200);
  EXPECT_LT(a.worst, kLogits);
  EXPECT_EQ(a.same_best, a.positions);
  std::printf("  %s: largest difference %.1e, same best token at %ld of %ld positions\n",
              GetParam().name.c_str(), a.worst, long(a.same_best), long(a.positions));
}

TEST_P(Variants, AnyPiecesAsTheTrainer) {
  const Model<float> m(GetParam().dims, 3);
  const Tokens tokens = random_tokens(m.dims(), 200, 2);
  const Values expected = trainer_logits(m, tokens);
  for (const std::vector<Index> &sizes :
       {std::vector<Index>{200}, {1, 199}, {64, 1, 63, 2, 70}, {65, 130, 5}, {63, 64, 65, 8}}) {
    Session<float> session(m, 200);
    std::vector<Index> seen;
    Agreement a;
    compare(m, expected, session.pieces(tokens, sizes, seen), seen, a);
    EXPECT_EQ(session.generator.length(), 200);
    EXPECT_LT(a.worst, kLogits) << sizes[0];
    EXPECT_EQ(a.same_best, a.positions) << sizes[0];
  }
}

TEST_P(Variants, PromptOnAnEmptyCacheIsTheTrainersForwardPass) {
  const Model<float> m(GetParam().dims);
  const Tokens tokens = random_tokens(m.dims(), 130, 4);
  const Values expected = trainer_logits(m, tokens);
  for (const Index length : {1, 63, 64, 65, 130}) {
    Session<float> session(m, 130);
    const Values got = session.append(Tokens(tokens.begin(), tokens.begin() + length));
    EXPECT_EQ(support::max_error(got, row(expected, m.dims().vocabulary, length - 1)), 0)
        << length; // bit for bit
  }
}

// bf16: both sides round the same arrays, but the trainer rounds keys and values, which generating never makes. A choice of experts
// that is almost a tie may fall otherwise, so that the comparison is of the whole.
TEST_P(Variants, Bf16NearTheTrainer) {
  const Model<bf16> m(GetParam().dims);
  const Model<float> exact(GetParam().dims);
  const Tokens tokens = random_tokens(m.dims(), 120, 5);
  Session<bf16> session(m, 120);
  std::vector<Index> seen;
  const Values got = session.pieces(tokens, {}, seen), trainer = trainer_logits(m, tokens),
               truth = trainer_logits(exact, tokens);
  const double of_generating = support::relative_error(got, truth),
               of_training = support::relative_error(trainer, truth);
  EXPECT_LT(of_generating, 1.25 * of_training);
  EXPECT_GT(of_generating, 1e-4); // it is bf16
  std::printf("  %s: off by %.4f, the trainer's bf16 by %.4f\n", GetParam().name.c_str(),
              of_generating, of_training);
}

// The other dims are those of the first variant; 1100 tokens are four pieces, of which three meet a cache.
TEST(Generator, ThousandPositionsOfALongPrompt) {
  arch::Dims dims = v3_dims();
  dims.layers = 2;
  const Model<float> m(dims);
  const Tokens tokens = random_tokens(dims, 1100, 6);
  const Values expected = trainer_logits(m, tokens);
  Session<float> at_once(m, 1100, 300), one_by_one(m, 1100, 300);
  EXPECT_LT(support::max_error(at_once.append(tokens), row(expected, dims.vocabulary, 1099)),
            kLogits);
  std::vector<Index> seen;
  Agreement a;
  compare(m, expected, one_by_one.pieces(tokens, {100}, seen), seen, a);
  EXPECT_EQ(a.positions, 1001);
  EXPECT_LT(a.worst, kLogits);
  EXPECT_EQ(a.same_best, a.positions);
}

TEST_P(Variants, CacheHoldsLatentAndKeyOnly) {
  auto dims = GetParam().dims;
  const Model<float> m(dims);
  const Model<bf16> m16(dims);
  for (const Index capacity : {1, 77}) {
    EXPECT_EQ(Session<float>(m, capacity).generator.cache_bytes(),
              static_cast<std::size_t>(infer::pages_for(capacity) * infer::kPage *
                                       arch::cache_bytes_per_token(dims, 4)));
    EXPECT_EQ(Session<bf16>(m16, capacity).generator.cache_bytes(),
              static_cast<std::size_t>(infer::pages_for(capacity) * infer::kPage *
                                       arch::cache_bytes_per_token(dims, 2)));
  }
  EXPECT_EQ(arch::cache_bytes_per_token(dims, 2), dims.layers * (dims.kv_rank + dims.rope) * 2);
}

TEST(Generator, StartsAgainAfterReset) {
  const Model<float> m(v3_dims());
  Session<float> session(m, 40);
  const Tokens first = random_tokens(m.dims(), 40, 7), second = random_tokens(m.dims(), 20, 8);
  session.append(first);
  session.generator.reset();
  EXPECT_EQ(session.generator.length(), 0);
  const Values again = session.append(second);
  Session<float> fresh(m, 40);
  EXPECT_EQ(again, fresh.append(second)); // bit for bit
}

template <class F> std::string number_of(const F &f) {
  try {
    f();
  } catch (const base::UserError &error) {
    return error.number();
  }
  return "none";
}

TEST(Generator, RefusesWhatDoesNotFitAndStaysAsItWas) {
  const Model<float> m(v3_dims());
  Session<float> session(m, 10), untouched(m, 10);
  const Tokens tokens = random_tokens(m.dims(), 11, 9), eight(tokens.begin(), tokens.begin() + 8);
  session.append(eight), untouched.append(eight);
  EXPECT_EQ(number_of([&] { session.append({1, 2, 3}); }), "E260");
  EXPECT_EQ(number_of([&] { session.append({1, 101}); }), "E261");
  EXPECT_EQ(number_of([&] { session.append({-1}); }), "E261");
  EXPECT_EQ(session.generator.length(), 8);
  EXPECT_EQ(session.append({3, 4}), untouched.append({3, 4}));
  EXPECT_EQ(number_of([&] { session.append({1}); }), "E260");
  EXPECT_EQ(session.generator.length(), 10);
}

int allocations = 0;

TEST(Generator, AllocatesNothingPerToken) {
  const Model<float> m(v3_dims());
  Session<float> session(m, 64);
  const Tokens tokens = random_tokens(m.dims(), 64, 10);
  session.append(Tokens(tokens.begin(), tokens.begin() + 10));
  allocations = 0;
  Kokkos::Tools::Experimental::set_allocate_data_callback([](auto, auto...) { ++allocations; });
  for (int i = 10; i < 60; ++i) session.append({tokens[static_cast<std::size_t>(i)]});
  const int while_generating = allocations;
  { const Vec<float> seen("test::seen", 1); }
  Kokkos::Tools::Experimental::set_allocate_data_callback(nullptr);
  EXPECT_EQ(while_generating, 0);
  EXPECT_EQ(allocations, 1) << "the listener is deaf";
  EXPECT_EQ(session.arena().used(), 0U);
}

} // namespace
