// SPDX-License-Identifier: Apache-2.0
#include "arch/report.hpp"

#include <array>
#include <iterator>

#include <fmt/format.h>

#include "arch/counts.hpp"
#include "arch/memory.hpp"
#include "base/text.hpp"

namespace arch {
namespace {

using base::text::with_commas;
using Out = std::back_insert_iterator<std::string>;

std::string number_or_dash(Index n) { return n == 0 ? "-" : with_commas(n); }

double percent(Index part, Index whole) {
  return 100.0 * static_cast<double>(part) / static_cast<double>(whole);
}

std::string share(Index part, Index whole) {
  return part == 0 ? "-" : fmt::format("{:.2f} %", percent(part, whole));
}

std::string without_trailing_spaces(const std::string &text) {
  std::string result;
  for (const char c : text) {
    if (c == '\n') result.erase(result.find_last_not_of(' ') + 1);
    result += c;
  }
  return result;
}

void describe(Out out, const Dims &d) {
  fmt::format_to(out,
                 "  {} layers, width {}, vocabulary {}; {} heads of {} + {} rotated, values {}; "
                 "latents {} (query), {} (key-value)\n",
                 d.layers, d.model, d.vocabulary, d.heads, d.nope, d.rope, d.value,
                 d.q_rank > 0 ? std::to_string(d.q_rank) : "none", d.kv_rank);
  fmt::format_to(out, "  {} dense layers of {}", d.dense_layers, d.dense_hidden);
  if (d.moe() || d.mtp_depth > 0) {
    fmt::format_to(out, "; {} experts of {}, {} chosen from {} of {} groups, {} shared", d.experts,
                   d.expert_hidden, d.chosen, d.chosen_groups, d.groups, d.shared);
  }
  fmt::format_to(out, "; MTP depth {}\n", d.mtp_depth);
}

void parameters(Out out, const Counts &counts) {
  constexpr const char *row = "  {:<36}{:>17}{:>10}{:>18}{:>18}\n";
  fmt::format_to(out, "\n{:<38}{:>17}{:>10}{:>18}{:>18}\n", "parameters", "main model", "share",
                 "activated", "MTP (own)");
  for (const RoomCount &room : counts.rooms) {
    fmt::format_to(out, fmt::runtime(row), room.room, number_or_dash(room.main),
                   share(room.main, counts.main), number_or_dash(room.main_active),
                   number_or_dash(room.mtp));
  }
  fmt::format_to(out, fmt::runtime(row), "total", with_commas(counts.main), "",
                 with_commas(counts.activated), number_or_dash(counts.mtp));
  fmt::format_to(out, fmt::runtime(row), "without the input embedding", "", "",
                 with_commas(counts.activated_without_embedding), "");
  if (counts.mtp == 0) return;
  fmt::format_to(out, fmt::runtime(row), "main model and MTP",
                 with_commas(counts.main + counts.mtp), "", "", "");
  fmt::format_to(out, fmt::runtime(row), "MTP with embedding and head", "", "",
                 with_commas(counts.mtp_activated), "");
  fmt::format_to(out, fmt::runtime(row), "in Hugging Face files, with copies",
                 with_commas(counts.in_files), "", "", "");
}

void flops(Out out, const Dims &dims, Index sequence) {
  constexpr const char *row = "  {:<36}{:>17}{:>10}{:>18}\n";
  const Flops causal = flops_per_token(dims, sequence, Attention::causal);
  const Flops full = flops_per_token(dims, sequence, Attention::full);
  const auto title = fmt::format("FLOPs a token, sequence {}", sequence);
  fmt::format_to(out, "\n{:<38}{:>17}{:>10}{:>18}\n", title, "causal", "share", "non-causal");
  for (std::size_t i = 0; i < causal.parts.size();
       ++i) { // both lists name the same parts in the same order
    fmt::format_to(out, fmt::runtime(row), causal.parts[i].name, with_commas(causal.parts[i].flops),
                   share(causal.parts[i].flops, causal.total()), with_commas(full.parts[i].flops));
  }
  fmt::format_to(out, fmt::runtime(row), "main model", with_commas(causal.main), "",
                 with_commas(full.main));
  if (causal.mtp > 0) {
    fmt::format_to(out, fmt::runtime(row), "with MTP", with_commas(causal.total()), "",
                   with_commas(full.total()));
  }
  fmt::format_to(out,
                 "  forward and backward: 6 x {} active matrix weights (norms and input embedding "
                 "left out) and the attention core\n",
                 with_commas(active_matrix_weights(dims)));
}

void state(Out out, const Dims &dims) {
  constexpr const char *row = "  {:<34}{:>19}{:>26}{:>26}\n";
  const StateBytes f32 = state_bytes(dims, {.moment = 4, .compute = 0});
  const StateBytes mixed = state_bytes(dims, {.moment = 4, .compute = 2});
  const StateBytes lean = state_bytes(dims, {.moment = 2, .compute = 2});
  fmt::format_to(out, "\n{:<36}{:>19}{:>26}{:>26}\n", "bytes of state, whole model", "all f32",
                 "compute bf16", "compute and moments bf16");
  const auto line = [&](const char *name, Index a, Index b, Index c) {
    fmt::format_to(out, fmt::runtime(row), name, number_or_dash(a), number_or_dash(b),
                   number_or_dash(c));
  };
  line("master weights, f32", f32.masters, mixed.masters, lean.masters);
  line("gradients, f32", f32.gradients, mixed.gradients, lean.gradients);
  line("two moments of AdamW", f32.moments, mixed.moments, lean.moments);
  line("matrices in the compute dtype", f32.compute_copies, mixed.compute_copies,
       lean.compute_copies);
  line("total", f32.total(), mixed.total(), lean.total());
  const auto readable = [](Index bytes) { return base::text::bytes(bytes); };
  fmt::format_to(out, fmt::runtime(row), "", readable(f32.total()), readable(mixed.total()),
                 readable(lean.total()));
  const Index average = state_bytes(dims, {.average = 4}).averages;
  fmt::format_to(out, fmt::runtime(row), "average of the weights, f32 (host)", with_commas(average),
                 with_commas(average), with_commas(average));
}

void activations(Out out, const Dims &dims, Index sequence) {
  constexpr const char *row = "  {:<34}{:>19}{:>26}{:>26}\n";
  constexpr Recompute nothing{
      .norms = false, .up_projections = false, .swiglu = false, .arrivals = false};
  constexpr Recompute report{
      .norms = true, .up_projections = true, .swiglu = true, .arrivals = true};
  const Rows rows{1, sequence};
  const auto title = fmt::format("activations saved, 1 x {} tokens", sequence);
  fmt::format_to(out, "\n{:<36}{:>19}{:>26}{:>26}\n", title, "f32", "bf16",
                 "bf16, all recomputation");
  const auto line = [&](const char *name, auto bytes) {
    fmt::format_to(out, fmt::runtime(row), name, with_commas(bytes(nothing, 4)),
                   with_commas(bytes(nothing, 2)), with_commas(bytes(report, 2)));
  };
  const auto layer = [&](Index i) {
    return [&dims, rows, i](const Recompute &recompute, Index a) {
      return kept_bytes(saved_fields(dims, i, rows, recompute, a));
    };
  };
  if (dims.dense_layers > 0) line("a dense layer", layer(0));
  if (dims.moe()) line("a layer of experts", layer(dims.layers - 1));
  line("whole model",
       [&](const Recompute &recompute, Index a) { return saved_bytes(dims, rows, recompute, a); });
}

} // namespace

std::string count_report(const Dims &dims, const ReportOptions &options) {
  std::string text = options.title + "\n";
  const Out out(text);
  describe(out, dims);
  parameters(out, count_parameters(dims));
  flops(out, dims, options.sequence);
  state(out, dims);
  activations(out, dims, options.sequence);
  fmt::format_to(
      out, "\n{:<36}{:>19}{:>26}\n  {:<34}{:>19}{:>26}\n", "latent cache, bytes a token", "bf16",
      "f32", fmt::format("{} layers x ({} + {})", dims.layers, dims.kv_rank, dims.rope),
      with_commas(cache_bytes_per_token(dims, 2)), with_commas(cache_bytes_per_token(dims, 4)));
  return without_trailing_spaces(text);
}

} // namespace arch
