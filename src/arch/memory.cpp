// SPDX-License-Identifier: Apache-2.0
#include "arch/memory.hpp"

#include <algorithm>
#include <bit>

#include "arch/registry.hpp"

namespace arch {
namespace {

Index rounded_up(Index n, Index unit) { return (n + unit - 1) / unit * unit; }

// Collects fields; a is the activation dtype's size.
struct Table {
  const Dims &d;
  Index T, a;
  std::vector<Field> fields{};

  void add(const std::string &name, std::vector<Index> shape, Index element_bytes,
           bool kept = true) {
    fields.push_back({name, std::move(shape), element_bytes, kept});
  }

  void attention(const Recompute &again) {
    const Index M = d.head_dim(), X = d.nope + d.value;
    if (d.q_rank > 0) {
      add("mla.cq_TQ", {T, d.q_rank}, a);
      add("mla.cqn_TQ", {T, d.q_rank}, a, !again.norms);
      add("mla.q_norm.r_T", {T}, 4);
    }
    add("mla.c_TC", {T, d.kv_rank}, a);
    add("mla.cn_TC", {T, d.kv_rank}, a, !again.norms);
    add("mla.kv_norm.r_T", {T}, 4);
    add("mla.k_rope_TR", {T, d.rope}, a);
    // Uncompressed queries come from x, which attention does not keep: they always stay.
    add("mla.q_THM", {T, d.heads, M}, a, !again.up_projections || d.q_rank == 0);
    add("mla.kv_THX", {T, d.heads, X}, a, !again.up_projections);
    add("mla.o_THV", {T, d.heads, d.value}, a);
    add("mla.lse_TH", {T, d.heads}, 4);
  }

  void ffn(const std::string &name, Index hidden, const Recompute &again) {
    add(name + ".g_TF", {T, hidden}, a);
    add(name + ".u_TF", {T, hidden}, a);
    add(name + ".h_TF", {T, hidden}, a, !again.swiglu);
  }

