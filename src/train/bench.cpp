// SPDX-License-Identifier: Apache-2.0
#include "train/bench.hpp"

#include <algorithm>
#include <vector>

#include <fmt/format.h>

#include "arch/counts.hpp"
#include "base/clock.hpp"
#include "base/random.hpp"
#include "base/text.hpp"
#include "comm/loopback/loopback.hpp"
#include "numerics/gemm.hpp"
#include "tensor/kernel_timer.hpp"
#include "train/history.hpp"
#include "train/step.hpp"

namespace train {
namespace {

class RandomSource : public SampleSource {
public:
  RandomSource(std::int64_t sequence, std::int64_t vocabulary)
      : sequence_(sequence), vocabulary_(vocabulary) {}
  std::vector<data::Sample> next(data::Cursor &cursor, std::int64_t count) const override {
    std::vector<data::Sample> samples(static_cast<std::size_t>(count));
    for (auto &sample : samples) {
      for (std::int64_t i = 0; i <= sequence_; ++i)
        sample.tokens.push_back(static_cast<data::Token>(
            base::random::bits(1, base::random::Purpose::test,
                               static_cast<std::uint64_t>(cursor.next_sample),
                               static_cast<std::uint64_t>(i)) %
            static_cast<std::uint64_t>(vocabulary_)));
      sample.segments = {0};
      ++cursor.next_sample;
    }
    return samples;
  }
  void skip(data::Cursor &cursor, std::int64_t count) const override {
    cursor.next_sample += count;
  }

private:
  std::int64_t sequence_, vocabulary_;
};

// One row a kernel, the longest first; what is short is gathered in a last row.
std::string breakdown(const std::map<std::string, tensor::KernelTime> &times,
                      const std::map<std::string, tensor::Work> &work, double wall,
                      double gemm_peak, double copy_rate) {
  std::vector<std::pair<std::string, tensor::KernelTime>> rows(times.begin(), times.end());
  std::sort(rows.begin(), rows.end(),
            [](const auto &a, const auto &b) { return a.second.seconds > b.second.seconds; });
  std::string text =
      fmt::format("\n  {:<44}{:>8}{:>8}{:>8}{:>10}{:>9}{:>9}{:>9}\n", "kernel", "time s", "share",
                  "calls", "GFLOP/s", "of GEMM", "GB/s", "of copy");
  double listed = 0, all = 0;
  for (const auto &[label, t] : rows) {
    all += t.seconds;
    if (t.seconds < 0.004 * wall) continue;
    listed += t.seconds;
    const auto w = work.find(label);
    const double flops = w == work.end() ? 0 : w->second.flops / t.seconds,
                 bytes = w == work.end() ? 0 : w->second.bytes / t.seconds;
    text += fmt::format(
        "  {:<44}{:>8.3f}{:>7.1f}%{:>8}{:>10}{:>9}{:>9}{:>9}\n", label.substr(0, 43), t.seconds,
        100 * t.seconds / wall, t.calls, flops > 0 ? fmt::format("{:.0f}", flops / 1e9) : "",
        flops > 0 ? fmt::format("{:.0f} %", 100 * flops / gemm_peak) : "",
        bytes > 0 ? fmt::format("{:.1f}", bytes / 1e9) : "",
        bytes > 0 && flops == 0 ? fmt::format("{:.0f} %", 100 * bytes / copy_rate) : "");
  }
  text += fmt::format("  {:<44}{:>8.3f}{:>7.1f}%\n", "kernels below 0.4 % together", all - listed,
                      100 * (all - listed) / wall);
  text += fmt::format("  {:<44}{:>8.3f}{:>7.1f}%\n", "outside kernels", wall - all,
                      100 * (wall - all) / wall);
  return text;
}

// Sorts them.
double middle(std::vector<double> &values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

template <class A> std::string run(const BenchRequest &request) {
  const Options &o = request.options;
  const bool half = o.precision.compute == Compute::bf16;
  const auto world = comm::loopback::alone(std::make_shared<comm::Terms>());
  const Ranks ranks(o, *world);
  const model::Layout layout(o.dims, ranks.share());
  State state(o, ranks, layout);
  const RandomSource source(o.batch.sequence, o.dims.vocabulary);
  Trainer<A> trainer(o, ranks, state, source);
  auto &ctx = trainer.context();
  state.initialise(ctx, 1);
  trainer.weights_changed();
  trainer.step(); // primitives are made, memory is touched
  const double before = numerics::measure_gemm_peak(ctx, half),
               copy_rate = numerics::measure_copy_rate(ctx);
  std::vector<double> seconds;
  for (int i = 0; i < request.steps; ++i) {
    const base::Stopwatch watch;
    trainer.step();
    seconds.push_back(watch.seconds());
  }
  const double after = numerics::measure_gemm_peak(ctx, half), peak = std::max(before, after);
  const double median = middle(seconds);
  const auto tokens = static_cast<double>(o.batch.global_batch * o.batch.sequence);
  const double causal = static_cast<double>(
      arch::flops_per_token(o.dims, o.batch.sequence, arch::Attention::causal).total());
  const double full = static_cast<double>(
      arch::flops_per_token(o.dims, o.batch.sequence, arch::Attention::full).total());
  const auto counts = arch::count_parameters(o.dims);
  std::string text = fmt::format(
      "{}: {:.1f} M parameters, MTP {}, {} threads, {}\n", half ? "bf16" : "f32",
      static_cast<double>(counts.main) / 1e6, o.dims.mtp_depth, tensor::Exec().concurrency(),
      numerics::body_name(half, 'n', o.batch.micro_batch * o.batch.sequence, o.dims.model,
                          o.dims.model));
  text +=
      fmt::format("  GEMM peak          {:8.0f} GFLOP/s before, {:.0f} after; copy {:.1f} GB/s\n",
                  before / 1e9, after / 1e9, copy_rate / 1e9);
  text += fmt::format(
      "  step               {:8.3f} s median of {} ({:.3f} to {:.3f}); {:.0f} tokens/s\n", median,
      seconds.size(), seconds.front(), seconds.back(), tokens / median);
  text += fmt::format("  model FLOPs        {:8.1f} MFLOP a token causal, {:.1f} non-causal\n",
                      causal / 1e6, full / 1e6);
  text += fmt::format("  share of the peak  {:8.1f} % (causal; {:.1f} % non-causal)\n",
                      100 * causal * tokens / median / peak, 100 * full * tokens / median / peak);
  text += fmt::format("  memory             {} planned (state, gradients, arena; {} of the arena "
                      "used), {} measured at most\n",
                      base::text::bytes(static_cast<std::int64_t>(trainer.planned_bytes())),
                      base::text::bytes(static_cast<std::int64_t>(trainer.arena().high_water())),
                      base::text::bytes(peak_resident_bytes()));
  if (request.breakdown) {
    auto &counter = trainer.count_work();
    tensor::KernelTimer::start();
    const base::Stopwatch watch;
    trainer.step();
    const double wall = watch.seconds();
    tensor::KernelTimer::stop();
    text += breakdown(tensor::KernelTimer::times(), counter.work(), wall, peak, copy_rate);
  }
  return text;
}

} // namespace

std::string bench(const BenchRequest &request) {
  return request.options.precision.compute == Compute::bf16 ? run<numerics::bf16>(request)
                                                            : run<float>(request);
}

} // namespace train
