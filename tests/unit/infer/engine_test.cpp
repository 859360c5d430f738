// SPDX-License-Identifier: Apache-2.0
// A sequence's tokens and log-probabilities do not depend on its neighbours, and with exact attention they are the trainer's.
#include <gtest/gtest.h>

#include <array>
#include <cstdio>

#include "arch/counts.hpp"
#include "tests/unit/infer/engine.hpp"

namespace {

using namespace infer_test;
using infer::Attention;

// Each request alone in an engine that reads prompts at once.
template <class A>
std::vector<Result> alone(const Model<A> &m, const std::vector<Request> &requests, Attention kind) {
  std::vector<Result> results;
  EngineSession<A> session(m, options(1, 256, 1024, kind));
  for (const Request &r : requests) results.push_back(session.run({r})[0]);
  return results;
}

std::vector<Request> some_requests(const arch::Dims &dims, Index count, std::uint64_t seed) {
  std::vector<Request> requests;
  for (Index i = 0; i < count; ++i)
    requests.push_back(random_request(dims, seed + static_cast<std::uint64_t>(i)));
  return requests;
}

class EngineVariants : public testing::TestWithParam<Variant> {};
INSTANTIATE_TEST_SUITE_P(Infer, EngineVariants, testing::ValuesIn(variants()),
                         [](const auto &info) { return variant_name(info.param); });

template <class A> void expect_trainers_logprobs(const arch::Dims &dims) {
  const Model<A> m(dims, 1);
  auto requests = some_requests(m.dims(), 8, 100);
  requests[0].prompt = random_tokens(dims, 60, 1),
  requests[0].sampling.max_tokens = 80; // 2 borders
  EngineSession<A> session(m, options(8, 100, 4096));
  const auto results = session.run(requests);
  std::size_t compared = 0;
  for (std::size_t i = 0; i < requests.size(); ++i) {
    Tokens all = requests[i].prompt;
    const Answer &answer = results[i].answers[0];
    ASSERT_EQ(static_cast<std::int64_t>(answer.tokens.size()), requests[i].sampling.max_tokens);
    all.insert(all.end(), answer.tokens.begin(), answer.tokens.end());
    const auto expected = trainer_logprobs(m, all);
    for (std::size_t k = 0; k < answer.tokens.size(); ++k, ++compared)
      ASSERT_EQ(answer.logprobs[k], expected[requests[i].prompt.size() - 1 + k])
          << "request " << i << ", token " << k; // the difference is 0
  }
  EXPECT_GT(compared, 120U);
}

TEST_P(EngineVariants, LogProbabilitiesAreTheTrainersInF32) {
  expect_trainers_logprobs<float>(GetParam().dims);
}
TEST_P(EngineVariants, LogProbabilitiesAreTheTrainersInBf16) {
  expect_trainers_logprobs<bf16>(GetParam().dims);
}

using Layout = std::array<Index, 3>; // batch, rows of a step, tokens of the cache
const std::vector<Layout> kFew = {{1, 7, 1024}, {17, 100, 1280}, {64, 300, 16384}},
                          kMany = {{2, 9, 2048},    {5, 33, 640},     {16, 40, 2048},
                                   {33, 300, 8192}, {64, 512, 16384}, {64, 64, 4096}};

template <class A> void expect_no_neighbours(Attention kind, const std::vector<Layout> &layouts) {
  const Model<A> m(v3_dims(), 2);
  const auto requests = some_requests(m.dims(), 64, 1000);
  const auto expected = alone(m, requests, kind);
  for (const auto &[batch, rows, tokens] : layouts) {
    EngineSession<A> session(m, options(batch, rows, tokens, kind));
    const auto results = session.run(requests);
    for (std::size_t i = 0; i < requests.size(); ++i)
      ASSERT_TRUE(same(results[i], expected[i])) << "batch " << batch << ", request " << i;
    EXPECT_EQ(session.engine.free_pages(), session.engine.pages());
  }
}

TEST(Engine, NeighboursDoNotMatterF32) { expect_no_neighbours<float>(Attention::exact, kMany); }
TEST(Engine, NeighboursDoNotMatterBf16) { expect_no_neighbours<bf16>(Attention::exact, kFew); }
TEST(Engine, NeighboursDoNotMatterAbsorbed) {
  expect_no_neighbours<float>(Attention::absorbed, kFew);
}
TEST(Engine, NeighboursDoNotMatterAbsorbedBf16) {
  expect_no_neighbours<bf16>(Attention::absorbed, {kFew[1]});
}

// Keys and values that are kept are those that would be made again.
template <class A> void expect_kept_keys() {
  const Model<A> m(v3_dims(), 2);
  auto requests = some_requests(m.dims(), 20, 1000);
  for (std::size_t i = 0; i < requests.size(); i += 3) requests[i].samples = 4;
  EngineSession<A> session(m, options(20, 100, 8192));
  const auto expected = session.run(requests);
  for (const Index tokens : {640, 8192}) {
    EngineOptions o = options(20, 40, tokens);
    o.keeps_kv = true;
    EngineSession<A> keeps(m, o);
    const auto results = keeps.run(requests);
    for (std::size_t i = 0; i < requests.size(); ++i) ASSERT_TRUE(same(results[i], expected[i]));
    EXPECT_EQ(keeps.engine.counts().preempted > 0, tokens == 640);
    EXPECT_EQ(keeps.engine.cache_bytes(), Engine<A>::cache_bytes(m.dims(), o));
    EXPECT_EQ(keeps.engine.cache_bytes(),
              static_cast<std::size_t>(tokens * 3 * (32 + 8 + 4 * (16 + 16))) * sizeof(A));
  }
}
TEST(Engine, KeptKeysF32) { expect_kept_keys<float>(); }
TEST(Engine, KeptKeysBf16) { expect_kept_keys<bf16>(); }

// Other neighbours in another order of coming, some of which leave before their end.
TEST(Engine, RequestsComeAndGoBetweenSteps) {
  const Model<float> m(v3_dims(), 2);
  const auto requests = some_requests(m.dims(), 20, 1000);
  const auto expected = alone(m, requests, Attention::exact);
  EngineSession<float> session(m, options(6, 40, 1024));
  std::vector<infer::RequestId> ids, others;
  std::vector<Tokens> heard(requests.size());
  for (std::uint64_t step = 0; !session.engine.idle() || ids.size() < requests.size(); ++step) {
    if (ids.size() < requests.size() && chance(7, step, 3) == 0)
      ids.push_back(session.engine.add(requests[ids.size()]));
    if (chance(8, step, 5) == 0)
      others.push_back(session.engine.add(random_request(m.dims(), 5000 + step)));
    if (!others.empty() && chance(9, step, 6) == 0)
      session.engine.cancel(others.back()), others.pop_back();
    for (const auto &event : session.step())
      for (std::size_t i = 0; i < ids.size(); ++i)
        if (ids[i] == event.request) heard[i].push_back(event.token);
  }
  for (std::size_t i = 0; i < requests.size(); ++i) {
    EXPECT_TRUE(same(session.engine.take(ids[i]), expected[i])) << i;
    EXPECT_EQ(heard[i], expected[i].answers[0].tokens) << i; // events say the same
  }
  EXPECT_EQ(session.engine.free_pages(), session.engine.pages());
}

// Too few pages for all: who came last is interrupted and computed again.
TEST(Engine, InterruptionsDoNotMatter) {
  const Model<float> m(v3_dims(), 2);
  auto requests = some_requests(m.dims(), 10, 3000);
  for (Request &r : requests) r.sampling.max_tokens = 70, r.samples = 3;
  EngineSession<float> wide(m, options(36, 512, 20000)), narrow(m, options(12, 64, 320));
  const auto expected = wide.run(requests), results = narrow.run(requests);
  EXPECT_EQ(wide.engine.counts().preempted, 0);
  EXPECT_GT(narrow.engine.counts().preempted, 5);
  EXPECT_GT(narrow.engine.counts().rows, wide.engine.counts().rows);
  for (std::size_t i = 0; i < requests.size(); ++i) EXPECT_TRUE(same(results[i], expected[i])) << i;
  EXPECT_EQ(narrow.engine.free_pages(), narrow.engine.pages());
  std::printf("  %ld interruptions, %ld rows against %ld\n", long(narrow.engine.counts().preempted),
              long(narrow.engine.counts().rows), long(wide.engine.counts().rows));
}

TEST(Engine, SamplesShareTheirPrompt) {
  const Model<float> m(v3_dims(), 2);
  for (const Index length : {1, 63, 64, 65, 200}) {
    Request r;
    r.prompt = random_tokens(m.dims(), length, 1);
    r.samples = 16, r.sampling.max_tokens = 30, r.sampling.temperature = 1, r.stream = 40;
    EngineSession<float> session(m, options(16, 256, 4096));
    const Result together = session.run({r})[0];
    // The prompt once, and 29 rows of each sample.
    EXPECT_EQ(session.engine.counts().rows, length + 16 * 29);
    EXPECT_EQ(session.engine.counts().copied_pages, length % 64 == 0 ? 0 : 15);
    ASSERT_EQ(together.answers.size(), 16U);
    int different = 0;
    for (Index k = 0; k < 16; ++k) {
      Request one = r;
      one.samples = 1, one.stream = r.stream + static_cast<std::uint64_t>(k);
      const auto &answer = together.answers[static_cast<std::size_t>(k)];
      EXPECT_TRUE(same(session.run({one})[0].answers[0], answer)) << length << " " << k;
      different += answer.tokens != together.answers[0].tokens ? 1 : 0;
    }
    EXPECT_EQ(different, 15);
  }
}

TEST(Engine, AbsorbedIsNearExact) {
  for (const Variant &variant : variants()) {
    const Model<float> m(variant.dims, 4);
    double worst = 0;
    for (std::uint64_t i = 0; i < 10; ++i) {
      Request r = random_request(m.dims(), 400 + i);
      r.sampling.temperature = 0;
      EngineSession<float> exact(m, options(4, 128, 1024)),
          absorbed(m, options(4, 128, 1024, Attention::absorbed));
      const auto a = exact.run({r})[0].answers[0], b = absorbed.run({r})[0].answers[0];
      ASSERT_EQ(a.tokens, b.tokens) << variant.name;
      for (std::size_t k = 0; k < a.tokens.size(); ++k)
        worst = std::max(worst, std::abs(static_cast<double>(a.logprobs[k]) - b.logprobs[k]));
    }
    EXPECT_LT(worst, 1e-4) << variant.name;
    EXPECT_GT(worst, 0) << variant.name; // another order of sums
    std::printf("  %s: log-probabilities differ by %.1e at most\n", variant.name.c_str(), worst);
  }
}

// Several tokens behind one prompt, beside its scores and its samples.
TEST(Engine, ChoicesAreTheTrainersLosses) {
  const Model<bf16> m(v3_dims(), 5);
  std::vector<Request> requests;
  for (const Index length : {1, 64, 65, 150}) {
    Request r;
    r.prompt = random_tokens(m.dims(), length, static_cast<std::uint64_t>(length));
    r.choices = random_tokens(m.dims(), 5, 77);
    r.sampling.max_tokens = length == 65 ? 3 : 0, r.samples = length == 65 ? 2 : 1;
    if (length > 100) r.score_from = 100;
    requests.push_back(r);
  }
  for (const Index rows : {5, 300}) {
    EngineSession<bf16> session(m, options(3, rows, 512));
    const auto results = session.run(requests);
    for (std::size_t i = 0; i < requests.size(); ++i) {
      const auto &r = requests[i];
      ASSERT_EQ(results[i].choices.size(), r.choices.size());
      EXPECT_EQ(results[i].prompt.size(), r.score_from > 0 ? r.prompt.size() - 100 : 0U);
      for (std::size_t k = 0; k < r.choices.size(); ++k) {
        Tokens all = r.prompt;
        all.push_back(r.choices[k]);
        EXPECT_EQ(results[i].choices[k].logprob, trainer_logprobs(m, all).back());
      }
      EXPECT_EQ(results[i].answers[0].tokens.size(), r.prompt.size() == 65 ? 3U : 0U);
    }
  }
}

TEST(Engine, ScoresOfAPromptAreTheTrainersLosses) {
  const Model<bf16> m(v3_dims(), 5);
  std::vector<Request> requests;
  for (const Index length : {2, 64, 65, 150, 300}) {
    Request r;
    r.prompt = random_tokens(m.dims(), length, static_cast<std::uint64_t>(length));
    r.score_from = length > 100 ? 70 : 1, r.sampling.max_tokens = length == 65 ? 3 : 0;
    requests.push_back(r);
  }
  for (const Index rows : {5, 64, 300}) {
    EngineSession<bf16> session(m, options(3, rows, 600));
    const auto results = session.run(requests);
    for (std::size_t i = 0; i < requests.size(); ++i) {
      const auto &r = requests[i];
      const auto logprobs = trainer_logprobs(m, r.prompt);
      const Values logits = trainer_logits(m, r.prompt);
      const auto from = static_cast<std::size_t>(r.score_from);
      ASSERT_EQ(results[i].prompt.size(), r.prompt.size() - from);
      for (std::size_t t = from; t < r.prompt.size(); ++t) {
        EXPECT_EQ(results[i].prompt[t - from].logprob, logprobs[t - 1]);
        const Index most = best(row(logits, m.dims().vocabulary, static_cast<Index>(t) - 1));
        EXPECT_EQ(results[i].prompt[t - from].best, most == r.prompt[t]);
      }
      EXPECT_EQ(results[i].answers[0].tokens.size(), r.prompt.size() == 65 ? 3U : 0U);
    }
  }
}

TEST(Engine, StopTokens) {
  const Model<float> m(v3_dims(), 6);
  Request r = random_request(m.dims(), 1);
  r.sampling.max_tokens = 60, r.sampling.temperature = 1;
  EngineSession<float> session(m, options(2, 128, 1024));
  const Answer whole = session.run({r})[0].answers[0];
  EXPECT_EQ(whole.finish, Finish::length);
  r.stop_tokens = {whole.tokens[20]};
  const auto first = std::find(whole.tokens.begin(), whole.tokens.end(), whole.tokens[20]);
  const Answer stopped = session.run({r})[0].answers[0];
  EXPECT_EQ(stopped.finish, Finish::stop_token);
  EXPECT_EQ(stopped.tokens, Tokens(whole.tokens.begin(), first + 1)); // the stop token included
  EXPECT_EQ(stopped.logprobs.size(), stopped.tokens.size());
}

// Table of the report's model: 70.272 KB a token in bf16.
TEST(Engine, CacheBytesAreExact) {
  const EngineOptions o = options(8, 64, 1000); // 16 pages
  EXPECT_EQ(Engine<bf16>::cache_bytes(arch::Dims{}, o), 1024U * 70272U);
  for (const Variant &variant : variants()) {
    const Model<float> m(variant.dims);
    EngineSession<float> session(m, o);
    EXPECT_EQ(session.engine.cache_bytes(), Engine<float>::cache_bytes(variant.dims, o));
    EXPECT_EQ(session.engine.pages(), 16);
  }
}

template <class F> std::string number_of(const F &f) {
  try {
    f();
  } catch (const base::UserError &error) {
    return error.number();
  }
  return "none";
}

TEST(Engine, RefusesWhatCannotBeDone) {
  const Model<float> m(v3_dims());
  EngineOptions o = options(2, 16, 256);
  o.sequence = 500;
  EngineSession<float> session(m, o);
  auto &engine = session.engine;
  const auto with = [&](const auto &change) {
    Request r;
    r.prompt = {1, 2, 3}, r.sampling.max_tokens = 4;
    change(r);
    return number_of([&] { engine.add(r); });
  };
  EXPECT_EQ(with([](Request &r) { r.prompt.resize(490), r.sampling.max_tokens = 11; }), "E260");
  EXPECT_EQ(with([](Request &r) { r.sampling.max_tokens = std::int64_t{1} << 62; }), "E260");
  EXPECT_EQ(with([](Request &r) { r.prompt.resize(200), r.sampling.max_tokens = 58; }), "E264");
  EXPECT_EQ(with([](Request &r) { r.prompt = {1, 101}; }), "E261");
  EXPECT_EQ(with([](Request &r) { r.stop_tokens = {-1}; }), "E261");
  EXPECT_EQ(with([](Request &r) { r.prompt.clear(); }), "E265");
  EXPECT_EQ(with([](Request &r) { r.samples = 0; }), "E265");
  EXPECT_EQ(with([](Request &r) { r.sampling.temperature = -1; }), "E265");
  EXPECT_EQ(with([](Request &r) { r.sampling.temperature = NAN; }), "E265");
  EXPECT_EQ(with([](Request &r) { r.sampling.top_p = 0; }), "E265");
  EXPECT_EQ(with([](Request &r) { r.sampling.max_tokens = 0; }), "E265");
  EXPECT_EQ(with([](Request &r) { r.score_from = 0; }), "E265");
  EXPECT_EQ(with([](Request &r) { r.choices = {-1}; }), "E261");
  EXPECT_EQ(with([](Request &r) { r.stop_strings = {"a"}; }), "E266");
  EXPECT_TRUE(engine.idle());
  EXPECT_EQ(number_of([&] { engine.take(0); }), "E267");
  EXPECT_EQ(number_of([&] { engine.cancel(0); }), "E267");
  // What just fits is done.
  Request r;
  r.prompt = random_tokens(m.dims(), 200, 1), r.sampling.max_tokens = 57;
  EXPECT_EQ(session.run({r})[0].answers[0].tokens.size(), 57U);
}

int allocations = 0;

TEST(Engine, AllocatesNothingOnTheDevicePerStep) {
  const Model<float> m(v3_dims());
  EngineSession<float> session(m, options(8, 64, 2048));
  for (const Request &r : some_requests(m.dims(), 12, 1)) session.engine.add(r);
  session.step();
  allocations = 0;
  Kokkos::Tools::Experimental::set_allocate_data_callback([](auto, auto...) { ++allocations; });
  for (int i = 0; i < 20; ++i) session.step();
  const int while_generating = allocations;
  { const Vec<float> seen("test::seen", 1); }
  Kokkos::Tools::Experimental::set_allocate_data_callback(nullptr);
  EXPECT_EQ(while_generating, 0);
  EXPECT_EQ(allocations, 1) << "the listener is deaf";
}

} // namespace
