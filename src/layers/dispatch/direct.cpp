// SPDX-License-Identifier: Apache-2.0
// One hop: the rows of this rank's arrivals (A, in expert order, so that each rank's share is one block) go straight to the ranks of
// their experts, the results of the experts straight home. Sizes home are known; on the way there the receivers are told first.
#include "layers/dispatch/ways.hpp"

namespace layers::dispatch {
namespace {

template <class A> class Home : public Journey {
public:
  Mat<A> y_AD;
};

template <class A> class Direct final : public Route<A> {
public:
  Direct(const Group &group, const arch::Dims &dims, const Plan &plan, tensor::Arena &keep)
      : group_(group), dims_(dims), plan_(plan), keep_(keep), ep_(*group.ep),
        local_(dims.experts / group.ep->size()) {}

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
           Mat<A> y_TD) override {
    dispatch::combine(ctx, label, dims_, plan_, expert_TK_,
                      Mat<const A>(static_cast<Home<A> &>(landed).y_AD), base_TD, y_TD);
  }

private:
  // What stays with a dispatch until its counts and rows have come. M: the type in which rows leave.
  template <class M> struct Going {
    std::vector<std::int32_t> mine, theirs; // rows of each expert: mine to all, theirs to me
    int weight_tag = 0, row_tag = 0;
    Mat<float> weight_A1, weight_B1;
    Mat<M> x_AM, x_BM; // x_BM: memory for as many rows as can come, where M is not A
  };
  template <class M>
  std::unique_ptr<Flight> go(Context &ctx, Mat<const float> weight_TK, Mat<const A> x_TD);
  template <class M> void receive(Context &ctx, Journey &flight, std::shared_ptr<Going<M>> going);
  template <class M>
  std::unique_ptr<Flight> go_gradient(Context &ctx, Mat<const A> dy_TD, Mat<A> dy_BD);
  std::unique_ptr<Home<A>> home(Context &ctx, const char *operation, Mat<const A> y_BD);
  Index copies() const { return static_cast<Index>(plan_.token_A.extent(0)); }

