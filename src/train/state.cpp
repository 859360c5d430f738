// SPDX-License-Identifier: Apache-2.0
#include "train/state.hpp"

#include <set>

#include "checkpoint/block_hashes.hpp"

namespace train {

using checkpoint::Item, checkpoint::Section, checkpoint::Type;
using tensor::Vec;

namespace {

template <class T> constexpr Type type_of() {
  return std::is_same_v<T, float> ? Type::f32 : Type::bf16;
}

// The owned pieces of a flat buffer. at(piece): where a piece lies in it.
template <class T, class At>
Section section_of(const char *name, const Ownership &ownership, T *data, bool trained_only,
                   const At &at) {
  Section s;
  s.name = name;
  for (const Owned &piece : ownership.pieces()) {
    const model::Slot &slot = *piece.slot;
    if (trained_only && !slot.spec.trained()) continue;
    Item item{slot.spec.name, slot.global_shape, type_of<T>(), data + at(piece)};
    item.first = slot.first + piece.begin, item.count = piece.end - piece.begin;
    s.items.push_back(std::move(item));
  }
  return s;
}
tensor::Index in_master(const Owned &piece) { return piece.master; }
tensor::Index in_moments(const Owned &piece) { return piece.at; }

// The buffer itself where the host reaches it and a copy is not asked for; else a copy in `place`, allocated at the first use.
template <class T>
T *host_data(tensor::Context &ctx, const Vec<T> &buffer,
             Kokkos::View<T *, Kokkos::HostSpace> &place, bool copy) {
  if constexpr (tensor::kOnHost)
    if (!copy) return buffer.data();
  if (place.extent(0) != buffer.extent(0))
    place = Kokkos::View<T *, Kokkos::HostSpace>(
        Kokkos::view_alloc(Kokkos::WithoutInitializing, "train::state::copy"), buffer.extent(0));
  Kokkos::deep_copy(ctx.exec, place, buffer);
  return place.data();
}

} // namespace

nlohmann::json Counters::to_json() const {
  nlohmann::json avoided = nlohmann::json::array();
  for (const auto &[first, last] : avoid) avoided.push_back({first, last});
  return {{"step", step},
          {"updates", updates},
          {"tokens", tokens},
          {"samples", samples},
          {"skipped", skipped},
          {"rolled_back", rolled_back},
          {"mean_loss", mean_loss},
          {"next_sample", cursor.next_sample},
          {"source_samples", cursor.source_samples},
          {"avoid", avoided}};
}

Counters Counters::from_json(const nlohmann::json &j) {
  Counters c;
  j.at("step").get_to(c.step), j.at("updates").get_to(c.updates), j.at("tokens").get_to(c.tokens),
      j.at("samples").get_to(c.samples);
  j.at("skipped").get_to(c.skipped), j.at("rolled_back").get_to(c.rolled_back),
      j.at("mean_loss").get_to(c.mean_loss);
  j.at("next_sample").get_to(c.cursor.next_sample),
      j.at("source_samples").get_to(c.cursor.source_samples);
  for (const auto &range : j.at("avoid"))
    c.avoid.emplace_back(range.at(0).get<std::int64_t>(), range.at(1).get<std::int64_t>());
  return c;
}

State::State(const Options &options, const Ranks &ranks, const model::Layout &where)
    : layout(where), ownership(ranks, where, options.precision.compute != Compute::f32),
      master("train::master", ownership.masters()), ranks_(ranks) {
  if (options.optimizer.moments == optim::MomentType::bf16) {
    first.bf16 = Vec<numerics::bf16>("train::first_moment", ownership.moments());
    second.bf16 = Vec<numerics::bf16>("train::second_moment", ownership.moments());
  } else {
    first.f32 = Vec<float>("train::first_moment", ownership.moments());
    second.f32 = Vec<float>("train::second_moment", ownership.moments());
  }
  if (options.average.beta > 0) average = optim::HostFloats("train::average", ownership.moments());
}

void State::initialise(tensor::Context &ctx, std::uint64_t seed) {
  for (const model::Slot &slot : layout.slots())
    if (slot.plain()) model::initialise(ctx, layout, slot, seed, 0, plain(slot));
  for (const Owned &piece : ownership.pieces())
    if (!piece.slot->plain())
      model::initialise(ctx, layout, *piece.slot, seed, piece.begin, value(piece));
  average_is_value(ctx);
}

void State::average_is_value(tensor::Context &ctx) {
  tensor::fence(ctx, "train::state::average"); // reason: the average lives on the host
  if (average.extent(0) == 0) return;
  for (const Owned &piece : ownership.pieces())
    Kokkos::deep_copy(
        optim::HostFloats(average.data() + piece.at, static_cast<std::size_t>(piece.size())),
        value(piece));
}

// A copy has the owned pieces one behind the other, as the moments.
Section State::pieces_of_master(tensor::Context &ctx, bool with_copies) {
  if constexpr (tensor::kOnHost)
    if (!with_copies) return section_of("weights", ownership, master.data(), false, in_master);
  if (copies_.master.extent(0) == 0)
    copies_.master =
        optim::HostFloats(Kokkos::view_alloc(Kokkos::WithoutInitializing, "train::state::copy"),
                          static_cast<std::size_t>(ownership.moments()));
  for (const Owned &piece : ownership.pieces())
    Kokkos::deep_copy(
        ctx.exec,
        optim::HostFloats(copies_.master.data() + piece.at, static_cast<std::size_t>(piece.size())),
        value(piece));
  return section_of("weights", ownership, copies_.master.data(), false, in_moments);
}

std::vector<Section> State::sections(tensor::Context &ctx, bool with_copies) {
  std::vector<Section> all;
  all.push_back(pieces_of_master(ctx, with_copies));
  if (bf16_moments()) {
    all.push_back(section_of("first_moment", ownership,
                             host_data(ctx, first.bf16, copies_.first_bf16, with_copies), true,
                             in_moments));
    all.push_back(section_of("second_moment", ownership,
                             host_data(ctx, second.bf16, copies_.second_bf16, with_copies), true,
                             in_moments));
  } else {
    all.push_back(section_of("first_moment", ownership,
                             host_data(ctx, first.f32, copies_.first, with_copies), true,
                             in_moments));
    all.push_back(section_of("second_moment", ownership,
                             host_data(ctx, second.f32, copies_.second, with_copies), true,
                             in_moments));
  }
  if (average.extent(0) > 0) {
    float *data = average.data();
    if (with_copies) {
      if (copies_.average.extent(0) == 0)
        copies_.average =
            optim::HostFloats(Kokkos::view_alloc(Kokkos::WithoutInitializing, "train::state::copy"),
                              average.extent(0));
      Kokkos::deep_copy(copies_.average, average);
      data = copies_.average.data();
    }
    all.push_back(section_of("average", ownership, data, false, in_moments));
  }
  Section progress;
  progress.name = "counters";
  progress.scalars = counters.to_json();
  all.push_back(progress);
  tensor::fence(ctx, "train::state::sections"); // reason: the host reads what was copied
  return all;
}

// The plain tensors whole, of the matrices the owned pieces.
void State::read_weights(tensor::Context &ctx, const checkpoint::Reader &reader,
                         bool weights_only) {
  const auto host =
      Kokkos::create_mirror_view_and_copy(Kokkos::HostSpace{}, master); // here it may be itself
  std::vector<Item> items;
  const auto add = [&](const model::Slot &slot, tensor::Index at, tensor::Index begin,
                       tensor::Index count) {
    Item item{slot.spec.name, slot.global_shape, Type::f32, host.data() + at};
    item.first = slot.first + begin, item.count = count;
    items.push_back(std::move(item));
  };
  for (const model::Slot &slot : layout.slots())
    if (slot.plain()) add(slot, slot.offset, 0, slot.size);
  for (const Owned &piece : ownership.pieces())
    if (!piece.slot->plain()) add(*piece.slot, piece.master, piece.begin, piece.size());
  // A model that gets another head keeps the new one's first values.
  bool all = ranks_.alone(); // else others read the rest
  if (weights_only) {
    std::set<std::string> there;
    for (const Item &item : reader.describe("weights")) there.insert(item.name);
    std::erase_if(items, [&](const Item &item) {
      return item.name == "reward_head" && !there.contains(item.name);
    });
    all = all && (!there.contains("reward_head") || layout.find("reward_head"));
  }
  reader.read("weights", items, all);
  if constexpr (!tensor::kOnHost) Kokkos::deep_copy(ctx.exec, master, host);
  tensor::fence(ctx, "train::state::read_weights"); // reason: the host's array goes
}

void State::read(tensor::Context &ctx, const checkpoint::Reader &reader, bool weights_only) {
  read_weights(ctx, reader, weights_only);
  if (weights_only) return average_is_value(ctx);
  bool average_missing = false;
  for (const Section &section : sections(ctx, !tensor::kOnHost)) {
    if (section.name == "counters") {
      counters = Counters::from_json(reader.scalars("counters"));
    } else if (section.name == "average" && !reader.has("average")) {
      average_missing = true; // switched on since
    } else if (section.name != "weights") {
      reader.read(section.name, section.items, ranks_.alone());
    }
  }
  if constexpr (!tensor::kOnHost) {
    if (bf16_moments())
      Kokkos::deep_copy(ctx.exec, first.bf16, copies_.first_bf16),
          Kokkos::deep_copy(ctx.exec, second.bf16, copies_.second_bf16);
    else
      Kokkos::deep_copy(ctx.exec, first.f32, copies_.first),
          Kokkos::deep_copy(ctx.exec, second.f32, copies_.second);
    if (average.extent(0) > 0 && !average_missing) Kokkos::deep_copy(average, copies_.average);
  }
  if (average_missing) average_is_value(ctx);
  tensor::fence(ctx, "train::state::read"); // reason: start of a run
}

std::vector<Section> State::whole() const {
  std::vector<Section> all;
  const auto add = [&](const char *name, Type type, bool trained_only) {
    Section s;
    s.name = name;
    for (const auto &spec : arch::registry(layout.dims()))
      if (!trained_only || spec.trained()) s.items.push_back({spec.name, spec.shape, type});
    all.push_back(std::move(s));
  };
  const Type moment = bf16_moments() ? Type::bf16 : Type::f32;
  add("weights", Type::f32, false);
  add("first_moment", moment, true);
  add("second_moment", moment, true);
  if (average.extent(0) > 0) add("average", Type::f32, false);
  Section progress;
  progress.name = "counters";
  progress.scalars = counters.to_json();
  all.push_back(progress);
  return all;
}

std::string State::hash(tensor::Context &ctx) {
  const auto mine = sections(ctx, false);
  if (ranks_.alone()) return checkpoint::state_hash(mine);
  const auto lists =
      ranks_.world().all_gather_text(checkpoint::BlockHashes::of(mine), {"state hash"});
  return ranks_.first() ? checkpoint::fold(whole(), lists) : "";
}

} // namespace train
