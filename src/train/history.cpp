// SPDX-License-Identifier: Apache-2.0
#include "train/history.hpp"

#include <cmath>
#include <cstdlib>
#include <sstream>
#include <unistd.h>

#include <fmt/format.h>

#include "base/files.hpp"
#include "base/log.hpp"
#include "base/text.hpp"

namespace train {
namespace {

constexpr const char *kColumns = "step,tokens,samples,loss,mtp_loss,balance_loss,grad_norm,"
                                 "learning_rate,step_seconds,tokens_per_second,peak_share,"
                                 "memory_bytes,max_violation,max_expert_load,clipped,skipped,"
                                 "validation_loss,validation_bits_per_byte,stall_seconds";
constexpr const char *kUnits =
    "# steps,tokens,sequences,nats a token,nats a token,nats,1,1,s,tokens/s,share of the GEMM "
    "peak,bytes,(max-mean)/mean,max/mean,0 or 1,0 or 1,"
    "nats a token,bits a byte,s";

// Keeps the head lines and the rows of steps up to `step`.
void keep_until(const std::filesystem::path &path, std::int64_t step) {
  if (!std::filesystem::exists(path)) return;
  std::istringstream in(base::read_file(path, base::Exit::machine, "E072"));
  std::string line, kept;
  while (std::getline(in, line)) {
    const bool row = !line.empty() && line[0] >= '0' && line[0] <= '9';
    if (!row || std::strtoll(line.c_str(), nullptr, 10) <= step) kept += line + "\n";
  }
  base::write_file_atomic(path, kept, base::Exit::machine, "E072");
}

std::int64_t kib_of(const char *file, const char *field) {
  std::ifstream in(file);
  std::string line;
  while (std::getline(in, line))
    if (line.rfind(field, 0) == 0)
      return std::strtoll(line.c_str() + std::string(field).size(), nullptr, 10);
  return 0;
}

std::string bar(double share, int width) {
  const int full = static_cast<int>(share * width + 0.5);
  std::string text;
  for (int i = 0; i < width; ++i) text += i < full ? "█" : "░";
  return text;
}

} // namespace

History::History(const std::filesystem::path &directory, const std::vector<std::string> &sources,
                 std::int64_t step, bool has_experts, const MoreColumns &more) {
  const auto rows = directory / "history.csv", loads = directory / "expert_load.csv";
  if (step > 0) keep_until(rows, step), keep_until(loads, step);
  const bool go_on = step > 0 && std::filesystem::exists(rows);
  rows_.open(rows, go_on ? std::ios::app : std::ios::trunc);
  if (!go_on) {
    rows_ << kColumns;
    for (const auto &source : sources) rows_ << ",tokens_" << source;
    for (const auto &name : more.names) rows_ << "," << name;
    rows_ << "\n" << kUnits;
    for (std::size_t i = 0; i < sources.size(); ++i) rows_ << ",tokens";
    for (const auto &unit : more.units) rows_ << "," << unit;
    rows_ << "\n";
  }
  if (has_experts) {
    const bool append = step > 0 && std::filesystem::exists(loads);
    loads_.open(loads, append ? std::ios::app : std::ios::trunc);
  }
  if (!rows_)
    throw base::UserError(base::Exit::machine, "E072", rows.string(), "cannot be written",
                          "check permissions and space");
}

void History::write(const Row &r) {
  rows_ << fmt::format(
      "{},{},{},{:.9g},{:.9g},{:.9g},{:.9g},{:.9g},{:.6g},{:.6g},{:.4g},{},{:.6g},{:.6g},{},{},{},{"
      "},{:.6g}",
      r.step, r.tokens, r.samples, r.loss, r.mtp_loss, r.balance_loss, r.grad_norm, r.learning_rate,
      r.step_seconds, r.tokens_per_second, r.peak_share, r.memory_bytes, r.max_violation,
      r.max_expert_load, r.clipped ? 1 : 0, r.skipped ? 1 : 0,
      r.validation_loss ? fmt::format("{:.9g}", *r.validation_loss) : "",
      r.validation_bits_per_byte ? fmt::format("{:.9g}", *r.validation_bits_per_byte) : "",
      r.stall_seconds);
  for (const auto tokens : r.source_tokens) rows_ << "," << tokens;
  for (const double value : r.more)
    rows_ << (std::isnan(value) ? "," : fmt::format(",{:.9g}", value));
  rows_ << "\n";
  rows_.flush();
}

void History::write_loads(std::int64_t step, std::int64_t layer, const std::int64_t *load,
                          std::int64_t experts) {
  if (loads_.tellp() == 0) {
    loads_ << "step,layer";
    for (std::int64_t e = 0; e < experts; ++e) loads_ << ",e" << e;
    loads_ << "\n";
  }
  loads_ << step << "," << layer;
  for (std::int64_t e = 0; e < experts; ++e) loads_ << "," << load[e];
  loads_ << "\n";
  loads_.flush();
}

Console::Console(std::int64_t steps, bool has_mtp)
    : steps_(steps), has_mtp_(has_mtp), terminal_(isatty(1) != 0) {}

void Console::step(const Row &r, std::int64_t first_step) {
  const double done =
      static_cast<double>(r.step) / static_cast<double>(std::max<std::int64_t>(1, steps_));
  const double each =
      clock_.seconds() / static_cast<double>(std::max<std::int64_t>(1, r.step - first_step));
  std::string line = fmt::format("step {:>6} | loss {:.4f} |", r.step, r.loss);
  if (has_mtp_) line += fmt::format(" mtp {:.4f} |", r.mtp_loss);
  if (!r.remark.empty()) line += " " + r.remark + " |";
  line += fmt::format(" grad {:6.2f} | lr {:.2e} | {:.2f} s | {:>7} tok/s | {:3.0f} % of peak | {} "
                      "| max load {:.1f} | ETA {}",
                      r.grad_norm, r.learning_rate, r.step_seconds,
                      base::text::count(r.tokens_per_second), 100 * r.peak_share,
                      base::text::bytes(r.memory_bytes), r.max_expert_load,
                      base::text::duration(each * static_cast<double>(steps_ - r.step)));
  if (r.validation_loss) line += fmt::format(" | validation {:.4f}", *r.validation_loss);
  if (r.validation_bits_per_byte)
    line += fmt::format(", {:.4f} bits a byte", *r.validation_bits_per_byte);
  if (r.skipped) line += " | SKIPPED";
  if (terminal_) {
    fmt::print("\r\033[K{}\n{} {:3.0f} %", line, bar(done, 40), 100 * done);
    if (r.step >= steps_) fmt::print("\n");
  } else {
    fmt::print("{}\n", line);
  }
  std::fflush(stdout);
}

std::int64_t resident_bytes() { return kib_of("/proc/self/status", "VmRSS:") * 1024; }
std::int64_t peak_resident_bytes() { return kib_of("/proc/self/status", "VmHWM:") * 1024; }

std::int64_t available_bytes() { return kib_of("/proc/meminfo", "MemAvailable:") * 1024; }

} // namespace train
