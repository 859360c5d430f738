// SPDX-License-Identifier: Apache-2.0
#include "train/traced_steps.hpp"

#include <cmath>
#include <filesystem>

#include <fmt/format.h>

#include "base/log.hpp"

namespace train {

namespace fs = std::filesystem;
using base::Trace;

void TracedSteps::begin() {
  const std::int64_t first = options_.run.trace_steps[0], last = options_.run.trace_steps[1];
  ++steps_;
  if (!options_.run.trace || steps_ < first || steps_ > last) return;
  if (steps_ == first) {
    ranks_.world().barrier({"start of the trace"});
    zero_ = Trace::now();
  }
  began_ = Trace::now();
  flights_.set_trace(&trace_);
}

void TracedSteps::end() {
  if (!flights_.trace()) return;
  flights_.set_trace(nullptr);
  trace_.span(base::Lane::compute, "step", began_, Trace::now());
  if (steps_ == options_.run.trace_steps[1]) write();
}

void TracedSteps::finish() {
  if (!options_.run.trace || written_) return;
  if (!trace_.empty()) return write();
  if (ranks_.first())
    base::log::warn("no trace: the run made {} step(s), the first to be traced is {} "
                    "(run.trace_steps)",
                    steps_, options_.run.trace_steps[0]);
}

void TracedSteps::write() {
  const fs::path folder = fs::path(options_.run.directory) / "trace";
  std::error_code error;
  fs::create_directories(folder, error);
  if (error)
    throw base::UserError(base::Exit::machine, "E073", folder.string(),
                          "the folder of the traces cannot be made: " + error.message(),
                          "check permissions, or set run.trace = false");
  const int rank = ranks_.world().rank();
  const auto &place = ranks_.mesh().place;
  const std::string name =
      ranks_.alone() ? "rank 0"
                     : fmt::format("rank {} (pp {}, dp {})", rank, place.pp_rank, place.dp_rank);
  trace_.write((folder / fmt::format("rank-{:05}.json", rank)).string(), rank, name, zero_);
  trace_.clear();
  written_ = true;
  if (ranks_.first())
    base::log::info("trace of steps {} to {} of this run: {}", options_.run.trace_steps[0], steps_,
                    folder.string());
}

std::string hidden_text(const Ranks &ranks, const model::Flights &flights) {
  using Kind = model::Flights::Kind;
  if (ranks.alone()) return "";
  std::int64_t nanoseconds[4]; // experts, stages: in flight, exposed
  for (const Kind kind : {Kind::experts, Kind::stages}) {
    const Trace::Hidden one = flights.hidden(kind);
    const int at = kind == Kind::experts ? 0 : 2;
    nanoseconds[at] = std::llround(one.in_flight * 1e9);
    nanoseconds[at + 1] = std::llround(one.exposed * 1e9);
  }
  ranks.world().all_reduce_sum(nanoseconds, {"hidden communication"});
  const auto share = [](std::int64_t in_flight, std::int64_t exposed) {
    const Trace::Hidden sum{static_cast<double>(in_flight), static_cast<double>(exposed)};
    return fmt::format("{:.0f} %", 100 * sum.share());
  };
  const auto &[experts, waited_experts, stages, waited_stages] = nanoseconds;
  if (experts + stages == 0) return "";
  std::string text = share(experts + stages, waited_experts + waited_stages);
  if (experts > 0 && stages > 0)
    text += fmt::format(" (experts {}, stages {})", share(experts, waited_experts),
                        share(stages, waited_stages));
  return text;
}

} // namespace train
