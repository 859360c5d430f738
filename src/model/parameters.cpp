// SPDX-License-Identifier: Apache-2.0
#include "model/parameters.hpp"

#include <type_traits>

#include "base/hash.hpp"
#include "base/random.hpp"
#include "tensor/launch.hpp"

namespace model {
namespace {

// Hands out views of tensors by name; of those that the rank does not hold empty ones.
template <class T> struct Shelf {
  const Layout &layout;
  std::function<T *(const Slot &)> place;
  const Slot *find(const std::string &name) const {
    const Slot *slot = layout.find(name);
    return slot && place(*slot) ? slot : nullptr;
  }
  Vec<T> vec(const std::string &name) const {
    const Slot *slot = find(name);
    return slot ? Vec<T>(place(*slot), slot->size) : Vec<T>();
  }
  Mat<T> mat(const std::string &name) const {
    const Slot *slot = find(name);
    return slot ? Mat<T>(place(*slot), slot->spec.shape[0], slot->spec.shape[1]) : Mat<T>();
  }
  Cube<T> cube(const std::string &name) const {
    const Slot *slot = find(name);
    return slot ? Cube<T>(place(*slot), slot->spec.shape[0], slot->spec.shape[1],
                          slot->spec.shape[2])
                : Cube<T>();
  }
};
template <class T> Shelf<T> shelf_of(const Layout &layout, Vec<T> buffer) {
  return {layout, [buffer](const Slot &slot) { return buffer.data() + slot.offset; }};
}

std::string prefix(Index layer) { return "layers." + std::to_string(layer) + "."; }

// Fills the matrices of a block from M and its FP32 vectors from V: the same walk for weights (M = const A) and gradients.
template <class Block, class Matrices, class Floats>
void fill_block(const arch::Dims &dims, Index layer, const Matrices &m, const Floats &f, Block &b) {
  const std::string p = prefix(layer);
  b.attention_norm_D = f.vec(p + "attention_norm");
  b.ffn_norm_D = f.vec(p + "ffn_norm");
  if (dims.q_rank > 0) {
    b.mla.w_dq_QD = m.mat(p + "mla.w_dq");
    b.mla.q_norm_Q = f.vec(p + "mla.q_norm");
    b.mla.w_uq_XQ = m.mat(p + "mla.w_uq");
  } else {
    b.mla.w_q_XD = m.mat(p + "mla.w_q");
  }
  b.mla.w_dkv_YD = m.mat(p + "mla.w_dkv");
  b.mla.kv_norm_C = f.vec(p + "mla.kv_norm");
  b.mla.w_ukv_ZC = m.mat(p + "mla.w_ukv");
  b.mla.w_o_DU = m.mat(p + "mla.w_o");
  if (dims.is_dense(layer)) {
    b.ffn = {m.mat(p + "ffn.w_gate"), m.mat(p + "ffn.w_up"), m.mat(p + "ffn.w_down")};
  } else {
    b.w_router_ED = f.mat(p + "router.w");
    if constexpr (!std::is_same_v<Block, BlockGrads>)
      b.experts = {m.cube(p + "experts.w_gate"), m.cube(p + "experts.w_up"),
                   m.cube(p + "experts.w_down")};
    if (dims.shared > 0)
      b.shared = {m.mat(p + "shared.w_gate"), m.mat(p + "shared.w_up"), m.mat(p + "shared.w_down")};
  }
  if (layer >= dims.layers) {
    b.mtp = {f.vec(p + "mtp.embedding_norm"), f.vec(p + "mtp.hidden_norm"),
             m.mat(p + "mtp.w_proj")};
    b.head_norm_D = f.vec(p + "mtp.head_norm");
  }
}

} // namespace

bool Part::holds(const arch::Dims &dims, const arch::TensorSpec &spec) const {
  if (spec.layer >= 0)
    return spec.layer < dims.layers ? spec.layer >= first && spec.layer < last : head;
  if (spec.name == "embedding") return embedding || (head && dims.mtp_depth > 0);
  return head;
}

Layout::Layout(const arch::Dims &dims) : Layout(dims, Share::whole(dims)) {}

Layout::Layout(const arch::Dims &dims, const Share &share) : dims_(dims), share_(share) {
  Index order = 0;
  for (auto &spec : arch::registry(dims)) {
    Slot slot;
    slot.order = order++;
    bool held = false, first_stage = false;
    for (const Part &part : share.parts) {
      held = held || part.holds(dims, spec);
      first_stage = first_stage || part.embedding;
    }
    if (!held) continue;
    slot.global_shape = spec.shape;
    slot.copy = spec.name == "embedding" && !first_stage;
    if (spec.sharding == arch::Sharding::experts) {
      spec.shape[0] /= share.ep;
      slot.first = share.ep_rank * spec.size();
    }
    slot.spec = spec, slot.size = spec.size();
    index_[spec.name] = slots_.size();
    slots_.push_back(std::move(slot));
  }
  for (const bool plain : {true, false}) {
    for (Slot &slot : slots_)
      if (slot.plain() == plain) slot.offset = size_, size_ += aligned(slot.size);
    if (plain) plain_size_ = size_;
  }
  uses_ = 1 + dims.mtp_depth;
  gradient_size_ = size_ + 2 * dims.mtp_depth * aligned(dims.vocabulary * dims.model);
}

const Slot *Layout::find(const std::string &name) const {
  const auto it = index_.find(name);
  return it == index_.end() ? nullptr : &slots_[it->second];
}

const Slot &Layout::at(const std::string &name) const {
  const Slot *slot = find(name);
  HADAL_CHECK(slot, "no tensor {} among the {} that this rank holds", name, slots_.size());
  return *slot;
}

Index Layout::use_offset(const std::string &name, Index use) const {
  if (use == 0) return at(name).offset;
  const Index table = aligned(dims_.vocabulary * dims_.model);
  return size_ + (2 * (use - 1) + (name == "head" ? 1 : 0)) * table;
}

template <class A> Weights<A> weights(const Layout &layout, Vec<float> master, Vec<A> compute) {
  const auto &dims = layout.dims();
  const Shelf<A> matrices = shelf_of(layout, compute);
  const Shelf<float> floats = shelf_of(layout, master);
  Weights<A> w;
  w.embedding_WD = matrices.mat("embedding");
  w.head_WD = matrices.mat("head");
  w.final_norm_D = floats.vec("final_norm");
  w.reward_head_D = floats.vec("reward_head");
  w.blocks.resize(static_cast<std::size_t>(dims.layers + dims.mtp_depth));
  for (Index i = 0; i < dims.layers + dims.mtp_depth; ++i) {
    auto &b = w.blocks[static_cast<std::size_t>(i)];
    fill_block(dims, i, matrices, floats, b);
    if (!dims.is_dense(i) && dims.router_bias) b.bias_E = floats.vec(prefix(i) + "router.bias");
  }
  return w;
}

Grads grads(const Layout &layout, Vec<float> buffer) {
  HADAL_CHECK(layout.share().ep == 1, "one buffer holds the accumulators of one source, not of {}",
              layout.share().ep);
  return grads(layout, [&layout, buffer](const Slot &slot, Index use, Index) {
    return buffer.data() + (use == 0 ? slot.offset : layout.use_offset(slot.spec.name, use));
  });
}

Grads grads(const Layout &layout, const GradientPlace &place) {
  const auto &dims = layout.dims();
  const auto of = [&](Index use, Index source) {
    return Shelf<float>{layout,
                        [&place, use, source](const Slot &s) { return place(s, use, source); }};
  };
  Grads g;
  for (Index use = 0; use < layout.uses(); ++use) {
    g.embedding_WD.push_back(of(use, 0).mat("embedding"));
    g.head_WD.push_back(of(use, 0).mat("head"));
  }
  const Shelf<float> shelf = of(0, 0);
  g.final_norm_D = shelf.vec("final_norm");
  g.reward_head_D = shelf.vec("reward_head");
  g.blocks.resize(static_cast<std::size_t>(dims.layers + dims.mtp_depth));
  for (Index i = 0; i < dims.layers + dims.mtp_depth; ++i) {
    BlockGrads &b = g.blocks[static_cast<std::size_t>(i)];
    fill_block(dims, i, shelf, shelf, b);
    const std::string p = prefix(i) + "experts.";
    for (Index source = 0; source < layout.share().ep && !dims.is_dense(i); ++source)
      b.experts.push_back({of(0, source).cube(p + "w_gate"), of(0, source).cube(p + "w_up"),
                           of(0, source).cube(p + "w_down")});
  }
  return g;
}

void initialise(Context &ctx, const Layout &layout, const Slot &slot, std::uint64_t seed,
                Index begin, Vec<float> to) {
  const double std_dev = layout.dims().init_std;
  const auto name = base::hash64(slot.spec.name);
  const arch::Init init = slot.spec.init;
  const Index first = slot.first + begin;
  tensor::for_each(
      ctx, "model::initialise", static_cast<Index>(to.extent(0)), KOKKOS_LAMBDA(const Index i) {
        using base::random::normal, base::random::Purpose;
        if (init == arch::Init::normal)
          to(i) = static_cast<float>(
              std_dev * normal(seed, Purpose::init, name, static_cast<std::uint64_t>(first + i)));
        else
          to(i) = init == arch::Init::one ? 1.0F : 0.0F;
      });
}

template <class A>
void refresh_compute(Context &ctx, const Layout &layout, Vec<const float> master, Vec<A> compute) {
  if constexpr (std::is_same_v<A, float>) {
    HADAL_CHECK(master.data() == compute.data(), "float runs share one buffer");
  } else {
    for (const Slot &slot : layout.slots()) {
      if (slot.spec.kind != arch::Kind::matrix) continue;
      numerics::convert(ctx, "model::refresh_compute",
                        Vec<const float>(master.data() + slot.offset, slot.size),
                        Vec<A>(compute.data() + slot.offset, slot.size));
    }
  }
}

template Weights<float> weights(const Layout &, Vec<float>, Vec<float>);
template Weights<bf16> weights(const Layout &, Vec<float>, Vec<bf16>);
template void refresh_compute(Context &, const Layout &, Vec<const float>, Vec<float>);
template void refresh_compute(Context &, const Layout &, Vec<const float>, Vec<bf16>);

} // namespace model
