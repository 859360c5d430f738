// SPDX-License-Identifier: Apache-2.0
#include "train/state.hpp"

namespace train {

using checkpoint::Item, checkpoint::Section, checkpoint::Type;
using tensor::Vec;

namespace {

// Items of one flat buffer, a tensor each.
template <class T>
Section section_of(const char *name, const model::Layout &layout, T *data, bool trained_only) {
  Section s;
  s.name = name;
  for (const auto &slot : layout.slots())
    if (!trained_only || slot.spec.trained())
      s.items.push_back(Item{slot.spec.name, slot.spec.shape,
                             std::is_same_v<T, float> ? Type::f32 : Type::bf16,
                             data + slot.offset});
  return s;
}

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
    : layout(where), ownership(ranks, where), master("train::master", where.size()) {
  if (options.optimizer.moments == optim::MomentType::bf16) {
    first.bf16 = Vec<numerics::bf16>("train::first_moment", ownership.moments());
    second.bf16 = Vec<numerics::bf16>("train::second_moment", ownership.moments());
  } else {
    first.f32 = Vec<float>("train::first_moment", ownership.moments());
    second.f32 = Vec<float>("train::second_moment", ownership.moments());
  }
  if (options.average.beta > 0) average = optim::HostFloats("train::average", where.size());
}

std::vector<Section> State::sections(tensor::Context &ctx, bool with_copies) {
  std::vector<Section> all;
  all.push_back(
      section_of("weights", layout, host_data(ctx, master, copies_.master, with_copies), false));
  if (bf16_moments()) {
    all.push_back(section_of("first_moment", layout,
                             host_data(ctx, first.bf16, copies_.first_bf16, with_copies), true));
    all.push_back(section_of("second_moment", layout,
                             host_data(ctx, second.bf16, copies_.second_bf16, with_copies), true));
  } else {
    all.push_back(section_of("first_moment", layout,
                             host_data(ctx, first.f32, copies_.first, with_copies), true));
    all.push_back(section_of("second_moment", layout,
                             host_data(ctx, second.f32, copies_.second, with_copies), true));
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
    all.push_back(section_of("average", layout, data, false));
  }
  Section progress;
  progress.name = "counters";
  progress.scalars = counters.to_json();
  all.push_back(progress);
  tensor::fence(ctx, "train::state::sections"); // reason: the host reads what was copied
  return all;
}

void State::read(tensor::Context &ctx, const checkpoint::Reader &reader, bool weights_only) {
  auto wanted = sections(ctx, !tensor::kOnHost);
  bool average_missing = weights_only;
  for (const Section &section : wanted) {
    if (weights_only && section.name != "weights") continue;
    if (section.name == "counters") {
      counters = Counters::from_json(reader.scalars("counters"));
    } else if (section.name == "average" && !reader.has("average")) {
      average_missing = true; // switched on since
    } else {
      reader.read(section.name, section.items);
    }
  }
  if constexpr (!tensor::kOnHost) {
    Kokkos::deep_copy(ctx.exec, master, copies_.master);
    if (!weights_only && bf16_moments())
      Kokkos::deep_copy(ctx.exec, first.bf16, copies_.first_bf16),
          Kokkos::deep_copy(ctx.exec, second.bf16, copies_.second_bf16);
    if (!weights_only && !bf16_moments())
      Kokkos::deep_copy(ctx.exec, first.f32, copies_.first),
          Kokkos::deep_copy(ctx.exec, second.f32, copies_.second);
  }
  if (average_missing && average.extent(0) > 0)
    Kokkos::deep_copy(average, Kokkos::create_mirror_view_and_copy(Kokkos::HostSpace{}, master));
  tensor::fence(ctx, "train::state::read"); // reason: start of a run
}

std::string State::hash(tensor::Context &ctx) {
  return checkpoint::state_hash(sections(ctx, false));
}

std::size_t State::device_bytes() const {
  return 4 * static_cast<std::size_t>(layout.size()) +
         static_cast<std::size_t>(ownership.moments()) * 2 * (bf16_moments() ? 2 : 4);
}

} // namespace train
