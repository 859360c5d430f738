// SPDX-License-Identifier: Apache-2.0
#include "eval/results.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>

#include <fmt/format.h>

#include "eval/records.hpp"
#include "eval/statistics.hpp"

namespace eval {

using data::Json;

bool lower_is_better(const std::string &metric) {
  return metric == "bits_per_byte" || metric == "byte_perplexity" || metric == "word_perplexity";
}

namespace {

// Perplexities are means of logarithms.
double finished(const std::string &metric, double ratio) {
  return metric.ends_with("_perplexity") ? std::exp(ratio) : ratio;
}

Metric summary(const std::string &metric, const std::string &filter,
               const std::vector<const Value *> &values, std::int64_t rounds) {
  double above = 0, below = 0;
  bool mean_of = !metric.ends_with("_perplexity");
  std::vector<double> plain;
  for (const Value *value : values) {
    above += value->above, below += value->below;
    mean_of = mean_of && value->below == 1;
    plain.push_back(value->above);
  }
  Metric m{metric, filter, finished(metric, above / below), 0,
           static_cast<std::int64_t>(values.size())};
  m.error = mean_of ? standard_error(plain)
                    : bootstrap_error(values.size(), rounds, 0, [&](const auto &drawn) {
                        double a = 0, b = 0;
                        for (const std::size_t i : drawn)
                          a += values[i]->above, b += values[i]->below;
                        return finished(metric, a / b);
                      });
  return m;
}

} // namespace

std::vector<Metric> summarise(const std::vector<const Sample *> &samples, std::int64_t rounds) {
  std::vector<std::pair<std::string, std::string>> order;
  std::map<std::pair<std::string, std::string>, std::vector<const Value *>> values;
  for (const Sample *sample : samples)
    for (const Value &value : sample->values) {
      const auto key = std::make_pair(value.metric, value.filter);
      if (!values.contains(key)) order.push_back(key);
      values[key].push_back(&value);
    }
  std::vector<Metric> metrics;
  for (const auto &key : order)
    metrics.push_back(summary(key.first, key.second, values[key], rounds));
  return metrics;
}

void summarise(TaskResult &result, const std::vector<Sample> &samples, std::int64_t rounds) {
  std::vector<const Sample *> all;
  std::vector<std::string> order;
  std::map<std::string, std::vector<const Sample *>> groups;
  for (const Sample &sample : samples) {
    all.push_back(&sample);
    if (!groups.contains(sample.group)) order.push_back(sample.group);
    groups[sample.group].push_back(&sample);
  }
  result.questions = static_cast<std::int64_t>(samples.size());
  result.metrics = summarise(all, rounds);
  if (order.size() < 2) return;
  for (const std::string &group : order)
    result.groups.push_back({group, summarise(groups[group], rounds)});
}

namespace {

using Cells = std::vector<std::string>;

std::size_t width(const std::string &text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

std::string padded(const std::string &text, std::size_t to, char side) {
  const std::size_t blank = to - std::min(to, width(text));
  const std::size_t before = side == 'r' ? blank : side == 'c' ? blank / 2 : 0;
  return std::string(before, ' ') + text + std::string(blank - before, ' ');
}

void add_rows(std::vector<Cells> &rows, const TaskResult &result, const std::string &name,
              const std::vector<Metric> &metrics) {
  bool first = true;
  for (const Metric &m : metrics) {
    rows.push_back({first ? name : "", first ? fmt::format("{}", result.version) : "", m.filter,
                    fmt::format("{}", result.shots), m.metric,
                    lower_is_better(m.metric) ? "↓" : "↑", fmt::format("{:.4f}", m.value), "±",
                    std::isnan(m.error) ? "N/A" : fmt::format("{:.4f}", m.error)});
    first = false;
  }
}

} // namespace

std::string table(const std::vector<TaskResult> &results, bool groups) {
  const Cells head = {"Tasks", "Version", "Filter", "n-shot", "Metric", "", "Value", "", "Stderr"};
  const std::string sides = "lrlrllrlr";
  std::vector<Cells> rows;
  for (const TaskResult &result : results) {
    add_rows(rows, result, result.task, result.metrics);
    if (!groups) continue;
    for (const GroupResult &group : result.groups)
      add_rows(rows, result, " - " + group.group, group.metrics);
  }
  std::vector<std::size_t> widths;
  for (std::size_t c = 0; c < head.size(); ++c) {
    std::size_t most = std::max<std::size_t>(width(head[c]), 3);
    if (head[c].empty()) most = 3;
    for (const Cells &row : rows) most = std::max(most, width(row[c]));
    widths.push_back(most);
  }
  std::string out = "|";
  for (std::size_t c = 0; c < head.size(); ++c) out += padded(head[c], widths[c], 'c') + "|";
  out += "\n|";
  for (std::size_t c = 0; c < head.size(); ++c)
    out += std::string(widths[c] - (sides[c] == 'r' ? 1 : 0), '-') + (sides[c] == 'r' ? ":|" : "|");
  out += "\n";
  for (const Cells &row : rows) {
    out += "|";
    for (std::size_t c = 0; c < row.size(); ++c) out += padded(row[c], widths[c], sides[c]) + "|";
    out += "\n";
  }
  return out;
}

namespace {

Json::Object metrics_json(const std::vector<Metric> &metrics) {
  Json::Object out;
  for (const Metric &m : metrics) {
    out.emplace_back(m.metric + "," + m.filter, Json{m.value});
    out.emplace_back(m.metric + "_stderr," + m.filter,
                     std::isnan(m.error) ? Json{std::string("N/A")} : Json{m.error});
  }
  return out;
}

} // namespace

Json to_json(const std::vector<TaskResult> &results, const Json &about) {
  Json::Object tasks, groups, versions, shots, counts, higher;
  for (const TaskResult &result : results) {
    Json::Object one = {{"alias", Json{result.task}}};
    for (auto &member : metrics_json(result.metrics)) one.push_back(std::move(member));
    tasks.emplace_back(result.task, Json{std::move(one)});
    Json::Object parts;
    for (const GroupResult &group : result.groups)
      parts.emplace_back(group.group, Json{metrics_json(group.metrics)});
    if (!parts.empty()) groups.emplace_back(result.task, Json{std::move(parts)});
    versions.emplace_back(result.task, Json{result.version});
    shots.emplace_back(result.task, Json{result.shots});
    counts.emplace_back(result.task, Json{Json::Object{{"effective", Json{result.questions}},
                                                       {"shortened", Json{result.shortened}},
                                                       {"fingerprint", Json{result.fingerprint}}}});
    Json::Object directions;
    for (const Metric &m : result.metrics)
      if (Json{directions}.find(m.metric) == nullptr)
        directions.emplace_back(m.metric, Json{!lower_is_better(m.metric)});
    higher.emplace_back(result.task, Json{std::move(directions)});
  }
  Json::Object all = {{"results", Json{std::move(tasks)}},
                      {"group_results", Json{std::move(groups)}},
                      {"versions", Json{std::move(versions)}},
                      {"n-shot", Json{std::move(shots)}},
                      {"higher_is_better", Json{std::move(higher)}},
                      {"n-samples", Json{std::move(counts)}},
                      {"config", about}};
  return Json{std::move(all)};
}

std::string grid(const TaskResult &result) {
  std::string out;
  for (const GroupResult &group : result.groups) {
    long length = 0;
    double depth = 0;
    if (std::sscanf(group.group.c_str(), "length=%ld depth=%lf", &length, &depth) != 2) return {};
    const Metric &m = group.metrics.front();
    out += fmt::format("{},{},{},{},{}\n", length, depth, m.samples, m.value,
                       std::isnan(m.error) ? std::string() : fmt::format("{}", m.error));
  }
  return out.empty() ? out : "length,depth,samples,value,stderr\n" + out;
}

std::string to_line(const Sample &sample) {
  Json::Array values;
  for (const Value &v : sample.values)
    values.push_back(
        Json{Json::Array{Json{v.metric}, Json{v.filter}, Json{v.above}, Json{v.below}}});
  Json::Object line = {{"index", Json{sample.index}}, {"group", Json{sample.group}}};
  if (const auto *details = sample.details.as<Json::Object>())
    line.insert(line.end(), details->begin(), details->end());
  line.emplace_back("values", Json{std::move(values)});
  std::string out;
  write_line(out, Json{std::move(line)});
  return out + "\n";
}

namespace {

std::optional<double> number(const Json &value) {
  if (const auto *real = value.as<double>()) return *real;
  if (const auto *whole = value.as<std::int64_t>()) return static_cast<double>(*whole);
  return {};
}

} // namespace

bool from_line(std::string_view line, Sample &sample) try {
  const Json json = Json::parse(line);
  const Json *index = json.find("index"), *group = json.find("group"),
             *values = json.find("values");
  if (index == nullptr || group == nullptr || values == nullptr) return false;
  const auto *at = index->as<std::int64_t>();
  const auto *name = group->as<std::string>();
  const auto *list = values->as<Json::Array>();
  if (at == nullptr || name == nullptr || list == nullptr) return false;
  sample.index = *at, sample.group = *name;
  sample.values.clear();
  for (const Json &one : *list) {
    const auto *parts = one.as<Json::Array>();
    if (parts == nullptr || parts->size() != 4) return false;
    const auto *metric = (*parts)[0].as<std::string>(), *filter = (*parts)[1].as<std::string>();
    const auto above = number((*parts)[2]), below = number((*parts)[3]);
    if (metric == nullptr || filter == nullptr || !above || !below) return false;
    sample.values.push_back({*metric, *filter, *above, *below});
  }
  return true;
} catch (const data::JsonError &) {
  return false;
}

} // namespace eval
