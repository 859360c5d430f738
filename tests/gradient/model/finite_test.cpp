// SPDX-License-Identifier: Apache-2.0
// A value that is not finite is located: the first layer in the order of the forward pass that shows one.
#include <gtest/gtest.h>

#include "tests/gradient/model/problem.hpp"

namespace {

using namespace model_test;

// What the stage says when one element of a tensor is bad. The compute copy is the master here (float).
std::string located(const std::string &tensor, const float bad, const Problem &p) {
  Program<float> program(p, weights_of<float>(p));
  const auto place = program.place(tensor);
  Kokkos::deep_copy(
      tensor.rfind("embedding", 0) == 0
          ? Kokkos::subview(place, std::make_pair(p.samples[0].tokens[3] * p.dims.model,
                                                  p.samples[0].tokens[3] * p.dims.model + 1))
          : Kokkos::subview(place, std::make_pair<Index, Index>(0, 1)),
      bad);
  program.run();
  return program.stage().first_bad_activation();
}

Problem both_modules(const arch::MtpHidden hidden) {
  auto d = v3_dims();
  d.mtp_depth = 2, d.mtp_hidden = hidden;
  return problem(d);
}

struct Place {
  const char *tensor, *layer;
};
constexpr Place kPlaces[] = {
    {"embedding", "embedding: "},
    {"layers.0.attention_norm", "layers.0.attention_norm: "},
    {"layers.0.mla.w_dq", "layers.0.mla: cq"},
    {"layers.0.mla.w_uq", "layers.0.mla: q"},
    {"layers.1.mla.w_dkv", "layers.1.mla: c"},
    {"layers.1.mla.w_ukv", "layers.1.mla: kv"},
    {"layers.1.mla.w_o", "layers.1: r"},
    {"layers.1.ffn_norm", "layers.1.ffn_norm: h2"},
    {"layers.0.ffn.w_gate", "layers.0.ffn: gate"},
    {"layers.0.ffn.w_down", "layers.0: output"},
    {"layers.1.router.w", "layers.1.router: scores"},
    {"layers.2.shared.w_up", "layers.2.shared: up"},
    {"final_norm", "final_norm: "},
    {"head", "head: "},
    {"layers.3.mtp.embedding_norm", "layers.3.mtp: "},
    {"layers.3.mtp.w_proj", "layers.3.mtp: "},
    {"layers.3.mla.kv_norm", "layers.3.mla: "},
    {"layers.4.mtp.hidden_norm", "layers.4.mtp: "},
    {"layers.4.mtp.head_norm", "layers.4.mtp: "},
};

TEST(ModelFinite, FirstBadActivationNamesTheLayer) {
  for (const auto hidden : {arch::MtpHidden::post_norm, arch::MtpHidden::pre_norm}) {
    const Problem p = both_modules(hidden);
    for (const auto &[tensor, layer] : kPlaces)
      for (const float bad : {NAN, INFINITY}) {
        if (std::isinf(bad) && std::string(tensor) == "layers.1.router.w")
          continue; // scores of 0 and 1: nothing is infinite
        const std::string where = located(tensor, bad, p);
        EXPECT_EQ(where.rfind(layer, 0), 0U) << tensor << " = " << bad << ": found in " << where;
      }
  }
}

// What was not kept is not looked at; the layer is still the right one.
TEST(ModelFinite, WithRecomputationTheLayerIsNamed) {
  Problem p = both_modules(arch::MtpHidden::post_norm);
  p.recompute = {true, true, true, true};
  for (const auto &[tensor, layer] : kPlaces) {
    const std::string where = located(tensor, NAN, p), name = tensor;
    const std::string expected = name.rfind("layers.", 0) == 0 ? name.substr(0, 8) : layer;
    EXPECT_EQ(where.rfind(expected, 0), 0U) << tensor << ": found in " << where;
  }
}

TEST(ModelFinite, NothingIsSaidOfFiniteValues) {
  EXPECT_EQ(located("final_norm", 0.5F, both_modules(arch::MtpHidden::post_norm)), "");
}

} // namespace
