// SPDX-License-Identifier: Apache-2.0
#include "layers/router/bench.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "base/clock.hpp"
#include "base/random.hpp"
#include "layers/dispatch/dispatch.hpp"
#include "layers/router/router.hpp"

namespace layers::router {

namespace {

struct Shape {
  const char *name;
  Index tokens, samples, model, experts, chosen, groups, chosen_groups;
  arch::Score score;
};
constexpr Shape kShapes[] = {
    {"bench: 32 experts, 4 of 2/4 groups", 4096, 8, 512, 32, 4, 4, 2, arch::Score::sigmoid},
    {"V2-Lite: 64 experts, 6, softmax", 4096, 1, 2048, 64, 6, 1, 1, arch::Score::softmax},
    {"V3: 256 experts, 8 of 4/8 groups", 4096, 1, 7168, 256, 8, 8, 4, arch::Score::sigmoid}};

arch::Dims dims_of(const Shape &s) {
  arch::Dims dims;
  dims.model = s.model, dims.experts = s.experts, dims.chosen = s.chosen;
  dims.groups = s.groups, dims.chosen_groups = s.chosen_groups, dims.score = s.score;
  dims.normalise = s.score == arch::Score::sigmoid;
  return dims;
}

template <class F> double best_seconds(Context &ctx, int rounds, const F &f) {
  double best = 1e30;
  for (int i = 0; i <= rounds; ++i) { // the first warms up
    ctx.exec.fence();                 // timing
    const base::Stopwatch watch;
    f();
    ctx.exec.fence(); // timing
    if (i > 0) best = std::min(best, watch.seconds());
  }
  return best;
}

void randomise(Context &ctx, Vec<float> v, std::uint64_t seed, float scale) {
  tensor::for_each(
      ctx, "layers::router::bench::randomise", v.extent(0), KOKKOS_LAMBDA(const Index i) {
        v(i) = scale * static_cast<float>(
                           base::random::uniform(seed, base::random::Purpose::test, 0, i) - 0.5);
      });
}

std::string gate_lines(Context &ctx, const Shape &s, int rounds) {
  tensor::Arena::Scope scope(ctx.arena);
  const arch::Dims dims = dims_of(s);
  tensor::Arena &arena = ctx.arena;
  const auto x_TD = arena.mat<float>(s.tokens, s.model),
             dx_TD = arena.mat<float>(s.tokens, s.model);
  const auto w_ED = arena.mat<float>(s.experts, s.model),
             dl_TE = arena.mat<float>(s.tokens, s.experts);
  const auto bias_E = arena.vec<float>(s.experts);
  const auto dweight_TK = arena.mat<float>(s.tokens, s.chosen);
  const auto load_E = arena.vec<std::int64_t>(s.experts);
  const auto balance_S = arena.vec<double>(s.samples);
  randomise(ctx, numerics::flat(x_TD), 1, 2), randomise(ctx, numerics::flat(w_ED), 2, 0.1F);
  randomise(ctx, bias_E, 3, 0.1F), randomise(ctx, numerics::flat(dweight_TK), 4, 1);
  const Saved saved = allocate(arena, dims, s.tokens, s.samples, false);
  const auto product = best_seconds(ctx, rounds, [&] {
    numerics::linear<float, float>(ctx, "layers::router::bench::product", x_TD, w_ED,
                                   saved.scores_TE);
  });
  const auto gate = [&](double alpha) {
    return best_seconds(ctx, rounds, [&] {
      forward<float>(ctx, dims, w_ED, bias_E, x_TD, s.samples, alpha, saved, load_E, balance_S);
    });
  };
  const double plain = gate(0), balanced = gate(1e-4);
  const double products_back = best_seconds(ctx, rounds, [&] {
    numerics::linear_backward_input<float>(ctx, "layers::router::bench::product_back", dl_TE, w_ED,
                                           dx_TD, true);
  });
  const double back = best_seconds(ctx, rounds, [&] {
    backward_input<float>(ctx, dims, w_ED, dweight_TK, s.samples, 1e-4, 1, saved, dl_TE, dx_TD);
  });
  return fmt::format("{:<36} {:>10.3f} {:>10.3f} {:>12.3f} {:>12.3f} {:>12.3f}\n", s.name,
                     1e3 * product, 1e3 * (plain - product), 1e3 * (balanced - plain),
                     1e3 * products_back, 1e3 * (back - products_back));
}

template <class A>
std::string movement_line(Context &ctx, const Shape &s, const char *type, int rounds) {
  tensor::Arena::Scope scope(ctx.arena);
  arch::Dims dims = dims_of(s);
  const Index D = std::min<Index>(s.model, 2048),
              arrivals = s.tokens * s.chosen; // rows of 2048 are long enough
  tensor::Arena &arena = ctx.arena;
  const auto x_TD = arena.mat<A>(s.tokens, D), y_AD = arena.mat<A>(arrivals, D);
  const Saved saved = allocate(arena, dims, s.tokens, 1, false);
  const auto plan = dispatch::allocate(arena, dims, s.tokens);
  const auto expert_TK = saved.expert_TK;
  const Index E = s.experts, K = s.chosen;
  tensor::for_each(
      ctx, "layers::router::bench::choice", s.tokens, KOKKOS_LAMBDA(const Index t) {
        const Index first =
            static_cast<Index>(base::random::bits(1, base::random::Purpose::test, 0, t) % (E - K));
        for (Index k = 0; k < K; ++k) expert_TK(t, k) = static_cast<std::int32_t>(first + k);
      });
  numerics::fill(ctx, "layers::router::bench::clear", numerics::flat(x_TD), A(1.0F));
  const double planning =
      best_seconds(ctx, rounds, [&] { dispatch::plan(ctx, dims, expert_TK, plan); });
  const double gathering = best_seconds(ctx, rounds, [&] {
    dispatch::gather<A>(ctx, "layers::router::bench::gather", plan, x_TD, y_AD);
  });
  const double combining = best_seconds(ctx, rounds, [&] {
    dispatch::combine<A>(ctx, "layers::router::bench::combine", dims, plan, expert_TK, y_AD, {},
                         x_TD);
  });
  const double row = static_cast<double>(sizeof(A)) * D * s.tokens,
               copy = numerics::measure_copy_rate(ctx);
  const double gather_rate = 2 * K * row / gathering, combine_rate = (K + 1) * row / combining;
  return fmt::format("{:<36} {:<5} {:>9.3f} {:>10.3f} ms {:>6.1f} GB/s {:>4.0f} % {:>10.3f} ms "
                     "{:>6.1f} GB/s {:>4.0f} %   of {:.1f}\n",
                     s.name, type, 1e3 * planning, 1e3 * gathering, 1e-9 * gather_rate,
                     100 * gather_rate / copy, 1e3 * combining, 1e-9 * combine_rate,
                     100 * combine_rate / copy, 1e-9 * copy);
}

} // namespace

std::string bench(Context &ctx, int rounds) {
  std::string text =
      fmt::format("gate of 4096 tokens, ms              {:>10} {:>10} {:>12} {:>12} {:>12}\n",
                  "product", "choice", "balance", "dx product", "reverse");
  for (const Shape &s : kShapes) text += gate_lines(ctx, s, rounds);
  text += fmt::format("\n{:<36} {:<5} {:>9} {:>29} {:>33}\n", "copies of 4096 tokens", "type",
                      "plan, ms", "gather", "combine, share of a large copy");
  for (const Shape &s : kShapes)
    text +=
        movement_line<float>(ctx, s, "f32", rounds) + movement_line<bf16>(ctx, s, "bf16", rounds);
  return text;
}

} // namespace layers::router
