// SPDX-License-Identifier: Apache-2.0
#include "train/telling.hpp"

#include <filesystem>
#include <limits>

#include <fmt/format.h>

#include "arch/counts.hpp"
#include "base/files.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "comm/traffic.hpp"
#include "optim/balance.hpp"
#include "train/run.hpp"

namespace train {

namespace fs = std::filesystem;
using base::Exit;

void tell_beginning(const Options &o, const Launch &launch, const Ranks &ranks,
                    const Reading &reading) {
  const fs::path directory = o.run.directory;
  base::write_file_atomic(directory / "echo.txt", launch.echo, Exit::machine, "E072");
  base::write_file_atomic(directory / "deck.toml", launch.resolved_deck, Exit::machine, "E072");
  const auto counts = arch::count_parameters(o.dims);
  base::log::info("{}: {} parameters ({} activated), MTP {} more; {} threads", o.deck_name,
                  base::text::with_commas(counts.main), base::text::with_commas(counts.activated),
                  base::text::with_commas(counts.mtp), tensor::Exec().concurrency());
  if (!ranks.alone())
    base::log::info("{} ranks on {} node(s): dp {}, ep {}, pp {}", ranks.world().size(),
                    ranks.mesh().nodes(), o.parallel.dp, o.parallel.ep, o.parallel.pp);
  const auto &names = reading.samples->source_names();
  for (std::size_t i = 0; i < names.size(); ++i)
    base::log::info("data: {} with {} training tokens", names[i],
                    base::text::with_commas(reading.samples->tokens(static_cast<int>(i))));
  for (const std::string &remark : reading.remarks) base::log::warn("{}", remark);
  if (reading.samples_of_run > 0)
    base::log::info("{} epoch(s): {} samples in {} steps", o.train.epochs, reading.samples_of_run,
                    o.train.steps);
}

Row row_of(const Options &o, const Counters &c, const StepReport &r, double seconds,
           const Speed &speed) {
  Row row;
  row.step = c.step, row.tokens = c.tokens, row.samples = c.samples;
  row.loss = r.loss, row.balance_loss = r.balance, row.grad_norm = r.grad_norm,
  row.learning_rate = r.rate;
  for (double l : r.mtp) row.mtp_loss += l / static_cast<double>(r.mtp.size());
  row.step_seconds = seconds;
  row.tokens_per_second = static_cast<double>(r.samples * o.batch.sequence) / seconds;
  row.peak_share = speed.flops_per_token * row.tokens_per_second / speed.peak;
  row.memory_bytes = resident_bytes();
  const auto experts = o.dims.experts,
             blocks = static_cast<std::int64_t>(r.load_BE.size()) / experts;
  for (std::int64_t b = 0; b < blocks; ++b) {
    const double violation = optim::max_violation(r.load_BE.data() + b * experts, experts);
    row.max_violation += violation / static_cast<double>(blocks);
    row.max_expert_load = std::max(row.max_expert_load, 1 + violation);
  }
  row.clipped = r.clipped, row.skipped = r.verdict != Verdict::good;
  for (auto n : c.cursor.source_samples) row.source_tokens.push_back(n * o.batch.sequence);
  return row;
}

double share(const std::vector<double> &extra, std::size_t sum) {
  return extra.size() > sum && extra[0] > 0 ? extra[sum] / extra[0] : 0.0;
}

MoreColumns columns_of(const Options &o) {
  if (o.teacher.on()) return {{"teacher_kl"}, {"nats a token"}};
  if (o.run.phase != Phase::reward) return {};
  return {{"right", "margin", "validation_right"},
          {"share of pairs", "better less worse", "share of pairs"}};
}

std::vector<double> values_of(const Options &o, const StepReport &report) {
  if (o.teacher.on())
    return {report.extra[1] / static_cast<double>(std::max<std::int64_t>(1, report.targets))};
  if (o.run.phase != Phase::reward) return {};
  return {share(report.extra, 1), share(report.extra, 2), std::numeric_limits<double>::quiet_NaN()};
}

std::string remark_of(const Options &o, const StepReport &report) {
  if (o.teacher.on()) return fmt::format("teacher {:.3f}", values_of(o, report)[0]);
  if (o.run.phase != Phase::reward) return "";
  return fmt::format("right {:.1f} %", 100 * share(report.extra, 1));
}

void write_loads(History &history, const Options &o, std::int64_t step, const StepReport &r) {
  const auto experts = o.dims.experts,
             blocks = static_cast<std::int64_t>(r.load_BE.size()) / experts;
  for (std::int64_t b = 0; b < blocks; ++b)
    history.write_loads(step, o.dims.dense_layers + b, r.load_BE.data() + b * experts, experts);
}

void tell_traffic(const Ranks &ranks) {
  if (ranks.alone()) return;
  const comm::Traffic all = comm::traffic_of_all(ranks.world());
  if (ranks.first())
    base::log::info("sent by all ranks together\n{}", comm::traffic_table(all, true));
}

} // namespace train
