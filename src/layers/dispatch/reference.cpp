// SPDX-License-Identifier: Apache-2.0
// To read, not to run fast: every rank gets the tokens, choices and weights of all ranks, then the results of all experts, and picks
// what it needs in plain loops, in one fixed order. The other ways must equal it to the last bit. On the host only.
#include "base/error.hpp"
#include "layers/dispatch/ways.hpp"

namespace layers::dispatch {
namespace {

// The same array of all ranks, one behind the other.
template <class T> struct Everybody {
  std::vector<T> values;
  Rows rows;
  Index width = 1;
  const T &at(std::size_t rank, Index row, Index column) const {
    return values[static_cast<std::size_t>((rows.first[rank] + row) * width + column)];
  }
};

class Home : public Journey {
public:
  std::shared_ptr<void> results;
};

template <class A> class Reference final : public Route<A> {
public:
  Reference(const Group &group, const arch::Dims &dims, const Plan &plan, tensor::Arena &keep)
      : dims_(dims), formats_(plan.formats), keep_(keep), ep_(*group.ep),
        ranks_(static_cast<std::size_t>(group.ep->size())),
        me_(static_cast<std::size_t>(group.ep->rank())), local_(dims.experts / group.ep->size()) {}

  std::unique_ptr<Flight> dispatch(Context &ctx, Mat<const std::int32_t> expert_TK,
                                   Mat<const float> weight_TK, Mat<const A> x_TD) override;
  std::unique_ptr<Flight> combine(Context &ctx, Mat<const A> y_BD) override {
    return home(ctx, "combine", y_BD);
  }
  std::unique_ptr<Flight> dispatch_gradient(Context &ctx, Mat<const A> dy_TD,
                                            Mat<A> dy_BD) override;
  std::unique_ptr<Flight> combine_gradient(Context &ctx, Mat<const A> dx_BD,
                                           Mat<const float> dweight_B1,
                                           Mat<float> dweight_TK) override;
  void sum(Context &ctx, const char *label, Flight &landed, Mat<const A> base_TD,
           Mat<A> y_TD) override;

private:
  template <class T>
  std::shared_ptr<Everybody<T>> gather(Journey &flight, int tag, const char *operation,
                                       std::shared_ptr<std::vector<T>> mine, Rows rows, Index width,
                                       std::function<void(Context &)> landed = {});
  std::unique_ptr<Home> home(Context &ctx, const char *operation, Mat<const A> y_BD);
  std::shared_ptr<std::vector<A>> rounded(Mat<const A> x) const;
  void arrive(Context &ctx, const Everybody<float> &weight_TK);
  // f(row of B on rank r, source, token, copy) in the order of that rank's arrivals.
  template <class F> void arrivals(std::size_t r, const F &f) const;
  Rows arrivals_of_all() const;

  arch::Dims dims_;
  Formats formats_;
  tensor::Arena &keep_;
  comm::Communicator &ep_;
  std::size_t ranks_, me_;
  Index local_;
  Rows tokens_; // of each rank
  std::shared_ptr<Everybody<std::int32_t>> expert_;
};

template <class T> std::shared_ptr<std::vector<T>> copy_of(Mat<const T> values) {
  return std::make_shared<std::vector<T>>(values.data(), values.data() + values.size());
}

template <class A> float round_as(Format format, float value) {
  float result = value;
  with_combine_type<A>(format, [&](auto type) {
    result = static_cast<float>(typename decltype(type)::type(value));
  });
  return result;
}

template <class A>
template <class T>
std::shared_ptr<Everybody<T>> Reference<A>::gather(Journey &flight, int tag, const char *operation,
                                                   std::shared_ptr<std::vector<T>> mine, Rows rows,
                                                   Index width,
                                                   std::function<void(Context &)> landed) {
  auto all = std::make_shared<Everybody<T>>();
  all->rows = rows, all->width = width;
  all->values.resize(static_cast<std::size_t>(rows.total * width));
  const std::size_t bytes = sizeof(T) * static_cast<std::size_t>(width);
  Rows same(std::vector<Index>(ranks_, rows.count[me_])); // the same block to everybody
  same.first.assign(ranks_, 0);
  auto messages = receive_rows(ep_, tag, all->values.data(), rows, bytes, this->what(operation));
  append(messages, send_rows(ep_, tag, mine->data(), same, bytes, this->what(operation)));
  keep_rows(ep_, mine->data(), same, all->values.data(), rows, bytes, this->what(operation));
  flight.add(std::move(messages), [mine, all, landed](Context &ctx) {
    if (landed) landed(ctx);
  });
  return all;
}

template <class A> template <class F> void Reference<A>::arrivals(std::size_t r, const F &f) const {
  Index row = 0;
  for (std::size_t source = 0; source < ranks_; ++source)
    for (Index e = static_cast<Index>(r) * local_; e < static_cast<Index>(r + 1) * local_; ++e)
      for (Index t = 0; t < tokens_.count[source]; ++t)
        for (Index k = 0; k < dims_.chosen; ++k)
          if (expert_->at(source, t, k) == e) f(row++, source, t, k);
}

template <class A> Rows Reference<A>::arrivals_of_all() const {
  std::vector<Index> rows(ranks_, 0);
  for (std::size_t r = 0; r < ranks_; ++r)
    arrivals(r, [&](Index, std::size_t, Index, Index) { ++rows[r]; });
  return Rows(rows);
}

// Rows as they leave for the experts.
template <class A> std::shared_ptr<std::vector<A>> Reference<A>::rounded(Mat<const A> x) const {
  auto rows = copy_of(x);
  with_dispatch_type<A>(formats_.dispatch, [&](auto type) {
    using M = typename decltype(type)::type;
    for (A &value : *rows) value = A(static_cast<float>(M(static_cast<float>(value))));
  });
  return rows;
}

template <class A>
std::unique_ptr<Flight> Reference<A>::dispatch(Context &ctx, Mat<const std::int32_t> expert_TK,
                                               Mat<const float> weight_TK, Mat<const A> x_TD) {
  tensor::fence(ctx, "layers::dispatch::reference: tokens");
  auto flight = std::make_unique<Journey>();
  Journey &same = *flight;
  const int count_tag = ep_.next_tag(), expert_tag = ep_.next_tag(), weight_tag = ep_.next_tag(),
            row_tag = ep_.next_tag();
  const auto x = rounded(x_TD);
  const auto expert = copy_of(expert_TK);
  const auto weight = copy_of(weight_TK);
  auto count = std::make_shared<std::vector<std::int64_t>>(1, x_TD.extent(0));
  auto counts = std::make_shared<std::shared_ptr<Everybody<std::int64_t>>>();
  const auto told = [=, this, &same](Context &) {
    tokens_ = Rows((*counts)->values);
    auto open = std::make_shared<int>(3);
    auto weights = std::make_shared<std::shared_ptr<Everybody<float>>>();
    auto rows = std::make_shared<std::shared_ptr<Everybody<A>>>();
    const auto landed = [=, this](Context &later) {
      if (--*open > 0) return;
      arrive(later, **weights);
      arrivals(me_, [&](Index b, std::size_t source, Index t, Index) {
        for (Index d = 0; d < dims_.model; ++d) this->x_BD_(b, d) = (*rows)->at(source, t, d);
      });
    };
    expert_ = gather<std::int32_t>(same, expert_tag, "dispatch choices", expert, tokens_,
                                   dims_.chosen, landed);
    *weights =
        gather<float>(same, weight_tag, "dispatch weights", weight, tokens_, dims_.chosen, landed);
    *rows = gather<A>(same, row_tag, "dispatch", x, tokens_, dims_.model, landed);
  };
  *counts = gather<std::int64_t>(same, count_tag, "dispatch counts", count,
                                 Rows(std::vector<Index>(ranks_, 1)), 1, told);
  return flight;
}

// Sources with their weights.
template <class A> void Reference<A>::arrive(Context &ctx, const Everybody<float> &weight_TK) {
  std::vector<std::int32_t> counts(ranks_ * static_cast<std::size_t>(local_), 0);
  const Index first = static_cast<Index>(me_) * local_;
  arrivals(me_, [&](Index, std::size_t source, Index t, Index k) {
    ++counts[source * static_cast<std::size_t>(local_) +
             static_cast<std::size_t>(expert_->at(source, t, k) - first)];
  });
  Mat<float> weight_B1;
  this->sources_ = make_sources(ctx, keep_, counts, local_, weight_B1);
  this->x_BD_ = keep_.mat<A>(static_cast<Index>(weight_B1.extent(0)), dims_.model);
  arrivals(me_, [&](Index b, std::size_t source, Index t, Index k) {
    weight_B1(b, 0) = weight_TK.at(source, t, k);
  });
}

template <class A>
std::unique_ptr<Flight> Reference<A>::dispatch_gradient(Context &ctx, Mat<const A> dy_TD,
                                                        Mat<A> dy_BD) {
  tensor::fence(ctx, "layers::dispatch::reference: gradients");
  auto flight = std::make_unique<Journey>();
  auto rows = std::make_shared<std::shared_ptr<Everybody<A>>>();
  *rows = gather<A>(*flight, ep_.next_tag(), "dispatch gradient", rounded(dy_TD), tokens_,
                    dims_.model, [=, this](Context &) {
                      arrivals(me_, [&](Index b, std::size_t source, Index t, Index) {
                        for (Index d = 0; d < dims_.model; ++d)
                          dy_BD(b, d) = (*rows)->at(source, t, d);
                      });
                      rows->reset();
                    });
  return flight;
}

template <class A>
std::unique_ptr<Home> Reference<A>::home(Context &ctx, const char *operation, Mat<const A> y_BD) {
  tensor::fence(ctx, "layers::dispatch::reference: results");
  auto flight = std::make_unique<Home>();
  flight->results =
      gather<A>(*flight, ep_.next_tag(), operation, copy_of(y_BD), arrivals_of_all(), dims_.model);
  return flight;
}

template <class A>
std::unique_ptr<Flight> Reference<A>::combine_gradient(Context &ctx, Mat<const A> dx_BD,
                                                       Mat<const float> dweight_B1,
                                                       Mat<float> dweight_TK) {
  auto flight = home(ctx, "combine gradient", dx_BD);
  auto all = std::make_shared<std::shared_ptr<Everybody<float>>>();
  *all = gather<float>(*flight, ep_.next_tag(), "combine gradient of weights", copy_of(dweight_B1),
                       arrivals_of_all(), 1, [=, this](Context &) {
                         for (std::size_t r = 0; r < ranks_; ++r)
                           arrivals(r, [&](Index b, std::size_t source, Index t, Index k) {
                             if (source == me_) dweight_TK(t, k) = (*all)->at(r, b, 0);
                           });
                         all->reset();
                       });
  return flight;
}

template <class A>
void Reference<A>::sum(Context &ctx, const char *label, Flight &landed, Mat<const A> base_TD,
                       Mat<A> y_TD) {
  const auto &results = *static_cast<Everybody<A> *>(static_cast<Home &>(landed).results.get());
  const Index T = y_TD.extent(0), K = dims_.chosen, per_group = dims_.experts / dims_.groups;
  std::vector<Index> row_TK(static_cast<std::size_t>(T * K)); // on the rank of its expert
  for (std::size_t r = 0; r < ranks_; ++r)
    arrivals(r, [&](Index b, std::size_t source, Index t, Index k) {
      if (source == me_) row_TK[static_cast<std::size_t>(t * K + k)] = b;
    });
  for (Index t = 0; t < T; ++t)
    for (Index d = 0; d < dims_.model; ++d) {
      float total = 0;
      for (Index k = 0; k < K;) {
        float group = 0;
        const Index g = expert_->at(me_, t, k) / per_group;
        for (; k < K && expert_->at(me_, t, k) / per_group == g; ++k)
          group += static_cast<float>(
              results.at(static_cast<std::size_t>(expert_->at(me_, t, k) / local_),
                         row_TK[static_cast<std::size_t>(t * K + k)], d));
        total += round_as<A>(formats_.combine, group);
      }
      if (base_TD.data()) total += static_cast<float>(base_TD(t, d));
      y_TD(t, d) = A(total);
    }
  ctx.count(label, static_cast<double>(K * y_TD.size()), 0);
}

} // namespace

template <class A>
std::unique_ptr<Route<A>> make_reference(const Group &group, const arch::Dims &dims,
                                         const Plan &plan, tensor::Arena &keep) {
  HADAL_CHECK(tensor::kOnHost, "the reference reads the arrays on the host");
  return std::make_unique<Reference<A>>(group, dims, plan, keep);
}
template std::unique_ptr<Route<float>> make_reference(const Group &, const arch::Dims &,
                                                      const Plan &, tensor::Arena &);
template std::unique_ptr<Route<bf16>> make_reference(const Group &, const arch::Dims &,
                                                     const Plan &, tensor::Arena &);

} // namespace layers::dispatch
