// SPDX-License-Identifier: Apache-2.0
#include "app/selftest.hpp"

#include <algorithm>
#include <map>

#include <fmt/format.h>

#include "base/text.hpp"

namespace app {
namespace {

// Told in the line; only `slowest` makes a fault of it, since ranks may share cores with other work.
constexpr double kSlow = 0.8;       // of the median
constexpr double kClockApart = 1.0; // seconds: dates in logs and of files begin to mislead

using Reports = std::vector<SelftestReport>;

struct Node {
  std::string name;
  std::vector<int> ranks;
};

std::vector<Node> group(const std::vector<std::string> &nodes) {
  std::vector<Node> out;
  for (std::size_t rank = 0; rank < nodes.size(); ++rank) {
    auto at =
        std::find_if(out.begin(), out.end(), [&](const Node &n) { return n.name == nodes[rank]; });
    if (at == out.end()) at = out.insert(at, Node{nodes[rank], {}});
    at->ranks.push_back(static_cast<int>(rank));
  }
  return out;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// The hash that most ranks have; of equally many, that of the lowest rank.
base::Hash128 common_hash(const Reports &reports) {
  const auto count = [&](const base::Hash128 &h) {
    return std::count_if(reports.begin(), reports.end(),
                         [&](const SelftestReport &r) { return r.hash == h; });
  };
  base::Hash128 best = reports[0].hash;
  for (const SelftestReport &r : reports)
    if (count(r.hash) > count(best)) best = r.hash;
  return best;
}

std::string list_of(const std::vector<int> &ranks) {
  std::string text = ranks.size() == 1 ? "rank" : "ranks";
  for (std::size_t i = 0; i < ranks.size() && i < 8; ++i) text += fmt::format(" {}", ranks[i]);
  return text + (ranks.size() > 8 ? " ..." : "");
}

// Lines and faults of one node.
class Judge {
public:
  Judge(const Reports &reports, const std::vector<std::string> &nodes, const Node &node,
        SelftestVerdict &out)
      : reports_(reports), nodes_(nodes), node_(node), out_(out) {}

  void host() {
    const SelftestReport &r = first();
    line("host", fmt::format("{} x {} threads, {}, {} of memory free",
                             node_.ranks.size() == 1 ? "1 rank"
                                                     : fmt::format("{} ranks", node_.ranks.size()),
                             r.threads, r.cpu, base::text::bytes(r.memory_free)));
  }

  void messages() {
    if (reports_.size() == 1) return line("messages", "one rank, nobody to send to");
    int slow = node_.ranks[0], narrow = slow;
    std::vector<int> wrong;
    for (const int rank : node_.ranks) {
      if (of(rank).latency > of(slow).latency) slow = rank;
      if (of(rank).bandwidth < of(narrow).bandwidth) narrow = rank;
      if (of(rank).wrong_messages > 0) wrong.push_back(rank);
    }
    if (!wrong.empty())
      return fault("E086", "messages",
                   fmt::format("{}: {} messages arrived with other contents, the first from {}",
                               list_of(wrong), of(wrong[0]).wrong_messages,
                               name(of(wrong[0]).wrong_peer)));
    line("messages",
         fmt::format(
             "worst pairs: {:.1f} us between rank {} and {}; {:.2f} GB/s between rank {} and {}",
             of(slow).latency * 1e6, slow, name(of(slow).slowest_peer), of(narrow).bandwidth * 1e-9,
             narrow, name(of(narrow).narrowest_peer)));
  }

  void gemm(double usual, double slowest) {
    double least = first().gemm, most = least;
    std::vector<int> slow, too_slow;
    for (const int rank : node_.ranks) {
      const double rate = at(rank).gemm;
      least = std::min(least, rate), most = std::max(most, rate);
      if (rate < kSlow * usual) slow.push_back(rank);
      if (rate < slowest * usual) too_slow.push_back(rank);
    }
    std::string text = fmt::format(
        "{:.0f} to {:.0f} GFLOP/s a rank, {:.0f} to {:.0f} % of the median, {}", least * 1e-9,
        most * 1e-9, 100 * least / usual, 100 * most / usual, first().body);
    if (!too_slow.empty())
      return fault("E089", "gemm", fmt::format("{}; too slow: {}", text, list_of(too_slow)));
    if (!slow.empty()) return warning("gemm", fmt::format("{}; slow: {}", text, list_of(slow)));
    line("gemm", text);
  }

  void rows() {
    for (const int rank : node_.ranks)
      if (at(rank).rows_differing > 0)
        return fault("E087", "rows",
                     fmt::format("rank {}: {} of {} products give a row other bits alone than in a "
                                 "batch, the first: {}",
                                 rank, at(rank).rows_differing, at(rank).rows_compared,
                                 at(rank).rows_first));
    line("rows", fmt::format("{} products, a row alone has the bits of the row in a batch",
                             first().rows_compared));
  }

  void bits(const base::Hash128 &common) {
    std::vector<int> other;
    for (const int rank : node_.ranks)
      if (!(at(rank).hash == common)) other.push_back(rank);
    if (!other.empty())
      return fault(
          "E087", "bits",
          fmt::format(
              "{}: a fixed computation gives {}, on most ranks {}; processors or libraries differ",
              list_of(other), at(other[0]).hash.hex(), common.hex()));
    line("bits", fmt::format("{} of a fixed computation on {}", common.hex(),
                             reports_.size() == 1 ? "this rank" : "each rank"));
  }

  void file(const std::string &directory) {
    double write = 0, read = 0;
    for (const int rank : node_.ranks) {
      if (at(rank).disk_fault[0] != '\0')
        return fault("E088", "file", fmt::format("rank {}: {}", rank, at(rank).disk_fault));
      write += at(rank).write_rate, read += at(rank).read_rate;
    }
    line("file",
         fmt::format(
             "{}: {:.0f} MB/s written and on the disk, {:.0f} MB/s read back, contents equal",
             directory, write * 1e-6, read * 1e-6));
  }

  void clock() {
    if (reports_.size() == 1) return;
    double apart = 0;
    for (const int rank : node_.ranks)
      if (std::abs(of(rank).clock) > std::abs(apart)) apart = of(rank).clock;
    const std::string text = fmt::format("{:+.3f} ms against rank 0", apart * 1e3);
    if (std::abs(apart) > kClockApart)
      return warning("clock", text + "; dates in logs will mislead");
    line("clock", text);
  }

private:
  const SelftestReport &at(int rank) const { return reports_[static_cast<std::size_t>(rank)]; }
  const comm::PairsReport &of(int rank) const { return at(rank).pairs; }
  const SelftestReport &first() const { return at(node_.ranks[0]); }
  std::string name(int rank) const {
    const std::string &node = nodes_[static_cast<std::size_t>(rank)];
    return node == node_.name ? std::to_string(rank) : fmt::format("{} on {}", rank, node);
  }
  void line(const char *check, const std::string &text) {
    out_.lines.push_back(fmt::format("{:<12} {:<9} {}", node_.name, check, text));
  }
  void warning(const char *check, const std::string &text) {
    ++out_.warnings;
    line(check, "WARNING " + text);
  }
  void fault(const char *number, const char *check, const std::string &text) {
    out_.faults.push_back({number, node_.name, check, text});
    line(check, "FAILED " + text);
  }

  const Reports &reports_;
  const std::vector<std::string> &nodes_;
  const Node &node_;
  SelftestVerdict &out_;
};

} // namespace

SelftestVerdict judge_selftest(const Reports &reports, const std::vector<std::string> &nodes,
                               const std::string &directory, double slowest) {
  SelftestVerdict verdict;
  std::vector<double> rates;
  for (const SelftestReport &r : reports) rates.push_back(r.gemm);
  const double usual = median(rates);
  const base::Hash128 common = common_hash(reports);
  for (const Node &node : group(nodes)) {
    Judge judge(reports, nodes, node, verdict);
    judge.host();
    judge.messages();
    judge.gemm(usual, slowest);
    judge.rows();
    judge.bits(common);
    judge.file(directory);
    judge.clock();
  }
  return verdict;
}

} // namespace app
