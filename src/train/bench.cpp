// SPDX-License-Identifier: Apache-2.0
#include "train/bench.hpp"

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <vector>

#include <fmt/format.h>

#include "arch/counts.hpp"
#include "base/clock.hpp"
#include "base/random.hpp"
#include "base/text.hpp"
#include "numerics/gemm.hpp"
#include "tensor/kernel_timer.hpp"
#include "train/before.hpp"
#include "train/history.hpp"
#include "train/step.hpp"

namespace train {
namespace {

class RandomSource : public data::SampleSource {
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

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t n = values.size();
  return (values[(n - 1) / 2] + values[n / 2]) / 2;
}

// Of all ranks, which do it at the same time.
double sum(comm::Communicator &world, double mine) {
  world.all_reduce_tree({&mine, 1}, {"bench"});
  return mine;
}
double largest(comm::Communicator &world, double mine) {
  std::int64_t nanos = std::llround(mine * 1e9);
  world.all_reduce_max({&nanos, 1}, {"bench"});
  return static_cast<double>(nanos) / 1e9;
}

// Of the products whose rate is the limit; the smaller ones where many rows each measure it.
constexpr tensor::Index kLarge = 2048, kSmall = 1024;

struct Limits {
  double peak = 0, copy = 0; // FLOP/s, bytes/s of all ranks together
};

// A trainer on one setting, whatever its number format.
class Subject {
public:
  virtual ~Subject() = default;
  virtual double step() = 0;                             // seconds of the slowest rank
  virtual Limits limits(bool copy, tensor::Index n) = 0; // n: of the products
  virtual double planned() = 0, arena_used() = 0;        // bytes of this rank
  virtual std::string kernels(const Limits &limits) = 0;
};

template <class A> class SubjectOf : public Subject {
public:
  SubjectOf(const Options &options, comm::Communicator &world)
      : o_(options), ranks_(require_ranks(o_, world), world), layout_(fitting()),
        state_(o_, ranks_, layout_), source_(o_.batch.sequence, o_.dims.vocabulary),
        trainer_(o_, ranks_, state_, source_) {
    state_.initialise(trainer_.context(), 1);
    trainer_.weights_changed();
    step(); // primitives are made, memory is touched
  }
  double step() override {
    ranks_.world().barrier({"bench, before a step"});
    const base::Stopwatch watch;
    trainer_.step();
    return largest(ranks_.world(), watch.seconds());
  }
  Limits limits(bool copy, tensor::Index n) override {
    auto &world = ranks_.world();
    world.barrier({"bench, before the products"});
    Limits l;
    l.peak = sum(world, numerics::measure_gemm_peak(trainer_.context(),
                                                    std::is_same_v<A, numerics::bf16>, n));
    world.barrier({"bench, before the copies"});
    if (copy) l.copy = sum(world, numerics::measure_copy_rate(trainer_.context()));
    return l;
  }
  double planned() override { return static_cast<double>(trainer_.planned_bytes()); }
  double arena_used() override { return static_cast<double>(trainer_.arena().high_water()); }
  // Of rank 0; the others do the same step.
  std::string kernels(const Limits &limits) override {
    auto &counter = trainer_.count_work();
    tensor::KernelTimer::start();
    const base::Stopwatch watch;
    trainer_.step();
    const double wall = watch.seconds(), ranks = ranks_.world().size();
    tensor::KernelTimer::stop();
    return breakdown(tensor::KernelTimer::times(), counter.work(), wall, limits.peak / ranks,
                     limits.copy / ranks);
  }

private:
  model::Layout fitting() const {
    model::Layout layout(o_.dims, ranks_.share());
    require_memory<A>(o_, ranks_, layout);
    return layout;
  }
  const Options o_;
  const Ranks ranks_;
  const model::Layout layout_;
  State state_;
  const RandomSource source_;
  Trainer<A> trainer_;
};

bool half(const Options &o) { return o.precision.compute == Compute::bf16; }

std::unique_ptr<Subject> subject(const Options &o, comm::Communicator &world) {
  if (half(o)) return std::make_unique<SubjectOf<numerics::bf16>>(o, world);
  return std::make_unique<SubjectOf<float>>(o, world);
}

double step_tokens(const Options &o) {
  return static_cast<double>(o.batch.global_batch * o.batch.sequence);
}
double flops_per_token(const Options &o, arch::Attention attention) {
  return static_cast<double>(arch::flops_per_token(o.dims, o.batch.sequence, attention).total());
}
std::string bytes(double n) { return base::text::bytes(static_cast<std::int64_t>(n)); }

const char *name_of(Schedule schedule) {
  switch (schedule) {
  case Schedule::accumulate: return "accumulate";
  case Schedule::one_f_one_b: return "1f1b";
  case Schedule::zb1p: return "zb1p";
  case Schedule::dualpipe: return "dualpipe";
  case Schedule::dualpipev: return "dualpipev";
  }
  return "";
}

std::string layout_text(const Options &o) {
  std::string text =
      fmt::format("dp {}, ep {}, pp {}", o.parallel.dp, o.parallel.ep, o.parallel.pp);
  if (o.parallel.pp > 1) text += fmt::format(" ({})", name_of(o.parallel.schedule));
  return text + (o.run.reproducible == Reproducible::any_layout
                     ? fmt::format(", any_layout with {} shards", o.parallel.shards)
                     : ", same_layout");
}

std::string ranks_text(const comm::Communicator &world) {
  const int threads = tensor::Exec().concurrency();
  return fmt::format("{} {} x {} {}", world.size(), world.size() == 1 ? "rank" : "ranks", threads,
                     threads == 1 ? "thread" : "threads");
}

} // namespace

std::string bench(const BenchRequest &request, comm::Communicator &world) {
  const Options &o = request.options;
  const auto s = subject(o, world);
  const Limits before = s->limits(true, kLarge);
  std::vector<double> seconds;
  for (int i = 0; i < request.steps; ++i) seconds.push_back(s->step());
  const Limits after = s->limits(false, kLarge);
  const Limits limits{std::max(before.peak, after.peak), before.copy};
  const double middle = median(seconds), tokens = step_tokens(o),
               causal = flops_per_token(o, arch::Attention::causal),
               full = flops_per_token(o, arch::Attention::full);
  const double planned = largest(world, s->planned()), used = largest(world, s->arena_used()),
               resident = largest(world, static_cast<double>(peak_resident_bytes()));
  const auto [first, last] = std::minmax_element(seconds.begin(), seconds.end());
  std::string text =
      fmt::format("{}: {:.1f} M parameters, MTP {}, {} ({}), {}\n", half(o) ? "bf16" : "f32",
                  static_cast<double>(arch::count_parameters(o.dims).main) / 1e6, o.dims.mtp_depth,
                  ranks_text(world), layout_text(o),
                  numerics::body_name(half(o), 'n', o.batch.micro_batch * o.batch.sequence,
                                      o.dims.model, o.dims.model));
  text += fmt::format("  GEMM peak          {:8.0f} GFLOP/s before, {:.0f} after; copy {:.1f} "
                      "GB/s{}\n",
                      before.peak / 1e9, after.peak / 1e9, limits.copy / 1e9,
                      world.size() > 1 ? "; all ranks at once" : "");
  text += fmt::format(
      "  step               {:8.3f} s median of {} ({:.3f} to {:.3f}); {:.0f} tokens/s\n", middle,
      seconds.size(), *first, *last, tokens / middle);
  text += fmt::format("  model FLOPs        {:8.1f} MFLOP a token causal, {:.1f} non-causal\n",
                      causal / 1e6, full / 1e6);
  text += fmt::format("  share of the peak  {:8.1f} % (causal; {:.1f} % non-causal)\n",
                      100 * causal * tokens / middle / limits.peak,
                      100 * full * tokens / middle / limits.peak);
  text += fmt::format("  memory             {} planned (state, gradients, arena; {} of the arena "
                      "used), {} measured at most{}\n",
                      bytes(planned), bytes(used), bytes(resident),
                      world.size() > 1 ? "; of the largest rank" : "");
  if (request.breakdown) text += s->kernels(limits);
  return world.rank() == 0 ? text : "";
}

std::string bench_rows(const std::vector<BenchRow> &rows, int rounds, comm::Communicator &world) {
  std::vector<std::unique_ptr<Subject>> subjects;
  for (const BenchRow &row : rows) subjects.push_back(subject(row.options, world));
  std::vector<double> peaks;
  for (const auto &s : subjects) peaks.push_back(s->limits(false, kSmall).peak);
  std::vector<std::vector<double>> seconds(rows.size());
  for (int i = 0; i < rounds; ++i)
    for (std::size_t r = 0; r < rows.size(); ++r) seconds[r].push_back(subjects[r]->step());
  std::string text =
      fmt::format("steps in turn, medians of {} rounds; {}\n", rounds, ranks_text(world));
  std::size_t width = 44; // of the names
  for (const BenchRow &row : rows) width = std::max(width, row.name.size() + 2);
  text += fmt::format("  {:<{}}{:>9}{:>10}{:>11}{:>9}{:>13}\n", "", width, "step s", "tokens/s",
                      "of the 1st", "of GEMM", "planned");
  for (std::size_t r = 0; r < rows.size(); ++r) {
    const Options &o = rows[r].options;
    const double peak = std::max(peaks[r], subjects[r]->limits(false, kSmall).peak),
                 middle = median(seconds[r]), tokens = step_tokens(o),
                 planned = largest(world, subjects[r]->planned());
    std::vector<double> ratios; // of tokens/s
    for (std::size_t i = 0; i < seconds[r].size(); ++i)
      ratios.push_back(tokens / seconds[r][i] / (step_tokens(rows[0].options) / seconds[0][i]));
    text += fmt::format("  {:<{}}{:>9.3f}{:>10.0f}{:>11.3f}{:>7.1f} %{:>13}\n", rows[r].name, width,
                        middle, tokens / middle, median(ratios),
                        100 * flops_per_token(o, arch::Attention::causal) * tokens / middle / peak,
                        bytes(planned));
  }
  return world.rank() == 0 ? text : "";
}

} // namespace train
