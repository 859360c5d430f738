// SPDX-License-Identifier: Apache-2.0
#include "app/commands/data.hpp"

#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include <fmt/format.h>
#include <unistd.h>

#include "app/commands/data_chats.hpp"
#include "app/open_deck.hpp"
#include "base/clock.hpp"
#include "base/error.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "data/build.hpp"
#include "data/dataset.hpp"
#include "data/packed_show.hpp"
#include "data/show.hpp"
#include "data/stats.hpp"
#include "train/options.hpp"

namespace app {
namespace {

// One line that renews itself on a terminal; elsewhere a line every ten seconds.
class ProgressLine {
public:
  void operator()(const data::BuildProgress &p) {
    const bool end = p.bytes == p.bytes_total;
    if (p.stage != stage_) finish();
    if (p.stage == stage_ && watch_.seconds() < (terminal_ ? 0.2 : 10.0) && !(end && terminal_))
      return;
    if (p.stage != stage_ && !terminal_) return begin(p.stage);
    stage_ = p.stage;
    watch_ = base::Stopwatch();
    const double share = p.bytes_total > 0 ? 100.0 * static_cast<double>(p.bytes) /
                                                 static_cast<double>(p.bytes_total)
                                           : 100.0;
    std::string line = fmt::format("{}: {:3.0f} % of {}", p.stage, share,
                                   base::text::bytes(static_cast<std::int64_t>(p.bytes_total)));
    if (p.tokens > 0)
      line += fmt::format(" | {} tokens", base::text::count(static_cast<double>(p.tokens)));
    if (p.seconds > 0.5)
      line +=
          fmt::format(" | {}/s", base::text::bytes(static_cast<std::int64_t>(
                                     static_cast<double>(p.bytes - p.bytes_before) / p.seconds)));
    if (p.eta() >= 0.0 && !end) line += " | ETA " + base::text::duration(p.eta());
    if (terminal_)
      fmt::print(stderr, "\r\x1b[K{}", line), std::fflush(stderr), open_ = true;
    else
      base::log::info("{}", line);
  }
  ~ProgressLine() { finish(); }

private:
  void begin(const std::string &stage) {
    stage_ = stage;
    watch_ = base::Stopwatch();
  }
  void finish() {
    if (open_) fmt::print(stderr, "\n");
    open_ = false;
  }
  bool terminal_ = ::isatty(STDERR_FILENO) == 1, open_ = false;
  std::string stage_;
  base::Stopwatch watch_;
};

// A data directory with how it is to be read: from a deck, or defaults for a bare directory.
struct Place {
  std::filesystem::path directory;
  data::SamplerOptions sampler;
  std::int64_t planned_tokens = 0;
};

Place find_place(const std::string &text, const std::vector<std::string> &overrides) {
  Place place;
  if (std::error_code error; std::filesystem::is_directory(text, error)) {
    if (!overrides.empty())
      throw base::UserError(base::Exit::deck, "E004", "", overrides.front(),
                            "A data directory has no keys to override; name the deck instead.");
    place.directory = place.sampler.directory = text;
    return place;
  }
  deck::Deck deck = open_deck(text, overrides);
  const data::Options options = data::read_options(deck);
  train::RunTable run;
  train::BatchTable batch;
  train::TrainTable train;
  deck.read_table("run", run);
  deck.read_table("batch", batch);
  deck.read_table("train", train);
  deck.finish();
  place.directory = data::directory_of(options, deck.path());
  place.sampler = {place.directory,  static_cast<std::uint64_t>(run.seed),
                   batch.sequence,   options.mask_documents,
                   options.fim_rate, options.weights()};
  place.planned_tokens = train.steps * batch.global_batch * batch.sequence;
  return place;
}

bool coloured(const std::string &choice) {
  if (choice != "auto") return choice == "always";
  const char *no = std::getenv("NO_COLOR");
  return ::isatty(STDOUT_FILENO) == 1 && (no == nullptr || *no == '\0');
}

void require_text(const std::string &place, const std::vector<std::string> &overrides) {
  if (is_chat_deck(place, overrides))
    throw base::UserError(base::Exit::deck, "E139", place, "a deck of conversations",
                          "Nothing is built from them: they are read when a run begins. `hadal "
                          "data show` and `hadal data stats` take this deck.");
}

} // namespace

int data_build(const DataBuildArguments &arguments) {
  require_text(arguments.deck, arguments.overrides);
  deck::Deck deck = open_deck(arguments.deck, arguments.overrides);
  data::BuildRequest request;
  request.options = data::read_options(deck);
  deck.finish();
  request.deck = deck.path();
  request.rebuild = arguments.rebuild;
  request.threads = arguments.threads;
  const base::Stopwatch watch;
  data::BuildResult result;
  {
    ProgressLine line;
    request.progress = [&](const data::BuildProgress &progress) { line(progress); };
    result = data::build(request);
  }
  fmt::print("{}", data::stats(result.manifest, {}));
  std::string end = result.reweighted ? "up to date; the weights were renewed"
                    : result.up_to_date
                        ? "up to date"
                        : fmt::format("built in {}", base::text::duration(watch.seconds()));
  if (!result.up_to_date && result.parts_kept > 0)
    end += fmt::format(" ({} of {} parts kept from an earlier build)", result.parts_kept,
                       result.parts_kept + result.parts_built);
  fmt::print("{}: {}\n", result.directory.string(), end);
  std::int64_t held_out = 0;
  for (const data::SourceInfo &source : result.manifest.sources)
    held_out += source.validation.documents();
  if (held_out == 0 && request.options.validation > 0.0)
    base::log::warn("no document was held out for validation: there are few documents; raise "
                    "data.validation or split the text into more files.");
  return 0;
}

int data_show(const DataShowArguments &arguments) {
  const data::ShowRequest request{arguments.from, arguments.samples, arguments.validation,
                                  coloured(arguments.colour)};
  if (is_chat_deck(arguments.place, arguments.overrides)) {
    const Chats chats = open_chats(arguments.place, arguments.overrides, arguments.sequence);
    fmt::print("{}", data::show(*chats.sampler, request));
    return 0;
  }
  Place place = find_place(arguments.place, arguments.overrides);
  if (arguments.sequence > 0) place.sampler.sequence = arguments.sequence;
  const data::Sampler sampler(place.sampler);
  fmt::print("{}", data::show(sampler, request));
  return 0;
}

int data_text(const DataTextArguments &arguments) {
  require_text(arguments.place, arguments.overrides);
  const Place place = find_place(arguments.place, arguments.overrides);
  const data::Dataset set(place.directory);
  std::vector<data::Token> tokens;
  for (int source = 0; source < set.sources(); ++source) {
    const data::DocumentSet &split =
        arguments.validation ? set.validation(source) : set.train(source);
    for (std::int64_t document = 0; document < split.documents(); ++document) {
      tokens.resize(static_cast<std::size_t>(split.length(document)));
      split.copy(document, 0, split.length(document), tokens.data());
      const std::string text = set.tokenizer().decode(tokens, true);
      std::fwrite(text.data(), 1, text.size(), stdout);
    }
  }
  return 0;
}

namespace {

std::int64_t planned_of(const std::string &text, std::int64_t otherwise) {
  if (text.empty()) return otherwise;
  const auto tokens = base::text::parse_count(text);
  if (!tokens || *tokens < 1)
    throw base::UserError(base::Exit::deck, "E004", "--tokens", text,
                          "A whole number, perhaps with a suffix: 300M, 14.8T.");
  return *tokens;
}

int chat_stats(const DataStatsArguments &arguments) {
  if (arguments.verify)
    throw base::UserError(base::Exit::deck, "E004", "--verify", arguments.place,
                          "A deck of conversations has no shards whose checksums could be read.");
  const Chats chats = open_chats(arguments.place, arguments.overrides);
  const std::int64_t sequence = chats.sampler->sequence(),
                     tokens = planned_of(arguments.tokens, chats.planned_samples * sequence);
  fmt::print("{}", data::stats(*chats.sampler, tokens / sequence));
  return 0;
}

} // namespace

int data_stats(const DataStatsArguments &arguments) {
  if (is_chat_deck(arguments.place, arguments.overrides)) return chat_stats(arguments);
  const Place place = find_place(arguments.place, arguments.overrides);
  data::StatsRequest request{place.planned_tokens, place.sampler.weights};
  request.planned_tokens = planned_of(arguments.tokens, request.planned_tokens);
  const data::Dataset set(place.directory);
  fmt::print("{}", data::stats(set.manifest(), request));
  if (arguments.verify) {
    set.verify();
    fmt::print("verified: every checksum is right\n");
  }
  return 0;
}

} // namespace app
