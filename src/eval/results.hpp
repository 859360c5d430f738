// SPDX-License-Identifier: Apache-2.0
#pragma once
// What comes out: values of single questions, metrics of tasks, and how both are written.
#include <cstdint>
#include <string>
#include <vector>

#include "data/json.hpp"

namespace eval {

// A metric's share of one question. The metric is sum of `above` over sum of `below`: a mean where below is 1.
struct Value {
  std::string metric, filter; // "acc", "none"
  double above = 0, below = 1;
};
struct Sample {
  std::int64_t index = 0; // of the question in its task
  std::string group;
  std::vector<Value> values;
  data::Json details; // an object: what was asked and said
};

struct Metric {
  std::string metric, filter;
  double value = 0, error = 0; // error: NaN where there is none
  std::int64_t samples = 0;
};
struct GroupResult {
  std::string group;
  std::vector<Metric> metrics;
};
struct TaskResult {
  std::string task, about;
  std::int64_t version = 0, shots = 0;
  std::vector<Metric> metrics; // over all questions
  std::vector<GroupResult> groups;
  std::int64_t questions = 0, shortened = 0; // shortened: prompts that lost their beginning
  std::string fingerprint;
};

bool lower_is_better(const std::string &metric);
// Metrics in the order in which they first appear. Standard error: of the mean, or by bootstrap where a metric is a ratio.
std::vector<Metric> summarise(const std::vector<const Sample *> &samples, std::int64_t rounds);
// The same for all and for each group (where there are several).
void summarise(TaskResult &result, const std::vector<Sample> &samples, std::int64_t rounds);

// The table that users of lm-evaluation-harness know.
std::string table(const std::vector<TaskResult> &results, bool groups);
data::Json to_json(const std::vector<TaskResult> &results, const data::Json &about);
// Groups "length=L depth=D" as rows of a CSV file, for the heat map; "" when the task has none.
std::string grid(const TaskResult &result);

// One line of samples_<task>.jsonl and back.
std::string to_line(const Sample &sample);
bool from_line(std::string_view line, Sample &sample);

} // namespace eval
