// SPDX-License-Identifier: Apache-2.0
// Laws of the whole model, bit for bit: what is computed again, the number of threads, the neighbours of a sample and the place of
// the weight gradients in time change nothing; gradients and loads of micro-batches add up.
#include <gtest/gtest.h>

#include "tests/gradient/model/problem.hpp"
#include "tests/support/again.hpp"

namespace {

using namespace model_test;

// Long enough that attention and the GEMMs have several blocks; two documents in the first sample.
Problem long_problem() {
  auto d = v3_dims();
  d.vocabulary = 211, d.model = 64, d.dense_hidden = 96, d.q_rank = 24, d.kv_rank = 32, d.nope = 16,
  d.rope = 8, d.value = 12;
  d.expert_hidden = 32, d.mtp_depth = 2;
  return problem(d, {0, 70}, 150);
}

// Bits of losses, loads and gradients of one forward and backward.
template <class A> std::string outcome(const Problem &p) {
  Program<A> program(p, weights_of<A>(p));
  const auto loss = program.run();
  std::vector<double> losses = loss.mtp;
  losses.push_back(loss.main), losses.push_back(loss.balance());
  const Values loads = support::download(program.loads());
  return base::hash128(losses.data(), losses.size() * sizeof(double)).hex() + " " +
         base::hash128(loads.data(), loads.size() * sizeof(double)).hex() + " " + program.hash();
}

template <class A> void expect_recompute_changes_nothing(const arch::Dims &dims) {
  Problem p = long_problem();
  p.dims = dims;
  p.recompute = {false, false, false, false};
  const std::string all_kept = outcome<A>(p);
  for (int policy = 1; policy < 16; ++policy) {
    p.recompute = {(policy & 1) != 0, (policy & 2) != 0, (policy & 4) != 0, (policy & 8) != 0};
    EXPECT_EQ(outcome<A>(p), all_kept) << "policy " << policy;
  }
}
TEST(ModelLaws, RecomputeChangesNothing) {
  expect_recompute_changes_nothing<float>(long_problem().dims);
}
TEST(ModelLaws, RecomputeChangesNothingBf16) {
  expect_recompute_changes_nothing<bf16>(long_problem().dims);
}
TEST(ModelLaws, RecomputeChangesNothingWithoutQueryCompression) {
  auto d = long_problem().dims;
  d.q_rank = 0, d.shared = 0;
  expect_recompute_changes_nothing<float>(d);
}

TEST(ModelLaws, PrintOutcome) { // read by the next test
  const std::string a = outcome<float>(long_problem()), b = outcome<bf16>(long_problem());
  EXPECT_NE(a, b);
  std::printf("outcome begin\n%s\n%s\noutcome end\n", a.c_str(), b.c_str());
}
TEST(ModelLaws, NumberOfThreadsDoesNotMatter) {
  std::string first;
  for (const char *threads : {"1", "2", "3", "5"}) {
    const auto child = support::run_again(
        std::string("OMP_PROC_BIND=false OMP_WAIT_POLICY=passive OMP_NUM_THREADS=") + threads,
        "ModelLaws.PrintOutcome");
    ASSERT_EQ(child.status, 0) << child.output;
    const std::string text = child.between("outcome begin", "outcome end");
    ASSERT_GT(text.size(), 190U) << child.output;
    if (first.empty()) first = text;
    EXPECT_EQ(text, first) << threads << " threads";
  }
}

// A second micro-batch adds to the first: the same one twice is twice the gradient (to rounding: tokens are added in chunks) and
// twice the loads.
template <class A> void expect_gradients_add() {
  const Problem p = long_problem();
  Program<A> once(p, weights_of<A>(p)), twice(p, weights_of<A>(p));
  once.run(), twice.run(), twice.run();
  for (const auto &slot : once.layout().slots()) {
    if (!slot.spec.trained()) continue;
    Values g = once.gradient(slot.spec.name);
    for (double &v : g) v *= 2;
    EXPECT_LT(support::relative_error(twice.gradient(slot.spec.name), g), 1e-6) << slot.spec.name;
  }
  const Values load = support::download(once.loads()), loads = support::download(twice.loads());
  for (std::size_t i = 0; i < load.size(); ++i) EXPECT_EQ(loads[i], 2 * load[i]);
}
TEST(ModelLaws, GradientsAndLoadsAdd) {
  expect_gradients_add<float>();
  expect_gradients_add<bf16>();
}

// A table used several times has an accumulator per use: the main model's, then the modules'.
TEST(ModelLaws, UsesHaveTheirOwnAccumulators) {
  Problem p = long_problem();
  p.scales.main = 0, p.scales.alpha = 0;
  Program<float> program(p, weights_of<float>(p));
  program.run();
  const auto grads = model::grads(program.layout(), program.gradients());
  EXPECT_EQ(support::norm(support::download(grads.head_WD[0])), 0); // no main loss
  EXPECT_GT(support::norm(support::download(grads.embedding_WD[0])),
            0); // by way of the hidden state
  for (std::size_t k = 1; k <= 2; ++k) {
    EXPECT_GT(support::norm(support::download(grads.head_WD[k])), 0) << k;
    EXPECT_GT(support::norm(support::download(grads.embedding_WD[k])), 0) << k;
  }
}

// Every copy of a token is counted once in each mixture, MTP modules with their fewer rows.
TEST(ModelLaws, LoadsCountEveryCopy) {
  const Problem p = long_problem();
  Program<float> program(p, weights_of<float>(p));
  program.run();
  const Values loads = support::download(program.loads());
  for (Index b = 0; b < program.stage().moe_blocks(); ++b) {
    double sum = 0;
    for (Index e = 0; e < p.dims.experts; ++e) sum += loads[b * p.dims.experts + e];
    const Index depth = std::max<Index>(0, b - (p.dims.layers - p.dims.dense_layers) + 1);
    EXPECT_EQ(sum, static_cast<double>(p.dims.chosen * 2 * (p.sequence() - depth)))
        << "mixture " << b;
  }
}

// The hidden states of a sample are the same bits with another neighbour, in the other place, or alone.
template <class A> void expect_samples_are_independent() {
  const Problem both = long_problem();
  const Reference values = weights_of<A>(both);
  const auto hidden = [&](const std::vector<Sample> &samples) {
    Problem p = both;
    p.samples = samples;
    Program<A> program(p, values);
    const tensor::Arena::Scope scope(program.arena());
    const auto n =
        program.stage().hidden(program.context(), program.weights(), program.batch().main);
    program.context().exec.fence();
    return support::download(n);
  };
  const Values first = hidden({both.samples[0]}), second = hidden({both.samples[1]});
  Values joined = first, swapped = second;
  joined.insert(joined.end(), second.begin(), second.end()),
      swapped.insert(swapped.end(), first.begin(), first.end());
  EXPECT_EQ(hidden({both.samples[0], both.samples[1]}), joined);
  EXPECT_EQ(hidden({both.samples[1], both.samples[0]}), swapped);
}
TEST(ModelLaws, SamplesAreIndependent) {
  expect_samples_are_independent<float>();
  expect_samples_are_independent<bf16>();
}

// The validation's forward gives the bits of the training's, and counts no loads.
TEST(ModelLaws, ForwardAloneGivesTheSameLoss) {
  const Problem p = long_problem();
  Program<float> program(p, weights_of<float>(p));
  const auto trained = program.run();
  const Values loads = support::download(program.loads());
  EXPECT_EQ(program.stage().forward(program.context(), program.weights(), program.batch()).main,
            trained.main);
  EXPECT_EQ(support::download(program.loads()), loads);
}

// Two mixtures in a row, their weight gradients formed at once or after both input gradients, in either order.
std::string two_blocks(const bool at_once) {
  Problem p = long_problem();
  p.dims.mtp_depth = 0, p.recompute = {false, false, false, false};
  Program<float> program(p, weights_of<float>(p));
  tensor::Context &ctx = program.context();
  tensor::Arena &arena = program.arena();
  const auto weights = program.weights();
  const auto grads = model::grads(program.layout(), program.gradients());
  const auto stream = program.batch().main;
  const auto rope = layers::rope::make_table(p.dims, p.sequence());
  const Index T = stream.samples * stream.rows, D = p.dims.model;
  const auto mat = [&] { return arena.mat<float>(T, D); };
  const model::BlockEnv env[2] = {{p.dims, p.recompute, rope, 1}, {p.dims, p.recompute, rope, 2}};
  model::Balance balance;
  balance.alpha = 0.1, balance.balance_S = arena.vec<double>(2);
  tensor::Mat<float> x[3] = {mat(), mat(), mat()}, dx[3] = {mat(), mat(), mat()};
  support::upload(support::normal(T * D, 1), x[0]),
      support::upload(support::normal(T * D, 2), dx[2]);
  model::BlockSaved<float> saved[2];
  model::BlockDeltas<float> deltas[2];
  for (int i = 0; i < 2; ++i) {
    saved[i] = model::block::allocate<float>(arena, env[i], stream),
    deltas[i] = model::block::allocate_deltas<float>(arena, env[i], stream);
    model::block::forward<float>(ctx, env[i], weights.blocks[i + 1], stream, x[i], balance,
                                 saved[i], x[i + 1]);
    saved[i] =
        model::block::refill<float>(ctx, env[i], weights.blocks[i + 1], stream, x[i], saved[i]);
  }
  const auto weight_gradients = [&](const int i) {
    model::block::backward_weight<float>(ctx, env[i], dx[i + 1], x[i], saved[i], deltas[i],
                                         grads.blocks[i + 1]);
  };
  for (int i = 1; i >= 0; --i) {
    model::block::backward_input<float>(ctx, env[i], weights.blocks[i + 1], stream, dx[i + 1], x[i],
                                        balance, saved[i], deltas[i], dx[i]);
    if (at_once) weight_gradients(i);
  }
  if (!at_once) weight_gradients(0), weight_gradients(1);
  ctx.exec.fence();
  const Values g = program.gradient("layers.1.mla.w_o");
  EXPECT_TRUE(support::norm(g) > 0 && std::isfinite(support::norm(g)));
  return program.hash();
}
TEST(ModelLaws, WeightGradientsMayComeLater) { EXPECT_EQ(two_blocks(true), two_blocks(false)); }

} // namespace