  Group group_;
  arch::Dims dims_;
  Plan plan_;
  tensor::Arena &keep_;
  comm::Communicator &ep_;
  Index local_; // experts of a rank
  Mat<const std::int32_t> expert_TK_;
  Rows out_, in_; // rows of A by the rank of their expert, rows of B by their source
};

// Rows behind one another become rows of A.
template <class M, class A>
void widen(Context &ctx, const char *label, const M *from, Index rows, Mat<A> to) {
  const Index elements = rows * static_cast<Index>(to.extent(1));
  numerics::convert<A, M>(ctx, label, Vec<const M>(from, elements), Vec<A>(to.data(), elements));
}

template <class A>
std::unique_ptr<Flight> Direct<A>::dispatch(Context &ctx, Mat<const std::int32_t> expert_TK,
                                            Mat<const float> weight_TK, Mat<const A> x_TD) {
  expert_TK_ = expert_TK;
  std::unique_ptr<Flight> flight;
  with_dispatch_type<A>(plan_.formats.dispatch, [&](auto type) {
    flight = go<typename decltype(type)::type>(ctx, weight_TK, x_TD);
  });
  return flight;
}

// Counts, weights and rows leave at once; receives are posted when the counts have come.
template <class A>
template <class M>
std::unique_ptr<Flight> Direct<A>::go(Context &ctx, Mat<const float> weight_TK, Mat<const A> x_TD) {
  const Index E = dims_.experts, D = dims_.model, ranks = ep_.size();
  auto going = std::make_shared<Going<M>>();
  const int count_tag = ep_.next_tag();
  going->weight_tag = ep_.next_tag(), going->row_tag = ep_.next_tag();
  std::vector<Index> leaving;
  for (Index r = 0; r < ranks; ++r)
    leaving.push_back(plan_.offsets((r + 1) * local_) - plan_.offsets(r * local_));
  out_ = Rows(leaving);
  for (Index e = 0; e < E; ++e)
    going->mine.push_back(static_cast<std::int32_t>(plan_.offsets(e + 1) - plan_.offsets(e)));
  going->theirs.resize(going->mine.size());
  going->weight_A1 = ctx.arena.mat<float>(copies(), 1);
  going->x_AM = ctx.arena.mat<M>(copies(), D);
  if (!std::is_same_v<M, A>)
    going->x_BM = ctx.arena.mat<M>(
        most_rows(dims_, ranks, std::max<Index>(group_.most_tokens, x_TD.extent(0))), D);
  to_arrivals(ctx, plan_, weight_TK, going->weight_A1);
  gather_rows<M>(ctx, "layers::dispatch::direct::gather", plan_.token_A, x_TD, going->x_AM);
  tensor::fence(ctx, "layers::dispatch::direct: rows that leave");

  const Rows each(std::vector<Index>(static_cast<std::size_t>(ranks), local_));
  auto flight = std::make_unique<Journey>();
  const auto &what = [&](const char *operation) { return this->what(operation); };
  auto counts = receive_rows(ep_, count_tag, going->theirs.data(), each, sizeof(std::int32_t),
                             what("dispatch counts"));
  auto sends = send_rows(ep_, count_tag, going->mine.data(), each, sizeof(std::int32_t),
                         what("dispatch counts"));
  keep_rows(ep_, going->mine.data(), each, going->theirs.data(), each, sizeof(std::int32_t),
            what("dispatch counts"));
  append(sends, send_rows(ep_, going->weight_tag, going->weight_A1.data(), out_, sizeof(float),
                          what("dispatch weights")));
  append(sends,
         send_rows(ep_, going->row_tag, going->x_AM.data(), out_, sizeof(M) * D, what("dispatch")));
  Journey *const same = flight.get();
  flight->add(std::move(counts),
              [this, same, going](Context &later) { receive<M>(later, *same, going); });
  flight->add(std::move(sends));
  ctx.count("layers::dispatch::dispatch", 0, sizeof(M) * static_cast<double>(copies() * D));
  return flight;
}

template <class A>
template <class M>
void Direct<A>::receive(Context &ctx, Journey &flight, std::shared_ptr<Going<M>> going) {
  const Index D = dims_.model;
  this->sources_ = make_sources(ctx, keep_, going->theirs, local_, going->weight_B1);
  std::vector<Index> coming;
  for (const Source &source : this->sources_) coming.push_back(source.rows);
  in_ = Rows(coming);
  this->x_BD_ = keep_.mat<A>(in_.total, D);
  const bool narrow = !std::is_same_v<M, A>;
  HADAL_CHECK(!narrow || in_.total <= static_cast<Index>(going->x_BM.extent(0)),
              "{} arrivals, room for {}", in_.total, going->x_BM.extent(0));
  void *const rows =
      narrow ? static_cast<void *>(going->x_BM.data()) : static_cast<void *>(this->x_BD_.data());
  auto messages = receive_rows(ep_, going->weight_tag, going->weight_B1.data(), in_, sizeof(float),
                               this->what("dispatch weights"));
  append(messages,
         receive_rows(ep_, going->row_tag, rows, in_, sizeof(M) * D, this->what("dispatch")));
  keep_rows(ep_, going->weight_A1.data(), out_, going->weight_B1.data(), in_, sizeof(float),
            this->what("dispatch weights"));
  keep_rows(ep_, going->x_AM.data(), out_, rows, in_, sizeof(M) * D, this->what("dispatch"));
  flight.add(std::move(messages), [this, going, narrow](Context &later) {
    if (narrow)
      widen(later, "layers::dispatch::direct::widen", going->x_BM.data(), in_.total, this->x_BD_);
  });
}

template <class A>
std::unique_ptr<Home<A>> Direct<A>::home(Context &ctx, const char *operation, Mat<const A> y_BD) {
  const std::size_t row = sizeof(A) * dims_.model;
  const int tag = ep_.next_tag();
  auto flight = std::make_unique<Home<A>>();
  flight->y_AD = ctx.arena.mat<A>(copies(), dims_.model);
  tensor::fence(ctx, "layers::dispatch::direct: results that leave");
  auto messages = receive_rows(ep_, tag, flight->y_AD.data(), out_, row, this->what(operation));
  append(messages, send_rows(ep_, tag, y_BD.data(), in_, row, this->what(operation)));
  keep_rows(ep_, y_BD.data(), in_, flight->y_AD.data(), out_, row, this->what(operation));
  flight->add(std::move(messages));
  ctx.count("layers::dispatch::combine", 0, static_cast<double>(row) * in_.total);
  return flight;
}

template <class A>
std::unique_ptr<Flight> Direct<A>::combine_gradient(Context &ctx, Mat<const A> dx_BD,
                                                    Mat<const float> dweight_B1,
                                                    Mat<float> dweight_TK) {
  auto flight = home(ctx, "combine gradient", dx_BD);
  const int tag = ep_.next_tag();
  const comm::What what = this->what("combine gradient of weights");
  const Mat<float> dweight_A1 = ctx.arena.mat<float>(copies(), 1);
  auto messages = receive_rows(ep_, tag, dweight_A1.data(), out_, sizeof(float), what);
  append(messages, send_rows(ep_, tag, dweight_B1.data(), in_, sizeof(float), what));
  keep_rows(ep_, dweight_B1.data(), in_, dweight_A1.data(), out_, sizeof(float), what);
  flight->add(std::move(messages), [this, dweight_A1, dweight_TK](Context &later) {
    from_arrivals(later, plan_, Mat<const float>(dweight_A1), dweight_TK);
  });
  return flight;
}

template <class A>
std::unique_ptr<Flight> Direct<A>::dispatch_gradient(Context &ctx, Mat<const A> dy_TD,
                                                     Mat<A> dy_BD) {
  std::unique_ptr<Flight> flight;
  with_dispatch_type<A>(plan_.formats.dispatch, [&](auto type) {
    flight = go_gradient<typename decltype(type)::type>(ctx, dy_TD, dy_BD);
  });
  return flight;
}

template <class A>
template <class M>
std::unique_ptr<Flight> Direct<A>::go_gradient(Context &ctx, Mat<const A> dy_TD, Mat<A> dy_BD) {
  const Index D = dims_.model;
  const bool narrow = !std::is_same_v<M, A>;
  const int tag = ep_.next_tag();
  const comm::What what = this->what("dispatch gradient");
  auto flight = std::make_unique<Journey>();
  const Mat<M> mine_AM = ctx.arena.mat<M>(copies(), D);
  Mat<M> theirs_BM;
  if (narrow) theirs_BM = ctx.arena.mat<M>(in_.total, D);
  void *const rows =
      narrow ? static_cast<void *>(theirs_BM.data()) : static_cast<void *>(dy_BD.data());
  gather_rows<M>(ctx, "layers::dispatch::direct::gather_gradient", plan_.token_A, dy_TD, mine_AM);
  tensor::fence(ctx, "layers::dispatch::direct: gradients that leave");
  auto messages = receive_rows(ep_, tag, rows, in_, sizeof(M) * D, what);
  append(messages, send_rows(ep_, tag, mine_AM.data(), out_, sizeof(M) * D, what));
  keep_rows(ep_, mine_AM.data(), out_, rows, in_, sizeof(M) * D, what);
  flight->add(std::move(messages), [this, theirs_BM, dy_BD, narrow](Context &later) {
    if (narrow)
      widen(later, "layers::dispatch::direct::widen_gradient", theirs_BM.data(), in_.total, dy_BD);
  });
  ctx.count("layers::dispatch::dispatch", 0, sizeof(M) * static_cast<double>(copies() * D));
  return flight;
}

} // namespace

template <class A>
std::unique_ptr<Route<A>> make_direct(const Group &group, const arch::Dims &dims, const Plan &plan,
                                      tensor::Arena &keep) {
  return std::make_unique<Direct<A>>(group, dims, plan, keep);
}
template std::unique_ptr<Route<float>> make_direct(const Group &, const arch::Dims &, const Plan &,
                                                   tensor::Arena &);
template std::unique_ptr<Route<bf16>> make_direct(const Group &, const arch::Dims &, const Plan &,
                                                  tensor::Arena &);

} // namespace layers::dispatch
