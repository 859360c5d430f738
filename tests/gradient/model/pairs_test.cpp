// SPDX-License-Identifier: Apache-2.0
// The forward pass of one micro-batch and the backward pass of another, taking turns, compute the bits that they compute one after the
// other. The two are on stages of one model, of equal or different lengths, as on a rank of DualPipe.
#include <gtest/gtest.h>

#include <regex>

#include <fmt/format.h>

#include "comm/loopback/loopback.hpp"
#include "tests/gradient/model/problem.hpp"

namespace {

using namespace model_test;
using model::MicroLoss;
using model::Part;
using model::Stage;
using model::Tape;

// The stages [0, border) and [border, L): `front` is which of them goes forward.
struct Cut {
  Index border = 0;
  int front = 0;
};

template <class A> class Pair {
public:
  Pair(const Problem &first, const Problem &second, const Cut &cut)
      : program_(first, weights_of<A>(first)),
        other_(second, weights_of<A>(first)), batches_{program_.batch(), other_.batch()},
        scales_{first.scales.main, first.scales.mtp, first.scales.balance, first.scales.alpha},
        front_(cut.front), T_(batches_[0].main.samples * batches_[0].main.rows),
        D_(first.dims.model) {
    const Index L = first.dims.layers;
    for (const Part part : {Part{0, cut.border, true, false}, Part{cut.border, L, false, true}})
      stages_.emplace_back(first.dims, first.recompute, static_cast<Index>(first.samples.size()),
                           first.sequence(), part);
  }

  // An expert group of this rank alone: its messages travel to itself, and are polled.
  void group() {
    world_ = comm::loopback::alone(std::make_shared<comm::Terms>());
    for (auto &stage : stages_) {
      stage.set_expert_group({world_.get()});
      stage.set_flights(&flights_);
    }
    flights_.set_trace(&trace_);
  }
  const model::Flights &flights() const { return flights_; }
  // Names of the spans of a lane ("compute", "communication"), in the order of their beginning.
  std::vector<std::string> spans(const std::string &lane) const {
    const std::string json = trace_.json(0, "test", 0);
    const std::regex one("\"name\":\"([^\"]*)\",\"cat\":\"" + lane + "\"");
    std::vector<std::string> names;
    for (auto i = std::sregex_iterator(json.begin(), json.end(), one); i != std::sregex_iterator();
         ++i)
      names.push_back((*i)[1]);
    return names;
  }

  // Micro-batch 1 goes forward on one stage, micro-batch 0 backward on the other. Its own forward has been before; what micro-batch 1
  // receives is the output of micro-batch 0 on the first stage, or nothing.
  std::string run(bool in_turns) {
    const auto acc = model::grads(program_.layout(), program_.gradients());
    const auto weights = program_.weights();
    const int back = 1 - front_;
    std::vector<std::unique_ptr<tensor::Arena>> kept;
    for (int i = 0; i < 3; ++i)
      kept.push_back(
          spoilt(stages_[static_cast<std::size_t>(i == 2 ? front_ : i)].tape_bytes(false)));
    auto &front_stage = stages_[static_cast<std::size_t>(front_)];
    auto &back_stage = stages_[static_cast<std::size_t>(back)];
    const auto scratch = spoilt(std::max(stages_[0].scratch_bytes(), stages_[1].scratch_bytes())),
               beside = spoilt(back_stage.pair_scratch_bytes());
    tensor::Context ctx{tensor::Exec(), *scratch};
    ctx.background = &flights_;
    tensor::Context other = ctx.within(*beside);
    Tape<A> tapes[2], front_tape;
    stages_[0].forward(ctx, *kept[0], weights, batches_[0], scales_, acc, program_.loads(), {},
                       tapes[0]);
    stages_[1].forward(ctx, *kept[1], weights, batches_[0], scales_, acc, program_.loads(),
                       tapes[0].x_TD.back(), tapes[1]);
    trace_.clear(), flights_.reset();
    const tensor::Mat<A> dy("test::dy", T_, D_), dx("test::dx", T_, D_);
    support::upload(support::normal(static_cast<std::size_t>(T_ * D_), 3),
                    tensor::Mat<A>(dy)); // as if from a stage behind
    const tensor::Mat<A> x = front_ == 0 ? tensor::Mat<A>() : tapes[0].x_TD.back();
    auto &back_tape = tapes[back];
    if (in_turns) {
      const auto forward = front_stage.forward_walk(ctx, *kept[2], weights, batches_[1], scales_,
                                                    acc, program_.loads(), x, front_tape);
      const auto backward =
          back_stage.backward_walk(other, weights, batches_[0], scales_, acc, dy, back_tape, dx);
      model::walk_pair(*forward, *backward);
    } else {
      front_stage.forward(ctx, *kept[2], weights, batches_[1], scales_, acc, program_.loads(), x,
                          front_tape);
      back_stage.backward(ctx, weights, batches_[0], scales_, acc, dy, back_tape, dx);
    }
    // What nobody may touch any more: the passes have ended, their scratch is empty.
    EXPECT_EQ(scratch->used() + beside->used(), 0U);
    const MicroLoss of_front = front_stage.losses(ctx, front_tape),
                    of_back = back_stage.losses(ctx, back_tape);
    std::string text = program_.hash();
    for (const MicroLoss &loss : {of_front, of_back}) {
      text += fmt::format("\n{:a}", loss.main);
      for (const double value : loss.mtp) text += fmt::format(" {:a}", value);
      for (const double value : loss.balance_BS) text += fmt::format(" {:a}", value);
    }
    for (const auto &array : {front_tape.x_TD.back(), dx}) {
      double sum = 0;
      Index i = 0;
      for (const double value : support::download(tensor::Vec<A>(array.data(), array.size())))
        if (array.data() != dx.data() || back == 1) sum += value * std::cos(double(i++));
      text += fmt::format("\n{:a}", sum);
    }
    for (const auto load : support::download(
             tensor::Vec<std::int64_t>(program_.loads().data(), program_.loads().size())))
      text += fmt::format(" {}", load);
    return text;
  }

private:
  // Exactly as large as planned, and full of NaN.
  static std::unique_ptr<tensor::Arena> spoilt(std::size_t bytes) {
    auto arena = std::make_unique<tensor::Arena>("test::pair", bytes);
    Kokkos::deep_copy(tensor::Vec<char>(arena->template vec<char>(0).data(), arena->capacity()),
                      static_cast<char>(0xFF));
    return arena;
  }

  Program<A> program_, other_;
  model::MicroBatch batches_[2];
  model::LossScales scales_;
  int front_;
  Index T_, D_;
  std::vector<Stage<A>> stages_;
  std::unique_ptr<comm::Communicator> world_;
  model::Flights flights_;
  base::Trace trace_;
};

template <class A>
void expect_same(const arch::Dims &dims, arch::Recompute recompute, std::vector<Index> borders) {
  Problem first = problem(dims, {0, 5}), second = problem(dims, {0}, 13, 7);
  first.recompute = second.recompute = recompute;
  for (const Index border : borders)
    for (const int front : {0, 1}) {
      SCOPED_TRACE(fmt::format("border {}, stage {} goes forward", border, front));
      const Cut cut{border, front};
      const std::string expected = Pair<A>(first, second, cut).run(false);
      EXPECT_EQ(expected.find("nan"), std::string::npos) << expected;
      EXPECT_EQ(Pair<A>(first, second, cut).run(true), expected);
      Pair<A> grouped(first, second, cut);
      grouped.group();
      EXPECT_EQ(grouped.run(border != 1 || front == 1), expected) << "with messages";
    }
}

arch::Dims dims_of(Index layers, Index depth, arch::MtpHidden hidden) {
  arch::Dims d = v3_dims();
  d.layers = layers, d.mtp_depth = depth, d.mtp_hidden = hidden;
  return d;
}

TEST(Pairs, TakeTurnsToTheSameBits) {
  expect_same<float>(dims_of(4, 2, arch::MtpHidden::post_norm), {}, {0, 1, 2, 3, 4});
}
TEST(Pairs, TakeTurnsToTheSameBitsInBf16BeforeTheNorm) {
  expect_same<bf16>(dims_of(3, 2, arch::MtpHidden::pre_norm), {}, {0, 1, 3});
}
TEST(Pairs, TakeTurnsToTheSameBitsRecomputed) {
  expect_same<float>(dims_of(3, 1, arch::MtpHidden::post_norm), {true, true, true, true}, {1, 2});
}
TEST(Pairs, TakeTurnsToTheSameBitsWithEverythingKept) {
  expect_same<bf16>(dims_of(3, 0, arch::MtpHidden::post_norm), {false, false, false, false}, {1});
}
TEST(Pairs, TakeTurnsToTheSameBitsWithoutMixtures) {
  arch::Dims d = dims_of(3, 0, arch::MtpHidden::post_norm);
  d.dense_layers = 3;
  expect_same<float>(d, {}, {1});
}
TEST(Pairs, TakeTurnsToTheSameBitsWithoutSharedExperts) {
  arch::Dims d = dims_of(3, 1, arch::MtpHidden::post_norm);
  d.shared = 0;
  expect_same<bf16>(d, {}, {1});
}

// What a rank of two mixtures a stage computes in a pair, and what leaves meanwhile, in the published order.
TEST(Pairs, TheTraceShowsThePublishedOrder) {
  arch::Dims d = dims_of(5, 0, arch::MtpHidden::post_norm);
  d.shared = 0;
  const Problem first = problem(d), second = problem(d, {0}, 13, 7);
  Pair<float> pair(first, second, {3, 0}); // F: dense, 2 mixtures; B: 2 mixtures
  pair.group();
  pair.run(true);
  using Names = std::vector<std::string>;
  EXPECT_EQ(pair.spans("compute"),
            (Names{"final norm B", "embedding F", "refill B",    "attention F", "experts B",
                   "experts W",    "dense F",     "attention B", "refill B",    "attention W",
                   "sum F",        "attention F", "experts B",   "experts W",   "experts F",
                   "attention B",  "attention W", "sum F",       "attention F", "experts F",
                   "sum F"}));
  EXPECT_EQ(pair.spans("communication"),
            (Names{"combine B", "dispatch B", "combine B", "dispatch F", "dispatch B", "combine F",
                   "dispatch F", "combine F"}));
  const auto hidden = pair.flights().hidden(model::Flights::Kind::experts);
  EXPECT_GT(hidden.in_flight, 0);
  EXPECT_LE(hidden.exposed, hidden.in_flight);
}

} // namespace
