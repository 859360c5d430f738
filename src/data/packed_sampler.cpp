// SPDX-License-Identifier: Apache-2.0
#include "data/packed_sampler.hpp"

#include <algorithm>
#include <list>
#include <mutex>
#include <numeric>
#include <utility>

#include <fmt/format.h>

#include "base/error.hpp"
#include "base/text.hpp"
#include "data/bins.hpp"
#include "data/fim.hpp"
#include "data/shuffle.hpp"

namespace data {
namespace {

using base::Exit;
using base::UserError;

constexpr int kOrderVersion = 1; // changes when the same conversations would give other samples
constexpr std::size_t kPlansKept = 2;                          // epochs
constexpr std::uint64_t kSampleOrder = std::uint64_t{1} << 63; // apart from that of the items

} // namespace

bool is_marker(Token token, const Tokenizer &tokenizer) {
  return tokenizer.is_special(token) || tokenizer.id_of(tokenizer.token_bytes(token)) == token;
}

struct PackedSampler::Impl {
  Impl(Conversations given, std::shared_ptr<const Tokenizer> with, const Rules &by)
      : conversations(std::move(given)), tokenizer(std::move(with)), rules(by), names{by.name},
        padding(tokenizer->id_of("<｜▁pad▁｜>").value_or(tokenizer->eos())) {
    HADAL_CHECK(rules.sequence >= 1 && rules.capacity <= rules.sequence + 1, "{} of {}",
                rules.capacity, rules.sequence);
    std::vector<std::int32_t> order(static_cast<std::size_t>(conversations.validation.size()));
    std::iota(order.begin(), order.end(), 0);
    held_out = pack(order, conversations.validation.lengths(), rules.capacity, rules.packing);
  }

  Bins lay_out(std::int64_t epoch) const;
  std::shared_ptr<const Bins> plan(std::int64_t epoch) const;
  std::pair<std::int64_t, std::int64_t> locate(std::int64_t index) const;
  Sample sample(const Items &items, std::span<const std::int32_t> bin) const;
  Fill fill(const Items &items, const Bins &bins) const;
  void check(const Cursor &cursor) const;
  void count_validation_bytes() const;