  void mixture(Index samples, const Recompute &again) {
    const Index A = T * d.chosen, F = d.expert_hidden;
    add("router.x_TD", {T, d.model}, 4);
    add("router.scores_TE", {T, d.experts}, 4);
    add("router.expert_TK", {T, d.chosen}, 4);
    add("router.weight_TK", {T, d.chosen}, 4);
    add("router.balance_SE", {samples, d.experts}, 4);
    add("plan.token_A", {A}, 4);
    add("plan.arrival_TK", {T, d.chosen}, 4);
    add("plan.offsets", {d.experts + 1}, 8);
    add("experts.x_AD", {A, d.model}, a, !again.arrivals);
    add("experts.g_AF", {A, F}, a);
    add("experts.u_AF", {A, F}, a);
    add("experts.h_AF", {A, F}, a, !again.swiglu);
    if (d.shared > 0) ffn("shared", d.shared * F, again);
  }
};

Index sum(const std::vector<Field> &fields, bool kept) {
  Index bytes = 0;
  for (const Field &field : fields) {
    if (field.kept == kept) bytes += field.arena_bytes();
  }
  return bytes;
}

} // namespace

Index Field::bytes() const {
  Index n = element_bytes;
  for (const Index extent : shape) n *= extent;
  return n;
}

Index Field::arena_bytes() const { return rounded_up(bytes(), kArenaAlignment); }

std::vector<Field> saved_fields(const Dims &dims, Index layer, Rows rows,
                                const Recompute &recompute, Index activation_bytes) {
  Table table{dims, rows.tokens(), activation_bytes};
  const Index T = table.T, D = dims.model, a = activation_bytes;
  table.add("norm1.r_T", {T}, 4);
  table.add("h1_TD", {T, D}, a, !recompute.norms);
  table.attention(recompute);
  table.add("r_TD", {T, D}, a);
  table.add("norm2.r_T", {T}, 4);
  table.add("h2_TD", {T, D}, a, !recompute.norms);
  if (dims.is_dense(layer)) {
    table.ffn("ffn", dims.dense_hidden, recompute);
  } else {
    table.mixture(rows.samples, recompute);
  }
  return table.fields;
}

std::vector<Field> delta_fields(const Dims &d, Index layer, Rows rows, Index a) {
  Table table{d, rows.tokens(), a};
  const Index T = table.T, D = d.model, A = T * d.chosen;
  const auto ffn = [&](const std::string &name, Index hidden) {
    table.add(name + ".dg_TF", {T, hidden}, a);
    table.add(name + ".du_TF", {T, hidden}, a);
  };
  for (const char *name : {"dh1_TD", "dr_TD", "dh2_TD"}) table.add(name, {T, D}, a);
  if (d.q_rank > 0) {
    table.add("mla.dcq_TQ", {T, d.q_rank}, a);
    table.add("mla.dcqn_TQ", {T, d.q_rank}, a);
  }
  table.add("mla.dc_TC", {T, d.kv_rank}, a);
  table.add("mla.dcn_TC", {T, d.kv_rank}, a);
  table.add("mla.dk_rope_TR", {T, d.rope}, a);
  table.add("mla.dq_THM", {T, d.heads, d.head_dim()}, a);
  table.add("mla.dkv_THX", {T, d.heads, d.nope + d.value}, a);
  if (d.is_dense(layer)) {
    ffn("ffn", d.dense_hidden);
    return table.fields;
  }
  table.add("experts.dy_AD", {A, D}, a);
  table.add("experts.dg_AF", {A, d.expert_hidden}, a);
  table.add("experts.du_AF", {A, d.expert_hidden}, a);
  if (d.shared > 0) ffn("shared", d.shared * d.expert_hidden);
  table.add("dl_TE", {T, d.experts}, 4);
  return table.fields;
}

std::vector<Field> mtp_saved_fields(const Dims &d, Rows rows, Index a) {
  const Index T = rows.tokens();
  return {
      {"z_TZ", {T, 2 * d.model}, a}, {"embedding_norm.r_T", {T}, 4}, {"hidden_norm.r_T", {T}, 4}};
}

std::vector<Field> mtp_delta_fields(const Dims &d, Rows rows, Index a) {
  const Index T = rows.tokens();
  return {{"de_TD", {T, d.model}, a}, {"dn_TD", {T, d.model}, a}};
}

Index kept_bytes(const std::vector<Field> &fields) { return sum(fields, true); }
Index recomputed_bytes(const std::vector<Field> &fields) { return sum(fields, false); }

Index saved_bytes(const Dims &dims, Rows rows, const Recompute &recompute, Index a) {
  const auto arena = [](Index n, Index element_bytes) {
    return rounded_up(n * element_bytes, kArenaAlignment);
  };
  const auto head = [&](Index T) { // norm, its output and the gradient of that, lse and loss
    return 2 * arena(T * dims.model, a) + 3 * arena(T, 4);
  };
  const Index mixtures = dims.layers - dims.dense_layers + dims.mtp_depth;
  Index bytes =
      arena(mixtures * rows.samples, 8) + (dims.layers + 1) * arena(rows.tokens() * dims.model, a);
  bytes += head(rows.tokens());
  for (Index i = 0; i < dims.layers; ++i) {
    bytes += kept_bytes(saved_fields(dims, i, rows, recompute, a));
  }
  for (Index k = 1; k <= dims.mtp_depth;
       ++k) { // embedding, previous state, input and output of the block
    const Rows narrow{rows.samples, std::max<Index>(0, rows.rows - k)};
    bytes += 4 * arena(narrow.tokens() * dims.model, a) + head(narrow.tokens());
    bytes += kept_bytes(mtp_saved_fields(dims, narrow, a));
    bytes += kept_bytes(saved_fields(dims, dims.layers, narrow, recompute, a));
  }
  return bytes;
}

Index largest_block_scratch(const Dims &dims, Rows rows, const Recompute &recompute, Index a) {
  Index most = 0;
  for (Index i = 0; i < dims.layers; ++i) {
    const Index deltas = kept_bytes(delta_fields(dims, i, rows, a));
    most = std::max(most, deltas + recomputed_bytes(saved_fields(dims, i, rows, recompute, a)));
  }
  return most;
}

Index parameter_elements(const Dims &dims) {
  Index elements = 0;
  for (const TensorSpec &spec : registry(dims))
    elements += rounded_up(spec.size(), kTensorAlignment);
  return elements;
}

Index gradient_elements(const Dims &dims) {
  const Index table = rounded_up(dims.vocabulary * dims.model, kTensorAlignment);
  return parameter_elements(dims) + 2 * dims.mtp_depth * table;
}

MemoryPlan plan_memory(const Dims &dims, const RunShape &shape) {
  const Index elements = parameter_elements(dims), a = shape.activation_bytes;
  const auto buffers = static_cast<Index>(std::bit_width(static_cast<std::uint64_t>(shape.shards)));
  MemoryPlan plan;
  plan.masters = 4 * elements;
  plan.compute_copies = a == 4 ? 0 : a * elements;
  plan.gradients = 4 * buffers * gradient_elements(dims);
  plan.moments = 2 * shape.moment_bytes * elements;
  plan.average = shape.average_bytes * elements;
  plan.saved = saved_bytes(dims, shape.micro_batch, shape.recompute, a);
  plan.block_scratch = largest_block_scratch(dims, shape.micro_batch, shape.recompute, a);
  return plan;
}

} // namespace arch
