// SPDX-License-Identifier: Apache-2.0
// hadal selftest: messages between all ranks, arithmetic, memory of the nodes, a file; the first act of a job.
#include <algorithm>
#include <cstring>
#include <fstream>
#include <memory>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <unistd.h>

#include "app/commands/commands.hpp"
#include "app/kokkos_session.hpp"
#include "app/selftest.hpp"
#include "base/clock.hpp"
#include "base/disk_check.hpp"
#include "base/error.hpp"
#include "base/log.hpp"
#include "comm/session.hpp"
#include "numerics/gemm.hpp"
#include "numerics/selftest.hpp"
#include "tensor/threads.hpp"
#include "train/history.hpp"

namespace app {
namespace {

using base::Exit;
using base::UserError;

struct Arguments {
  std::string directory = ".";
  double slowest = 0;
};

constexpr std::size_t kFileBytes = std::size_t(8) << 20; // a rank
constexpr double kDeadline = 20;                         // seconds that a message may take

template <std::size_t N> void put(char (&field)[N], const std::string &text) {
  const std::size_t n = std::min(text.size(), N - 1);
  std::memcpy(field, text.data(), n);
  field[n] = '\0';
}

std::string cpu_model() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);)
    if (line.starts_with("model name") && line.find(": ") != std::string::npos)
      return line.substr(line.find(": ") + 2);
  return "a processor without a name";
}

std::string host_name() {
  char name[256] = {};
  return ::gethostname(name, sizeof name - 1) == 0 && name[0] != '\0' ? name : "localhost";
}

// The checks in the order of the lines. All ranks compute at once, as they will in a run.
SelftestReport check_all(comm::Communicator &world, const std::string &directory) {
  SelftestReport r;
  r.threads = static_cast<int>(tensor::host_threads());
  r.memory_free = train::available_bytes();
  put(r.cpu, cpu_model());
  r.pairs = comm::check_pairs(world);
  tensor::Arena arena("selftest", 1024);
  tensor::Context ctx{tensor::Exec(), arena, {}, nullptr};
  world.barrier({"self-test, before the products"});
  r.gemm = numerics::measure_gemm_peak(ctx, false, 1024);
  put(r.body, numerics::body_name(false, 'n', 1024, 1024, 1024));
  const numerics::RowsReport rows = numerics::check_rows(ctx);
  r.rows_compared = rows.compared, r.rows_differing = rows.differing;
  put(r.rows_first, rows.first);
  r.hash = numerics::hash_of_fixed_work(ctx);
  world.barrier({"self-test, before the files"});
  try {
    const std::string name = fmt::format("selftest-{}-{}.tmp", world.rank(), ::getpid());
    const auto rates =
        base::check_disk(std::filesystem::path(directory) / name, kFileBytes, "E088");
    r.write_rate = rates.write, r.read_rate = rates.read;
  } catch (const UserError &error) {
    const std::string text = error.what(); // its number is told once, at the end
    put(r.disk_fault, text.substr(0, text.rfind("  [E")));
  }
  return r;
}

[[noreturn]] void tell(const SelftestVerdict &verdict, bool several_nodes) {
  const SelftestFault &f = verdict.faults[0];
  const std::size_t more = verdict.faults.size() - 1;
  std::string text = f.text;
  if (more > 0) text += fmt::format("\n{} more stand above.", more);
  if (several_nodes) text += "\nThe node can be left out: sbatch --exclude=" + f.node;
  throw UserError(Exit::machine, f.number, "node " + f.node, "self-test, " + f.check, text);
}

// Of all ranks together; rank 0 alone knows lines and faults, all know how many.
struct Outcome {
  SelftestVerdict verdict;
  std::int64_t faults = 0;
  bool several_nodes = false;
};

Outcome check_together(const Arguments &a, comm::Session &session) {
  const base::Stopwatch watch;
  comm::Communicator &world = session.world();
  const auto ranks = static_cast<std::size_t>(world.size());
  const SelftestReport mine = check_all(world, a.directory);
  std::vector<SelftestReport> reports(ranks);
  world.gather(0, &mine, sizeof mine, reports.data(), {"self-test, reports"});
  std::vector<std::string> nodes = session.terms()->nodes;
  if (nodes.size() != ranks) nodes.assign(ranks, host_name());

  Outcome out;
  out.several_nodes = std::count(nodes.begin(), nodes.end(), nodes[0]) < world.size();
  if (world.rank() == 0) {
    out.verdict = judge_selftest(reports, nodes, a.directory, a.slowest);
    for (const std::string &line : out.verdict.lines) fmt::print("{}\n", line);
    const int warnings = out.verdict.warnings;
    fmt::print(
        "selftest: {} with {} {} in {:.1f} s{}\n", out.verdict.faults.empty() ? "passed" : "FAILED",
        ranks, ranks == 1 ? "rank" : "ranks", watch.seconds(),
        warnings == 0 ? "" : fmt::format(", {} warning{}", warnings, warnings == 1 ? "" : "s"));
    std::fflush(stdout);
    out.faults = static_cast<std::int64_t>(out.verdict.faults.size());
  }
  world.broadcast(0, &out.faults, sizeof out.faults, {"self-test, verdict"});
  session.finish();
  return out;
}

// What no rank can get out of by itself ends them all: a peer that does not answer, above all.
Outcome check_or_abort(const Arguments &a, comm::Session &session) {
  if (!session.parallel()) return check_together(a, session);
  try {
    return check_together(a, session);
  } catch (const UserError &error) {
    base::log::error("{}", error.what());
    comm::abort_all(static_cast<int>(error.code()));
  } catch (const std::exception &error) {
    base::log::error("a fault of the program itself: {}", error.what());
    comm::abort_all(static_cast<int>(Exit::fault));
  }
}

int run_selftest(const Arguments &a) {
  comm::Session session;
  comm::Options options = session.terms()->options();
  options.deadline = kDeadline; // the start itself may take longer
  session.set_options(options);
  const KokkosSession kokkos;
  const Outcome out = check_or_abort(a, session);
  if (!out.verdict.faults.empty()) tell(out.verdict, out.several_nodes);
  return static_cast<int>(out.faults == 0 ? Exit::ok : Exit::machine);
}

} // namespace

void add_selftest(CLI::App &program, Action &action) {
  CLI::App *command = program.add_subcommand(
      "selftest", "check nodes, messages, arithmetic and files before a run");
  auto a = std::make_shared<Arguments>();
  command->add_option("--directory", a->directory, "where each rank writes a file of 8 MiB")
      ->capture_default_str();
  command
      ->add_option("--slowest", a->slowest,
                   "fail when a rank's GEMM rate is below this share of the median (0: only warn)")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 1.0));
  command->callback([a, &action] { action = [a] { return run_selftest(*a); }; });
}

} // namespace app
