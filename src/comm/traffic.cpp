// SPDX-License-Identifier: Apache-2.0
#include "comm/traffic.hpp"

#include <set>
#include <sstream>

#include <fmt/format.h>

#include "comm/communicator.hpp"

namespace comm {
namespace {

constexpr What kWhat{"sum of what was sent"};

std::string bytes_text(std::int64_t bytes) {
  if (bytes == 0) return "-";
  static constexpr const char *kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= 1024 && unit + 1 < std::size(kUnits)) value /= 1024, ++unit;
  return fmt::format("{:.{}f} {}", value, unit == 0 ? 0 : 2, kUnits[unit]);
}

std::string line(const std::string &axis, const std::string &operation, const Traffic::Row &row) {
  const auto messages = row[Link::same_node].messages + row[Link::other_node].messages;
  return fmt::format("{:<16} {:<30} {:>10} {:>12} {:>12} {:>12}\n", axis, operation, messages,
                     bytes_text(row[Link::same_rank].bytes), bytes_text(row[Link::same_node].bytes),
                     bytes_text(row[Link::other_node].bytes));
}

// One line a row; operations may have spaces, tabs they have not.
std::string written(const Traffic &traffic) {
  std::string text;
  for (const auto &[key, row] : traffic.rows()) {
    text += key.first + '\t' + key.second;
    for (const auto &count : row.of_link)
      text += fmt::format("\t{}\t{}", count.messages, count.bytes);
    text += '\n';
  }
  return text;
}

void read_and_add(const std::string &text, Traffic &sum) {
  std::istringstream lines(text);
  std::string axis, operation;
  while (std::getline(lines, axis, '\t') && std::getline(lines, operation, '\t')) {
    Traffic::Row &row = sum.row(axis, operation);
    for (const Link link : {Link::same_rank, Link::same_node, Link::other_node}) {
      std::int64_t messages = 0, bytes = 0;
      lines >> messages >> bytes;
      row.add(link, messages, bytes);
    }
    lines.ignore(); // the end of the line
  }
}

} // namespace

void Traffic::Row::add(Link link, std::int64_t messages, std::int64_t bytes) {
  Count &count = of_link[static_cast<std::size_t>(link)];
  count.messages += messages, count.bytes += bytes;
}

Link Traffic::link(int world_rank, int other) const {
  if (world_rank == other) return Link::same_rank;
  const auto a = static_cast<std::size_t>(world_rank), b = static_cast<std::size_t>(other);
  if (a >= node_of_world_.size() || b >= node_of_world_.size()) return Link::same_node;
  return node_of_world_[a] == node_of_world_[b] ? Link::same_node : Link::other_node;
}

Traffic::Row Traffic::total(const std::string &axis, const std::string &operation) const {
  Row sum;
  for (const auto &[key, row] : rows_)
    if ((axis.empty() || key.first == axis) && (operation.empty() || key.second == operation))
      for (const Link link : {Link::same_rank, Link::same_node, Link::other_node})
        sum.add(link, row[link].messages, row[link].bytes);
  return sum;
}

void Traffic::clear() {
  for (auto &entry : rows_) entry.second = Row();
}

Traffic traffic_of_all(Communicator &world) {
  Traffic sum;
  const std::string mine = written(world.terms().traffic);
  for (const std::string &text : world.all_gather_text(mine, kWhat)) read_and_add(text, sum);
  return sum;
}

std::string traffic_table(const Traffic &traffic, bool operations) {
  std::string text = fmt::format("{:<16} {:<30} {:>10} {:>12} {:>12} {:>12}\n", "axis", "operation",
                                 "messages", "same rank", "same node", "other nodes");
  std::set<std::string> axes;
  for (const auto &entry : traffic.rows()) axes.insert(entry.first.first);
  for (const std::string &axis : axes) {
    text += line(axis, "all", traffic.total(axis));
    for (const auto &[key, row] : traffic.rows())
      if (operations && key.first == axis) text += line("", key.second, row);
  }
  return text;
}

} // namespace comm
