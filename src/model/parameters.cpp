// SPDX-License-Identifier: Apache-2.0
#include "model/parameters.hpp"

#include <type_traits>

#include "base/hash.hpp"
#include "base/random.hpp"
#include "tensor/launch.hpp"

namespace model {
namespace {

Index aligned(Index elements) { return (elements + 63) / 64 * 64; }

// Hands out views of one flat buffer by tensor name.
template <class T> struct Shelf {
  const Layout &layout;
  Vec<T> buffer;
  T *place(const std::string &name) const { return buffer.data() + layout.at(name).offset; }
  Vec<T> vec(const std::string &name) const { return Vec<T>(place(name), layout.at(name).size); }
  Mat<T> mat(const std::string &name) const {
    const auto &shape = layout.at(name).spec.shape;
    return Mat<T>(place(name), shape[0], shape[1]);
  }
  Cube<T> cube(const std::string &name) const {
    const auto &shape = layout.at(name).spec.shape;
    return Cube<T>(place(name), shape[0], shape[1], shape[2]);
  }
};

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

Layout::Layout(const arch::Dims &dims) : dims_(dims) {
  for (auto &spec : arch::registry(dims)) {
    const Index size = spec.size();
    index_[spec.name] = slots_.size();
    slots_.push_back(Slot{spec, size_, size});
    size_ += aligned(size);
  }
  uses_ = 1 + dims.mtp_depth;
  gradient_size_ = size_ + 2 * dims.mtp_depth * aligned(dims.vocabulary * dims.model);
}

const Slot &Layout::at(const std::string &name) const {
  const auto it = index_.find(name);
  HADAL_CHECK(it != index_.end(), "no tensor {} in the registry of {} tensors", name,
              slots_.size());
  return slots_[it->second];
}

Index Layout::use_offset(const std::string &name, Index use) const {
  if (use == 0) return at(name).offset;
  const Index table = aligned(dims_.vocabulary * dims_.model);
  return size_ + (2 * (use - 1) + (name == "head" ? 1 : 0)) * table;
}

template <class A> Weights<A> weights(const Layout &layout, Vec<float> master, Vec<A> compute) {
  const auto &dims = layout.dims();
  const Shelf<A> matrices{layout, compute};
  const Shelf<float> floats{layout, master};
  Weights<A> w;
  w.embedding_WD = matrices.mat("embedding");
  w.head_WD = matrices.mat("head");
  w.final_norm_D = floats.vec("final_norm");
  w.blocks.resize(static_cast<std::size_t>(dims.layers + dims.mtp_depth));
  for (Index i = 0; i < dims.layers + dims.mtp_depth; ++i) {
    auto &b = w.blocks[static_cast<std::size_t>(i)];
    fill_block(dims, i, matrices, floats, b);
    if (!dims.is_dense(i) && dims.router_bias) b.bias_E = floats.vec(prefix(i) + "router.bias");
  }
  return w;
}

Grads grads(const Layout &layout, Vec<float> buffer) {
  const auto &dims = layout.dims();
  const Shelf<float> shelf{layout, buffer};
  Grads g;
  for (Index use = 0; use < layout.uses(); ++use) {
    g.embedding_WD.emplace_back(buffer.data() + layout.use_offset("embedding", use),
                                dims.vocabulary, dims.model);
    g.head_WD.emplace_back(buffer.data() + layout.use_offset("head", use), dims.vocabulary,
                           dims.model);
  }
  g.final_norm_D = shelf.vec("final_norm");
  g.blocks.resize(static_cast<std::size_t>(dims.layers + dims.mtp_depth));
  for (Index i = 0; i < dims.layers + dims.mtp_depth; ++i)
    fill_block(dims, i, shelf, shelf, g.blocks[static_cast<std::size_t>(i)]);
  return g;
}

void initialise(Context &ctx, const Layout &layout, std::uint64_t seed, Vec<float> master) {
  const double std_dev = layout.dims().init_std;
  for (const Slot &slot : layout.slots()) {
    const Vec<float> to(master.data() + slot.offset, slot.size);
    const auto name = base::hash64(slot.spec.name);
    const arch::Init init = slot.spec.init;
    tensor::for_each(
        ctx, "model::initialise", slot.size, KOKKOS_LAMBDA(const Index i) {
          using base::random::normal, base::random::Purpose;
          if (init == arch::Init::normal)
            to(i) = static_cast<float>(
                std_dev * normal(seed, Purpose::init, name, static_cast<std::uint64_t>(i)));
          else
            to(i) = init == arch::Init::one ? 1.0F : 0.0F;
        });
  }
  tensor::fence(ctx,
                "model::initialise"); // reason: start of a run, values are read by the host next
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