  Conversations conversations;
  std::shared_ptr<const Tokenizer> tokenizer;
  Rules rules;
  std::vector<std::string> names;
  Token padding;
  Bins held_out; // in the order of the files
  mutable std::mutex mutex;
  mutable std::vector<std::int64_t> first{0}; // sample of each epoch known so far
  mutable std::list<std::pair<std::int64_t, std::shared_ptr<const Bins>>> plans;
  mutable std::once_flag counted;
  mutable std::vector<std::int64_t> bytes_upto; // of the first i validation samples
};

// The items shuffled and packed, then the samples shuffled: packing closes full ones first.
Bins PackedSampler::Impl::lay_out(std::int64_t epoch) const {
  const std::uint64_t stream = Reading{rules.seed, 0, epoch}.stream();
  const std::vector<std::int32_t> &readings = conversations.readings;
  const Shuffle items(readings.size(), rules.seed, stream);
  std::vector<std::int32_t> order(readings.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = readings[items(i)];
  const Bins packed = pack(order, conversations.train.lengths(), rules.capacity, rules.packing);
  const Shuffle samples(static_cast<std::uint64_t>(packed.size()), rules.seed,
                        stream | kSampleOrder);
  Bins bins;
  bins.items.reserve(packed.items.size());
  for (std::int64_t b = 0; b < packed.size(); ++b) {
    const auto bin = packed.bin(static_cast<std::int64_t>(samples(static_cast<std::uint64_t>(b))));
    bins.items.insert(bins.items.end(), bin.begin(), bin.end());
    bins.first.push_back(static_cast<std::int64_t>(bins.items.size()));
  }
  return bins;
}

std::shared_ptr<const Bins> PackedSampler::Impl::plan(std::int64_t epoch) const {
  const std::lock_guard lock(mutex);
  for (const auto &[number, bins] : plans)
    if (number == epoch) return bins;
  plans.emplace_front(epoch, std::make_shared<const Bins>(lay_out(epoch)));
  if (plans.size() > kPlansKept) plans.pop_back();
  return plans.front().second;
}

// Epoch of a sample, and its place there. Epochs differ in length, since other orders pack otherwise.
std::pair<std::int64_t, std::int64_t> PackedSampler::Impl::locate(std::int64_t index) const {
  for (;;) {
    std::int64_t epoch = 0;
    {
      const std::lock_guard lock(mutex);
      if (index < first.back()) {
        const auto found = std::upper_bound(first.begin(), first.end(), index) - 1;
        return {found - first.begin(), index - *found};
      }
      epoch = static_cast<std::int64_t>(first.size()) - 1;
    }
    const std::int64_t samples = plan(epoch)->size();
    const std::lock_guard lock(mutex);
    if (static_cast<std::int64_t>(first.size()) - 1 == epoch)
      first.push_back(first.back() + samples);
  }
}

Sample PackedSampler::Impl::sample(const Items &items, std::span<const std::int32_t> bin) const {
  const auto room = static_cast<std::size_t>(rules.sequence) + 1;
  Sample sample;
  sample.tokens.reserve(room);
  sample.trained.reserve(room);
  for (const std::int32_t item : bin) items.append_to(sample, item);
  if (rules.pairs) sample.pairs = static_cast<std::int32_t>(bin.size());
  if (sample.tokens.size() < room)
    sample.segments.push_back(static_cast<std::int32_t>(sample.tokens.size()));
  sample.tokens.resize(room, padding);
  sample.trained.resize(room, 0);
  return sample;
}

Fill PackedSampler::Impl::fill(const Items &items, const Bins &bins) const {
  Fill fill{bins.size(), static_cast<std::int64_t>(bins.items.size()), 0, 0,
            bins.size() * (rules.sequence + 1)};
  for (const std::int32_t item : bins.items) {
    fill.tokens += items.lengths()[static_cast<std::size_t>(item)];
    fill.trained += items.trained(item);
  }
  return fill;
}

void PackedSampler::Impl::check(const Cursor &cursor) const {
  if (cursor.next_sample >= 0 && cursor.source_samples.size() == 1 &&
      cursor.source_samples[0] == cursor.next_sample)
    return;
  throw UserError(Exit::data, "E126", names[0],
                  fmt::format("a reading position of {} sources at sample {}",
                              cursor.source_samples.size(), cursor.next_sample),
                  "The checkpoint was written with other data; restart with that of its run.");
}

void PackedSampler::Impl::count_validation_bytes() const {
  bytes_upto.push_back(0);
  for (std::int64_t b = 0; b < held_out.size(); ++b) {
    const Sample held = sample(conversations.validation, held_out.bin(b));
    std::int64_t bytes = bytes_upto.back();
    for (std::size_t i = 0; i < held.tokens.size(); ++i)
      if (held.trained[i] != 0 && !is_marker(held.tokens[i], *tokenizer))
        bytes += static_cast<std::int64_t>(tokenizer->token_bytes(held.tokens[i]).size());
    bytes_upto.push_back(bytes);
  }
}

PackedSampler::PackedSampler(Conversations conversations,
                             std::shared_ptr<const Tokenizer> tokenizer, const Rules &rules)
    : impl_(std::make_unique<Impl>(std::move(conversations), std::move(tokenizer), rules)) {}
PackedSampler::PackedSampler(PackedSampler &&) noexcept = default;
PackedSampler::~PackedSampler() = default;

std::vector<Sample> PackedSampler::next(Cursor &cursor, std::int64_t count) const {
  impl_->check(cursor);
  std::vector<Sample> samples;
  for (std::int64_t i = 0; i < count; ++i) {
    const auto [epoch, place] = impl_->locate(cursor.next_sample);
    const std::shared_ptr<const Bins> plan = impl_->plan(epoch);
    samples.push_back(impl_->sample(impl_->conversations.train, plan->bin(place)));
    cursor.source_samples[0] = ++cursor.next_sample;
  }
  return samples;
}

void PackedSampler::skip(Cursor &cursor, std::int64_t count) const {
  impl_->check(cursor);
  cursor.source_samples[0] = cursor.next_sample += std::max<std::int64_t>(count, 0);
}

Cursor PackedSampler::start() const { return {0, {0}}; }

std::vector<double> PackedSampler::epochs(const Cursor &cursor) const {
  impl_->check(cursor);
  if (cursor.next_sample == 0) return {0.0};
  // That of the sample before, and one more: an epoch that ends here need not know its successor.
  const auto [epoch, place] = impl_->locate(cursor.next_sample - 1);
  const std::int64_t length = impl_->plan(epoch)->size();
  return {static_cast<double>(epoch) +
          static_cast<double>(place + 1) / static_cast<double>(length)};
}

std::int64_t PackedSampler::samples_of(std::int64_t epochs) const {
  std::int64_t samples = 0;
  for (std::int64_t e = 0; e < epochs; ++e) {
    impl_->locate(samples); // makes the epoch's length known
    const std::lock_guard lock(impl_->mutex);
    samples = impl_->first[static_cast<std::size_t>(e) + 1];
  }
  return samples;
}

std::int64_t PackedSampler::validation_samples() const { return impl_->held_out.size(); }

Sample PackedSampler::validation(std::int64_t index) const {
  HADAL_CHECK(index >= 0 && index < validation_samples(), "validation sample {} of {}", index,
              validation_samples());
  return impl_->sample(impl_->conversations.validation, impl_->held_out.bin(index));
}

std::int64_t PackedSampler::validation_bytes(std::int64_t samples) const {
  std::call_once(impl_->counted, [&] { impl_->count_validation_bytes(); });
  HADAL_CHECK(samples >= 0 && samples <= validation_samples(), "{} of {} validation samples",
              samples, validation_samples());
  return impl_->bytes_upto[static_cast<std::size_t>(samples)];
}

std::int64_t PackedSampler::tokens(int source) const {
  HADAL_CHECK(source == 0, "source {}", source);
  const auto &lengths = impl_->conversations.train.lengths();
  std::int64_t sum = 0;
  for (const std::int32_t item : impl_->conversations.readings)
    sum += lengths[static_cast<std::size_t>(item)];
  return sum;
}

const std::vector<std::string> &PackedSampler::source_names() const { return impl_->names; }
std::string PackedSampler::tokenizer_hash() const { return impl_->tokenizer->hash().hex(); }

std::string PackedSampler::content_hash() const {
  const Conversations &c = impl_->conversations;
  const Rules &rules = impl_->rules;
  const std::string text =
      fmt::format("{} {} {} {} {} {} {}", kOrderVersion, tokenizer_hash(), rules.sequence,
                  rules.capacity, rules.packing, rules.pairs, impl_->padding);
  base::Digest128 hash;
  hash.add(text.data(), text.size());
  c.train.digest(hash);
  hash.add(c.readings.data(), c.readings.size() * sizeof(c.readings[0]));
  c.validation.digest(hash);
  return hash.value().hex();
}

const Tokenizer &PackedSampler::tokenizer() const { return *impl_->tokenizer; }
int PackedSampler::vocabulary() const { return impl_->tokenizer->size(); }
std::int64_t PackedSampler::sequence() const { return impl_->rules.sequence; }
bool PackedSampler::pairs() const { return impl_->rules.pairs; }
const Conversations &PackedSampler::conversations() const { return impl_->conversations; }

Fill PackedSampler::fill(std::int64_t epoch) const {
  return impl_->fill(impl_->conversations.train, *impl_->plan(epoch));
}

Fill PackedSampler::validation_fill() const {
  return impl_->fill(impl_->conversations.validation, impl_->held_out);
}

std::vector<std::string> PackedSampler::remarks() const {
  std::vector<std::string> lines;
  for (const SourceReport &r : impl_->conversations.sources) {
    if (r.bad > 0)
      lines.push_back(fmt::format("{}: {} of {} lines cannot be used and were skipped", r.name,
                                  r.bad, r.lines));
    for (const std::string &fault : r.faults) lines.push_back("  " + fault);
    if (r.over_long > 0)
      lines.push_back(fmt::format("{}: {} of {} are longer than a sample of {} tokens: {} left "
                                  "out, {} cut into {} pieces; {} turns left out",
                                  r.name, r.over_long, r.lines, impl_->rules.sequence + 1,
                                  r.dropped, r.over_long - r.dropped, r.pieces, r.dropped_turns));
  }
  return lines;
}

ChatSampler::ChatSampler(const ChatOptions &options, std::shared_ptr<const Tokenizer> tokenizer,
                         std::int64_t sequence, std::uint64_t seed)
    : PackedSampler(load_conversations(options, *tokenizer, sequence + 1), tokenizer,
                    {"chats", sequence, sequence + 1, seed, options.packing, false}) {}

PairSampler::PairSampler(const PairOptions &options, std::shared_ptr<const Tokenizer> tokenizer,
                         std::int64_t sequence, std::uint64_t seed)
    : PackedSampler(load_pairs(options, *tokenizer, sequence), tokenizer,
                    {"pairs", sequence, sequence, seed, options.packing, true}) {}

} // namespace data
