// SPDX-License-Identifier: Apache-2.0
#include "data/conversations.hpp"

#include <algorithm>
#include <exception>
#include <functional>
#include <numeric>
#include <thread>

#include <fmt/format.h>

#include "base/error.hpp"
#include "data/build.hpp"
#include "data/conversation_turns.hpp"
#include "data/jsonl.hpp"
#include "data/parallel.hpp"

namespace data {
namespace {

using base::Exit;
using base::UserError;
using turns::Made;

constexpr std::size_t kBatchBytes = std::size_t{16} << 20; // of lines, read before they are encoded
constexpr std::size_t kFaultsKept = 5;
constexpr std::uint32_t kMark = std::uint32_t{1} << 31;

// What a line gave, or why it gave nothing.
struct Outcome {
  Made made;
  std::exception_ptr error;
};

using Make = std::function<Made(const JsonLine &)>;

// Reads the sources of one table.
class Loader {
public:
  Loader(const ConversationOptions &options, const char *table, int segments, Make make)
      : options_(options), table_(table), make_(std::move(make)) {
    out_.train = out_.validation = Items(segments);
  }

  Conversations run() {
    for (const ConversationSource &source : options_.sources) load(source);
    if (out_.readings.empty()) refuse_nothing();
    return std::move(out_);
  }

private:
  void load(const ConversationSource &source) {
    SourceReport &report = out_.sources.emplace_back();
    report.name = source.name;
    report.repeat = source.repeat;
    FileQuery query{source.paths, source.include, source.exclude};
    if (query.include.empty()) query.include = {"*.jsonl"};
    auto files = find_files(query, fmt::format("[[{}.source]] \"{}\"", table_, source.name));
    report.files = static_cast<std::int64_t>(files.size());
    const std::int64_t first = out_.train.size();
    JsonLines lines(std::move(files));
    for (auto batch = lines.next(kBatchBytes); !batch.empty(); batch = lines.next(kBatchBytes))
      take(batch, report);
    report.train = out_.train.size() - first;
    for (std::int64_t r = 0; r < source.repeat; ++r)
      for (std::int64_t i = first; i < out_.train.size(); ++i)
        out_.readings.push_back(static_cast<std::int32_t>(i));
  }

  // Encoded by several threads, taken in order: the first fault is that of the first line that has one.
  void take(const std::vector<JsonLine> &batch, SourceReport &report) {
    std::vector<Outcome> outcomes(batch.size());
    const int threads = static_cast<int>(std::clamp(std::thread::hardware_concurrency(), 1U, 16U));
    parallel_for(batch.size(), threads, [&](std::size_t i) {
      try {
        outcomes[i].made = make_(batch[i]);
      } catch (...) {
        outcomes[i].error = std::current_exception();
      }
    });
    for (const Outcome &outcome : outcomes) {
      ++report.lines;
      if (outcome.error)
        skip(outcome.error, report);
      else
        keep(outcome.made, report);
    }
  }

  void skip(const std::exception_ptr &error, SourceReport &report) const {
    try {
      std::rethrow_exception(error);
    } catch (const UserError &fault) {
      if (options_.on_bad == BadLine::stop || fault.number() == "E137") throw;
      ++report.bad;
      const std::string text = fault.what();
      if (report.faults.size() < kFaultsKept)
        report.faults.push_back(text.substr(0, text.find('\n')) + " [" + fault.number() + "]");
    }
  }

  void keep(const Made &made, SourceReport &report) {
    report.over_long += made.over_long ? 1 : 0;
    report.dropped += made.items.empty() ? 1 : 0;
    report.pieces += made.over_long ? static_cast<std::int64_t>(made.items.size()) : 0;
    report.dropped_turns += made.dropped_turns;
    const bool validation = held_out(made.question, options_.validation);
    for (const auto &item : made.items) (validation ? out_.validation : out_.train).add(item);
    if (validation) report.validation += static_cast<std::int64_t>(made.items.size());
  }

