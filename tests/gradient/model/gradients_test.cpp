// SPDX-License-Identifier: Apache-2.0
// A whole tiny model against the reference in double: losses, and the gradient of every parameter by name, by complex steps.
#include <gtest/gtest.h>

#include "tests/gradient/model/problem.hpp"

namespace {

using namespace model_test;
using support::Complex;
using support::reference::Losses;
using Model = support::reference::Model<double>;
using ComplexModel = support::reference::Model<Complex>;

// What an error may be, relative to the loss and to the norm of a tensor's gradient (worst seen: 2e-7 and 2e-5; along a random
// direction up to three times as much), and how close a choice of experts may be without being taken otherwise in FP32.
constexpr double kLoss = 1e-6, kGradient = 3e-5, kChoice = 1e-5;

// The derivative of the total loss when the tensor moves along a direction.
class Derivative {
public:
  Derivative(const Problem &p, const Reference &values) : problem_(p) {
    for (const auto &[name, v] : values) lifted_[name] = support::lift(v);
  }
  double along(const std::string &name, const Values &direction) {
    auto &tensor = lifted_.at(name);
    const auto kept = tensor;
    for (std::size_t i = 0; i < tensor.size(); ++i)
      tensor[i] += Complex(0, support::kStep * direction[i]);
    const double slope =
        ComplexModel(problem_.dims, lifted_).run(problem_.samples, problem_.scales).total.imag() /
        support::kStep;
    tensor = kept;
    return slope;
  }

private:
  const Problem &problem_;
  support::reference::Parameters<Complex> lifted_;
};

// All elements of a small tensor, else some from the first to the last, and for the embedding some of a row in use.
std::vector<std::size_t> elements(const Problem &p, const std::string &name,
                                  const std::size_t size) {
  std::vector<std::size_t> list;
  for (std::size_t i = 0; i < 12; ++i) list.push_back(size <= 12 ? i % size : i * (size - 1) / 11);
  if (name == "embedding")
    for (std::size_t i = 0; i < 6; ++i)
      list.push_back(static_cast<std::size_t>(p.samples[i % 2].tokens[2 * i] * p.dims.model) + i);
  return list;
}

void expect_gradient(const Problem &p, const Program<float> &program, Derivative &derivative,
                     const std::string &name, double &worst) {
  const Values g = program.gradient(name);
  const double norm = support::norm(g), most = kGradient * norm;
  ASSERT_TRUE(norm > 1e-7 && std::isfinite(norm)) << name << ": gradient norm " << norm;
  for (const std::size_t i : elements(p, name, g.size())) {
    Values unit(g.size(), 0.0);
    unit[i] = 1;
    const double expected = derivative.along(name, unit);
    EXPECT_NEAR(g[i], expected, most) << name << "[" << i << "]";
    worst = std::max(worst, std::abs(g[i] - expected) / norm);
  }
  for (std::uint64_t seed = 1; seed <= 3;
       ++seed) { // <error, v> of a normal v is as large as the error's norm
    const Values v = support::normal(g.size(), base::hash64(name) + seed);
    const double expected = derivative.along(name, v), got = support::dot(g, v);
    EXPECT_NEAR(got, expected, 3 * most) << name << ", direction " << seed;
    worst = std::max(worst, std::abs(got - expected) / norm);
  }
}

void expect_losses(const model::MicroLoss &got, const Losses<double> &expected) {
  EXPECT_NEAR(got.main, expected.main, kLoss * expected.main);
  ASSERT_EQ(got.mtp.size(), expected.mtp.size());
  for (std::size_t k = 0; k < got.mtp.size(); ++k)
    EXPECT_NEAR(got.mtp[k], expected.mtp[k], kLoss * expected.mtp[k]);
  EXPECT_NEAR(got.balance(), expected.balance, kLoss * expected.balance);
}

void expect_equal(const Problem &p) {
  const Reference values = weights_of<float>(p);
  Program<float> program(p, values);
  const auto loss = program.run();
  Model reference(p.dims, values);
  expect_losses(loss, reference.run(p.samples, p.scales));
  ASSERT_GT(reference.margin(), kChoice);
  EXPECT_EQ(program.stage().first_bad_activation(), "");
  EXPECT_LE(program.arena().high_water(), program.stage().arena_bytes());
  Derivative derivative(p, values);
  double worst = 0;
  for (const auto &slot : program.layout().slots())
    if (slot.spec.trained()) expect_gradient(p, program, derivative, slot.spec.name, worst);
  ::testing::Test::RecordProperty("worst_relative_error", std::to_string(worst));
  std::printf("  worst error %.1e of a gradient's norm; closest choice %.1e\n", worst,
              reference.margin());
}

TEST(Model, LikeV3) { expect_equal(problem(v3_dims())); }

TEST(Model, LikeV3WithDocumentsMaskedAndYarn) {
  auto d = v3_dims();
  d.rope = 8, d.rope_theta = 10, d.yarn = {40, 64, 4, 0.5, 1.0, 0.7};
  expect_equal(problem(d, {0, 4, 5, 11}));
}

// Softmax scores that are not normalised, no bias, groups by their best; two shared experts.
TEST(Model, LikeV2) {
  auto d = v3_dims();
  d.score = arch::Score::softmax, d.normalise = false, d.router_bias = false,
  d.group_score = arch::GroupScore::maximum;
  d.route_scale = 4, d.shared = 2, d.mtp_depth = 0;
  expect_equal(problem(d));
}

TEST(Model, LikeV2Lite) {
  auto d = v3_dims();
  d.score = arch::Score::softmax, d.normalise = false, d.router_bias = false,
  d.groups = d.chosen_groups = 1;
  d.q_rank = 0, d.route_scale = 1, d.shared = 2, d.mtp_depth = 0;
  expect_equal(problem(d, {0, 7}));
}

TEST(Model, TwoMtpModulesBeforeTheNorm) {
  auto d = v3_dims();
  d.layers = 2, d.mtp_depth = 2, d.mtp_hidden = arch::MtpHidden::pre_norm, d.shared = 0;
  expect_equal(problem(d, {0, 6}));
}

TEST(Model, TwoMtpModulesAfterTheNorm) {
  auto d = v3_dims();
  d.layers = 2, d.dense_layers = 0, d.mtp_depth = 2, d.q_rank = 0;
  expect_equal(problem(d));
}

TEST(Model, AllDense) {
  auto d = v3_dims();
  d.dense_layers = d.layers, d.mtp_depth = 0;
  expect_equal(problem(d, {0, 1, 12}));
}

TEST(Model, DenseWithMtp) {
  auto d = v3_dims();
  d.dense_layers = d.layers = 2;
  expect_equal(problem(d));
}

TEST(Model, EverythingRecomputed) {
  Problem p = problem(v3_dims(), {0, 9});
  p.recompute = {true, true, true, true};
  expect_equal(p);
}

} // namespace
