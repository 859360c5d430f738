// SPDX-License-Identifier: Apache-2.0
#include "data/stats.hpp"

#include <algorithm>
#include <numeric>

#include "base/error.hpp"
#include "base/text.hpp"
#include "data/table.hpp"

namespace data {
namespace {

Row numbers(const std::string &source, const std::string &split, const SplitInfo &info) {
  const auto tokens = static_cast<double>(info.tokens());
  return {source,
          split,
          base::text::with_commas(info.documents()),
          base::text::with_commas(info.tokens()),
          base::text::with_commas(info.text_bytes()),
          tokens > 0 ? fmt::format("{:.3f}", static_cast<double>(info.text_bytes()) / tokens)
                     : "-"};
}

} // namespace

std::string table(const std::vector<Row> &rows) {
  std::vector<std::size_t> widths(rows.front().size(), 0);
  for (const Row &row : rows)
    for (std::size_t c = 0; c < row.size(); ++c) widths[c] = std::max(widths[c], row[c].size());
  std::string text;
  for (const Row &row : rows) {
    for (std::size_t c = 0; c < row.size(); ++c)
      text += c < 2 ? fmt::format("{:<{}}  ", row[c], widths[c])
                    : fmt::format("{:>{}}  ", row[c], widths[c]);
    text.erase(text.find_last_not_of(' ') + 1);
    text += "\n";
  }
  return text;
}

std::string stats(const Manifest &manifest, const StatsRequest &request) {
  std::vector<double> weights = request.weights;
  if (weights.empty())
    for (const SourceInfo &source : manifest.sources) weights.push_back(source.weight);
  if (weights.size() != manifest.sources.size())
    throw base::UserError(
        base::Exit::data, "E125", "",
        fmt::format("{} weights for {} sources", weights.size(), manifest.sources.size()),
        "The deck's [[data.source]] list is not the one that the data was built from; run hadal "
        "data build DECK.");
  const double sum = std::max(std::accumulate(weights.begin(), weights.end(), 0.0), 1e-300);
  std::vector<Row> rows{
      {"source", "split", "documents", "tokens", "bytes", "bytes/token", "share"}};
  if (request.planned_tokens > 0) rows.front().push_back("epochs");
  SplitInfo train, validation;
  for (std::size_t s = 0; s < manifest.sources.size(); ++s) {
    const SourceInfo &source = manifest.sources[s];
    const double share = weights[s] / sum,
                 epoch = static_cast<double>(source.train.tokens() + source.train.documents());
    Row row = numbers(source.name, "train", source.train);
    row.push_back(fmt::format("{:.2f} %", 100.0 * share));
    if (request.planned_tokens > 0)
      row.push_back(fmt::format("{:.3f}", share * static_cast<double>(request.planned_tokens) /
                                              std::max(epoch, 1.0)));
    rows.push_back(row);
    rows.push_back(numbers("", "validation", source.validation));
    train.shards.insert(train.shards.end(), source.train.shards.begin(), source.train.shards.end());
    validation.shards.insert(validation.shards.end(), source.validation.shards.begin(),
                             source.validation.shards.end());
  }
  if (manifest.sources.size() > 1) {
    rows.push_back(numbers("all", "train", train));
    rows.push_back(numbers("", "validation", validation));
  }
  std::string text = table(rows) + "\n";
  for (const SourceInfo &source : manifest.sources)
    text += fmt::format("{}: {} files, {}; skipped {} empty documents, {} not UTF-8\n", source.name,
                        base::text::with_commas(source.files), base::text::bytes(source.file_bytes),
                        source.skipped.empty, source.skipped.bad);
  return text +
         fmt::format("tokenizer: {} ids, {}\nshards: {} files, {}, {} bytes a token\ncontent: {}\n",
                     manifest.vocabulary, manifest.tokenizer_hash,
                     train.shards.size() + validation.shards.size(),
                     base::text::bytes(manifest.size()), manifest.token_width,
                     manifest.content_hash());
}

} // namespace data
