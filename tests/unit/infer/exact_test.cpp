// SPDX-License-Identifier: Apache-2.0
// Exact attention says what the trainer's forward pass says, bit for bit, however the tokens come in.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "tests/unit/infer/tiny.hpp"

namespace {

using namespace infer_test;

class ExactVariants : public testing::TestWithParam<Variant> {};
INSTANTIATE_TEST_SUITE_P(Infer, ExactVariants, testing::ValuesIn(variants()),
                         [](const auto &info) { return variant_name(info.param); });

// Largest difference of the logits behind each piece.
template <class A>
double difference(const Model<A> &m, const Tokens &tokens, const Values &expected,
                  const std::vector<Index> &sizes, Index &positions) {
  Session<A> session(m, static_cast<Index>(tokens.size()), infer::Generator<A>::kRows,
                     infer::Attention::exact);
  std::vector<Index> seen;
  const Values got = session.pieces(tokens, sizes, seen);
  const Index W = m.dims().vocabulary;
  double worst = 0;
  for (std::size_t i = 0; i < seen.size(); ++i, ++positions)
    worst = std::max(
        worst, support::max_error(row(got, W, static_cast<Index>(i)), row(expected, W, seen[i])));
  return worst;
}

template <class A> void expect_trainers_bits(const arch::Dims &dims) {
  const Model<A> m(dims, 3);
  const Tokens tokens = random_tokens(m.dims(), 200, 2);
  const Values expected = trainer_logits(m, tokens);
  Index positions = 0;
  for (const std::vector<Index> &sizes : {std::vector<Index>{},
                                          {200},
                                          {1, 199},
                                          {64, 1, 63, 2, 70},
                                          {65, 130, 5},
                                          {63, 64, 65, 8},
                                          {3, 2, 4, 5, 33, 31, 32, 40, 50}})
    EXPECT_EQ(difference(m, tokens, expected, sizes, positions), 0)
        << (sizes.empty() ? 0 : sizes[0]);
  EXPECT_GT(positions, 200);
}

TEST_P(ExactVariants, TheTrainersBitsInF32) { expect_trainers_bits<float>(GetParam().dims); }
TEST_P(ExactVariants, TheTrainersBitsInBf16) { expect_trainers_bits<bf16>(GetParam().dims); }

// More pages than are expanded at a time: the softmax is carried from round to round.
TEST(Exact, LongSequencesInRounds) {
  arch::Dims dims = v3_dims();
  dims.layers = 2, dims.heads = 2;
  const Model<float> m(dims);
  const Index length = layers::mla::kExpandedPages * infer::kPage + 150;
  const Tokens tokens = random_tokens(dims, length, 6);
  const Values expected = trainer_logits(m, tokens);
  Index positions = 0;
  EXPECT_EQ(difference(m, tokens, expected, {4096, 60, 1, 1, 1, 80}, positions), 0);
  EXPECT_EQ(difference(m, tokens, expected, {4000, length - 4000 - 2}, positions), 0);
}

} // namespace
