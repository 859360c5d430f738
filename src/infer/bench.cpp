// SPDX-License-Identifier: Apache-2.0
#include "infer/bench.hpp"

#include <algorithm>
#include <vector>

#include <fmt/format.h>

#include "arch/counts.hpp"
#include "base/clock.hpp"
#include "base/text.hpp"
#include "infer/engine.hpp"
#include "infer/load.hpp"
#include "tensor/kernel_timer.hpp"

namespace infer {

namespace {

using tensor::Index;

struct Speed {
  double prompt = 0, token = 0; // seconds of the prompt, median of a token
};

std::vector<data::Token> made_up_tokens(const arch::Dims &dims, Index count) {
  std::vector<data::Token> tokens;
  for (Index i = 0; i < count; ++i)
    tokens.push_back(static_cast<data::Token>(i * 2654435761 % dims.vocabulary));
  return tokens;
}

template <class A>
Speed measure(tensor::Context &ctx, Generator<A> &generator, const GenerateBench &request) {
  const auto tokens = made_up_tokens(request.dims, request.prompt + request.tokens);
  const auto middle = tokens.begin() + request.prompt;
  Speed speed;
  std::vector<double> seconds;
  for (int pass = 0; pass < 2; ++pass) { // the first makes primitives and touches memory
    generator.reset(), seconds.clear();
    const base::Stopwatch watch;
    generator.append(ctx, {tokens.begin(), middle});
    speed.prompt = watch.seconds();
    for (auto token = middle; token != tokens.end(); ++token) {
      const base::Stopwatch one;
      generator.append(ctx, {*token});
      seconds.push_back(one.seconds());
    }
  }
  std::sort(seconds.begin(), seconds.end());
  speed.token = seconds[seconds.size() / 2];
  return speed;
}

// Where a token's time goes, in percent, the longest first.
template <class A>
std::string breakdown(tensor::Context &ctx, Generator<A> &generator, const GenerateBench &request) {
  const auto tokens = made_up_tokens(request.dims, request.prompt + request.tokens);
  generator.reset();
  generator.append(ctx, {tokens.begin(), tokens.begin() + request.prompt});
  tensor::KernelTimer::start();
  const base::Stopwatch watch;
  for (auto token = tokens.begin() + request.prompt; token != tokens.end(); ++token)
    generator.append(ctx, {*token});
  const double wall = watch.seconds();
  tensor::KernelTimer::stop();
  std::vector<std::pair<double, std::string>> rows;
  double inside = 0;
  for (const auto &[label, time] : tensor::KernelTimer::times()) {
    inside += time.seconds;
    const double calls = static_cast<double>(time.calls) / static_cast<double>(request.tokens);
    if (time.seconds > 0.02 * wall)
      rows.emplace_back(time.seconds, fmt::format("    {:<44}{:>6.1f} %{:>7.0f} calls\n", label,
                                                  100 * time.seconds / wall, calls));
  }
  std::sort(rows.rbegin(), rows.rend());
  std::string text = fmt::format("  a token, {:.2f} ms with the clock of every kernel:\n",
                                 1e3 * wall / static_cast<double>(request.tokens));
  for (const auto &row : rows) text += row.second;
  return text + fmt::format("    {:<44}{:>6.1f} %\n", "outside kernels", 100 * (1 - inside / wall));
}

struct Kind {
  const char *name;
  Attention attention;
  bool keeps_kv;
};
constexpr Kind kKinds[] = {{"exact", Attention::exact, false},
                           {"exact, keys kept", Attention::exact, true},
                           {"absorbed", Attention::absorbed, false}};

// Median seconds of a step in which `batch` sequences speak, each behind a prompt of its own.
template <class A>
double step_seconds(const arch::Dims &dims, const model::Weights<A> &weights, Index batch,
                    const GenerateBench &request, const Kind &kind) {
  constexpr Index kRows = 512;
  // Prompts are read one after the other, those that are done speak meanwhile: all speak together in 16 steps at least.
  const Index most = 18 + batch * (request.prompt + 1) / (kRows - batch);
  EngineOptions options;
  options.attention = kind.attention, options.keeps_kv = kind.keeps_kv;
  options.batch = batch, options.rows = kRows;
  options.tokens = batch * (pages_for(request.prompt + most) + 1) * kPage;
  tensor::Arena arena("infer::bench_batch", Engine<A>::arena_bytes(dims, options));
  tensor::Context ctx{tensor::Exec(), arena, {}, nullptr};
  Engine<A> engine(dims, weights, options);
  const auto tokens = made_up_tokens(dims, request.prompt + batch);
  for (Index i = 0; i < batch; ++i) {
    Request one;
    one.prompt.assign(tokens.begin() + i, tokens.begin() + i + request.prompt);
    one.sampling.max_tokens = most;
    one.stream = static_cast<std::uint64_t>(i);
    engine.add(one);
  }
  std::vector<double> seconds;
  while (!engine.idle()) {
    const base::Stopwatch watch;
    if (static_cast<Index>(engine.step(ctx).size()) == batch) seconds.push_back(watch.seconds());
  }
  HADAL_CHECK(!seconds.empty(), "{} sequences never spoke together", batch);
  std::sort(seconds.begin(), seconds.end());
  return seconds[seconds.size() / 2];
}

template <class A>
std::string batches(const arch::Dims &dims, const model::Weights<A> &weights,
                    const GenerateBench &request, double peak) {
  std::string text = fmt::format("  many sequences, each behind a prompt of {}; share of the GEMM "
                                 "peak without attention:\n",
                                 request.prompt);
  const double flops = 2 * static_cast<double>(arch::active_matrix_weights(dims));
  for (const Kind &kind : kKinds) {
    for (const Index batch : request.batches) {
      const double seconds = step_seconds(dims, weights, batch, request, kind),
                   rate = static_cast<double>(batch) / seconds;
      text +=
          fmt::format("    {:<18}{:>4} at once {:>9.2f} ms a step {:>9.0f} tokens/s {:>6.0f} %\n",
                      kind.name, batch, 1e3 * seconds, rate, 100 * flops * rate / peak);
    }
  }
  return text;
}

template <class A> std::string run(const GenerateBench &request, const char *type) {
  const arch::Dims &dims = request.dims;
  const bool half = sizeof(A) == 2;
  const Index capacity = request.prompt + request.tokens;
  tensor::Arena arena("infer::bench",
                      Generator<A>::arena_bytes(dims, capacity) + (std::size_t{1} << 20));
  tensor::Context ctx{tensor::Exec(), arena, {}, nullptr};
  const auto weights = made_up_weights<A>(ctx, dims);
  Generator<A> generator(dims, weights.views, capacity);
  const double peak_before = numerics::measure_gemm_peak(ctx, half);
  const double copy_before = numerics::measure_copy_rate(ctx);
  const Speed speed = measure(ctx, generator, request);
  const double peak = std::max(peak_before, numerics::measure_gemm_peak(ctx, half));
  const double copy = std::max(copy_before, numerics::measure_copy_rate(ctx));

  const double prompt = static_cast<double>(request.prompt);
  const double flops =
      static_cast<double>(
          arch::flops_per_token(dims, request.prompt, arch::Attention::causal).main) /
      3; // forward only
  const double cached = prompt + static_cast<double>(request.tokens) / 2;
  const double bytes = static_cast<double>(arch::active_matrix_weights(dims)) * sizeof(A) +
                       cached * static_cast<double>(arch::cache_bytes_per_token(dims, sizeof(A)));
  std::string text = fmt::format(
      "{}: {:.1f} M parameters, {} threads, cache {} for {} tokens\n", type,
      static_cast<double>(arch::count_parameters(dims).main) / 1e6, tensor::Exec().concurrency(),
      base::text::bytes(static_cast<std::int64_t>(generator.cache_bytes())), capacity);
  text += fmt::format("  prompt of {:<5} {:>9.1f} ms {:>9.0f} tokens/s   {:.0f} % of the GEMM "
                      "peak, {:.0f} GFLOP/s\n",
                      request.prompt, 1e3 * speed.prompt, prompt / speed.prompt,
                      100 * flops * prompt / speed.prompt / peak, peak / 1e9);
  text += fmt::format("  generating      {:>9.2f} ms {:>9.0f} tokens/s   {:.1f} MB read a token: "
                      "{:.1f} GB/s, {:.0f} % of a copy's {:.1f} (read and written)\n",
                      1e3 * speed.token, 1 / speed.token, bytes / 1e6, bytes / speed.token / 1e9,
                      100 * bytes / speed.token / copy, copy / 1e9);
  if (request.breakdown) text += breakdown(ctx, generator, request);
  return text + batches(dims, weights.views, request, peak);
}

} // namespace

std::string bench_generate(const GenerateBench &request) {
  GenerateBench r = request;
  r.dims.mtp_depth = 0;
  return run<float>(r, "f32") + run<numerics::bf16>(r, "bf16");
}

} // namespace infer
