// SPDX-License-Identifier: Apache-2.0
#pragma once
// A tiny model with random weights and tokens, as the reference and as the program see it.
#include <cstring>

#include "arch/recompute.hpp"
#include "base/hash.hpp"
#include "model/stage.hpp"
#include "tests/support/arrays.hpp"
#include "tests/support/reference_model.hpp"

namespace model_test {

using layers::bf16;
using support::Values;
using support::reference::Sample;
using tensor::Index;
using Reference = support::reference::Parameters<double>;

inline arch::Dims v3_dims() {
  arch::Dims d;
  d.vocabulary = 37, d.model = 12, d.layers = 3, d.dense_layers = 1, d.dense_hidden = 20;
  d.heads = 3, d.q_rank = 7, d.kv_rank = 6, d.nope = 5, d.rope = 4, d.value = 3;
  d.experts = 8, d.expert_hidden = 6, d.chosen = 3, d.groups = 4, d.chosen_groups = 2;
  d.mtp_depth = 1;
  return d;
}

struct Problem {
  arch::Dims dims;
  std::vector<Sample> samples;
  support::reference::Scales scales;
  arch::Recompute recompute;
  bool choice_held = false; // by router biases so far apart that scores do not matter
  std::uint64_t seed = 0;

  Index sequence() const { return static_cast<Index>(samples[0].tokens.size()) - 1; }
};

// Two samples of random tokens; starts: of the segments of the first.
inline Problem problem(const arch::Dims &dims, std::vector<std::int32_t> starts = {0},
                       const Index sequence = 13, const std::uint64_t seed = 0) {
  Problem p;
  p.dims = dims, p.seed = seed;
  for (std::uint64_t s = 0; s < 2; ++s) {
    Sample sample;
    for (std::uint64_t i = 0; i <= static_cast<std::uint64_t>(sequence); ++i)
      sample.tokens.push_back(static_cast<std::int32_t>(
          base::random::bits(seed + 5, base::random::Purpose::test, s, i) %
          static_cast<std::uint64_t>(dims.vocabulary)));
    sample.starts = s == 0 ? starts : std::vector<std::int32_t>{0};
    p.samples.push_back(sample);
  }
  p.scales.main = 0.05, p.scales.balance = 0.7, p.scales.alpha = 0.3;
  for (Index k = 1; k <= dims.mtp_depth; ++k) p.scales.mtp.push_back(0.04 / static_cast<double>(k));
  return p;
}

// Values by name: matrices rounded to A, the others to float.
template <class A> Reference weights_of(const Problem &p) {
  Reference values;
  const model::Layout layout(p.dims);
  for (const auto &slot : layout.slots()) {
    const auto n = static_cast<std::size_t>(slot.size);
    const std::uint64_t seed = base::hash64(slot.spec.name) + p.seed;
    const double fan_in = static_cast<double>(slot.spec.shape.back());
    Values &v = values[slot.spec.name];
    if (slot.spec.kind == arch::Kind::matrix)
      v = support::normal<A>(n, seed,
                             slot.spec.name == "embedding" ? 0.8 : 1.3 / std::sqrt(fan_in));
    if (slot.spec.kind == arch::Kind::router) v = support::normal(n, seed, 1.3 / std::sqrt(fan_in));
    if (slot.spec.kind == arch::Kind::norm) v = support::normal(n, seed, 0.2, 1.0);
    if (slot.spec.kind == arch::Kind::bias) v = support::normal(n, seed, 0.1);
    if (slot.spec.kind == arch::Kind::bias &&
        p.choice_held) // all differ by 3 or more, and so do sums of two
      for (std::size_t e = 0; e < n; ++e)
        v[e] = 3 * std::exp2(static_cast<double>((5 * e + seed) % n));
  }
  return values;
}

// The same model in the program. Scratch and the padding between tensors start as NaN, so that nothing may read them.
template <class A> class Program {
public:
  Program(const Problem &p, const Reference &values)
      : problem_(p), layout_(p.dims),
        stage_(p.dims, p.recompute, static_cast<Index>(p.samples.size()), p.sequence()),
        arena_("test", stage_.arena_bytes()),
        buffers_(static_cast<Index>(p.samples.size()), p.sequence(), p.dims.mtp_depth),
        master_("test::master", layout_.size()),
        gradient_("test::gradient", layout_.gradient_size()),
        load_("test::load", stage_.moe_blocks(), p.dims.experts) {
    Kokkos::deep_copy(master_, NAN);
    Kokkos::deep_copy(tensor::Vec<char>(arena_.vec<char>(0).data(), arena_.capacity()),
                      static_cast<char>(0xFF));
    for (const auto &slot : layout_.slots())
      support::upload(values.at(slot.spec.name), place(slot.spec.name));
    if constexpr (std::is_same_v<A, float>)
      compute_ = master_;
    else
      compute_ = tensor::Vec<A>("test::compute", layout_.size());
    model::refresh_compute<A>(ctx_, layout_, tensor::Vec<const float>(master_), compute_);
  }

  // Once more forward and backward: gradients and loads add up.
  model::MicroLoss run() {
    model::LossScales scales{problem_.scales.main, problem_.scales.mtp, problem_.scales.balance,
                             problem_.scales.alpha};
    const auto loss = stage_.forward_backward(ctx_, weights(), batch(), scales,
                                              model::grads(layout_, gradient_), load_);
    ctx_.exec.fence();
    return loss;
  }
  model::MicroBatch batch() {
    std::vector<model::HostSample> samples;
    for (const auto &s : problem_.samples) samples.push_back({s.tokens, s.starts});
    return buffers_.load(ctx_, samples);
  }
  model::Weights<A> weights() const { return model::weights<A>(layout_, master_, compute_); }

  // Gradient of a tensor, all uses added.
  Values gradient(const std::string &name) const {
    const Index size = layout_.at(name).size;
    Values sum =
        support::download(tensor::Vec<float>(gradient_.data() + layout_.at(name).offset, size));
    if (name == "embedding" || name == "head")
      for (Index use = 1; use < layout_.uses(); ++use) {
        const Values more = support::download(
            tensor::Vec<float>(gradient_.data() + layout_.use_offset(name, use), size));
        for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += more[i];
      }
    return sum;
  }
  std::string hash() const {
    const auto host = Kokkos::create_mirror_view_and_copy(Kokkos::HostSpace{}, gradient_);
    return base::hash128(host.data(), host.size() * sizeof(float)).hex();
  }

  tensor::Vec<float> place(const std::string &name) const {
    return tensor::Vec<float>(master_.data() + layout_.at(name).offset, layout_.at(name).size);
  }
  const model::Layout &layout() const { return layout_; }
  model::Stage<A> &stage() { return stage_; }
  tensor::Context &context() { return ctx_; }
  tensor::Arena &arena() { return arena_; }
  tensor::Vec<float> gradients() const { return gradient_; }
  tensor::Mat<std::int64_t> loads() const { return load_; }

private:
  const Problem &problem_;
  model::Layout layout_;
  model::Stage<A> stage_;
  tensor::Arena arena_;
  tensor::Context ctx_{tensor::Exec(), arena_};
  model::BatchBuffers buffers_;
  tensor::Vec<float> master_, gradient_;
  tensor::Vec<A> compute_;
  tensor::Mat<std::int64_t> load_;
};

} // namespace model_test
