// SPDX-License-Identifier: Apache-2.0
#pragma once
// Tiny models with random weights in all the shapes that decks allow, and the logits of the trainer's forward pass.
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "base/hash.hpp"
#include "infer/generator.hpp"
#include "model/stage.hpp"
#include "tests/support/arrays.hpp"

namespace infer_test {

using numerics::bf16;
using support::Values;
using tensor::Index;
using tensor::Mat;
using tensor::Vec;
using Tokens = std::vector<data::Token>;

struct Variant {
  std::string name;
  arch::Dims dims;
};

inline arch::Dims v3_dims() {
  arch::Dims d;
  d.vocabulary = 101, d.model = 48, d.layers = 3, d.dense_layers = 1, d.dense_hidden = 80;
  d.heads = 4, d.q_rank = 24, d.kv_rank = 32, d.nope = 16, d.rope = 8, d.value = 16;
  d.experts = 8, d.expert_hidden = 24, d.chosen = 3, d.groups = 4, d.chosen_groups = 2;
  return d;
}

inline std::vector<Variant> variants() {
  std::vector<Variant> all;
  const auto add = [&](const std::string &name, const auto &change) {
    all.push_back({name, v3_dims()});
    change(all.back().dims);
  };
  add("like V3", [](arch::Dims &) {});
  add("MTP module in the weights", [](arch::Dims &d) { d.mtp_depth = 1; });
  add("like V2-Lite", [](arch::Dims &d) {
    d.q_rank = 0, d.score = arch::Score::softmax, d.groups = d.chosen_groups = 1, d.shared = 2,
    d.router_bias = false, d.normalise = false, d.route_scale = 1;
  });
  add("YaRN", [](arch::Dims &d) {
    d.yarn.factor = 4, d.yarn.original = 64, d.yarn.mscale = 0.7, d.yarn.mscale_all_dim = 1.3;
  });
  add("like V2, no shared experts, no dense layer", [](arch::Dims &d) {
    d.score = arch::Score::softmax, d.group_score = arch::GroupScore::maximum, d.shared = 0,
    d.dense_layers = 0, d.layers = 2;
  });
  add("odd sizes, one layer, dense", [](arch::Dims &d) {
    d.model = 39, d.heads = 3, d.q_rank = 17, d.kv_rank = 37, d.nope = 11, d.rope = 6, d.value = 13,
    d.dense_hidden = 51, d.layers = d.dense_layers = 1, d.vocabulary = 67;
  });
  return all;
}

inline std::string variant_name(const Variant &variant) {
  std::string name = variant.name;
  std::replace_if(
      name.begin(), name.end(),
      [](char c) { return std::isalnum(static_cast<unsigned char>(c)) == 0; }, '_');
  return name;
}

inline Tokens random_tokens(const arch::Dims &dims, Index count, std::uint64_t seed) {
  Tokens tokens;
  for (Index i = 0; i < count; ++i)
    tokens.push_back(static_cast<data::Token>(
        base::random::bits(seed, base::random::Purpose::test, 0, static_cast<std::uint64_t>(i)) %
        static_cast<std::uint64_t>(dims.vocabulary)));
  return tokens;
}

// Weights in the program's buffers.
template <class A> struct Model {
  model::Layout layout;
  Vec<float> master;
  Vec<A> compute;

  explicit Model(const arch::Dims &dims, std::uint64_t seed = 0)
      : layout(dims), master("test::master", layout.size()) {
    for (const auto &slot : layout.slots()) {
      const auto n = static_cast<std::size_t>(slot.size);
      const std::uint64_t key = base::hash64(slot.spec.name) + seed;
      const double fan_in = static_cast<double>(slot.spec.shape.back());
      double scale = 1.3 / std::sqrt(fan_in), mean = 0;
      if (slot.spec.name == "embedding") scale = 0.8;
      if (slot.spec.kind == arch::Kind::norm) scale = 0.2, mean = 1;
      if (slot.spec.kind == arch::Kind::bias) scale = 0.1;
      support::upload(support::normal(n, key, scale, mean),
                      Vec<float>(master.data() + slot.offset, slot.size));
    }
    if constexpr (std::is_same_v<A, float>)
      compute = master;
    else
      compute = Vec<A>("test::compute", layout.size());
    tensor::Arena arena("test", 1 << 16);
    tensor::Context ctx{tensor::Exec(), arena};
    model::refresh_compute(ctx, layout, Vec<const float>(master), compute);
    tensor::fence(ctx, "test"); // the tests read the weights
  }
  const arch::Dims &dims() const { return layout.dims(); }
  model::Weights<A> weights() const { return model::weights<A>(layout, master, compute); }
};

// Logits of every position by the trainer's forward pass: T rows of W.
template <class A> Values trainer_logits(const Model<A> &m, const Tokens &tokens) {
  const auto T = static_cast<Index>(tokens.size());
  model::Stage<A> stage(m.dims(), {}, 1, T);
  tensor::Arena arena("test::stage", stage.arena_bytes());
  tensor::Context ctx{tensor::Exec(), arena};
  Tokens sample = tokens;
  sample.push_back(0); // the target of the last row
  const std::vector<std::int32_t> start = {0};
  const model::HostSample host{sample, start};
  model::BatchBuffers buffers(1, T, m.dims().mtp_depth);
  const auto batch = buffers.load(ctx, std::span(&host, 1));
  const auto weights = m.weights();
  const Mat<A> n = stage.hidden(ctx, weights, batch.main);
  const Mat<float> logits("test::logits", T, m.dims().vocabulary);
  numerics::linear<A, float>(ctx, "test::head", Mat<const A>(n), weights.head_WD, logits);
  tensor::fence(ctx, "test"); // the tests read the logits
  return support::download(logits);
}

inline Values row(const Values &logits, Index vocabulary, Index t) {
  return Values(logits.begin() + t * vocabulary, logits.begin() + (t + 1) * vocabulary);
}

// A generator with an arena of exactly what it asks for.
template <class A> class Session {
public:
  Session(const Model<A> &m, Index capacity, Index rows = infer::Generator<A>::kRows,
          infer::Attention attention = infer::Attention::absorbed)
      : arena_("test::generator", infer::Generator<A>::arena_bytes(m.dims(), capacity, rows)),
        generator(m.dims(), m.weights(), capacity, rows, attention) {}
  Values append(const Tokens &tokens) {
    const auto &logits = generator.append(ctx_, tokens);
    return Values(logits.begin(), logits.end());
  }
  // Logits of every position, where the tokens come in pieces of these sizes (the rest one by one): rows of positions that end no
  // piece are left out of `seen`.
  Values pieces(const Tokens &tokens, const std::vector<Index> &sizes, std::vector<Index> &seen) {
    Values all;
    Index at = 0;
    for (std::size_t i = 0; at < static_cast<Index>(tokens.size()); ++i) {
      const Index size = i < sizes.size() ? sizes[i] : 1;
      const Values last = append(Tokens(tokens.begin() + at, tokens.begin() + at + size));
      at += size;
      all.insert(all.end(), last.begin(), last.end());
      seen.push_back(at - 1);
    }
    return all;
  }
  const tensor::Arena &arena() const { return arena_; }

private:
  tensor::Arena arena_;
  tensor::Context ctx_{tensor::Exec(), arena_};

public:
  infer::Generator<A> generator;
};

inline Index best(const Values &logits) {
  return std::max_element(logits.begin(), logits.end()) - logits.begin();
}

} // namespace infer_test
