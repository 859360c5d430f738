// SPDX-License-Identifier: Apache-2.0
// The engine's answers are those of DirectModel, bit for bit, however many are asked at once.
#include "eval/direct_model.hpp"
#include "eval/engine_model.hpp"
#include "tests/unit/eval/tools.hpp"
#include "tests/unit/infer/engine.hpp"

namespace {

using infer_test::Index, infer_test::random_tokens, infer_test::Variant;
using Tokens = std::vector<data::Token>;

arch::Dims with_vocabulary(arch::Dims dims) {
  dims.vocabulary = 400; // of the tests' tokenizer
  dims.mtp_depth = 0;
  return dims;
}

template <class A> struct Subject {
  infer_test::Model<A> weights;
  eval::DirectModel<A> direct;
  explicit Subject(const arch::Dims &dims)
      : weights(dims), direct(dims, weights.weights(), eval_test::tokenizer(), {512, 4096}) {}
  eval::EngineModel<A> engine(const infer::EngineOptions &options) const {
    return {weights.dims(), weights.weights(), eval_test::tokenizer(), 512, options};
  }
};

// Of all lengths; some share their tokens up to the last, some end at other places of the same sequence.
std::vector<eval::Continuation> questions(const arch::Dims &dims) {
  std::vector<eval::Continuation> all;
  for (std::uint64_t i = 0; i < 24; ++i) {
    const Tokens tokens = random_tokens(dims, 2 + static_cast<Index>(i * 37 % 90), i);
    const auto at = static_cast<long>(1 + i % (tokens.size() - 1));
    all.push_back(
        {Tokens(tokens.begin(), tokens.begin() + at), Tokens(tokens.begin() + at, tokens.end())});
  }
  for (data::Token i = 0; i < 4; ++i) {
    all.push_back(all[5]);
    all.back().continuation.back() = i;
    if (i % 2 == 1 && all.back().context.size() > 1) { // the border lies one token earlier
      auto &one = all.back();
      one.continuation.insert(one.continuation.begin(), one.context.back());
      one.context.pop_back();
    }
  }
  all.push_back({{3}, {4}});
  return all;
}

template <class A> void expect_same_likelihoods(const arch::Dims &dims) {
  Subject<A> s(dims);
  const auto asked = questions(dims);
  const auto expected = s.direct.log_likelihoods(asked);
  for (const auto &options : {infer_test::options(4, 9, 512), infer_test::options(64, 300, 8192)}) {
    auto engine = s.engine(options);
    const auto got = engine.log_likelihoods(asked);
    ASSERT_EQ(got.size(), asked.size());
    for (std::size_t i = 0; i < asked.size(); ++i) {
      EXPECT_EQ(got[i].sum, expected[i].sum) << i; // bit for bit
      EXPECT_EQ(got[i].greedy, expected[i].greedy) << i;
    }
    EXPECT_TRUE(engine.log_likelihoods({}).empty());
  }
}

TEST(EngineModel, LikelihoodsOfAllVariants) {
  for (const Variant &variant : infer_test::variants()) {
    SCOPED_TRACE(variant.name);
    expect_same_likelihoods<float>(with_vocabulary(variant.dims));
  }
}
TEST(EngineModel, LikelihoodsInBf16) {
  expect_same_likelihoods<numerics::bf16>(with_vocabulary(infer_test::v3_dims()));
}

TEST(EngineModel, GreedyContinuationIsSeen) {
  const arch::Dims dims = with_vocabulary(infer_test::v3_dims());
  Subject<float> s(dims);
  auto engine = s.engine(infer_test::options(4, 40, 2048));
  infer_test::EngineSession<float> session(s.weights, infer_test::options(1, 40, 512));
  infer::Request request;
  request.prompt = random_tokens(dims, 30, 5);
  request.sampling.temperature = 0, request.sampling.max_tokens = 4;
  const Tokens said = session.run({request})[0].answers[0].tokens;
  Tokens other = said;
  other[2] = other[2] == 0 ? 1 : 0;
  const auto both = engine.log_likelihoods({{request.prompt, said}, {request.prompt, other}});
  EXPECT_TRUE(both[0].greedy);
  EXPECT_FALSE(both[1].greedy);
}

std::vector<eval::Prompt> prompts(const arch::Dims &dims) {
  std::vector<eval::Prompt> all;
  for (std::uint64_t i = 0; i < 9; ++i) {
    eval::Prompt p;
    p.tokens = random_tokens(dims, 1 + static_cast<Index>(i * 41 % 130), i);
    p.max_tokens = static_cast<std::int64_t>(i % 4 == 3 ? 0 : 5 + 4 * i);
    p.temperature = i % 2 == 0 ? 0 : 0.9, p.top_p = i % 3 == 0 ? 1 : 0.8, p.seed = i;
    if (i % 3 == 1) p.stop = {"", "e", "is"};
    all.push_back(p);
  }
  return all;
}

// DirectModel generates by absorbed steps.
template <class A> void expect_same_texts() {
  const arch::Dims dims = with_vocabulary(infer_test::v3_dims());
  Subject<A> s(dims);
  const auto asked = prompts(dims);
  const auto expected = s.direct.generate(asked);
  for (const Index batch : {1, 3, 16}) {
    auto engine = s.engine(infer_test::options(batch, 150, 2048, infer::Attention::absorbed));
    const auto got = engine.generate(asked);
    ASSERT_EQ(got.size(), asked.size());
    for (std::size_t i = 0; i < asked.size(); ++i) {
      EXPECT_EQ(got[i].text, expected[i].text) << i;
      EXPECT_EQ(got[i].tokens, expected[i].tokens) << i;
      EXPECT_EQ(got[i].ended, expected[i].ended) << i;
    }
  }
}
TEST(EngineModel, TextsF32) { expect_same_texts<float>(); }
TEST(EngineModel, TextsBf16) { expect_same_texts<numerics::bf16>(); }

TEST(EngineModel, TheCacheHoldsTheLongestSequenceAndNoMoreThanTheBatchNeeds) {
  const arch::Dims dims = with_vocabulary(infer_test::v3_dims());
  Subject<float> s(dims);
  auto engine = s.engine(infer_test::options(2, 16, 64)); // a cache of one page is asked for
  eval::Prompt p;
  p.tokens = random_tokens(dims, 500, 1), p.max_tokens = 12;
  EXPECT_EQ(engine.generate({p}).at(0).tokens, 12);
  p.max_tokens = 13;
  eval_test::expect_error([&] { engine.generate({p}); }, "E260", "512 tokens at most");
  EXPECT_EQ(engine.longest(), 512);
}

} // namespace
