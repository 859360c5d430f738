// SPDX-License-Identifier: Apache-2.0
#include "data/sampler.hpp"

#include <algorithm>
#include <cmath>
#include <list>
#include <memory>
#include <mutex>
#include <numeric>
#include <utility>

#include "base/error.hpp"
#include "base/random.hpp"
#include "data/dataset.hpp"
#include "data/packing.hpp"
#include "data/shuffle.hpp"

namespace data {
namespace {

using base::Exit;
using base::UserError;

constexpr std::uint64_t kSampleOrder =
    std::uint64_t{1} << 63;            // keeps the samples' shuffle apart from the documents'
constexpr std::size_t kEpochsKept = 2; // laid out in memory, for each source

// The endless sequence of samples of one source.
class SourceReader {
public:
  SourceReader(const DocumentSet &documents, const PackingRules &rules, std::uint64_t seed,
               int source, std::int64_t sequence)
      : documents_(documents), rules_(rules), seed_(seed), source_(source), sequence_(sequence) {}

  // Epoch and place within it of the source's k-th sample.
  std::pair<std::int64_t, std::int64_t> locate(std::int64_t k) {
    const std::lock_guard lock(mutex_);
    if (rules_.fim_rate <= 0.0) { // all epochs are of one length
      const std::int64_t n = epoch_samples(0);
      return {k / n, k % n};
    }
    while (first_.back() <= k)
      first_.push_back(first_.back() + epoch_samples(static_cast<std::int64_t>(first_.size()) - 1));
    const auto epoch = std::upper_bound(first_.begin(), first_.end(), k) - first_.begin() - 1;
    return {epoch, k - first_[static_cast<std::size_t>(epoch)]};
  }

  void read(std::int64_t k, Sample &sample, std::vector<std::int32_t> &starts) {
    const auto [epoch, place] = locate(k);
    const std::shared_ptr<const PackedStream> stream = open(epoch);
    const auto samples = static_cast<std::uint64_t>((stream->tokens() - 1) / sequence_);
    const Shuffle order(samples, seed_, reading(epoch).stream() | kSampleOrder);
    const auto piece = static_cast<std::int64_t>(order(static_cast<std::uint64_t>(place)));
    stream->read(piece * sequence_, sequence_ + 1, sample.tokens.data(), 0, starts);
  }

  double epochs(std::int64_t k) {
    const auto [epoch, place] = locate(k);
    return static_cast<double>(epoch) +
           static_cast<double>(place) / static_cast<double>(epoch_samples(epoch));
  }

  std::int64_t epoch_samples(std::int64_t epoch) const {
    return (stream_tokens(documents_, rules_, reading(epoch)) - 1) / sequence_;
  }

private:
  Reading reading(std::int64_t epoch) const { return {seed_, source_, epoch}; }

  std::shared_ptr<const PackedStream> open(std::int64_t epoch) {
    const std::lock_guard lock(mutex_);
    for (const auto &[number, stream] : open_)
      if (number == epoch) return stream;
    open_.emplace_front(epoch,
                        std::make_shared<const PackedStream>(documents_, rules_, reading(epoch)));
    if (open_.size() > kEpochsKept) open_.pop_back();
    return open_.front().second;
  }

  const DocumentSet &documents_;
  const PackingRules &rules_;
  std::uint64_t seed_;
  int source_;
  std::int64_t sequence_;
  std::mutex mutex_;
  std::vector<std::int64_t> first_{0}; // first sample of each epoch so far
  std::list<std::pair<std::int64_t, std::shared_ptr<const PackedStream>>> open_;
};

} // namespace

struct Sampler::Impl {
  explicit Impl(const SamplerOptions &given);
  void check_weights();
  void check(const Cursor &cursor) const;
  std::size_t source_of(std::int64_t g) const;
  void read_validation(std::int64_t first, std::int64_t count, Token *out,
                       std::vector<std::int32_t> &starts) const;
  std::size_t validation_source(std::int64_t token) const;
  void count_validation_bytes() const;

