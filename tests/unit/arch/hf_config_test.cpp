// SPDX-License-Identifier: Apache-2.0
// config.json of the published models, and what must be refused.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <random>

#include <nlohmann/json.hpp>

#include "arch/counts.hpp"
#include "arch/hf_config.hpp"
#include "base/error.hpp"

namespace {

using arch::Dims;
using nlohmann::json;

json yarn(double mscale) {
  return {{"type", "yarn"},          {"factor", 40},   {"original_max_position_embeddings", 4096},
          {"beta_fast", 32},         {"beta_slow", 1}, {"mscale", mscale},
          {"mscale_all_dim", mscale}};
}

json v3() {
  return {{"architectures", {"DeepseekV3ForCausalLM"}},
          {"model_type", "deepseek_v3"},
          {"vocab_size", 129280},
          {"hidden_size", 7168},
          {"num_hidden_layers", 61},
          {"first_k_dense_replace", 3},
          {"num_nextn_predict_layers", 1},
          {"moe_layer_freq", 1},
          {"intermediate_size", 18432},
          {"moe_intermediate_size", 2048},
          {"n_routed_experts", 256},
          {"n_shared_experts", 1},
          {"num_experts_per_tok", 8},
          {"n_group", 8},
          {"topk_group", 4},
          {"scoring_func", "sigmoid"},
          {"topk_method", "noaux_tc"},
          {"norm_topk_prob", true},
          {"routed_scaling_factor", 2.5},
          {"num_attention_heads", 128},
          {"num_key_value_heads", 128},
          {"q_lora_rank", 1536},
          {"kv_lora_rank", 512},
          {"qk_nope_head_dim", 128},
          {"qk_rope_head_dim", 64},
          {"v_head_dim", 128},
          {"rms_norm_eps", 1e-6},
          {"rope_theta", 10000},
          {"rope_scaling", yarn(1.0)},
          {"max_position_embeddings", 163840},
          {"tie_word_embeddings", false},
          {"hidden_act", "silu"},
          {"initializer_range", 0.02},
          {"attention_bias", false},
          {"attention_dropout", 0.0}};
}

json v2() {
  json c = v3();
  c["model_type"] = "deepseek_v2";
  c.erase("num_nextn_predict_layers");
  c["vocab_size"] = 102400, c["hidden_size"] = 5120, c["num_hidden_layers"] = 60,
  c["first_k_dense_replace"] = 1;
  c["intermediate_size"] = 12288, c["moe_intermediate_size"] = 1536, c["n_routed_experts"] = 160;
  c["n_shared_experts"] = 2, c["num_experts_per_tok"] = 6, c["n_group"] = 8, c["topk_group"] = 3;
  c["scoring_func"] = "softmax", c["topk_method"] = "group_limited_greedy",
  c["norm_topk_prob"] = false;
  c["routed_scaling_factor"] = 16.0;
  return c;
}

json v2_lite() {
  json c = v2();
  c["hidden_size"] = 2048, c["num_hidden_layers"] = 27, c["intermediate_size"] = 10944,
  c["moe_intermediate_size"] = 1408;
  c["n_routed_experts"] = 64, c["n_group"] = 1, c["topk_group"] = 1, c["topk_method"] = "greedy";
  c["routed_scaling_factor"] = 1.0, c["num_attention_heads"] = 16, c["num_key_value_heads"] = 16;
  c["q_lora_rank"] = nullptr, c["rope_scaling"] = yarn(0.707);
  return c;
}

Dims read(const json &config) { return arch::dims_from_hf_config(config.dump(2), "config.json"); }

TEST(HfConfig, V3) {
  const Dims d = read(v3());
  EXPECT_EQ(arch::count_parameters(d).main, 671026419200);
  EXPECT_EQ(arch::count_parameters(d).mtp, 11610068224);
  EXPECT_EQ(d.score, arch::Score::sigmoid);
  EXPECT_EQ(d.group_score, arch::GroupScore::top2_sum);
  EXPECT_TRUE(d.router_bias && d.normalise);
  EXPECT_EQ(d.route_scale, 2.5);
  EXPECT_NEAR(d.softmax_scale(), 0.1352338, 5e-8);
}

TEST(HfConfig, V2) {
  const Dims d = read(v2());
  EXPECT_EQ(arch::count_parameters(d).main, 235741434880);
  EXPECT_EQ(d.score, arch::Score::softmax);
  EXPECT_EQ(d.group_score, arch::GroupScore::maximum);
  EXPECT_FALSE(d.router_bias || d.normalise);
  EXPECT_EQ(d.mtp_depth, 0);
}

TEST(HfConfig, V2Lite) {
  const Dims d = read(v2_lite());
  EXPECT_EQ(arch::count_parameters(d).main, 15706484224);
  EXPECT_EQ(d.q_rank, 0);
  EXPECT_EQ(d.groups, 1);
  EXPECT_NEAR(d.yarn.mscale_all_dim, 0.707, 1e-12);
}

TEST(HfConfig, DefaultsThatTheModelTypeGives) {
  json c = v3();
  for (const char *key :
       {"scoring_func", "topk_method", "moe_layer_freq", "hidden_act", "num_nextn_predict_layers"})
    c.erase(key);
  const Dims d = read(c);
  EXPECT_EQ(d.score, arch::Score::sigmoid);
  EXPECT_TRUE(d.router_bias);
  EXPECT_EQ(d.mtp_depth, 0);
}

TEST(HfConfig, NewRotaryForm) {
  json c = v3();
  c.erase("rope_scaling");
  c.erase("rope_theta");
  c["rope_parameters"] = yarn(1.0);
  c["rope_parameters"].erase("type");
  c["rope_parameters"]["rope_type"] = "yarn";
  c["rope_parameters"]["rope_theta"] = 50000.0;
  const Dims d = read(c);
  EXPECT_EQ(d.rope_theta, 50000.0);
  EXPECT_EQ(d.yarn.factor, 40.0);
  c["rope_parameters"] = {{"rope_type", "default"}, {"rope_theta", 10000.0}};
  EXPECT_FALSE(read(c).yarn.on());
  c["rope_parameters"] = {{"rope_type", "default"}};
  EXPECT_THROW(read(c), base::UserError); // no base anywhere
}

TEST(HfConfig, WithoutRotaryScaling) {
  json c = v3();
  c["rope_scaling"] = nullptr;
  EXPECT_FALSE(read(c).yarn.on());
  c.erase("rope_scaling");
  EXPECT_FALSE(read(c).yarn.on());
}

struct Refusal {
  const char *name;
  std::function<void(json &)> spoil;
  const char *number;
  const char *said; // part of the message
};

class Refused : public ::testing::TestWithParam<Refusal> {};

TEST_P(Refused, ByNumberAndName) {
  json c = v3();
  GetParam().spoil(c);
  try {
    read(c);
    FAIL() << "accepted";
  } catch (const base::UserError &error) {
    EXPECT_EQ(error.number(), GetParam().number) << error.what();
    EXPECT_EQ(error.code(), base::Exit::deck);
    EXPECT_NE(std::string(error.what()).find(GetParam().said), std::string::npos) << error.what();
  }
}

Refusal set(const char *name, const char *key, json value, const char *number, const char *said) {
  return {name, [key, value](json &c) { c[key] = value; }, number, said};
}
Refusal without(const char *name, const char *key) {
  return {name, [key](json &c) { c.erase(key); }, "E052", key};
}
Refusal rotary(const char *name, const char *key, json value, const char *number,
               const char *said) {
  return {name, [key, value](json &c) { c["rope_scaling"][key] = value; }, number, said};
}

INSTANTIATE_TEST_SUITE_P(
    Each, Refused,
    ::testing::Values(
        set("llama", "model_type", "llama", "E051", "llama"),
        set("number_as_type", "model_type", 3, "E053", "model_type"),
        without("no_type", "model_type"), without("no_width", "hidden_size"),
        without("no_q_rank", "q_lora_rank"), without("no_scale", "routed_scaling_factor"),
        without("no_norm_topk", "norm_topk_prob"), without("no_theta", "rope_theta"),
        without("no_groups", "n_group"),
        set("null_width", "hidden_size", nullptr, "E052", "hidden_size"),
        set("text_width", "hidden_size", "7168", "E053", "hidden_size = \"7168\""),
        set("real_width", "hidden_size", 7168.0, "E053", "whole number"),
        set("bool_width", "hidden_size", true, "E053", "hidden_size"),
        set("number_as_bool", "norm_topk_prob", 1, "E053", "true or false"),
        set("zero_layers", "num_hidden_layers", 0, "E054", "between 1 and"),
        set("negative", "vocab_size", -5, "E054", "vocab_size"),
        set("huge", "vocab_size", 18446744073709551615ULL, "E054", "vocab_size"),
        set("eps", "rms_norm_eps", 0.0, "E054", "rms_norm_eps"),
        set("gelu", "hidden_act", "gelu", "E055", "silu"),
        set("tied", "tie_word_embeddings", true, "E055", "tie_word_embeddings"),
        set("attention_bias", "attention_bias", true, "E055", "bias"),
        set("freq", "moe_layer_freq", 2, "E055", "moe_layer_freq"),
        set("gqa", "num_key_value_heads", 8, "E055", "num_key_value_heads"),
        set("dropout", "attention_dropout", 0.1, "E055", "attention_dropout"),
        set("half_rotation", "rope_interleave", false, "E055", "rope_interleave"),
        set("score", "scoring_func", "tanh", "E055", "sigmoid or softmax"),
        set("topk", "topk_method", "random", "E055", "topk_method"),
        set("uneven_groups", "n_group", 7, "E041", "n_group = 7"),
        set("too_many_groups", "topk_group", 9, "E042", "topk_group"),
        Refusal{
            "too_many_chosen",
            [](json &c) { c["n_group"] = 32, c["topk_group"] = 1, c["num_experts_per_tok"] = 16; },
            "E043", "num_experts_per_tok = 16"},
        set("more_chosen_than_fit", "num_experts_per_tok", 17, "E054", "between 1 and 16"),
        set("dense", "first_k_dense_replace", 62, "E045", "first_k_dense_replace"),
        set("odd_rope", "qk_rope_head_dim", 63, "E040", "qk_rope_head_dim"),
        set("rope_list", "rope_scaling", json::array({1}), "E053", "rope_scaling"),
        rotary("linear", "type", "linear", "E055", "yarn or default"),
        rotary("unknown", "short_factor", 2, "E055", "rope_scaling.short_factor"),
        rotary("both_types", "rope_type", "default", "E056", "rope_type says default"),
        rotary("no_mscale", "mscale_all_dim", nullptr, "E052", "rope_scaling.mscale_all_dim"),
        rotary("betas", "beta_fast", 1, "E046", "rope_scaling"),
        rotary("factor", "factor", 0.5, "E054", "rope_scaling.factor"),
        Refusal{"two_forms",
                [](json &c) {
                  c["rope_parameters"] = yarn(0.5);
                  c["rope_parameters"]["rope_theta"] = 1e4;
                },
                "E056", "rope_parameters"},
        Refusal{"two_thetas", [](json &c) { c["rope_scaling"]["rope_theta"] = 5e5; }, "E056",
                "rope_theta"},
        Refusal{"v2_scaled_norm", [](json &c) { c["model_type"] = "deepseek_v2"; }, "E055",
                "norm_topk_prob"}),
    [](const auto &info) { return std::string(info.param.name); });

void expect_refused(const std::string &text, const char *number, const char *said) {
  try {
    arch::dims_from_hf_config(text, "c.json");
    FAIL() << "accepted: " << text;
  } catch (const base::UserError &error) {
    EXPECT_EQ(error.number(), number) << error.what();
    EXPECT_NE(std::string(error.what()).find(said), std::string::npos) << error.what();
  }
}

TEST(HfConfig, NotJson) {
  expect_refused("", "E050", "c.json:1");
  expect_refused("{\n  \"a\": 1,\n  oops\n}", "E050", "c.json:3");
  expect_refused("[1, 2]", "E050", "one object");
  expect_refused("{\"a\": 1e999}", "E050", "c.json");
  expect_refused("\x7f\x45LF\x01\x02\xff", "E050", "c.json:1");
  expect_refused(std::string(100000, '['), "E050", "nested more than");
  expect_refused(std::string(2000000, '[') + std::string(2000000, ']'), "E050", "nested more than");
  expect_refused(v3().dump() + std::string(1, '\0') + "{", "E050", "zero byte");
  expect_refused(std::string("{\"a\": \"") + "\xff\xfe\"}", "E050", "c.json");
}

// Whatever bytes come: dims or a complaint, nothing else.
TEST(HfConfig, DamagedFilesAreReadOrRefused) {
  const std::string good = v3().dump(1);
  std::mt19937_64 random(5);
  int refused = 0;
  for (int trial = 0; trial < 5000; ++trial) {
    std::string text = good;
    for (int change = 0; change < 1 + trial % 3; ++change) {
      const std::size_t at = random() % text.size();
      if (random() % 4 == 0) {
        text.erase(at, random() % 40);
      } else {
        text[at] = static_cast<char>(random() % 256);
      }
      if (text.empty()) text = "x";
    }
    try {
      arch::count_parameters(arch::dims_from_hf_config(text, "c.json"));
    } catch (const base::UserError &) {
      ++refused;
    }
  }
  EXPECT_GT(refused, 2000);
}

TEST(HfConfig, RepeatedKeyWithItsLine) {
  expect_refused("{\n\"model_type\": \"deepseek_v3\",\n\"hidden_size\": 1,\n\"hidden_size\": 2\n}",
                 "E050", "c.json:4: hidden_size");
}

TEST(HfConfig, PlaceOfANestedKey) {
  json c = v3();
  c["rope_scaling"]["factor"] = "40";
  const std::string text = c.dump(1);
  const auto line =
      1 + std::count(text.begin(), text.begin() + static_cast<long>(text.find("\"factor\"")), '\n');
  expect_refused(text, "E053",
                 ("c.json:" + std::to_string(line) + ": rope_scaling.factor = \"40\"").c_str());
}

} // namespace
