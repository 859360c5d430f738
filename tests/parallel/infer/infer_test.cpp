// SPDX-License-Identifier: Apache-2.0
// The engine on layouts of ranks: tokens, texts and log-probabilities are those of one rank, bit for bit.
#include "infer/portions.hpp"
#include "tests/parallel/infer/world.hpp"

namespace {

using namespace parallel_infer;

class Layouts : public testing::TestWithParam<Layout> {};
INSTANTIATE_TEST_SUITE_P(Infer, Layouts, testing::ValuesIn(layouts()),
                         [](const auto &info) { return info.param.name; });

template <class A>
std::vector<Result> on_one_rank(const Model<A> &m, const std::vector<Request> &requests,
                                const EngineOptions &o) {
  EngineSession<A> session(m, o, &eval_test::tokenizer());
  return session.run(requests);
}

template <class A>
void expect_one_ranks_bits(const Layout &layout, const std::vector<EngineOptions> &all) {
  const Model<A> m(dims_of(layout), 3);
  const auto many = some_requests(m.dims(), 14, 100);
  const std::vector<Request> one = {many[0]};
  const auto expected = on_one_rank(m, many, options(8, 100, 8192)),
             expected_one = on_one_rank(m, one, options(8, 100, 8192));
  on_ranks(layout.ranks(), [&](Communicator &world) {
    for (const EngineOptions &o : all) {
      SCOPED_TRACE(fmt::format("rank {}, batch {}, rows {}", world.rank(), o.batch, o.rows));
      Rank<A> rank(world, layout, m, o);
      expect_same(rank.run(many), expected);
      expect_same(rank.run(one), expected_one); // most replicas have nothing
      EXPECT_TRUE(rank.run({}).empty());
      EXPECT_EQ(rank.engine->free_pages(), rank.engine->pages());
      if (layout.dp == 1 && o.tokens < 512) {
        EXPECT_GT(rank.engine->counts().preempted, 0);
      }
    }
  });
}

// The second cache is too small for all: sequences are interrupted.
TEST_P(Layouts, SameBitsF32) {
  expect_one_ranks_bits<float>(GetParam(), {options(16, 120, 8192), options(5, 7, 256)});
}
TEST_P(Layouts, SameBitsBf16) { expect_one_ranks_bits<bf16>(GetParam(), {options(6, 50, 1024)}); }

// Each replica with requests that it alone knows, in steps.
TEST_P(Layouts, StepByStep) {
  const Layout &layout = GetParam();
  const Model<float> m(dims_of(layout), 3);
  on_ranks(layout.ranks(), [&](Communicator &world) {
    const EngineOptions o = options(4, 20, 2048);
    Rank<float> rank(world, layout, m, o);
    const int replica = rank.mesh().place.dp_rank;
    auto mine = some_requests(m.dims(), replica, 300 + static_cast<std::uint64_t>(replica));
    const auto expected = on_one_rank(m, mine, o); // replica 0 has none
    std::vector<infer::RequestId> ids;
    for (const Request &request : mine) ids.push_back(rank.engine->add(request));
    std::size_t tokens = 0;
    for (int step = 0; step < 150; ++step) tokens += rank.step().size();
    for (std::size_t i = 0; i < mine.size(); ++i) {
      EXPECT_TRUE(same(rank.engine->take(ids[i]), expected[i])) << i;
      for (const Answer &answer : expected[i].answers) tokens -= answer.tokens.size();
    }
    EXPECT_EQ(tokens, 0U) << "every rank of a pipeline hears every token";
  });
}

// Absorbed rows are not those of exact ones, but one rank's all the same; keys that are kept change nothing.
TEST_P(Layouts, AbsorbedAndKeptKeys) {
  const Layout &layout = GetParam();
  const Model<float> m(dims_of(layout), 4);
  const auto requests = some_requests(m.dims(), 6, 500);
  EngineOptions absorbed = options(6, 50, 2048, infer::Attention::absorbed), kept = absorbed;
  kept.attention = infer::Attention::exact, kept.keeps_kv = true;
  for (const EngineOptions &o : {absorbed, kept}) {
    const auto expected = on_one_rank(m, requests, o);
    on_ranks(layout.ranks(), [&](Communicator &world) {
      Rank<float> rank(world, layout, m, o);
      expect_same(rank.run(requests), expected);
    });
  }
}

// The trainer's update changes the weights where they lie.
TEST_P(Layouts, FollowsWeightsThatChangeInPlace) {
  const Layout &layout = GetParam();
  const Model<bf16> before(dims_of(layout), 3), after(dims_of(layout), 4);
  const auto requests = some_requests(before.dims(), 4, 700);
  const EngineOptions o = options(8, 64, 2048);
  const auto first = on_one_rank(before, requests, o), second = on_one_rank(after, requests, o);
  EXPECT_FALSE(same(first[0], second[0]));
  on_ranks(layout.ranks(), [&](Communicator &world) {
    Rank<bf16> rank(world, layout, before, o);
    expect_same(rank.run(requests), first);
    const Share<bf16> other(after, rank.weights->layout.share());
    Kokkos::deep_copy(rank.weights->master, other.master);
    rank.weights->refresh();
    expect_same(rank.run(requests), second);
  });
}

// The formats of a training run belong to the arithmetic, with experts on one rank too.
TEST(Formats, AreTheTrainers) {
  const layers::dispatch::Formats formats{layers::dispatch::Format::bf16,
                                          layers::dispatch::Format::bf16};
  const Layout alone{"alone"}, shared{"dp2_ep2", 2, 2};
  const Model<float> m(dims_of(alone), 3);
  const auto requests = some_requests(m.dims(), 6, 900);
  const EngineOptions o = options(8, 64, 2048);
  std::vector<Result> expected;
  on_ranks(1, [&](Communicator &world) {
    Rank<float> rank(world, alone, m, o, formats);
    expected = rank.run(requests);
    EXPECT_FALSE(same(expected[0], on_one_rank(m, requests, o)[0]));
  });
  on_ranks(2, [&](Communicator &world) {
    Rank<float> rank(world, shared, m, o, formats);
    if (!expected.empty() && world.rank() == 0)
      expect_same(rank.run(requests), expected);
    else
      rank.run(requests);
  });
}

template <class F> std::string error_of(const F &f) {
  try {
    f();
  } catch (const base::UserError &error) {
    return error.what();
  }
  return "none";
}

// A prompt that one replica alone reads makes its logits infinite: all ranks hear of it, in the same words, and go on with other requests.
TEST_P(Layouts, AFaultOfOneReplicaIsThrownOnAll) {
  const Layout &layout = GetParam();
  Model<float> m(dims_of(layout), 3);
  auto requests = some_requests(m.dims(), 8, 1100);
  constexpr data::Token kBad = 7;
  for (Request &r : requests) {
    std::replace(r.prompt.begin(), r.prompt.end(), kBad, data::Token{8});
    r.score_from = -1, r.choices.clear(), r.sampling.max_tokens = 3;
  }
  auto bad = requests;
  bad[5].prompt.back() = kBad;
  const auto &embedding = m.layout.at("embedding");
  const Index width = m.dims().model;
  for (Index d = 0; d < width; ++d) m.master(embedding.offset + kBad * width + d) = std::nanf("");
  const EngineOptions o = options(4, 40, 2048);
  const auto alone = error_of([&] { on_one_rank(m, bad, o); });
  EXPECT_NE(alone.find("[E262]"), std::string::npos) << alone;
  on_ranks(layout.ranks(), [&](Communicator &world) {
    Rank<float> rank(world, layout, m, o);
    EXPECT_EQ(error_of([&] { rank.run(bad); }), alone) << "rank " << world.rank();
    EXPECT_TRUE(rank.engine->idle());
    EXPECT_EQ(rank.engine->free_pages(), rank.engine->pages());
    auto long_one = requests;
    long_one[3].sampling.max_tokens = 5000; // refused before anything is sent
    EXPECT_NE(error_of([&] { rank.run(long_one); }).find("[E260]"), std::string::npos);
    EXPECT_EQ(rank.run(requests).size(), requests.size());
  });
}

TEST(Portions, AreAllSamplesOnceAndEven) {
  for (const int replicas : {1, 2, 3, 7, 64}) {
    for (std::uint64_t seed = 0; seed < 20; ++seed) {
      const auto requests = some_requests(v3_dims(), static_cast<Index>(seed), 40 * seed);
      std::vector<Index> next(requests.size(), 0);
      double most = 0, all = 0, largest = 0;
      for (const Request &r : requests)
        largest = std::max(largest, static_cast<double>(r.sampling.max_tokens) +
                                        static_cast<double>(r.prompt.size()));
      for (int replica = 0; replica < replicas; ++replica) {
        double mine = 0;
        for (const infer::Portion &p : infer::portions(requests, replica, replicas)) {
          ASSERT_EQ(p.first, next[p.request]); // in order, without gaps
          ASSERT_GT(p.count, 0);
          next[p.request] += p.count;
          const Request &r = requests[p.request];
          mine += static_cast<double>(p.count * r.sampling.max_tokens) +
                  static_cast<double>(r.prompt.size()) * static_cast<double>(p.count) /
                      static_cast<double>(r.samples);
          const Request part = infer::request_of(r, p);
          EXPECT_EQ(part.stream, r.stream + static_cast<std::uint64_t>(p.first));
          EXPECT_EQ(part.score_from, p.first == 0 ? r.score_from : -1);
        }
        most = std::max(most, mine), all += mine;
      }
      for (std::size_t i = 0; i < requests.size(); ++i) ASSERT_EQ(next[i], requests[i].samples);
      EXPECT_LE(most, all / replicas + largest + static_cast<double>(requests.size()));
    }
  }
}

} // namespace
