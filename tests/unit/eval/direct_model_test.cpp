// SPDX-License-Identifier: Apache-2.0
// Log-likelihoods are the trainer's losses, whoever else is asked at the same time; texts are the generator's.
#include "eval/direct_model.hpp"
#include "tests/unit/eval/tools.hpp"
#include "tests/unit/infer/tiny.hpp"

namespace {

using infer_test::Index, infer_test::random_tokens, infer_test::Variant;
using Tokens = std::vector<data::Token>;

arch::Dims with_vocabulary(arch::Dims dims) {
  dims.vocabulary = 400; // of the tests' tokenizer
  return dims;
}

template <class A> struct Subject {
  infer_test::Model<A> weights;
  eval::DirectModel<A> model;
  explicit Subject(const arch::Dims &dims, Index rows = 4096)
      : weights(dims), model(dims, weights.weights(), eval_test::tokenizer(), {512, rows}) {}
};

eval::Continuation cut(const Tokens &tokens, std::size_t at) {
  return {Tokens(tokens.begin(), tokens.begin() + static_cast<long>(at)),
          Tokens(tokens.begin() + static_cast<long>(at), tokens.end())};
}

// Sum of the losses of targets tokens[at ..] by model::Stage::forward, as validation computes it.
template <class A>
double trainer_loss(const infer_test::Model<A> &m, const Tokens &tokens, std::size_t at) {
  const auto loss = [&](std::size_t count) { // of the first `count` targets
    const auto T = static_cast<Index>(count);
    arch::Dims dims = m.dims();
    model::Stage<A> stage(dims, {}, 1, T);
    tensor::Arena arena("test::stage", stage.arena_bytes());
    tensor::Context ctx{tensor::Exec(), arena};
    const Tokens part(tokens.begin(), tokens.begin() + T + 1);
    const std::vector<std::int32_t> start = {0};
    const model::HostSample host{part, start};
    model::BatchBuffers buffers(1, T, dims.mtp_depth);
    return stage.forward(ctx, m.weights(), buffers.load(ctx, std::span(&host, 1))).main;
  };
  return loss(tokens.size() - 1) - (at > 1 ? loss(at - 1) : 0);
}

TEST(DirectModel, LikelihoodIsTheTrainersLoss) {
  for (const Variant &variant : infer_test::variants()) {
    arch::Dims dims = with_vocabulary(variant.dims);
    dims.mtp_depth = 0;
    Subject<float> s(dims);
    for (const auto &[length, at] :
         {std::pair<Index, std::size_t>{2, 1}, {70, 1}, {70, 69}, {130, 64}}) {
      const Tokens tokens = random_tokens(dims, length, 3);
      const double got = s.model.log_likelihoods({cut(tokens, at)}).at(0).sum;
      const double expected = -trainer_loss(s.weights, tokens, at);
      EXPECT_NEAR(got, expected, 2e-5 * static_cast<double>(length))
          << variant.name << " " << length;
    }
  }
}

TEST(DirectModel, NeighboursDoNotMatter) {
  const arch::Dims dims = with_vocabulary(infer_test::v3_dims());
  Subject<float> roomy(dims), narrow(dims, 64);
  std::vector<eval::Continuation> requests;
  for (std::uint64_t i = 0; i < 30; ++i) {
    const Tokens tokens = random_tokens(dims, 2 + static_cast<Index>(i * 37 % 90), i);
    requests.push_back(cut(tokens, 1 + i % (tokens.size() - 1)));
  }
  for (int i = 0; i < 4; ++i) { // the same context, one token: one sequence serves all
    requests.push_back(requests[5]);
    requests.back().continuation = {i};
  }
  const auto together = roomy.model.log_likelihoods(requests);
  const auto packed = narrow.model.log_likelihoods(requests);
  for (std::size_t i = 0; i < requests.size(); ++i) {
    const auto alone = roomy.model.log_likelihoods({requests[i]}).at(0);
    EXPECT_EQ(alone.sum, together[i].sum) << i; // bit for bit
    EXPECT_EQ(alone.sum, packed[i].sum) << i;
    EXPECT_EQ(alone.greedy, together[i].greedy) << i;
    EXPECT_LT(alone.sum, 0);
  }
}

TEST(DirectModel, GreedyIsTheMostProbableToken) {
  const arch::Dims dims = with_vocabulary(infer_test::v3_dims());
  Subject<float> s(dims);
  const Tokens tokens = random_tokens(dims, 40, 9);
  const auto logits = infer_test::row(infer_test::trainer_logits(s.weights, tokens), 400, 39);
  const auto best = static_cast<data::Token>(infer_test::best(logits));
  const auto both = s.model.log_likelihoods({{tokens, {best}}, {tokens, {best == 0 ? 1 : 0}}});
  EXPECT_TRUE(both[0].greedy);
  EXPECT_FALSE(both[1].greedy);
  EXPECT_GT(both[0].sum, both[1].sum);
}

TEST(DirectModel, Bf16IsNear) {
  const arch::Dims dims = with_vocabulary(infer_test::v3_dims());
  Subject<float> exact(dims);
  Subject<numerics::bf16> rounded(dims);
  const Tokens tokens = random_tokens(dims, 100, 4);
  const double a = exact.model.log_likelihoods({cut(tokens, 50)}).at(0).sum,
               b = rounded.model.log_likelihoods({cut(tokens, 50)}).at(0).sum;
  EXPECT_NEAR(a, b, 0.05 * std::abs(a));
  EXPECT_NE(a, b);
}

eval::Prompt prompt(const Tokens &tokens, std::int64_t most, double temperature = 0) {
  eval::Prompt p;
  p.tokens = tokens, p.max_tokens = most, p.temperature = temperature, p.seed = 11;
  return p;
}

TEST(DirectModel, TextsAreTheGenerators) {
  const arch::Dims dims = with_vocabulary(infer_test::v3_dims());
  Subject<float> s(dims);
  const Tokens first = random_tokens(dims, 30, 1), second = random_tokens(dims, 90, 2);
  const auto both = s.model.generate({prompt(first, 12), prompt(second, 20, 0.8)});
  EXPECT_EQ(both[0].text, s.model.generate({prompt(first, 12)}).at(0).text);
  EXPECT_EQ(both[1].text, s.model.generate({prompt(second, 20, 0.8)}).at(0).text);
  infer_test::Session<float> session(s.weights, 64);
  Tokens said;
  auto logits = session.append(first);
  infer::SamplingOptions greedy;
  greedy.temperature = 0;
  infer::Utf8Stream characters;
  std::string text;
  for (int i = 0; i < 12; ++i) {
    const auto token = static_cast<data::Token>(infer_test::best(logits));
    if (token == eval_test::tokenizer().eos()) break;
    text += characters.push(eval_test::tokenizer().token_bytes(token));
    logits = session.append({token});
  }
  EXPECT_EQ(both[0].text, text + characters.rest());
}

TEST(DirectModel, StopsAcrossTokens) {
  const arch::Dims dims = with_vocabulary(infer_test::v3_dims());
  Subject<float> s(dims);
  eval::Prompt p = prompt(random_tokens(dims, 30, 1), 40);
  const std::string whole = s.model.generate({p}).at(0).text;
  ASSERT_GT(whole.size(), 12U);
  p.stop = {"never there", whole.substr(5, 6)}; // begins inside one token, ends inside another
  const auto cut_text = s.model.generate({p}).at(0);
  EXPECT_EQ(cut_text.text, whole.substr(0, whole.find(p.stop[1])));
  EXPECT_TRUE(cut_text.ended);
  p.stop.clear(), p.max_tokens = 3;
  const auto brief = s.model.generate({p}).at(0);
  EXPECT_EQ(brief.tokens, 3);
  EXPECT_FALSE(brief.ended);
}

} // namespace
