// SPDX-License-Identifier: Apache-2.0
// Five random models of transformers' DeepseekV3ForCausalLM, imported: the same logits by the trainer's attention and by the absorbed
// one, the same loss and gradients; in bf16 nearer to their FP32 numbers than twice their own bf16 run.
#include <cstdio>

#include "infer/generator.hpp"
#include "tests/parity/trained.hpp"

namespace {

using namespace parity;
using numerics::bf16;

constexpr double kLogits = 2e-5;

template <class A> class Speaker {
public:
  Speaker(const checkpoint::Reader &reader, const arch::Dims &dims)
      : load_arena_("test::load", 1 << 16), load_(tensor::Context{tensor::Exec(), load_arena_}),
        weights_(infer::load_weights<A>(load_, reader, dims)),
        arena_("test::generator", infer::Generator<A>::arena_bytes(dims, 64)),
        generator_(dims, weights_.views, 64) {}

  // Logits [T, W] of each position, whose tokens are read in one pass on an empty cache.
  Values fresh(const Tokens &tokens) {
    Values all;
    for (std::size_t end = 1; end <= tokens.size(); ++end) {
      generator_.reset();
      add(all, Tokens(tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(end)));
    }
    return all;
  }
  // The same token by token: each but the first meets a cache.
  Values one_by_one(const Tokens &tokens) {
    Values all;
    generator_.reset();
    for (const data::Token token : tokens) add(all, {token});
    return all;
  }

private:
  void add(Values &all, const Tokens &tokens) {
    const auto &logits = generator_.append(ctx_, tokens);
    all.insert(all.end(), logits.begin(), logits.end());
  }
  tensor::Arena load_arena_;
  tensor::Context load_;
  infer::LoadedWeights<A> weights_;
  tensor::Arena arena_;
  tensor::Context ctx_{tensor::Exec(), arena_};
  infer::Generator<A> generator_;
};

class Transformers : public testing::TestWithParam<const char *> {
protected:
  Transformers()
      : name_(GetParam()), expected_(reference(name_) / "expected.safetensors"),
        golden_(golden_json(name_)), reader_(imported(name_)), dims_(infer::dims_of(reader_)),
        sequences_(tokens_of(expected_)) {}

  // Logits of all sequences, one behind the other, as the golden has them.
  template <class A>
  Values logits(const arch::Dims &dims, Values (Speaker<A>::*way)(const Tokens &)) const {
    Speaker<A> speaker(reader_, dims);
    Values all;
    for (const Tokens &tokens : sequences_) {
      const Values more = (speaker.*way)(tokens);
      all.insert(all.end(), more.begin(), more.end());
    }
    return all;
  }

  const std::string name_;
  const Tensors expected_;
  const nlohmann::json golden_;
  const checkpoint::Reader reader_;
  const arch::Dims dims_;
  const std::vector<Tokens> sequences_;
};

TEST_P(Transformers, same_logits) {
  const Values theirs = expected_.at("logits"), exact = expected_.at("logits_double");
  const Values fresh = logits(dims_, &Speaker<float>::fresh);
  const Values absorbed = logits(dims_, &Speaker<float>::one_by_one);
  std::printf(
      "| %s | logits up to %.1f | max difference %.1e | absorbed %.1e | from double: theirs "
      "%.1e | ours %.1e | absorbed %.1e |\n",
      name_.c_str(), golden_.at("largest_logit").get<double>(), support::max_error(fresh, theirs),
      support::max_error(absorbed, theirs), support::max_error(theirs, exact),
      support::max_error(fresh, exact), support::max_error(absorbed, exact));
  for (const Values &ours : {fresh, absorbed}) {
    EXPECT_LE(support::max_error(ours, theirs), kLogits);
    EXPECT_LE(support::max_error(ours, exact), 2 * kLogits); // theirs and ours round apart
  }
}

TEST_P(Transformers, same_loss_and_gradients) {
  const auto p = problem(dims_, sequences_);
  model_test::Program<float> program(p, weights_of(reader_, dims_));
  const double loss = program.run().main * p.scales.main;
  const double loss_difference = std::abs(loss - expected_.at("loss")[0]);

  const Gradients worst = compare_gradients(program, dims_, expected_, kGradient);
  std::printf("| %s | loss %.6f | difference %.1e | %zu gradients, worst %.1e (%s) |\n",
              name_.c_str(), loss, loss_difference, worst.compared, worst.error,
              worst.name.c_str());
  EXPECT_LE(loss_difference, kLoss);
}

// Choices of experts have margins that bf16 does not move: golden.json says that their two runs chose alike.
TEST_P(Transformers, bf16_within_twice_their_own_difference) {
  ASSERT_TRUE(golden_.at("bf16_chooses_the_same_experts").get<bool>());
  const Values theirs = expected_.at("logits");
  const double bound = 2 * support::relative_error(expected_.at("logits_bf16"), theirs);
  const double fresh = support::relative_error(logits(dims_, &Speaker<bf16>::fresh), theirs);
  const double absorbed =
      support::relative_error(logits(dims_, &Speaker<bf16>::one_by_one), theirs);
  std::printf("| %s | bf16, relative norm: theirs %.1e | ours %.1e | absorbed %.1e |\n",
              name_.c_str(), bound / 2, fresh, absorbed);
  EXPECT_LE(fresh, bound);
  EXPECT_LE(absorbed, bound);
  EXPECT_GT(fresh, 1e-4) << "not computed in bf16?";
}

// What the comparison would not see it could not prove: each term of the model, changed, must show.
TEST_P(Transformers, a_change_of_any_term_shows) {
  std::vector<std::pair<std::string, arch::Dims>> changed;
  const auto change = [&](const std::string &what, const auto &edit) {
    changed.emplace_back(what, dims_), edit(changed.back().second);
  };
  change("routing scale", [](arch::Dims &d) { d.route_scale *= 1.01; });
  change("normalisation", [](arch::Dims &d) { d.normalise = !d.normalise; });
  change("base of the rotation", [](arch::Dims &d) { d.rope_theta *= 1.1; });
  change("epsilon of the norms", [](arch::Dims &d) { d.norm_eps = 1e-3; });
  if (dims_.groups > 1) change("no groups", [](arch::Dims &d) { d.groups = d.chosen_groups = 1; });
  if (dims_.yarn.on()) {
    change("no YaRN", [](arch::Dims &d) { d.yarn.factor = 1; });
    change("mscale", [](arch::Dims &d) { d.yarn.mscale *= 0.9; });
    change("mscale_all_dim", [](arch::Dims &d) { d.yarn.mscale_all_dim *= 0.9; });
    change("original context", [](arch::Dims &d) { d.yarn.original *= 16; });
  }
  const Values theirs = expected_.at("logits");
  for (const auto &[what, dims] : changed)
    EXPECT_GT(support::max_error(logits(dims, &Speaker<float>::one_by_one), theirs), 50 * kLogits)
        << what;
}

INSTANTIATE_TEST_SUITE_P(hf, Transformers,
                         testing::Values("plain", "groups", "yarn", "yarn_ratio", "negative"),
                         [](const auto &info) { return std::string(info.param); });

} // namespace
