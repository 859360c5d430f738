// SPDX-License-Identifier: Apache-2.0
#include "layers/dispatch/bench.hpp"

#include <algorithm>
#include <cmath>
#include <functional>

#include <fmt/format.h>

#include "base/clock.hpp"
#include "base/error.hpp"
#include "base/random.hpp"
#include "comm/mesh.hpp"
#include "comm/plain.hpp"
#include "layers/dispatch/route.hpp"
#include "numerics/elementwise.hpp"

namespace layers::dispatch {
namespace {

// The bench deck's mixture.
arch::Dims bench_dims() {
  arch::Dims dims;
  dims.model = 512, dims.experts = 32, dims.chosen = 4, dims.groups = 4, dims.chosen_groups = 2;
  return dims;
}

// As a router chooses: two groups of experts, two experts of each, ascending.
void choose(const arch::Dims &dims, int rank, Mat<std::int32_t> expert_TK) {
  const auto host = Kokkos::create_mirror_view(expert_TK);
  const std::int64_t each = dims.experts / dims.groups, half = dims.chosen / 2;
  for (std::size_t t = 0; t < host.extent(0); ++t) {
    const auto draw = [&](std::uint64_t i, std::int64_t among) {
      return static_cast<std::int64_t>(
          base::random::bits(static_cast<std::uint64_t>(rank), base::random::Purpose::test, t, i) %
          static_cast<std::uint64_t>(among));
    };
    std::int64_t g = draw(0, dims.groups - 1), h = g + 1 + draw(1, dims.groups - 1 - g);
    std::size_t k = 0;
    for (const std::int64_t group : {g, h}) {
      const std::int64_t first = draw(2 + k, each);
      std::vector<std::int64_t> two;
      for (std::int64_t i = 0; i < half; ++i) two.push_back((first + i * 3) % each);
      std::sort(two.begin(), two.end());
      for (const std::int64_t e : two) host(t, k++) = static_cast<std::int32_t>(group * each + e);
    }
  }
  Kokkos::deep_copy(expert_TK, host);
}

double largest(comm::Communicator &world, double mine) {
  std::int64_t nanos = std::llround(mine * 1e9);
  world.all_reduce_max({&nanos, 1}, {"bench"});
  return static_cast<double>(nanos) / 1e9;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t n = values.size();
  return (values[(n - 1) / 2] + values[n / 2]) / 2;
}

struct Row {
  std::string name;
  std::function<void()> act;
  std::vector<double> seconds = {};
};

template <class A> class Bench {
public:
  Bench(Context &ctx, tensor::Arena &keep, comm::Communicator &world, Index tokens)
      : ctx_(ctx), keep_(keep), world_(world), dims_(bench_dims()),
        nodes_(world.size() % 2 == 0 ? 2 : 1),
        mesh_(comm::make_mesh(world, {world.size(), world.size(), 1, world.size() / nodes_})),
        plan_(allocate(ctx.arena, dims_, tokens)),
        expert_TK_(ctx.arena.mat<std::int32_t>(tokens, dims_.chosen)),
        weight_TK_(ctx.arena.mat<float>(tokens, dims_.chosen)),
        x_TD_(ctx.arena.mat<A>(tokens, dims_.model)), y_TD_(ctx.arena.mat<A>(tokens, dims_.model)) {
    choose(dims_, world.rank(), expert_TK_);
    plan(ctx, dims_, expert_TK_, plan_);
    numerics::fill(ctx, "layers::dispatch::bench::weights", numerics::flat(weight_TK_), 1.0F);
    const auto x_TD = x_TD_; // small whole numbers: the sum of K copies is exact
    tensor::for_each(
        ctx, "layers::dispatch::bench::rows", tokens * dims_.model,
        KOKKOS_LAMBDA(const Index i) { x_TD.data()[i] = A(static_cast<float>(i % 29 - 14)); });
    count_bytes();
  }

  std::string table(int rounds) {
    std::vector<Row> rows = this->rows();
    for (int i = 0; i <= rounds; ++i) // the first warms up
      for (Row &row : rows) {
        world_.barrier({"bench"});
        const base::Stopwatch watch;
        row.act();
        const double seconds = largest(world_, watch.seconds());
        if (i > 0) row.seconds.push_back(seconds);
      }
    std::string text = fmt::format(
        "{}: {} tokens of {} a rank, {} of {} experts, {} ranks; there and back {:.1f} MB from a "
        "rank to the others\n  {:<54}{:>10}{:>10}{:>14}\n",
        std::is_same_v<A, float> ? "f32" : "bf16", expert_TK_.extent(0), dims_.model, dims_.chosen,
        dims_.experts, world_.size(), leaving_ / 1e6, "", "ms", "GB/s", "of the limit");
    for (const Row &row : rows) {
      std::vector<double> shares;
      for (std::size_t i = 0; i < row.seconds.size(); ++i)
        shares.push_back(rows[0].seconds[i] / row.seconds[i]);
      const double seconds = median(row.seconds);
      text += fmt::format(
          "  {:<54}{:>10.2f}{:>10.2f}{:>14}\n", row.name, 1e3 * seconds, leaving_ / seconds / 1e9,
          &row == &rows[0] ? "(limit)" : fmt::format("{:.0f} %", 100 * median(shares)));
    }
    return text;
  }

private:
  // Blocks of the bytes that the direct way moves.
  void count_bytes() {
    const auto ranks = static_cast<std::size_t>(world_.size()),
               me = static_cast<std::size_t>(world_.rank());
    const Index each = dims_.experts / world_.size();
    std::vector<std::size_t> out, in;
    for (Index r = 0; r < world_.size(); ++r)
      out.push_back(
          static_cast<std::size_t>(plan_.offsets((r + 1) * each) - plan_.offsets(r * each)) *
          static_cast<std::size_t>(dims_.model) * sizeof(A));
    std::vector<std::int64_t> all(ranks * ranks, 0);
    for (std::size_t r = 0; r < ranks; ++r) all[me * ranks + r] = static_cast<std::int64_t>(out[r]);
    world_.all_reduce_sum(all, {"bench"});
    for (std::size_t r = 0; r < ranks; ++r)
      in.push_back(static_cast<std::size_t>(all[r * ranks + me]));
    std::size_t sent = 0, received = 0;
    for (std::size_t r = 0; r < ranks; ++r) sent += out[r], received += in[r];
    leaving_ = static_cast<double>(sent - out[me] + received - in[me]);
    out_ = comm::Blocks::packed(out), in_ = comm::Blocks::packed(in);
    mine_.assign(sent, 'm'), theirs_.assign(received, 't');
  }

  void travel(Way way) {
    const tensor::Arena::Scope flight(ctx_.arena), kept(keep_);
    Group group{mesh_.ep.get(), mesh_.ep_node.get(), mesh_.ep_cross.get(), way};
    const auto route = make_route<A>(group, dims_, plan_, keep_);
    route->dispatch(ctx_, expert_TK_, weight_TK_, x_TD_)->finish(ctx_);
    const auto back = route->combine(ctx_, route->x_BD());
    back->finish(ctx_);
    route->sum(ctx_, "layers::dispatch::bench::sum", *back, {}, y_TD_);
    tensor::fence(ctx_, "layers::dispatch::bench"); // reason: the clock reads the end
    if (checked_ & (1 << static_cast<int>(way))) return;
    checked_ |= 1 << static_cast<int>(way);
    const auto x = Kokkos::create_mirror_view_and_copy(Kokkos::HostSpace{}, x_TD_),
               y = Kokkos::create_mirror_view_and_copy(Kokkos::HostSpace{}, y_TD_);
    for (std::size_t i = 0; i < x.size(); ++i)
      HADAL_CHECK(static_cast<float>(y.data()[i]) ==
                      static_cast<float>(dims_.chosen) * static_cast<float>(x.data()[i]),
                  "element {}", i);
  }

  std::vector<Row> rows() {
    std::vector<Row> rows = {
        {"MPI_Alltoallv, there and back",
         [this] {
           comm::plain_all_to_all_v(mine_.data(), out_, theirs_.data(), in_);
           comm::plain_all_to_all_v(theirs_.data(), in_, mine_.data(), out_);
         }},
        {"comm::Communicator, the same bytes there and back",
         [this] {
           world_.all_to_all_v(mine_.data(), out_, theirs_.data(), in_, {"bench"});
           world_.all_to_all_v(theirs_.data(), in_, mine_.data(), out_, {"bench"});
         }},
        {"dispatch and combine, direct", [this] { travel(Way::direct); }}};
    if (nodes_ > 1)
      rows.push_back({fmt::format("dispatch and combine, two hops ({} virtual nodes)", nodes_),
                      [this] { travel(Way::two_hop); }});
    return rows;
  }

  Context &ctx_;
  tensor::Arena &keep_;
  comm::Communicator &world_;
  const arch::Dims dims_;
  const int nodes_;
  const comm::Mesh mesh_;
  const Plan plan_;
  const Mat<std::int32_t> expert_TK_;
  const Mat<float> weight_TK_;
  const Mat<A> x_TD_, y_TD_;
  comm::Blocks out_, in_;
  std::vector<char> mine_, theirs_;
  double leaving_ = 0; // bytes from this rank to others, there and back
  int checked_ = 0;    // ways whose result was right
};

template <class A> std::string run(comm::Communicator &world, const BenchRequest &request) {
  const arch::Dims dims = bench_dims();
  // Rows of this rank's tokens and of all that may come, some of them twice.
  const auto rows = static_cast<std::size_t>(most_rows(dims, world.size(), request.tokens) +
                                             request.tokens * (dims.chosen + 2));
  const std::size_t bytes =
      (std::size_t{1} << 22) + 4 * rows * static_cast<std::size_t>(dims.model) * sizeof(A);
  tensor::Arena arena("layers::dispatch::bench", bytes),
      keep("layers::dispatch::bench::keep", bytes);
  Context ctx{tensor::Exec(), arena, {}, nullptr};
  return Bench<A>(ctx, keep, world, request.tokens).table(request.rounds);
}

} // namespace

std::string bench(comm::Communicator &world, const BenchRequest &request) {
  const auto refuse = [&](const std::string &why) {
    throw base::UserError(base::Exit::deck, "E010", "command line",
                          fmt::format("hadal bench dispatch on {} rank(s)", world.size()), why);
  };
  if (world.size() == 1) refuse("It measures messages: mpirun -np 2 hadal bench dispatch.");
  if (bench_dims().experts % world.size() != 0)
    refuse("32 experts are to be shared evenly: 2, 4, 8, 16 or 32 ranks.");
  return run<float>(world, request) + run<bf16>(world, request);
}

} // namespace layers::dispatch
