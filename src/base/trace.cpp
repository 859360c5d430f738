// SPDX-License-Identifier: Apache-2.0
#include "base/trace.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

#include <fmt/format.h>

#include "base/error.hpp"
#include "base/files.hpp"

namespace base {
namespace {

using Interval = std::pair<double, double>; // begin, end

// Disjoint, in order.
std::vector<Interval> united(std::vector<Interval> all) {
  std::sort(all.begin(), all.end());
  std::vector<Interval> one;
  for (const Interval &next : all) {
    if (next.second <= next.first) continue;
    if (!one.empty() && next.first <= one.back().second)
      one.back().second = std::max(one.back().second, next.second);
    else
      one.push_back(next);
  }
  return one;
}

double length(const std::vector<Interval> &disjoint) {
  double sum = 0;
  for (const auto &[begin, end] : disjoint) sum += end - begin;
  return sum;
}

double common_length(const std::vector<Interval> &a, const std::vector<Interval> &b) {
  double sum = 0;
  for (std::size_t i = 0, j = 0; i < a.size() && j < b.size();) {
    sum += std::max(0.0, std::min(a[i].second, b[j].second) - std::max(a[i].first, b[j].first));
    ++(a[i].second < b[j].second ? i : j);
  }
  return sum;
}

std::string quoted(const std::string &text) {
  std::string out = "\"";
  for (const char letter : text) {
    if (letter == '"' || letter == '\\') out += '\\';
    if (static_cast<unsigned char>(letter) < 0x20)
      out += fmt::format("\\u{:04x}", static_cast<unsigned>(letter));
    else
      out += letter;
  }
  return out + "\"";
}

// Rows of a lane: a viewer takes spans of one row that lie within each other, but none that overlap. Messages under way together
// take rows of their own even where one lies within the other. spans: by begin; gives the row of each.
std::vector<int> rows_of(const std::vector<Interval> &spans, bool nested) {
  std::vector<std::vector<double>>
      open; // by row: ends of the spans that are open, the innermost last
  std::vector<int> rows;
  for (const auto &[begin, end] : spans) {
    std::size_t row = 0;
    for (; row < open.size(); ++row) {
      auto &ends = open[row];
      while (!ends.empty() && ends.back() <= begin) ends.pop_back();
      if (ends.empty() || (nested && end <= ends.back())) break;
    }
    if (row == open.size()) open.emplace_back();
    open[row].push_back(end);
    rows.push_back(static_cast<int>(row));
  }
  return rows;
}

struct LaneNames {
  const char *name;
  int thread; // number of its first row: the order in which viewers show them
};
LaneNames names_of(Lane lane) {
  switch (lane) {
  case Lane::compute: return {"compute", 1};
  case Lane::waiting: return {"waiting", 101};
  case Lane::communication: return {"communication", 201};
  }
  HADAL_CHECK(false, "lane {}", static_cast<int>(lane));
  return {};
}

std::string metadata(const char *what, int rank, int thread, const std::string &arguments) {
  return fmt::format(R"({{"ph":"M","name":"{}","pid":{},"tid":{},"args":{{{}}}}})", what, rank,
                     thread, arguments);
}

// In whole nanoseconds, so that neighbours that touch do so in the file, too.
double nanoseconds(double seconds) { return std::round(seconds * 1e9); }

} // namespace

double Trace::now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

void Trace::span(Lane lane, const char *name, double begin, double end, long micro_batch,
                 long layer, double bytes) {
  spans_.push_back({lane, name, begin, std::max(begin, end), micro_batch, layer, bytes});
}

Trace::Hidden Trace::hidden() const {
  std::vector<Interval> flights, waits;
  for (const Span &one : spans_) {
    if (one.lane == Lane::communication) flights.emplace_back(one.begin, one.end);
    if (one.lane == Lane::waiting) waits.emplace_back(one.begin, one.end);
  }
  const auto flight = united(std::move(flights));
  return {length(flight), common_length(flight, united(std::move(waits)))};
}

void Trace::clear() { spans_.clear(); }

std::string Trace::event(const Span &one, int rank, int thread, double zero) {
  std::string arguments;
  const auto add = [&](const char *key, auto value) {
    arguments += fmt::format("{}\"{}\":{}", arguments.empty() ? "" : ",", key, value);
  };
  if (one.micro_batch >= 0) add("micro_batch", one.micro_batch);
  if (one.layer >= 0) add("layer", one.layer);
  if (one.bytes > 0) add("bytes", fmt::format("{:.0f}", one.bytes));
  const double begin = nanoseconds(one.begin - zero), end = nanoseconds(one.end - zero);
  return fmt::format(R"({{"ph":"X","name":{},"cat":"{}","pid":{},"tid":{},)"
                     R"("ts":{:.3f},"dur":{:.3f},"args":{{{}}}}})",
                     quoted(one.name), names_of(one.lane).name, rank, thread, begin / 1e3,
                     (end - begin) / 1e3, arguments);
}

void Trace::add_lane(std::vector<std::string> &events, Lane lane, int rank, double zero) const {
  std::vector<const Span *> list;
  for (const Span &one : spans_)
    if (one.lane == lane) list.push_back(&one);
  // Of two that begin together the longer one is outside.
  std::stable_sort(list.begin(), list.end(), [](const Span *a, const Span *b) {
    return std::pair(a->begin, -a->end) < std::pair(b->begin, -b->end);
  });
  std::vector<Interval> times;
  for (const Span *one : list) times.emplace_back(one->begin, one->end);
  const std::vector<int> rows = rows_of(times, lane != Lane::communication);
  const auto [name, first] = names_of(lane);
  const int count = rows.empty() ? 1 : *std::max_element(rows.begin(), rows.end()) + 1;
  for (int row = 0; row < count; ++row) {
    const std::string label = row == 0 ? name : fmt::format("{} {}", name, row + 1);
    events.push_back(metadata("thread_name", rank, first + row, "\"name\":" + quoted(label)));
    events.push_back(metadata("thread_sort_index", rank, first + row,
                              fmt::format("\"sort_index\":{}", first + row)));
  }
  for (std::size_t i = 0; i < list.size(); ++i)
    events.push_back(event(*list[i], rank, first + rows[i], zero));
}

std::string Trace::json(int rank, const std::string &name, double zero) const {
  std::vector<std::string> events = {
      metadata("process_name", rank, 0, "\"name\":" + quoted(name)),
      metadata("process_sort_index", rank, 0, fmt::format("\"sort_index\":{}", rank))};
  for (const Lane lane : {Lane::compute, Lane::waiting, Lane::communication})
    add_lane(events, lane, rank, zero);
  const Hidden sum = hidden();
  return fmt::format("{{\"displayTimeUnit\":\"ms\",\n\"otherData\":{{\"rank\":{},"
                     "\"in_flight_seconds\":{:.9f},\"exposed_seconds\":{:.9f}}},\n"
                     "\"traceEvents\":[\n{}\n]}}\n",
                     rank, sum.in_flight, sum.exposed, fmt::join(events, ",\n"));
}

void Trace::write(const std::string &path, int rank, const std::string &name, double zero) const {
  write_file_atomic(path, json(rank, name, zero), Exit::machine, "E072");
}

} // namespace base
