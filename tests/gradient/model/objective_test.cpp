// SPDX-License-Identifier: Apache-2.0
// The objectives beside cross-entropy in a whole model: the gradient of every tensor along random directions against central differences of
// the objective, which is made of log-probabilities and rewards that the stage tells; the laws of bits; masks; memory.
#include <gtest/gtest.h>

#include "layers/head_loss/head_loss.hpp"
#include "tests/gradient/model/problem.hpp"

namespace {

using namespace model_test;
using model::Goal;
using model::HostSample;
using model::MicroLoss;
using model::Objective;

constexpr Index kSequence = 13, kTeacher = 4;

// What is told of the two samples. Three answers: two in the first sample (segments 0 and 5), one in the second.
struct Told {
  std::vector<std::vector<std::uint8_t>> trained;
  std::vector<std::vector<float>> old_logp, ref_logp, advantage, weight, teacher_logp;
  std::vector<std::vector<std::int32_t>> ids;
};

std::vector<float> floats(const Values &v) { return {v.begin(), v.end()}; }

Told told(const Problem &p) {
  Told t;
  for (std::uint64_t s = 0; s < 2; ++s) {
    const std::size_t n = kSequence + 1;
    std::vector<std::uint8_t> trained(n, 1);
    for (const std::size_t prompt :
         s == 0 ? std::vector<std::size_t>{0, 1, 5, 6} : std::vector<std::size_t>{0, 1, 2})
      trained[prompt] = 0;
    t.trained.push_back(trained);
    t.old_logp.push_back(floats(support::normal(n, 10 + s, 0.2, -3.6)));
    t.ref_logp.push_back(floats(support::normal(n, 20 + s, 0.2, -3.6)));
    t.advantage.push_back(floats(support::normal(n, 30 + s)));
    for (std::size_t j = 0; j < n; ++j) // of an answer
      t.advantage.back()[j] = s == 1 ? 0.8F : j < 5 ? -1.1F : 0.6F;
    t.weight.emplace_back(n, s == 0 ? 0.25F : 0.2F);
    t.ids.emplace_back(), t.teacher_logp.emplace_back();
    for (std::size_t j = 0; j < n; ++j)
      for (Index k = 0; k < kTeacher; ++k) {
        t.ids.back().push_back(
            static_cast<std::int32_t>((static_cast<Index>(7 * j + 3) + 5 * k) % p.dims.vocabulary));
        t.teacher_logp.back().push_back(std::log(0.4F / static_cast<float>(k + 1)));
      }
  }
  return t;
}

Objective objective(Goal goal, layers::policy::Ratio ratio = layers::policy::Ratio::sequence) {
  Objective o;
  o.goal = goal;
  o.policy = {ratio, 0.2, 0.3, 0.1};
  o.distil = {0.7, 1.5};
  o.teacher = goal == Goal::distil ? kTeacher : 0;
  return o;
}

std::vector<HostSample> hosts(const Problem &p, const Told &t, Goal goal) {
  std::vector<HostSample> all;
  for (std::size_t s = 0; s < 2; ++s) {
    HostSample h{p.samples[s].tokens, p.samples[s].starts, t.trained[s]};
    if (goal == Goal::policy)
      h.old_logp = t.old_logp[s], h.ref_logp = t.ref_logp[s], h.advantage = t.advantage[s],
      h.weight = t.weight[s];
    if (goal == Goal::distil) h.teacher_ids = t.ids[s], h.teacher_logp = t.teacher_logp[s];
    all.push_back(h);
  }
  return all;
}

// A program whose batches know what the objective wants.
template <class A> class Runner {
public:
  Runner(const Problem &p, const Reference &values, const Objective &o, const Told &t)
      : problem_(p), told_(t), objective_(o), program_(p, values),
        buffers_(2, p.sequence(), p.dims.mtp_depth, o), arena_("test", bytes(p, o)) {
    Kokkos::deep_copy(tensor::Vec<char>(arena_.vec<char>(0).data(), arena_.capacity()),
                      static_cast<char>(0xFF));
    program_.stage().set_objective(o);
  }
  MicroLoss run() {
    const model::LossScales scales{problem_.scales.main, problem_.scales.mtp,
                                   problem_.scales.balance, problem_.scales.alpha};
    const auto loss = program_.stage().forward_backward(
        ctx_, program_.weights(), batch(), scales,
        model::grads(program_.layout(), program_.gradients()), program_.loads());
    ctx_.exec.fence();
    return loss;
  }
  model::MicroBatch batch() { return buffers_.load(ctx_, hosts(problem_, told_, objective_.goal)); }
  typename model::Stage<A>::Rated logp(bool entropy = false) {
    return program_.stage().log_probabilities(ctx_, arena_, program_.weights(), batch(), {}, {},
                                              entropy);
  }
  std::vector<float> rewards() {
    return program_.stage().rewards(ctx_, arena_, program_.weights(), batch(), {}, {});
  }
  MicroLoss evaluate() {
    return program_.stage().evaluate(ctx_, arena_, program_.weights(), batch(), {}, {});
  }
  Program<A> &program() { return program_; }
  tensor::Arena &arena() { return arena_; }
  std::size_t planned() { return program_.stage().arena_bytes(); }

private:
  static std::size_t bytes(const Problem &p, const Objective &o) {
    model::Stage<A> stage(p.dims, p.recompute, 2, p.sequence());
    stage.set_objective(o);
    return stage.arena_bytes();
  }
  const Problem &problem_;
  const Told &told_;
  Objective objective_;
  Program<A> program_;
  model::BatchBuffers buffers_;
  tensor::Arena arena_;
  tensor::Context ctx_{tensor::Exec(), arena_};
};

Problem objective_problem(Goal goal, Index mtp_depth = 0) {
  auto d = v3_dims();
  d.mtp_depth = mtp_depth;
  if (goal == Goal::reward) d.head = arch::Head::reward;
  Problem p = problem(d, {0, 5}, kSequence);
  p.choice_held = true, p.scales.alpha = 0, p.scales.main = 0.5;
  return p;
}

// For rewards the first sample has the two answers of a pair, the second none.
Told told_for(const Problem &p, Goal goal) {
  Told t = told(p);
  if (goal == Goal::reward) t.trained[1].assign(t.trained[1].size(), 0);
  return t;
}

// What is minimised, from the losses that a run tells.
double minimised(const Problem &p, Goal goal, const MicroLoss &loss) {
  double sum = goal == Goal::policy   ? -loss.extra[0]
               : goal == Goal::distil ? loss.extra[0]
                                      : loss.main;
  sum *= p.scales.main;
  for (std::size_t k = 0; k < loss.mtp.size(); ++k) sum += p.scales.mtp[k] * loss.mtp[k];
  return sum;
}

// Central differences of float losses: good to some parts in a thousand, enough to show a wrong or missing term.
void expect_gradients(Goal goal, layers::policy::Ratio ratio, Index mtp_depth) {
  const Problem p = objective_problem(goal, mtp_depth);
  const Told t = told_for(p, goal);
  const Reference values = weights_of<float>(p);
  const Objective o = objective(goal, ratio);
  Runner<float> runner(p, values, o, t);
  runner.run();
  EXPECT_LE(runner.arena().high_water(), runner.planned());
  EXPECT_EQ(runner.program().stage().first_bad_activation(), "");
  double worst = 0;
  for (const auto &slot : runner.program().layout().slots()) {
    if (!slot.spec.trained()) continue;
    const std::string &name = slot.spec.name;
    const Values g = runner.program().gradient(name);
    const double norm = support::norm(g);
    if (goal == Goal::reward && name == "head") {
      EXPECT_EQ(norm, 0.0) << name;
      continue;
    }
    ASSERT_TRUE(norm > 1e-7 && std::isfinite(norm)) << name << " " << norm;
    // Along the gradient itself and a random direction of the same length.
    Values v = support::normal(g.size(), base::hash64(name));
    const double length = support::norm(v);
    for (std::size_t i = 0; i < v.size(); ++i) v[i] = v[i] / length + g[i] / norm;
    const double step = 5e-4 * support::norm(values.at(name)) / std::sqrt(2.0) / 2;
    double side[2];
    for (const int sign : {0, 1}) {
      Reference moved = values;
      for (std::size_t i = 0; i < v.size(); ++i)
        moved.at(name)[i] += (sign == 0 ? 1 : -1) * step * v[i];
      side[sign] = minimised(p, goal, Runner<float>(p, moved, o, t).run());
    }
    const double slope = (side[0] - side[1]) / (2 * step), expected = support::dot(g, v);
    EXPECT_NEAR(slope, expected, 0.02 * norm + 1e-5 / step * 0.05) << name;
    worst = std::max(worst, std::abs(slope - expected) / norm);
  }
  std::printf("  worst %.1e of a gradient's norm\n", worst);
}

using layers::policy::Ratio;
TEST(Objective, PolicyBySequenceGradients) { expect_gradients(Goal::policy, Ratio::sequence, 0); }
TEST(Objective, PolicyByTokenGradientsWithMtp) { expect_gradients(Goal::policy, Ratio::token, 1); }
TEST(Objective, DistilGradients) { expect_gradients(Goal::distil, Ratio::token, 1); }
TEST(Objective, RewardGradients) { expect_gradients(Goal::reward, Ratio::token, 0); }

// Log-probabilities that the stage tells are the ones that training uses, bit for bit: told as the old ones, nothing is apart.
template <class A> void expect_same_arithmetic() {
  const Problem p = objective_problem(Goal::policy, 1);
  Told t = told(p);
  const Reference values = weights_of<A>(p);
  Runner<A> first(p, values, objective(Goal::policy), t);
  EXPECT_GT(first.run().apart, 0.1);
  const auto rated = first.logp(true);
  ASSERT_EQ(rated.logp_T.size(), 2U * kSequence);
  for (std::size_t s = 0; s < 2; ++s)
    for (std::size_t i = 0; i < kSequence; ++i)
      t.old_logp[s][i + 1] = t.ref_logp[s][i + 1] = rated.logp_T[s * kSequence + i];
  Runner<A> second(p, values, objective(Goal::policy), t);
  const MicroLoss loss = second.run();
  EXPECT_EQ(loss.apart, 0.0);
  const auto names = model::extra_names(Goal::policy);
  ASSERT_EQ(loss.extra.size(), names.size());
  EXPECT_EQ(loss.extra[1], 3.0);                 // terms: the answers
  EXPECT_EQ(loss.extra[2], 3.0);                 // every ratio is 1
  EXPECT_EQ(loss.extra[3] + loss.extra[4], 0.0); // clipped, kl
  double entropy = 0, sum = 0;
  for (const float e : rated.entropy_T) entropy += static_cast<double>(e);
  for (const float l : rated.logp_T) sum -= static_cast<double>(l);
  EXPECT_NEAR(loss.extra[5], entropy, 1e-9);
  EXPECT_GT(entropy, 1);
  EXPECT_EQ(loss.main, sum);
}
TEST(Objective, ToldLogProbabilitiesHaveTheBitsOfTraining) {
  expect_same_arithmetic<float>();
  expect_same_arithmetic<bf16>();
}

// Policy optimisation of answers that the policy itself has just sampled, with weight and advantage 1, is maximum likelihood.
TEST(Objective, PolicyWithRatioOneIsCrossEntropy) {
  const Problem p = objective_problem(Goal::policy);
  Told t = told(p);
  const Reference values = weights_of<float>(p);
  Objective o = objective(Goal::policy, Ratio::token);
  o.policy.beta = 0;
  const auto rated = Runner<float>(p, values, o, t).logp();
  for (std::size_t s = 0; s < 2; ++s)
    for (std::size_t j = 0; j <= kSequence; ++j) {
      t.advantage[s][j] = t.weight[s][j] = 1;
      if (j > 0) t.old_logp[s][j] = rated.logp_T[s * kSequence + j - 1];
    }
  Runner<float> policy(p, values, o, t), plain(p, values, Objective{}, t);
  const double policy_main = policy.run().main, plain_main = plain.run().main;
  EXPECT_EQ(policy_main, plain_main);
  for (const auto &slot : plain.program().layout().slots()) {
    if (!slot.spec.trained()) continue;
    EXPECT_LT(support::relative_error(policy.program().gradient(slot.spec.name),
                                      plain.program().gradient(slot.spec.name)),
              1e-5)
        << slot.spec.name;
  }
}

// Nothing counts: no gradient of the head, no loss, nothing that is not finite; MTP losses with scale 0 too.
TEST(Objective, NothingToTrainOn) {
  for (const Goal goal : {Goal::cross_entropy, Goal::policy, Goal::distil, Goal::reward}) {
    Problem p = objective_problem(goal, 2);
    p.scales.mtp = {0, 0};
    Told t = told(p);
    for (auto &trained : t.trained) trained.assign(trained.size(), 0);
    Runner<float> runner(p, weights_of<float>(p), objective(goal), t);
    const MicroLoss loss = runner.run();
    EXPECT_EQ(loss.main, 0.0);
    for (const double value : loss.extra) EXPECT_EQ(value, 0.0);
    for (const double value : loss.mtp) EXPECT_EQ(value, 0.0);
    for (const auto &slot : runner.program().layout().slots())
      EXPECT_EQ(support::norm(runner.program().gradient(slot.spec.name)), 0.0) << slot.spec.name;
    EXPECT_EQ(runner.program().stage().first_bad_activation(), "");
  }
}

TEST(Objective, RewardsAreToldAndJudged) {
  const Problem p = objective_problem(Goal::reward);
  const Told t = told_for(p, Goal::reward);
  Runner<float> runner(p, weights_of<float>(p), objective(Goal::reward), t);
  const auto r = runner.rewards();
  ASSERT_EQ(r.size(), 2U);
  const MicroLoss held_out = runner.evaluate(), loss = runner.run();
  ASSERT_EQ(loss.extra.size(), model::extra_names(Goal::reward).size());
  EXPECT_EQ(held_out.main, loss.main);
  EXPECT_EQ(held_out.extra, loss.extra);
  const double margin = static_cast<double>(r[0] - r[1]);
  EXPECT_NEAR(loss.main, std::log1p(std::exp(-margin)), 1e-6);
  EXPECT_EQ(loss.extra[0], 1.0);
  EXPECT_EQ(loss.extra[1], margin > 0 ? 1.0 : 0.0);
  EXPECT_EQ(loss.extra[2], margin);
  // The rewards do not see what stands in the other sample, nor padding behind the answers.
  Problem other = p;
  other.samples[1].tokens[3] ^= 1, other.samples[0].tokens[kSequence] ^= 1;
  EXPECT_EQ(Runner<float>(other, weights_of<float>(p), objective(Goal::reward), t).rewards(), r);
}

TEST(Objective, RowsOfAnswers) {
  const std::vector<std::int32_t> tokens(10, 1), starts = {0, 3, 7, 9};
  std::vector<std::uint8_t> trained = {0, 1, 0, 0, 0, 0, 0, 1, 1, 0};
  HostSample sample{tokens, starts, trained};
  EXPECT_EQ(model::answer_rows(sample), (std::vector<Index>{2, 8})); // the middle one is a prompt
  trained[9] = 1;                                                    // a segment without a row
  EXPECT_EQ(model::answer_rows(sample), (std::vector<Index>{2, 8}));
  const std::vector<std::int32_t> one = {0};
  EXPECT_EQ(model::answer_rows({tokens, one}), (std::vector<Index>{8})); // token 9 is a target only
}

// Two stages, with B and W apart or not: the bits of one piece, and no more memory than told.
template <class A> void expect_cut(Goal goal, bool deferred) {
  Problem p = objective_problem(goal, goal == Goal::reward ? 0 : 1);
  const Told t = told_for(p, goal);
  const Objective o = objective(goal);
  Runner<A> whole(p, weights_of<A>(p), o, t), cut(p, weights_of<A>(p), o, t);
  const MicroLoss expected = whole.run();
  model::Stage<A> first(p.dims, p.recompute, 2, p.sequence(), {0, 2, true, false}),
      last(p.dims, p.recompute, 2, p.sequence(), {2, 3, false, true});
  first.set_objective(o), last.set_objective(o);
  tensor::Arena front("front", first.tape_bytes(deferred)), back("back", last.tape_bytes(deferred)),
      scratch("scratch", std::max(first.scratch_bytes(), last.scratch_bytes()));
  tensor::Context ctx{tensor::Exec(), scratch};
  const auto batch = cut.batch();
  const model::LossScales scales{p.scales.main, p.scales.mtp, p.scales.balance, p.scales.alpha};
  const auto acc = model::grads(cut.program().layout(), cut.program().gradients());
  const auto w = cut.program().weights();
  model::Tape<A> one, two;
  first.forward(ctx, front, w, batch, scales, acc, cut.program().loads(), {}, one);
  last.forward(ctx, back, w, batch, scales, acc, cut.program().loads(), one.x_TD.back(), two);
  const tensor::Mat<A> dx("dx", 2 * kSequence, p.dims.model);
  if (deferred) {
    last.backward_input(ctx, back, w, batch, scales, {}, two, dx);
    first.backward_input(ctx, front, w, batch, scales, dx, one, {});
    first.backward_weight(ctx, batch, acc, one);
    last.backward_weight(ctx, batch, acc, two);
  } else {
    last.backward(ctx, w, batch, scales, acc, {}, two, dx);
    first.backward(ctx, w, batch, scales, acc, dx, one, {});
  }
  const MicroLoss got = last.losses(ctx, two), other = first.losses(ctx, one);
  EXPECT_EQ(got.main, expected.main);
  EXPECT_EQ(got.extra, expected.extra);
  EXPECT_EQ(got.apart, expected.apart);
  EXPECT_TRUE(other.extra.empty() && other.main == 0);
  EXPECT_EQ(cut.program().hash(), whole.program().hash());
  // The passes that keep nothing, stage by stage.
  tensor::Arena visitors("visitors", 1 << 12);
  const tensor::Mat<A> border("border", 2 * kSequence, p.dims.model);
  first.log_probabilities(ctx, visitors, w, batch, {}, border);
  EXPECT_EQ(last.log_probabilities(ctx, visitors, w, batch, border, {}).logp_T,
            whole.logp().logp_T);
}
TEST(Objective, CutModelsComputeTheSameBits) {
  for (const Goal goal : {Goal::policy, Goal::distil, Goal::reward})
    for (const bool deferred : {false, true}) {
      expect_cut<float>(goal, deferred);
      expect_cut<bf16>(goal, deferred);
    }
}

// A coefficient that is not finite is named.
TEST(Objective, ABadAdvantageIsFound) {
  const Problem p = objective_problem(Goal::policy);
  Told t = told(p);
  t.advantage[1].assign(t.advantage[1].size(), NAN);
  Runner<float> runner(p, weights_of<float>(p), objective(Goal::policy), t);
  runner.run();
  EXPECT_EQ(runner.program().stage().first_bad_activation().rfind("policy: ", 0), 0U)
      << runner.program().stage().first_bad_activation();
}

} // namespace
