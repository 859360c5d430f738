// SPDX-License-Identifier: Apache-2.0
#include "data/options.hpp"

#include <algorithm>
#include <set>

#include "base/error.hpp"

namespace data {
namespace {

[[noreturn]] void refuse(const std::string &where, const std::string &read,
                         const std::string &advice) {
  throw base::UserError(base::Exit::deck, "E110", where, read, advice);
}

bool usable_name(const std::string &name) {
  return !name.empty() && name.size() <= 64 && name.front() != '-' &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '-' || c == '_';
         });
}

} // namespace

std::vector<double> Options::weights() const {
  std::vector<double> weights;
  for (const SourceOptions &source : sources) weights.push_back(source.weight);
  return weights;
}

Options read_options(deck::Deck &deck) {
  Options options;
  deck.read_table("data", options);
  options.sources = deck.read_list<SourceOptions>("data.source");
  check_options(options, deck.path());
  return options;
}

void check_options(const Options &options, const std::string &where) {
  if (options.sources.empty())
    refuse(where, "no [[data.source]]",
           "Name at least one source of text, with its name and paths.");
  std::set<std::string> names;
  double sum = 0.0;
  for (const SourceOptions &source : options.sources) {
    const std::string read = fmt::format("[[data.source]] name = \"{}\"", source.name);
    if (!usable_name(source.name))
      refuse(where, read,
             "A name has 1 to 64 letters, digits, - and _, and does not begin with -; it becomes "
             "part of file names.");
    if (!names.insert(source.name).second)
      refuse(where, read, "Two sources have this name; give each its own.");
    if (source.paths.empty())
      refuse(where, read, "paths is an empty list; give at least one file, folder or glob.");
    if (source.format == TextFormat::jsonl && source.field.empty())
      refuse(where, read,
             "field is empty; name the field of each JSON object that holds the document.");
    sum += source.weight;
  }
  if (!(sum > 0.0))
    refuse(where, "[[data.source]] weight",
           "All weights are 0, so nothing could be read; at least one must be positive.");
}

std::filesystem::path directory_of(const Options &options, const std::string &deck_path) {
  if (!options.directory.empty()) return options.directory;
  return std::filesystem::path("checkpoints") / "data" / std::filesystem::path(deck_path).stem();
}

} // namespace data