  [[noreturn]] void refuse_nothing() const {
    std::int64_t lines = 0, bad = 0, dropped = 0, idle = 0;
    for (const SourceReport &r : out_.sources) {
      lines += r.lines, bad += r.bad, dropped += r.dropped;
      idle += r.repeat == 0 ? r.train : 0;
    }
    throw UserError(Exit::data, "E135", fmt::format("[{}]", table_), "nothing to train on",
                    fmt::format("{} lines: {} skipped as unusable, {} left out as longer than a "
                                "sample, {} of sources with repeat = 0, {} conversations held out "
                                "by {}.validation = {}. Give more of them, or a longer "
                                "batch.sequence.",
                                lines, bad, dropped, idle, out_.validation.size(), table_,
                                options_.validation));
  }

  const ConversationOptions &options_;
  const char *table_;
  Make make_;
  Conversations out_;
};

void require_markers(const Tokenizer &tokenizer, const char *table) {
  if (const std::string missing = chat::missing_marker(tokenizer); !missing.empty())
    throw UserError(Exit::data, "E134", fmt::format("[{}] tokenizer", table),
                    "the tokenizer has no token " + missing,
                    "Chats need the marker tokens of DeepSeek-V3.");
}

} // namespace

void Items::add(const std::vector<chat::Encoded> &item) {
  HADAL_CHECK(static_cast<int>(item.size()) == segments_, "{} segments of {}", item.size(),
              segments_);
  std::size_t length = 0;
  for (const chat::Encoded &segment : item) {
    // The first token is nobody's target: nothing stands before it.
    for (std::size_t i = 0; i < segment.tokens.size(); ++i)
      tokens_.push_back(static_cast<std::uint32_t>(segment.tokens[i]) |
                        (i > 0 && segment.trained[i] ? kMark : 0U));
    length += segment.tokens.size();
    first_.push_back(static_cast<std::int64_t>(tokens_.size()));
  }
  lengths_.push_back(static_cast<std::int32_t>(length));
}

std::int64_t Items::trained(std::int64_t item) const {
  const auto begin = tokens_.begin() + first_[static_cast<std::size_t>(item * segments_)];
  return std::count_if(begin, begin + lengths_[static_cast<std::size_t>(item)],
                       [](std::uint32_t token) { return (token & kMark) != 0; });
}

void Items::append_to(Sample &sample, std::int64_t item) const {
  for (int s = 0; s < segments_; ++s) {
    const auto segment = static_cast<std::size_t>(item * segments_ + s);
    sample.segments.push_back(static_cast<std::int32_t>(sample.tokens.size()));
    for (auto at = static_cast<std::size_t>(first_[segment]);
         at < static_cast<std::size_t>(first_[segment + 1]); ++at) {
      sample.tokens.push_back(static_cast<Token>(tokens_[at] & ~kMark));
      sample.trained.push_back((tokens_[at] & kMark) != 0);
    }
  }
}

void Items::digest(base::Digest128 &hash) const {
  hash.add(first_.data(), first_.size() * sizeof(first_[0]));
  hash.add(tokens_.data(), tokens_.size() * sizeof(tokens_[0]));
}

Conversations load_conversations(const ChatOptions &options, const Tokenizer &tokenizer,
                                 std::int64_t capacity) {
  require_markers(tokenizer, "sft");
  const turns::Encoder encoder{tokenizer, options.form, capacity};
  return Loader(options, "sft", 1,
                [&](const JsonLine &line) {
                  return turns::conversation(line, encoder, options.over_long, options.train_on);
                })
      .run();
}

Conversations load_pairs(const PairOptions &options, const Tokenizer &tokenizer,
                         std::int64_t capacity) {
  require_markers(tokenizer, "pairs");
  const turns::Encoder encoder{tokenizer, options.form, capacity};
  return Loader(options, "pairs", 2,
                [&](const JsonLine &line) { return turns::pair(line, encoder, options.over_long); })
      .run();
}

} // namespace data