  SamplerOptions options;
  Dataset dataset;
  PackingRules rules, plain;
  std::vector<double> upto; // running sums of the weights
  std::vector<std::string> names;
  std::vector<std::unique_ptr<SourceReader>> readers;
  std::vector<PackedStream> validation; // of each source, in order
  std::vector<std::int64_t> validation_first{
      0}; // token at which each source's validation text begins; one more than sources
  mutable std::once_flag counted;
  mutable std::vector<std::int64_t>
      bytes_upto; // bytes of the targets of the first i validation samples
};

Sampler::Impl::Impl(const SamplerOptions &given) : options(given), dataset(given.directory) {
  HADAL_CHECK(options.sequence >= 1, "sequence {}", options.sequence);
  rules = packing_rules(dataset.tokenizer(), options.fim_rate, options.directory.string());
  plain = packing_rules(dataset.tokenizer(), 0.0, options.directory.string());
  check_weights();
  for (int s = 0; s < dataset.sources(); ++s) {
    const SourceInfo &info = dataset.manifest().sources[static_cast<std::size_t>(s)];
    names.push_back(info.name);
    readers.push_back(
        std::make_unique<SourceReader>(dataset.train(s), rules, options.seed, s, options.sequence));
    validation.emplace_back(dataset.validation(s), plain);
    validation_first.push_back(validation_first.back() + validation.back().tokens());
    if (options.weights[static_cast<std::size_t>(s)] > 0.0 && readers.back()->epoch_samples(0) < 1)
      throw UserError(
          Exit::data, "E124", options.directory.string(),
          fmt::format("source \"{}\" has {} training tokens, too few for one sample of {} + 1",
                      info.name, dataset.train(s).tokens(), options.sequence),
          "Give it more text, a smaller batch.sequence, or weight = 0.");
  }
}

void Sampler::Impl::check_weights() {
  const std::size_t sources = static_cast<std::size_t>(dataset.sources());
  if (options.weights.empty())
    for (const SourceInfo &source : dataset.manifest().sources)
      options.weights.push_back(source.weight);
  const auto refuse = [&](const std::string &read, const std::string &advice) {
    throw UserError(Exit::data, "E125", options.directory.string(), read, advice);
  };
  if (options.weights.size() != sources)
    refuse(fmt::format("{} weights for {} sources", options.weights.size(), sources),
           "The deck's [[data.source]] list is not the one that the data was built from; run hadal "
           "data build DECK.");
  double sum = 0.0;
  for (std::size_t s = 0; s < sources; ++s) {
    const double weight = options.weights[s];
    if (!(weight >= 0.0) || !std::isfinite(weight))
      refuse(fmt::format("weight {} of source \"{}\"", weight, dataset.manifest().sources[s].name),
             "A weight is a finite number, 0 or more.");
    upto.push_back(sum += weight);
  }
  if (!(sum > 0.0) || !std::isfinite(sum))
    refuse("weights whose sum is not positive and finite",
           "At least one source needs a positive weight.");
}

void Sampler::Impl::check(const Cursor &cursor) const {
  const std::int64_t sum =
      std::accumulate(cursor.source_samples.begin(), cursor.source_samples.end(), std::int64_t{0});
  const bool negative = std::any_of(cursor.source_samples.begin(), cursor.source_samples.end(),
                                    [](std::int64_t n) { return n < 0; });
  if (cursor.source_samples.size() == names.size() && !negative && sum == cursor.next_sample)
    return;
  throw UserError(
      Exit::data, "E126", options.directory.string(),
      fmt::format("a reading position of {} sources at sample {}, but the data has {} sources",
                  cursor.source_samples.size(), cursor.next_sample, names.size()),
      "The checkpoint was written with other data; restart with the data directory of that run.");
}

std::size_t Sampler::Impl::source_of(std::int64_t g) const {
  const double u = base::random::uniform(options.seed, base::random::Purpose::source_choice, 0,
                                         static_cast<std::uint64_t>(g)) *
                   upto.back();
  const auto found = std::upper_bound(upto.begin(), upto.end(), u);
  if (found != upto.end()) return static_cast<std::size_t>(found - upto.begin());
  std::size_t last =
      upto.size() - 1; // rounding put u on the very end: the last source that has weight
  while (options.weights[last] <= 0.0) --last;
  return last;
}

void Sampler::Impl::read_validation(std::int64_t first, std::int64_t count, Token *out,
                                    std::vector<std::int32_t> &starts) const {
  const std::int64_t end = first + count;
  for (std::size_t s = 0; s < validation.size(); ++s) {
    const std::int64_t low = std::max(first, validation_first[s]),
                       high = std::min(end, validation_first[s + 1]);
    if (low < high)
      validation[s].read(low - validation_first[s], high - low, out + (low - first),
                         static_cast<std::int32_t>(low - first), starts);
  }
}

std::size_t Sampler::Impl::validation_source(std::int64_t token) const {
  return static_cast<std::size_t>(
             std::upper_bound(validation_first.begin(), validation_first.end(), token) -
             validation_first.begin()) -
         1;
}

void Sampler::Impl::count_validation_bytes() const {
  const Tokenizer &tokenizer = dataset.tokenizer();
  std::vector<std::int64_t> bytes;
  for (Token id = 0; id < tokenizer.size(); ++id)
    bytes.push_back(
        tokenizer.is_special(id) ? 0 : static_cast<std::int64_t>(tokenizer.token_bytes(id).size()));
  std::vector<Token> targets(static_cast<std::size_t>(options.sequence));
  std::vector<std::int32_t> starts;
  bytes_upto.push_back(0);
  const std::int64_t samples =
      (std::max<std::int64_t>(validation_first.back(), 1) - 1) / options.sequence;
  for (std::int64_t i = 0; i < samples; ++i) {
    starts.clear();
    read_validation(i * options.sequence + 1, options.sequence, targets.data(), starts);
    bytes_upto.push_back(std::accumulate(
        targets.begin(), targets.end(), bytes_upto.back(),
        [&](std::int64_t sum, Token t) { return sum + bytes[static_cast<std::size_t>(t)]; }));
  }
}

Sampler::Sampler(const SamplerOptions &options) : impl_(std::make_unique<Impl>(options)) {}
Sampler::Sampler(Sampler &&) noexcept = default;
Sampler::~Sampler() = default;

std::vector<Sample> Sampler::next(Cursor &cursor, std::int64_t count) const {
  impl_->check(cursor);
  std::vector<Sample> samples(static_cast<std::size_t>(std::max<std::int64_t>(count, 0)));
  for (Sample &sample : samples) {
    const std::size_t s = impl_->source_of(cursor.next_sample);
    sample.tokens.resize(static_cast<std::size_t>(impl_->options.sequence) + 1);
    sample.source = static_cast<std::int32_t>(s);
    std::vector<std::int32_t> starts;
    impl_->readers[s]->read(cursor.source_samples[s], sample, starts);
    sample.segments = {0};
    if (impl_->options.mask_documents)
      std::copy_if(starts.begin(), starts.end(), std::back_inserter(sample.segments),
                   [](std::int32_t at) { return at > 0; });
    ++cursor.source_samples[s];
    ++cursor.next_sample;
  }
  return samples;
}

void Sampler::skip(Cursor &cursor, std::int64_t count) const {
  impl_->check(cursor);
  for (std::int64_t i = 0; i < count; ++i)
    ++cursor.source_samples[impl_->source_of(cursor.next_sample++)];
}

Cursor Sampler::start() const { return {0, std::vector<std::int64_t>(impl_->names.size(), 0)}; }

std::vector<double> Sampler::epochs(const Cursor &cursor) const {
  impl_->check(cursor);
  std::vector<double> epochs;
  for (std::size_t s = 0; s < impl_->readers.size(); ++s)
    epochs.push_back(
        cursor.source_samples[s] > 0 ? impl_->readers[s]->epochs(cursor.source_samples[s]) : 0.0);
  return epochs;
}

std::int64_t Sampler::validation_samples() const {
  return (std::max<std::int64_t>(impl_->validation_first.back(), 1) - 1) / impl_->options.sequence;
}

Sample Sampler::validation(std::int64_t index) const {
  HADAL_CHECK(index >= 0 && index < validation_samples(), "validation sample {} of {}", index,
              validation_samples());
  const std::int64_t sequence = impl_->options.sequence, first = index * sequence;
  Sample sample;
  sample.tokens.resize(static_cast<std::size_t>(sequence) + 1);
  std::vector<std::int32_t> starts;
  impl_->read_validation(first, sequence + 1, sample.tokens.data(), starts);
  sample.segments = {0};
  if (impl_->options.mask_documents)
    std::copy_if(starts.begin(), starts.end(), std::back_inserter(sample.segments),
                 [](std::int32_t at) { return at > 0; });
  sample.source =
      static_cast<std::int32_t>(impl_->validation_source(first + 1)); // that of the first target
  return sample;
}

std::int64_t Sampler::validation_bytes() const { return validation_bytes(validation_samples()); }

std::int64_t Sampler::validation_bytes(std::int64_t samples) const {
  std::call_once(impl_->counted, [&] { impl_->count_validation_bytes(); });
  HADAL_CHECK(samples >= 0 && samples <= validation_samples(), "{} of {} validation samples",
              samples, validation_samples());
  return impl_->bytes_upto[static_cast<std::size_t>(samples)];
}

std::int64_t Sampler::validation_tokens() const {
  return validation_samples() * impl_->options.sequence;
}

std::int64_t Sampler::tokens(int source) const {
  const DocumentSet &documents = impl_->dataset.train(source);
  return documents.tokens() + documents.documents();
}

const std::vector<std::string> &Sampler::source_names() const { return impl_->names; }
std::string Sampler::tokenizer_hash() const { return impl_->dataset.manifest().tokenizer_hash; }
std::string Sampler::content_hash() const { return impl_->dataset.manifest().content_hash(); }
const Tokenizer &Sampler::tokenizer() const { return impl_->dataset.tokenizer(); }
int Sampler::vocabulary() const { return impl_->dataset.tokenizer().size(); }

} // namespace data
