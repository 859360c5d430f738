// SPDX-License-Identifier: Apache-2.0
#include "convert/gguf_rules.hpp"

#include <fmt/format.h>

#include "base/error.hpp"

namespace convert {
namespace {

using arch::Dims;
constexpr arch::Index kMostLayers = 512; // of llama.cpp
constexpr double kBetaFast = 32.0, kBetaSlow = 1.0;

[[noreturn]] void refuse(const std::string &where, const std::string &read,
                         const std::string &advice) {
  throw base::UserError(base::Exit::checkpoint, "E146", where, read, advice);
}

void require_layers(const Dims &d, const std::string &where) {
  if (d.layers > kMostLayers)
    refuse(where, fmt::format("model.layers = {}", d.layers),
           fmt::format("llama.cpp reads at most {} layers.", kMostLayers));
  if (taken_for_lite(d) && d.q_rank > 0)
    refuse(
        where,
        fmt::format("model.layers = {}, model.vocabulary = {}, model.attention.q_rank = {}",
                    d.layers, d.vocabulary, d.q_rank),
        "llama.cpp takes a model of 26 or 27 layers, and of 48 with 128256 tokens, for one "
        "whose queries are not compressed, and then misses blk.0.attn_q.weight. Train with "
        "another number of layers or with q_rank = 0; export to Hugging Face has no such limit.");
}

void require_router(const Dims &d, const std::string &where) {
  if (limits_groups(d) && d.group_score == arch::GroupScore::maximum)
    refuse(
        where,
        fmt::format("model.router.groups = {}, model.router.group_score = \"maximum\"", d.groups),
        "llama.cpp ranks groups by the sum of their two best experts and would choose other "
        "experts. Only group_score = \"top2_sum\" or groups = 1 can be exported.");
}

void require_yarn(const Dims &d, const std::string &where) {
  const arch::Yarn &yarn = d.yarn;
  if (!yarn.on()) return;
  if (yarn.mscale != yarn.mscale_all_dim)
    refuse(where,
           fmt::format("model.rope.mscale = {}, model.rope.mscale_all_dim = {}", yarn.mscale,
                       yarn.mscale_all_dim),
           "llama.cpp does not read mscale: it rotates with factor 1, which is right only where "
           "both are equal.");
  if (yarn.mscale_all_dim == 0)
    refuse(where, "model.rope.mscale_all_dim = 0",
           "llama.cpp takes 0 for a number that is not given and scales by 0.1 ln(factor) + 1; "
           "only values above 0 can be exported.");
  if (yarn.beta_fast != kBetaFast || yarn.beta_slow != kBetaSlow)
    refuse(where,
           fmt::format("model.rope.beta_fast = {}, model.rope.beta_slow = {}", yarn.beta_fast,
                       yarn.beta_slow),
           fmt::format("for deepseek2 llama.cpp does not read them: only {:g} and {:g} are "
                       "computed as here.",
                       kBetaFast, kBetaSlow));
}

} // namespace

bool taken_for_lite(const Dims &d) {
  return d.layers == 26 || d.layers == 27 || (d.layers == 48 && d.vocabulary == 128256);
}

bool limits_groups(const Dims &d) { return d.moe() && d.chosen_groups < d.groups; }

void require_gguf(const Dims &dims, const std::string &where) {
  require_layers(dims, where);
  require_router(dims, where);
  require_yarn(dims, where);
}

} // namespace convert
