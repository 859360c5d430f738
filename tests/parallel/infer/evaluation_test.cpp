// SPDX-License-Identifier: Apache-2.0
// An evaluation on layouts of ranks: rank 0 asks, all answer, with the answers of one rank. What goes wrong goes wrong on all.
#include "eval/engine_model.hpp"
#include "eval/together.hpp"
#include "tests/parallel/infer/world.hpp"

namespace {

using namespace parallel_infer;

class Evaluations : public testing::TestWithParam<Layout> {};
INSTANTIATE_TEST_SUITE_P(Infer, Evaluations, testing::ValuesIn(layouts()),
                         [](const auto &info) { return info.param.name; });

// The model's part of one rank.
struct Part {
  Rank<float> rank;
  eval::EngineModel<float> model;
  Part(Communicator &world, const Layout &layout, const Model<float> &whole)
      : rank(world, layout, whole, options(4, 30, 512)),
        model(whole.dims(),
              model::weights<float>(rank.weights->layout, rank.weights->master,
                                    rank.weights->compute),
              eval_test::tokenizer(), 256, options(8, 40, 2048), rank.group) {}
};

std::vector<eval::Continuation> questions(const arch::Dims &dims) {
  std::vector<eval::Continuation> all;
  for (std::uint64_t i = 0; i < 9; ++i)
    all.push_back({random_tokens(dims, 1 + static_cast<Index>(i * 17 % 60), i / 2),
                   random_tokens(dims, 1 + static_cast<Index>(i % 3), i)});
  return all;
}
std::vector<eval::Prompt> prompts(const arch::Dims &dims) {
  std::vector<eval::Prompt> all;
  for (std::uint64_t i = 0; i < 5; ++i)
    all.push_back({random_tokens(dims, 5 + static_cast<Index>(i) * 20, i), 6, 0.7, 0.9, i, {"e"}});
  return all;
}

bool same_likelihoods(const std::vector<eval::Likelihood> &a,
                      const std::vector<eval::Likelihood> &b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const auto &x, const auto &y) {
    return x.sum == y.sum && x.greedy == y.greedy;
  });
}

TEST_P(Evaluations, AnswersOfOneRank) {
  const Layout &layout = GetParam();
  const Model<float> m(dims_of(layout), 3);
  eval::EngineModel<float> alone(m.dims(), m.weights(), eval_test::tokenizer(), 256,
                                 options(8, 40, 2048));
  const auto likelihoods = alone.log_likelihoods(questions(m.dims()));
  const auto texts = alone.generate(prompts(m.dims()));
  on_ranks(layout.ranks(), [&](Communicator &world) {
    Part part(world, layout, m);
    int asked = 0;
    eval::together(world, part.model, [&](eval::Model &model) {
      EXPECT_EQ(world.rank(), 0);
      for (int round = 0; round < 2; ++round) {
        EXPECT_TRUE(same_likelihoods(model.log_likelihoods(questions(m.dims())), likelihoods));
        const auto said = model.generate(prompts(m.dims()));
        ASSERT_EQ(said.size(), texts.size());
        for (std::size_t i = 0; i < said.size(); ++i) EXPECT_EQ(said[i].text, texts[i].text);
        ++asked;
      }
    });
    EXPECT_EQ(asked, world.rank() == 0 ? 2 : 0);
    world.barrier(); // nothing of the evaluation is left on its way
  });
}

TEST_P(Evaluations, FaultsAreEverybodys) {
  const Layout &layout = GetParam();
  const Model<float> m(dims_of(layout), 3);
  const auto fault_of = [](Communicator &world, Part &part,
                           const std::function<void(eval::Model &)> &work) {
    return eval_test::error_of([&] { eval::together(world, part.model, work); });
  };
  on_ranks(layout.ranks(), [&](Communicator &world) {
    Part part(world, layout, m);
    const auto own = fault_of(world, part, [](eval::Model &) {
      throw base::UserError(base::Exit::machine, "E314", "results.json", "disk full", "Free it.");
    });
    EXPECT_EQ(own.number(), "E314") << own.what();
    EXPECT_NE(std::string(own.what()).find("results.json: disk full\n  Free it."),
              std::string::npos)
        << own.what();
    const auto models = fault_of(world, part, [&](eval::Model &model) {
      auto long_ones = prompts(m.dims());
      long_ones[2].max_tokens = 300;
      model.generate(long_ones);
    });
    EXPECT_EQ(models.number(), "E260") << models.what();
    eval::together(world, part.model, [&](eval::Model &model) { // it may be asked again
      EXPECT_EQ(model.generate(prompts(m.dims())).size(), 5U);
    });
  });
}

} // namespace
