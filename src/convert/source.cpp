// SPDX-License-Identifier: Apache-2.0
#include "convert/source.hpp"

#include "arch/options.hpp"
#include "convert/hf_tensors.hpp"
#include "deck/deck.hpp"

namespace convert {
namespace {

// The one key of [batch] that is of interest here.
struct Sequence {
  std::int64_t sequence = 0;
  template <class R> void keys(R &r) {
    r.key(sequence, "sequence", 4096, 1, std::int64_t{1} << 40, "tokens", "");
  }
};

} // namespace

Source Source::open(const std::filesystem::path &checkpoint, const std::string &section) {
  return Source(checkpoint::Reader::open(checkpoint), section);
}

Source::Source(checkpoint::Reader reader, std::string section)
    : reader_(std::move(reader)), section_(std::move(section)) {
  deck::Deck deck = deck::Deck::parse(reader_.deck(), reader_.directory().string() + ": deck");
  dims_ = arch::read_dims(deck);
  registry_ = arch::registry(dims_);
  Sequence batch;
  deck.read_table("batch", batch);
  const auto info = reader_.manifest().value("info", nlohmann::json::object());
  max_positions_ = batch.sequence;
  if (dims_.yarn.on())
    max_positions_ =
        static_cast<std::int64_t>(static_cast<double>(dims_.yarn.original) * dims_.yarn.factor);
  if (info.contains("max_positions")) max_positions_ = info.at("max_positions").get<std::int64_t>();
  std::vector<checkpoint::Item> wanted;
  for (const auto &spec : registry_)
    wanted.push_back({spec.name, spec.shape, checkpoint::Type::f32, nullptr, nullptr});
  reader_.require(section_, wanted);
  if (section_ != "weights") return;
  for (const char *extra : {kScalesSection, kCopiesSection})
    if (reader_.has(extra))
      for (const auto &item : reader_.describe(extra))
        if (item.type == checkpoint::Type::f32)
          extras_.insert(std::string(extra) + "/" + item.name);
}

void Source::read(const std::string &tensor, std::uint64_t first, std::size_t count,
                  float *to) const {
  reader_.read_part(section_, tensor, first * sizeof(float), count * sizeof(float), to);
}

bool Source::has_extra(const std::string &section, const std::string &tensor) const {
  return extras_.count(section + "/" + tensor) > 0;
}

void Source::read_extra(const std::string &section, const std::string &tensor, std::uint64_t first,
                        std::size_t count, float *to) const {
  reader_.read_part(section, tensor, first * sizeof(float), count * sizeof(float), to);
}

} // namespace convert
