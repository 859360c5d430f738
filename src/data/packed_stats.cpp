// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <numeric>

#include <fmt/format.h>

#include "base/text.hpp"
#include "data/packed_show.hpp"
#include "data/table.hpp"

namespace data {
namespace {

// The smallest length that at least a share of them does not exceed.
std::int32_t quantile(const std::vector<std::int32_t> &sorted, double share) {
  const auto n = static_cast<double>(sorted.size());
  const auto at = static_cast<std::size_t>(std::max(0.0, std::ceil(share * n) - 1.0));
  return sorted[std::min(at, sorted.size() - 1)];
}

Row row_of(const std::string &name, const std::string &split, const Items &items,
           std::int64_t first, std::int64_t count) {
  std::vector<std::int32_t> lengths(items.lengths().begin() + first,
                                    items.lengths().begin() + first + count);
  std::sort(lengths.begin(), lengths.end());
  std::int64_t trained = 0;
  for (std::int64_t i = first; i < first + count; ++i) trained += items.trained(i);
  Row row{name, split, base::text::with_commas(count),
          base::text::with_commas(std::accumulate(lengths.begin(), lengths.end(), std::int64_t{0})),
          base::text::with_commas(trained)};
  for (const double share : {0.0, 0.5, 0.95, 1.0})
    row.push_back(lengths.empty() ? "-" : std::to_string(quantile(lengths, share)));
  return row;
}

std::string fill_line(const char *what, const Fill &fill, bool pairs) {
  if (fill.samples == 0) return fmt::format("{}: no samples\n", what);
  return fmt::format("{}: {} samples of {} tokens, {:.1f} {} in each, {:.2f} % padding\n", what,
                     base::text::with_commas(fill.samples), fill.room / fill.samples,
                     static_cast<double>(fill.items) / static_cast<double>(fill.samples),
                     pairs ? "pairs" : "conversations", 100.0 * fill.padding());
}

} // namespace

std::string stats(const PackedSampler &sampler, std::int64_t planned_samples) {
  const Conversations &c = sampler.conversations();
  std::vector<Row> rows{{"source", "split", sampler.pairs() ? "pairs" : "conversations", "tokens",
                         "trained on", "min", "median", "p95", "max"}};
  std::int64_t train = 0, validation = 0;
  for (const SourceReport &source : c.sources) {
    rows.push_back(row_of(source.name, "train", c.train, train, source.train));
    rows.push_back(row_of("", "validation", c.validation, validation, source.validation));
    train += source.train, validation += source.validation;
  }
  if (c.sources.size() > 1) {
    rows.push_back(row_of("all", "train", c.train, 0, train));
    rows.push_back(row_of("", "validation", c.validation, 0, validation));
  }
  std::string text = table(rows) + "\n";
  for (const SourceReport &source : c.sources)
    text += fmt::format("{}: {} files, {} lines{}\n", source.name, source.files,
                        base::text::with_commas(source.lines),
                        source.repeat == 1 ? std::string()
                                           : fmt::format(", {} times an epoch", source.repeat));
  for (const std::string &remark : sampler.remarks()) text += remark + "\n";
  text += fill_line("first epoch", sampler.fill(0), sampler.pairs());
  text += fill_line("validation", sampler.validation_fill(), sampler.pairs());
  if (planned_samples > 0)
    text += fmt::format(
        "planned: {} samples, about {:.2f} epochs\n", base::text::with_commas(planned_samples),
        static_cast<double>(planned_samples) / static_cast<double>(sampler.fill(0).samples));
  return text + fmt::format("tokenizer: {} ids, {}\ncontent: {}\n", sampler.vocabulary(),
                            sampler.tokenizer_hash(), sampler.content_hash());
}

} // namespace data
