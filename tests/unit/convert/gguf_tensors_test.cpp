// SPDX-License-Identifier: Apache-2.0
// Export to GGUF: every tensor of the file, its place, type, shape and numbers, against a list written by hand.
#include <cmath>

#include "tests/unit/convert/gguf_sample.hpp"

namespace {

using namespace gguf_sample;

// One tensor of the file: name and where element (fastest index first) i0, i1, i2 lies in the checkpoint.
struct Expected {
  std::string name, source;
  std::vector<std::uint64_t> dims;
  std::function<std::uint64_t(std::uint64_t, std::uint64_t, std::uint64_t)> index;
};

Expected plain(const std::string &name, const std::string &source,
               const std::vector<std::uint64_t> &dims) {
  return {name, source, dims, [dims](std::uint64_t a, std::uint64_t b, std::uint64_t c) {
            return a + dims[0] * (b + (dims.size() > 1 ? dims[1] : 1) * c);
          }};
}

// By hand, for usual(): H 2, Q 12, C 32, N 32, R 4, V 6, D 32, W 310, E 8, F 20, S 2.
std::vector<Expected> expected_tensors() {
  std::vector<Expected> all = {plain("token_embd.weight", "embedding", {32, 310})};
  for (int i = 0; i < 3; ++i) {
    const std::string to = fmt::format("blk.{}.", i), from = fmt::format("layers.{}.", i);
    const auto add = [&](const std::string &name, const std::string &source,
                         const std::vector<std::uint64_t> &dims) {
      all.push_back(plain(to + name, from + source, dims));
    };
    add("attn_norm.weight", "attention_norm", {32});
    add("attn_q_a.weight", "mla.w_dq", {32, 12});
    add("attn_q_a_norm.weight", "mla.q_norm", {12});
    add("attn_q_b.weight", "mla.w_uq", {12, 72});
    add("attn_kv_a_mqa.weight", "mla.w_dkv", {32, 36});
    add("attn_kv_a_norm.weight", "mla.kv_norm", {32});
    // The source is [2 (32 + 6), 32]; keys: {n, c, h}, values: {c, v, h}.
    all.push_back(
        {to + "attn_k_b.weight", from + "mla.w_ukv", {32, 32, 2}, [](auto n, auto c, auto h) {
           return (h * 38 + n) * 32 + c;
         }});
    all.push_back(
        {to + "attn_v_b.weight", from + "mla.w_ukv", {32, 6, 2}, [](auto c, auto v, auto h) {
           return (h * 38 + 32 + v) * 32 + c;
         }});
    add("attn_output.weight", "mla.w_o", {12, 32});
    add("ffn_norm.weight", "ffn_norm", {32});
    if (i == 0) {
      add("ffn_gate.weight", "ffn.w_gate", {32, 64});
      add("ffn_up.weight", "ffn.w_up", {32, 64});
      add("ffn_down.weight", "ffn.w_down", {64, 32});
      continue;
    }
    add("ffn_gate_inp.weight", "router.w", {32, 8});
    add("exp_probs_b.bias", "router.bias", {8});
    add("ffn_gate_exps.weight", "experts.w_gate", {32, 20, 8});
    add("ffn_up_exps.weight", "experts.w_up", {32, 20, 8});
    add("ffn_down_exps.weight", "experts.w_down", {20, 32, 8});
    add("ffn_gate_shexp.weight", "shared.w_gate", {32, 40});
    add("ffn_up_shexp.weight", "shared.w_up", {32, 40});
    add("ffn_down_shexp.weight", "shared.w_down", {40, 32});
  }
  all.push_back(plain("output_norm.weight", "final_norm", {32}));
  all.push_back(plain("output.weight", "head", {32, 310}));
  return all;
}

bool stays_f32(const Expected &e) {
  return e.dims.size() == 1 || e.name.find("ffn_gate_inp") != std::string::npos;
}

// read(i): element i of the tensor as the file has it; bound(i): how far it may be off.
void expect_tensors(const gguf_reader::File &file, std::uint32_t type) {
  const auto all = expected_tensors();
  ASSERT_EQ(file.tensors.size(), all.size());
  std::uint64_t end = 0;
  for (std::size_t t = 0; t < all.size(); ++t) {
    const Expected &e = all[t];
    SCOPED_TRACE(e.name);
    ASSERT_EQ(file.order[t], e.name);
    const auto &tensor = file.tensors.at(e.name);
    ASSERT_EQ(tensor.dims, e.dims);
    std::uint32_t wanted = stays_f32(e) ? 0 : type;
    if (wanted == 8 && e.dims[0] % 32 != 0) wanted = 1;
    ASSERT_EQ(tensor.type, wanted);
    ASSERT_EQ(tensor.offset, (end + 31) / 32 * 32);
    const std::uint64_t b = e.dims.size() > 1 ? e.dims[1] : 1,
                        c = e.dims.size() > 2 ? e.dims[2] : 1;
    std::uint64_t i = 0;
    for (std::uint64_t i2 = 0; i2 < c; ++i2)
      for (std::uint64_t i1 = 0; i1 < b; ++i1)
        for (std::uint64_t i0 = 0; i0 < e.dims[0]; ++i0, ++i) {
          const float right = weight(e.source, e.index(i0, i1, i2));
          if (wanted == 0) {
            ASSERT_EQ(file.number<float>(e.name, 4 * i), right) << i;
          } else if (wanted == 30) {
            const auto bits = file.number<std::uint16_t>(e.name, 2 * i);
            const float value = std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
            ASSERT_LE(std::fabs(value - right), std::fabs(right) * 0x1p-8F) << i;
          } else if (wanted == 1) {
            ASSERT_NEAR(static_cast<double>(file.number<_Float16>(e.name, 2 * i)), right, 0x1p-13)
                << i; // |x| <= 1/2: eleven bits
          } else {
            const auto d = static_cast<double>(file.number<_Float16>(e.name, i / 32 * 34));
            const auto q = file.number<std::int8_t>(e.name, i / 32 * 34 + 2 + i % 32);
            // Half a step, and the rounding of the step itself, 127 times at most.
            ASSERT_NEAR(d * q, right, d / 2 + 127 * d * 0x1p-11) << i;
            ASSERT_LE(d, 0.5 / 127 * 1.001);
          }
        }
    const std::uint64_t bytes = wanted == 0 ? 4 * i : wanted == 8 ? i / 32 * 34 : 2 * i;
    end = tensor.offset + bytes;
  }
  EXPECT_EQ(file.data.size(), (end + 31) / 32 * 32);
}

TEST(ToGguf, EveryNumberOfEveryType) {
  Sample s(usual());
  expect_tensors(s.exported(GgufType::f32), 0);
  expect_tensors(s.exported(GgufType::bf16), 30);
  expect_tensors(s.exported(GgufType::f16), 1);
  expect_tensors(s.exported(GgufType::q8_0), 8);
}

TEST(ToGguf, MtpIsLeftOut) {
  Sample s(usual() + "[mtp]\ndepth = 1\n");
  testing::internal::CaptureStderr();
  const auto file = s.exported(GgufType::f32);
  EXPECT_NE(testing::internal::GetCapturedStderr().find("multi-token"), std::string::npos);
  expect_tensors(file, 0);
  EXPECT_EQ(file.key<std::uint32_t>("deepseek2.block_count"), 3U);
}

} // namespace
