// SPDX-License-Identifier: Apache-2.0
// A model cut into stages, with B and W apart, computes the same bits as in one piece.
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include "tests/gradient/model/problem.hpp"

namespace {

using namespace model_test;
using model::MicroLoss;
using model::Part;
using model::Tape;

struct Cut {
  std::vector<Index> borders; // first layers of the stages but the first
  bool deferred = false;      // B and W apart
};

// The same as Program::run, stage by stage. Arenas start as NaN: nothing may read what was not written.
template <class A> class Pipeline {
public:
  Pipeline(const Problem &p, Program<A> &program, const Cut &cut) : problem_(p), program_(program) {
    const Index L = p.dims.layers, samples = static_cast<Index>(p.samples.size());
    for (std::size_t s = 0; s <= cut.borders.size(); ++s) {
      const Part part{s == 0 ? 0 : cut.borders[s - 1], s == cut.borders.size() ? L : cut.borders[s],
                      s == 0, s == cut.borders.size()};
      stages_.emplace_back(p.dims, p.recompute, samples, p.sequence(), part);
      arenas_.push_back(
          std::make_unique<tensor::Arena>("test::tape", stages_.back().tape_bytes(cut.deferred)));
      spoil(*arenas_.back());
      scratch_ = std::max(scratch_, stages_.back().scratch_bytes());
    }
    deferred_ = cut.deferred;
  }

  MicroLoss run(const model::Grads &acc, tensor::Mat<std::int64_t> load) {
    tensor::Arena arena("test::scratch", scratch_);
    spoil(arena);
    tensor::Context ctx{tensor::Exec(), arena};
    const auto batch = program_.batch();
    const model::LossScales scales{problem_.scales.main, problem_.scales.mtp,
                                   problem_.scales.balance, problem_.scales.alpha};
    const Index T = batch.main.samples * batch.main.rows, D = problem_.dims.model;
    std::vector<Tape<A>> tapes(stages_.size());
    for (std::size_t s = 0; s < stages_.size(); ++s)
      stages_[s].forward(ctx, *arenas_[s], program_.weights(), batch, scales, acc, load,
                         s == 0 ? tensor::Mat<A>() : tapes[s - 1].x_TD.back(), tapes[s]);
    tensor::Mat<A> dy;
    for (std::size_t s = stages_.size(); s-- > 0;) {
      const tensor::Mat<A> dx = s == 0 ? tensor::Mat<A>() : tensor::Mat<A>("test::dx", T, D);
      if (deferred_)
        stages_[s].backward_input(ctx, *arenas_[s], program_.weights(), batch, scales, dy, tapes[s],
                                  dx);
      else
        stages_[s].backward(ctx, program_.weights(), batch, scales, acc, dy, tapes[s], dx);
      dy = dx;
    }
    spoil(arena); // W reads no scratch of B
    if (deferred_)
      for (std::size_t s = 0; s < stages_.size(); ++s)
        stages_[s].backward_weight(ctx, batch, acc, tapes[s]);
    MicroLoss loss;
    for (std::size_t s = 0; s < stages_.size(); ++s) {
      const MicroLoss part = stages_[s].losses(ctx, tapes[s]);
      loss.main += part.main;
      if (!part.mtp.empty()) loss.mtp = part.mtp;
      loss.balance_BS.resize(part.balance_BS.size());
      for (std::size_t i = 0; i < part.balance_BS.size(); ++i)
        loss.balance_BS[i] += part.balance_BS[i];
    }
    return loss;
  }

private:
  static void spoil(tensor::Arena &arena) {
    tensor::Arena::Scope scope(arena);
    Kokkos::deep_copy(tensor::Vec<char>(arena.vec<char>(0).data(), arena.capacity()),
                      static_cast<char>(0xFF));
  }
  const Problem &problem_;
  Program<A> &program_;
  std::vector<model::Stage<A>> stages_;
  std::vector<std::unique_ptr<tensor::Arena>> arenas_;
  std::size_t scratch_ = 0;
  bool deferred_ = false;
};

template <class A> void expect_same(const Problem &p, const Cut &cut) {
  Program<A> whole(p, weights_of<A>(p)), cut_up(p, weights_of<A>(p));
  const MicroLoss expected = whole.run();
  const MicroLoss got = Pipeline<A>(p, cut_up, cut)
                            .run(model::grads(cut_up.layout(), cut_up.gradients()), cut_up.loads());
  EXPECT_EQ(got.main, expected.main);
  EXPECT_EQ(got.mtp, expected.mtp);
  EXPECT_EQ(got.balance_BS, expected.balance_BS);
  EXPECT_EQ(cut_up.hash(), whole.hash());
  EXPECT_EQ(
      support::download(tensor::Vec<std::int64_t>(cut_up.loads().data(), cut_up.loads().size())),
      support::download(tensor::Vec<std::int64_t>(whole.loads().data(), whole.loads().size())));
}

std::vector<Problem> problems() {
  std::vector<Problem> all;
  for (const bool post : {true, false}) {
    arch::Dims d = v3_dims();
    d.layers = 4, d.mtp_depth = 2;
    d.mtp_hidden = post ? arch::MtpHidden::post_norm : arch::MtpHidden::pre_norm;
    all.push_back(problem(d, {0, 5}));
  }
  all.push_back(problem(v3_dims()));
  all.back().recompute = {true, true, true, true};
  all.push_back(problem(v3_dims()));
  all.back().recompute = {false, false, false, false};
  return all;
}

template <class A> void all_cuts() {
  const auto list = problems();
  for (const Problem &p : list)
    for (const bool deferred : {false, true})
      for (const auto &borders :
           std::vector<std::vector<Index>>{{}, {1}, {2}, {1, 2}, {0}, {1, 1}, {p.dims.layers}}) {
        SCOPED_TRACE(fmt::format("deferred {}, borders {}, problem {}", deferred,
                                 fmt::join(borders, " "), &p - list.data()));
        expect_same<A>(p, {borders, deferred});
      }
}

TEST(Stages, CutModelsComputeTheSameBits) { all_cuts<float>(); }
TEST(Stages, CutModelsComputeTheSameBitsInBf16) { all_cuts<bf16>(); }

} // namespace
