// SPDX-License-Identifier: Apache-2.0
#pragma once
// A case walked by one rank with a Route: the four journeys, polled now and then, and everything compared to the last bit.
#include "comm/mesh.hpp"
#include "tests/parallel/contract/bodies.hpp"
#include "tests/parallel/routing/case.hpp"

namespace routing {

// Memory of each rank, made by the main thread: Kokkos 3.4 allocates there only.
struct Memory {
  tensor::Arena scratch{"routing scratch", std::size_t{8} << 20},
      keep{"routing keep", std::size_t{8} << 20}, own{"routing test", std::size_t{8} << 20};
};

template <class T> bool same(const T *a, const T *b, std::size_t n) {
  return n == 0 || std::memcmp(a, b, n * sizeof(T)) == 0;
}

template <class A> class Walk {
public:
  Walk(const Case &c, dispatch::Way way, const comm::Mesh &mesh, Memory &memory)
      : case_(c), dims_(c.dims()), rank_(mesh.place.ep_rank), in_(c, rank_), expected_(c, rank_),
        memory_(memory), keep_(memory.own), random_(c.seed + static_cast<unsigned>(rank_)) {
    tensor::Context ctx{tensor::Exec(), memory.scratch};
    plan_ = dispatch::allocate(keep_, dims_, in_.T, c.formats);
    expert_ = put(in_.expert, in_.T, c.chosen);
    weight_ = put(in_.weight, in_.T, c.chosen);
    x_ = put(in_.x, in_.T, c.width), base_ = put(in_.base, in_.T, c.width);
    dy_ = put(in_.dy, in_.T, c.width);
    dispatch::plan(ctx, dims_, expert_, plan_);
    group_ = {mesh.ep.get(), mesh.ep_node.get(), mesh.ep_cross.get(),
              way,           c.formats,          c.most_tokens()};
    route_ = dispatch::make_route<A>(group_, dims_, plan_, memory.keep);
    route_->belongs_to(7);
  }

  // Start and end of each journey, apart.
  std::unique_ptr<dispatch::Flight> start_dispatch(tensor::Context &ctx) {
    return planned([&] { return route_->dispatch(ctx, expert_, weight_, x_); });
  }
  void end_dispatch(tensor::Context &ctx, dispatch::Flight &flight) {
    const std::size_t before = memory_.keep.used();
    land(ctx, flight);
    auto most = tensor::Arena::counting("kept");
    dispatch::count_kept<A>(group_, dims_, in_.T, most);
    EXPECT_LE(memory_.keep.used() - before, most.used());
    check_arrivals();
  }
  std::unique_ptr<dispatch::Flight> start_combine(tensor::Context &ctx) {
    y_BD_ = keep_.mat<A>(route_->rows(), case_.width);
    each_row([&](Index b, Index expert, const dispatch::Source &source, Index row) {
      for (Index d = 0; d < case_.width; ++d)
        y_BD_(b, d) = expert_output<A>(expert, source.weight_B1(row, 0), route_->x_BD()(b, d));
    });
    return planned([&] { return route_->combine(ctx, y_BD_); });
  }
  void end_combine(tensor::Context &ctx, dispatch::Flight &flight) {
    land(ctx, flight);
    const Mat<A> y = keep_.mat<A>(in_.T, case_.width);
    route_->sum(ctx, "routing::sum", flight, base_, y);
    EXPECT_TRUE(same(y.data(), expected_.y.data(), y.size())) << "combine";
    route_->sum(ctx, "routing::sum", flight, {}, y);
    EXPECT_TRUE(same(y.data(), expected_.y_plain.data(), y.size())) << "combine without base";
  }
  std::unique_ptr<dispatch::Flight> start_dispatch_gradient(tensor::Context &ctx) {
    dy_BD_ = keep_.mat<A>(route_->rows(), case_.width);
    return planned([&] { return route_->dispatch_gradient(ctx, dy_, dy_BD_); });
  }
  std::unique_ptr<dispatch::Flight> start_combine_gradient(tensor::Context &ctx) {
    dx_BD_ = keep_.mat<A>(route_->rows(), case_.width);
    dweight_B1_ = keep_.mat<float>(route_->rows(), 1);
    dweight_TK_ = keep_.mat<float>(in_.T, case_.chosen);
    each_row([&](Index b, Index expert, const dispatch::Source &, Index) {
      for (Index d = 0; d < case_.width; ++d) dx_BD_(b, d) = expert_gradient(expert, dy_BD_(b, d));
      dweight_B1_(b, 0) = weight_gradient(expert, static_cast<float>(dy_BD_(b, 0)));
    });
    return planned([&] { return route_->combine_gradient(ctx, dx_BD_, dweight_B1_, dweight_TK_); });
  }
  void end_combine_gradient(tensor::Context &ctx, dispatch::Flight &flight) {
    land(ctx, flight);
    const Mat<A> dx = keep_.mat<A>(in_.T, case_.width);
    route_->sum(ctx, "routing::sum_gradient", flight, base_, dx);
    EXPECT_TRUE(same(dx.data(), expected_.dx.data(), dx.size())) << "combine gradient";
    EXPECT_TRUE(same(dweight_TK_.data(), expected_.dweight.data(), dweight_TK_.size()))
        << "gradient of the routing weights";
  }
  // The memory of a flight that starts() is within what was planned.
  template <class F> std::unique_ptr<dispatch::Flight> planned(const F &starts) {
    const std::size_t before = memory_.scratch.used();
    auto flight = starts();
    auto most = tensor::Arena::counting("flight");
    dispatch::count_flight<A>(group_, dims_, in_.T, most);
    EXPECT_LE(memory_.scratch.used() - before, most.used());
    return flight;
  }
  void land(tensor::Context &ctx, dispatch::Flight &flight) {
    for (unsigned polls = random_() % 4; polls > 0; --polls) flight.progress(ctx);
    flight.finish(ctx);
    EXPECT_TRUE(flight.progress(ctx));
  }

private:
  template <class T> Mat<const T> put(const std::vector<T> &values, Index n, Index m) {
    const Mat<T> to = keep_.mat<T>(n, m);
    std::copy(values.begin(), values.end(), to.data());
    return to;
  }
  // f(row of B, expert of the model, source, row of the source).
  template <class F> void each_row(const F &f) {
    const Index local = case_.experts / case_.ep;
    for (const dispatch::Source &source : route_->sources())
      for (Index e = 0; e < local; ++e)
        for (Index row = source.plan.offsets(e); row < source.plan.offsets(e + 1); ++row)
          f(source.first + row, rank_ * local + e, source, row);
  }
  // By source rank, then expert, then token.
  void check_arrivals() {
    const Index local = case_.experts / case_.ep;
    ASSERT_EQ(route_->sources().size(), static_cast<std::size_t>(case_.ep));
    Index b = 0;
    for (int r = 0; r < case_.ep; ++r) {
      const dispatch::Source &source = route_->sources()[static_cast<std::size_t>(r)];
      const Inputs<A> theirs(case_, r);
      ASSERT_EQ(source.first, b);
      for (Index e = 0; e < local; ++e) {
        ASSERT_EQ(source.plan.offsets(e), b - source.first);
        for (std::size_t i = 0; i < theirs.expert.size(); ++i) {
          if (theirs.expert[i] != rank_ * local + e) continue;
          const Index row = b - source.first, t = static_cast<Index>(i) / case_.chosen;
          ASSERT_LT(row, source.rows);
          ASSERT_EQ(source.weight_B1(row, 0), theirs.weight[i]);
          ASSERT_EQ(source.plan.token_A(row), row);
          ASSERT_EQ(source.plan.arrival_TK(row, 0), row);
          for (Index d = 0; d < case_.width; ++d) {
            const A x = theirs.x[static_cast<std::size_t>(t * case_.width + d)];
            ASSERT_EQ(
                static_cast<float>(route_->x_BD()(b, d)),
                static_cast<float>(rounded<A>(case_.formats.dispatch, static_cast<float>(x))));
          }
          ++b;
        }
      }
      ASSERT_EQ(source.rows, b - source.first);
      ASSERT_EQ(source.plan.offsets(local), source.rows);
    }
    ASSERT_EQ(route_->rows(), b);
  }

  Case case_;
  arch::Dims dims_;
  int rank_;
  Inputs<A> in_;
  Expected<A> expected_;
  Memory &memory_;
  tensor::Arena &keep_; // of the test itself
  dispatch::Group group_;
  std::mt19937 random_;
  dispatch::Plan plan_;
  Mat<const std::int32_t> expert_;
  Mat<const float> weight_;
  Mat<const A> x_, base_, dy_;
  Mat<A> y_BD_, dy_BD_, dx_BD_;
  Mat<float> dweight_B1_, dweight_TK_;
  std::unique_ptr<dispatch::Route<A>> route_;
};

} // namespace routing
