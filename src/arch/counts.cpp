// SPDX-License-Identifier: Apache-2.0
#include "arch/counts.hpp"

#include <algorithm>

namespace arch {
namespace {

constexpr std::array kRooms = {"embedding", "mtp",     "norm",   "mla", "ffn",
                               "router",    "experts", "shared", "head"};

bool is_mtp(const Dims &dims, const TensorSpec &spec) { return spec.layer >= dims.layers; }

Index active(const Dims &dims, const TensorSpec &spec) {
  return spec.room == "experts" ? spec.size() / dims.experts * dims.chosen : spec.size();
}

bool multiplies(const TensorSpec &spec) {
  return (spec.kind == Kind::matrix || spec.kind == Kind::router) && spec.room != "embedding";
}

Index core(const Dims &dims, Index sequence, Attention attention) {
  const Index full = 6 * dims.heads * (dims.head_dim() + dims.value) * sequence;
  return attention == Attention::full ? full : full / 2;
}

void add_part(Flops &flops, const std::string &name, Index amount) {
  if (amount == 0) return;
  const auto same = [&](const Flops::Part &part) { return part.name == name; };
  const auto found = std::find_if(flops.parts.begin(), flops.parts.end(), same);
  if (found == flops.parts.end()) {
    flops.parts.push_back({name, amount});
  } else {
    found->flops += amount;
  }
}

} // namespace

double estimated_parameters(const Dims &d) {
  const auto real = [](Index n) { return static_cast<double>(n); };
  const double D = real(d.model), heads = real(d.heads);
  const double q = d.q_rank > 0 ? real(d.q_rank) * (D + heads * real(d.head_dim()))
                                : D * heads * real(d.head_dim());
  const double attention = q + D * real(d.kv_rank + d.rope) +
                           real(d.kv_rank) * heads * real(d.nope + d.value) +
                           D * heads * real(d.value);
  const double mixture =
      D * real(d.experts) + 3 * D * real(d.expert_hidden) * real(d.experts + d.shared);
  const double mixtures = real(d.layers - d.dense_layers + d.mtp_depth);
  return 2 * D * real(d.vocabulary) + attention * real(d.layers + d.mtp_depth) +
         3 * D * real(d.dense_hidden) * real(d.dense_layers) + mixture * mixtures +
         2 * D * D * real(d.mtp_depth);
}

Counts count_parameters(const Dims &dims) {
  Counts counts;
  for (const char *room : kRooms) {
    RoomCount &entry = counts.rooms.emplace_back();
    entry.room = room;
  }
  for (const TensorSpec &spec : registry(dims)) {
    const auto same = [&](const RoomCount &entry) { return entry.room == spec.room; };
    RoomCount &entry = *std::find_if(counts.rooms.begin(), counts.rooms.end(), same);
    const bool mtp = is_mtp(dims, spec);
    (mtp ? entry.mtp : entry.main) += spec.size();
    (mtp ? entry.mtp_active : entry.main_active) += active(dims, spec);
  }
  std::erase_if(counts.rooms, [](const RoomCount &entry) { return entry.main + entry.mtp == 0; });
  for (const RoomCount &entry : counts.rooms) {
    counts.main += entry.main;
    counts.mtp += entry.mtp;
    counts.activated += entry.main_active;
    counts.mtp_activated += entry.mtp_active;
  }
  const Index table = dims.vocabulary * dims.model; // embedding and head have this size each
  counts.activated_without_embedding = counts.activated - table;
  counts.mtp_activated += dims.mtp_depth * 2 * table;
  counts.in_files = counts.main + counts.mtp + dims.mtp_depth * 2 * table;
  return counts;
}

Flops flops_per_token(const Dims &dims, Index sequence, Attention attention) {
  Flops flops, mtp; // the parts of the main model stand first
  for (const TensorSpec &spec : registry(dims)) {
    if (!multiplies(spec)) continue;
    const Index amount = 6 * active(dims, spec); // (1)
    const std::string name = spec.room == "mtp" ? "projection" : spec.room;
    if (is_mtp(dims, spec)) {
      add_part(mtp, "mtp " + name, amount);
    } else {
      add_part(flops, name, amount);
    }
  }
  const Index one_layer = core(dims, sequence, attention); // (2)
  add_part(flops, "attention core", dims.layers * one_layer);
  add_part(mtp, "mtp attention core", dims.mtp_depth * one_layer);
  add_part(mtp, "mtp head", dims.mtp_depth * 6 * dims.vocabulary * dims.model); // (3)
  for (const Flops::Part &part : flops.parts) flops.main += part.flops;
  for (const Flops::Part &part : mtp.parts) flops.mtp += part.flops;
  flops.parts.insert(flops.parts.end(), mtp.parts.begin(), mtp.parts.end());
  return flops;
}

Index active_matrix_weights(const Dims &dims) {
  Index weights = 0;
  for (const TensorSpec &spec : registry(dims)) {
    if (multiplies(spec) && !is_mtp(dims, spec)) weights += active(dims, spec);
  }
  return weights;
}

Index cache_bytes_per_token(const Dims &dims, Index bytes_per_number) {
  return dims.layers * (dims.kv_rank + dims.rope) * bytes_per_number;
}

StateBytes state_bytes(const Dims &dims, const StateFormat &format) {
  StateBytes bytes;
  for (const TensorSpec &spec : registry(dims)) {
    bytes.masters += spec.size() * format.master;
    bytes.averages += spec.size() * format.average;
    if (spec.kind == Kind::matrix) bytes.compute_copies += spec.size() * format.compute;
    if (!spec.trained()) continue;
    bytes.gradients += spec.size() * format.gradient;
    bytes.moments += 2 * spec.size() * format.moment;
  }
  return bytes;
}

} // namespace arch
