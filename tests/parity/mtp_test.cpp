// SPDX-License-Identifier: Apache-2.0
// A model with one MTP module: losses and gradients as by the module of transformers 5.23, which sees the main model behind its final norm.
#include <cstdio>

#include "arch/options.hpp"
#include "deck/deck.hpp"
#include "tests/parity/trained.hpp"

namespace {

using namespace parity;

class Mtp : public testing::Test {
protected:
  Mtp()
      : expected_(reference("mtp") / "expected.safetensors"), golden_(golden_json("mtp")),
        reader_(imported("mtp")) {
    deck::Deck deck = deck::Deck::parse(reader_.deck(), "deck of the import");
    dims_ = arch::read_dims(deck);
  }
  model_test::Problem with_module(const arch::Dims &dims) const {
    auto p = problem(dims, tokens_of(expected_));
    const auto rows = static_cast<double>(p.sequence() - 1);
    p.scales.mtp = {golden_.at("lambda").get<double>() /
                    (rows * static_cast<double>(p.samples.size()))};
    return p;
  }
  const Tensors expected_;
  const nlohmann::json golden_;
  const checkpoint::Reader reader_;
  arch::Dims dims_;
};

TEST_F(Mtp, same_losses_and_gradients) {
  ASSERT_EQ(dims_.mtp_depth, 1);
  const auto p = with_module(dims_);
  model_test::Program<float> program(p, weights_of(reader_, dims_));
  const auto sums = program.run();
  const double main = sums.main * p.scales.main;
  const double mtp = sums.mtp.at(0) * p.scales.mtp[0] / golden_.at("lambda").get<double>();
  const Values theirs = expected_.at("loss");
  const double difference = std::max(std::abs(main - theirs[0]), std::abs(mtp - theirs[1]));
  const Gradients worst = compare_gradients(program, dims_, expected_, kGradient);
  std::printf("| mtp | losses %.8f %.8f | difference %.1e | %zu gradients, worst %.1e (%s) |\n",
              main, mtp, difference, worst.compared, worst.error, worst.name.c_str());
  EXPECT_LE(difference, kLoss);
}

TEST_F(Mtp, the_state_before_the_norm_is_another_model) {
  arch::Dims other = dims_;
  other.mtp_hidden = arch::MtpHidden::pre_norm;
  const auto p = with_module(other);
  model_test::Program<float> program(p, weights_of(reader_, other));
  const double mtp = program.run().mtp.at(0) * p.scales.mtp[0] / golden_.at("lambda").get<double>();
  EXPECT_GT(std::abs(mtp - expected_.at("loss")[1]), 1e-3);
}

} // namespace
