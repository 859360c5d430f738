// SPDX-License-Identifier: Apache-2.0
// Export to GGUF: every key and every number of the file, read by a reader of its own; what is refused.
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "arch/options.hpp"
#include "arch/registry.hpp"
#include "convert/gguf_rules.hpp"
#include "convert/to_gguf.hpp"
#include "data/tokenizer.hpp"
#include "deck/deck.hpp"
#include "tests/unit/checkpoint/sample.hpp"
#include "tests/unit/convert/gguf_reader.hpp"

namespace {

namespace fs = std::filesystem;
using convert::GgufType;
using Texts = std::vector<std::string>;

constexpr const char *kAttention = "[model.attention]\nheads = 2\nq_rank = 12\nkv_rank = 32\n"
                                   "nope_dim = 32\nrope_dim = 4\nvalue_dim = 6\n";
constexpr const char *kRouter = "[model.router]\nexperts = 8\nchosen = 3\ngroups = 4\n"
                                "chosen_groups = 2\nscale = 2.25\n";

std::string model(int layers, int dense, int shared) {
  return fmt::format("[model]\nvocabulary = 310\ndim = 32\nlayers = {}\ndense_layers = {}\n"
                     "dense_hidden = 64\nexpert_hidden = 20\nshared_experts = {}\n"
                     "norm_eps = 2e-6\n",
                     layers, dense, shared);
}
std::string usual() { return model(3, 1, 2) + kAttention + kRouter; }

arch::Dims dims_of(const std::string &text) {
  deck::Deck deck = deck::Deck::parse(text, "deck");
  return arch::read_dims(deck);
}

const std::string &tokenizer_json() {
  static const std::string text = [] {
    data::TokenizerTrainer trainer({300, 2, {}});
    for (int i = 0; i < 40; ++i)
      trainer.add(
          "many different words stand in this sentence about ships, weather and harbours\n");
    return trainer.finish().to_json();
  }();
  return text;
}

// A number for element i of a tensor: no two near each other are the same.
float weight(const std::string &name, std::uint64_t i) {
  std::uint64_t h = base::hash128(name).low ^ (i + 1) * 0x9E3779B97F4A7C15ULL;
  h = (h ^ h >> 29) * 0xBF58476D1CE4E5B9ULL;
  return static_cast<float>(h >> 40) * 0x1p-24F - 0.5F;
}

struct Sample {
  sample::Scratch folder;
  fs::path checkpoint, out = folder / "small.gguf";

  explicit Sample(const std::string &deck, const std::string &tokenizer = tokenizer_json(),
                  const std::vector<std::pair<std::string, std::string>> &companions = {},
                  float spoiled = 0) {
    const auto registry = arch::registry(dims_of(deck));
    std::vector<std::vector<float>> memory;
    checkpoint::Snapshot snapshot;
    snapshot.deck = deck;
    snapshot.tokenizer = tokenizer;
    snapshot.companions = companions;
    snapshot.sections = {{"weights", {}}};
    for (const auto &spec : registry) {
      auto &numbers = memory.emplace_back(static_cast<std::size_t>(spec.size()));
      for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] = weight(spec.name, i);
      if (spoiled != 0 && spec.name == "head") numbers[40] = spoiled;
      snapshot.sections[0].items.push_back(
          {spec.name, spec.shape, checkpoint::Type::f32, numbers.data(), nullptr});
    }
    checkpoint::Writer writer({folder / "run", 1});
    writer.start(std::move(snapshot));
    writer.wait();
    checkpoint = folder / "run";
  }

  gguf_reader::File exported(GgufType type) {
    fs::remove(out);
    convert::to_gguf({checkpoint, out, type});
    return gguf_reader::read(sample::read(out));
  }
  // Number and text of the error.
  std::string refused(GgufType type, std::string *text = nullptr) const {
    try {
      convert::to_gguf({checkpoint, out, type});
    } catch (const base::UserError &error) {
      if (text) *text = error.what();
      return error.number();
    }
    return "";
  }
};

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

TEST(ToGguf, EveryKey) {
  Sample s(usual() + "[model.rope]\nfactor = 40\noriginal = 96\nmscale = 0.707\n"
                     "mscale_all_dim = 0.707\ntheta = 5e4\n");
  const auto file = s.exported(GgufType::q8_0);
  const std::map<std::string, gguf_reader::Value> right = {
      {"general.architecture", "deepseek2"},
      {"general.type", "model"},
      {"general.name", "small"},
      {"general.file_type", 7U},
      {"general.quantization_version", 2U},
      {"general.alignment", 32U},
      {"deepseek2.block_count", 3U},
      {"deepseek2.context_length", 3840U},
      {"deepseek2.embedding_length", 32U},
      {"deepseek2.feed_forward_length", 64U},
      {"deepseek2.vocab_size", 310U},
      {"deepseek2.attention.head_count", 2U},
      {"deepseek2.attention.head_count_kv", 1U},
      {"deepseek2.attention.layer_norm_rms_epsilon", 2e-6F},
      {"deepseek2.attention.q_lora_rank", 12U},
      {"deepseek2.attention.kv_lora_rank", 32U},
      {"deepseek2.attention.key_length", 36U},
      {"deepseek2.attention.value_length", 32U},
      {"deepseek2.attention.key_length_mla", 36U},
      {"deepseek2.attention.value_length_mla", 6U},
      {"deepseek2.rope.dimension_count", 4U},
      {"deepseek2.rope.freq_base", 5e4F},
      {"deepseek2.rope.scaling.type", "yarn"},
      {"deepseek2.rope.scaling.factor", 40.0F},
      {"deepseek2.rope.scaling.original_context_length", 96U},
      {"deepseek2.rope.scaling.yarn_log_multiplier", 0.0707F},
      {"deepseek2.rope.scaling.yarn_beta_fast", 32.0F},
      {"deepseek2.rope.scaling.yarn_beta_slow", 1.0F},
      {"deepseek2.leading_dense_block_count", 1U},
      {"deepseek2.expert_count", 8U},
      {"deepseek2.expert_used_count", 3U},
      {"deepseek2.expert_group_count", 4U},
      {"deepseek2.expert_group_used_count", 2U},
      {"deepseek2.expert_feed_forward_length", 20U},
      {"deepseek2.expert_shared_count", 2U},
      {"deepseek2.expert_weights_scale", 2.25F},
      {"deepseek2.expert_weights_norm", true},
      {"deepseek2.expert_gating_func", 2U},
      {"tokenizer.ggml.model", "gpt2"},
      {"tokenizer.ggml.pre", "deepseek-v3"},
      {"tokenizer.ggml.add_bos_token", false},
      {"tokenizer.ggml.add_eos_token", false},
  };
  std::set<std::string> rest;
  for (const auto &[name, value] : file.keys)
    if (!right.contains(name)) rest.insert(name);
  for (const auto &[name, value] : right) {
    ASSERT_TRUE(file.keys.contains(name)) << name;
    EXPECT_TRUE(file.keys.at(name) == value) << name;
  }
  const std::set<std::string> tokens = {
      "tokenizer.ggml.tokens",       "tokenizer.ggml.token_type",
      "tokenizer.ggml.merges",       "tokenizer.ggml.bos_token_id",
      "tokenizer.ggml.eos_token_id", "tokenizer.ggml.padding_token_id"};
  EXPECT_EQ(rest, tokens);
}

TEST(ToGguf, KeysThatDependOnTheModel) {
  const std::string plain_queries = "[model.attention]\nheads = 2\nq_rank = 0\nkv_rank = 8\n"
                                    "nope_dim = 8\nrope_dim = 4\nvalue_dim = 6\n";
  const std::string router = "[model.router]\nexperts = 4\nchosen = 1\ngroups = 2\n"
                             "chosen_groups = 2\nscore = \"softmax\"\nbias = false\n"
                             "normalise = false\ngroup_score = \"maximum\"\n";
  Sample s(model(2, 0, 0) + plain_queries + router + "[batch]\nsequence = 77\n");
  const auto file = s.exported(GgufType::bf16);
  EXPECT_EQ(file.key<std::uint32_t>("deepseek2.attention.q_lora_rank"), 0U); // asked for
  EXPECT_EQ(file.key<std::uint32_t>("deepseek2.expert_gating_func"), 1U);
  EXPECT_EQ(file.key<bool>("deepseek2.expert_weights_norm"), false);
  EXPECT_EQ(file.key<std::uint32_t>("deepseek2.context_length"), 77U);
  EXPECT_EQ(file.key<std::uint32_t>("general.file_type"), 32U);
  for (const char *absent : {"deepseek2.expert_group_count", "deepseek2.rope.scaling.type",
                             "general.quantization_version", "tokenizer.chat_template"})
    EXPECT_FALSE(file.keys.contains(absent)) << absent;
  EXPECT_FALSE(file.tensors.contains("blk.0.exp_probs_b.bias"));
  EXPECT_TRUE(file.tensors.contains("blk.0.attn_q.weight"));
  // In place of no shared expert one of zeros.
  EXPECT_EQ(file.key<std::uint32_t>("deepseek2.expert_shared_count"), 1U);
  EXPECT_EQ(file.tensors.at("blk.1.ffn_down_shexp.weight").dims,
            (std::vector<std::uint64_t>{20, 32}));
  for (std::uint64_t i = 0; i < 20 * 32; ++i)
    ASSERT_EQ(file.number<std::uint16_t>("blk.1.ffn_down_shexp.weight", 2 * i), 0);
  // Taken for V2-Lite, where the key is not there.
  Sample lite(model(27, 27, 0) + plain_queries);
  const auto dense = lite.exported(GgufType::f32);
  EXPECT_FALSE(dense.keys.contains("deepseek2.attention.q_lora_rank"));
  EXPECT_FALSE(dense.keys.contains("deepseek2.expert_count"));
  EXPECT_EQ(dense.key<std::uint32_t>("deepseek2.expert_feed_forward_length"), 20U);
}

TEST(ToGguf, MtpIsLeftOut) {
  Sample s(usual() + "[mtp]\ndepth = 1\n");
  testing::internal::CaptureStderr();
  const auto file = s.exported(GgufType::f32);
  EXPECT_NE(testing::internal::GetCapturedStderr().find("multi-token"), std::string::npos);
  expect_tensors(file, 0);
  EXPECT_EQ(file.key<std::uint32_t>("deepseek2.block_count"), 3U);
}

TEST(ToGguf, Tokenizer) {
  const std::string config =
      R"({"add_bos_token": true, "pad_token": {"content": "<｜▁pad▁｜>"}, "eos_token": "<｜User｜>",
          "chat_template": [{"name": "other", "template": "no"}, {"name": "default", "template": "{{ bos }} ü"}]})";
  Sample s(usual(), tokenizer_json(), {{"tokenizer_config.json", config}});
  const auto file = s.exported(GgufType::f32);
  const auto json = nlohmann::json::parse(tokenizer_json());
  const auto &tokens = file.key<Texts>("tokenizer.ggml.tokens");
  const auto &kinds = file.key<std::vector<std::int32_t>>("tokenizer.ggml.token_type");
  ASSERT_EQ(tokens.size(), 310U);
  ASSERT_EQ(kinds.size(), 310U);
  Texts right(310);
  std::vector<std::int32_t> right_kinds(310, 5);
  for (int i = 0; i < 310; ++i) right[static_cast<std::size_t>(i)] = fmt::format("[PAD{}]", i);
  const auto put = [&](const std::string &text, std::size_t id, std::int32_t kind) {
    right[id] = text;
    right_kinds[id] = kind;
  };
  for (const auto &[text, id] : json.at("model").at("vocab").items()) put(text, id, 1);
  std::size_t special = 0;
  for (const auto &added : json.at("added_tokens")) {
    put(added.at("content"), added.at("id"), added.at("special") ? 3 : 4);
    special += added.at("special") ? 1 : 0;
  }
  EXPECT_GE(special, 3U);
  EXPECT_LT(special, json.at("added_tokens").size());
  EXPECT_EQ(tokens, right);
  EXPECT_EQ(kinds, right_kinds);
  Texts merges;
  for (const auto &merge : json.at("model").at("merges"))
    merges.push_back(merge.is_string()
                         ? merge.get<std::string>()
                         : merge[0].get<std::string>() + " " + merge[1].get<std::string>());
  EXPECT_FALSE(merges.empty());
  EXPECT_EQ(file.key<Texts>("tokenizer.ggml.merges"), merges);
  const auto tokenizer = data::Tokenizer::from_json(tokenizer_json(), "");
  const auto id = [&](const char *key) {
    return static_cast<data::Token>(file.key<std::uint32_t>(std::string("tokenizer.ggml.") + key));
  };
  EXPECT_EQ(id("bos_token_id"), tokenizer.bos());
  EXPECT_EQ(id("eos_token_id"), tokenizer.id_of("<｜User｜>"));
  EXPECT_EQ(id("padding_token_id"), tokenizer.id_of("<｜▁pad▁｜>"));
  EXPECT_EQ(file.key<bool>("tokenizer.ggml.add_bos_token"), true);
  EXPECT_EQ(file.key<std::string>("tokenizer.chat_template"), "{{ bos }} ü");

  Sample jinja(usual(), tokenizer_json(), {{"chat_template.jinja", "hello"}});
  const auto second = jinja.exported(GgufType::f32);
  EXPECT_EQ(second.key<std::string>("tokenizer.chat_template"), "hello");
  EXPECT_EQ(second.key<std::uint32_t>("tokenizer.ggml.padding_token_id"),
            static_cast<std::uint32_t>(tokenizer.eos()));
}

TEST(ToGguf, TokenizersThatAreRefused) {
  std::string text;
  EXPECT_EQ(Sample(usual(), "").refused(GgufType::f32), "E148");
  auto json = nlohmann::json::parse(tokenizer_json());
  json["model"]["ignore_merges"] = true;
  EXPECT_EQ(Sample(usual(), json.dump()).refused(GgufType::f32, &text), "E148");
  EXPECT_NE(text.find("ignore_merges"), std::string::npos) << text;
  json = nlohmann::json::parse(tokenizer_json());
  json["pre_tokenizer"]["pretokenizers"].erase(1);
  EXPECT_EQ(Sample(usual(), json.dump()).refused(GgufType::f32, &text), "E148");
  EXPECT_NE(text.find("split patterns"), std::string::npos) << text;
  std::string few = usual();
  few.replace(few.find("310"), 3, "290");
  EXPECT_EQ(Sample(few).refused(GgufType::f32, &text), "E148");
  EXPECT_NE(text.find("300 tokens"), std::string::npos) << text;
  EXPECT_EQ(
      Sample(usual(), tokenizer_json(), {{"tokenizer_config.json", "[1"}}).refused(GgufType::f32),
      "E148");
}

TEST(ToGguf, FilesAndNumbersThatAreRefused) {
  std::string text;
  const Sample large(usual(), tokenizer_json(), {}, 70000.0F);
  EXPECT_EQ(large.refused(GgufType::f16, &text), "E146");
  EXPECT_NE(text.find("head holds 70000"), std::string::npos) << text;
  EXPECT_EQ(sample::names(large.folder.path()), Texts{"run"}) << "something was left";
  EXPECT_EQ(large.refused(GgufType::q8_0), "");
  EXPECT_EQ(large.refused(GgufType::q8_0), "E147") << "out exists";
  const Sample broken(usual(), tokenizer_json(), {}, std::numeric_limits<float>::quiet_NaN());
  EXPECT_EQ(broken.refused(GgufType::q8_0), "E146");
  EXPECT_EQ(broken.refused(GgufType::f32), "");
}

// What require_gguf says of a deck: the number, and that its text names all words.
void expect_refused(const std::string &deck, const Texts &words) {
  try {
    convert::require_gguf(dims_of(deck), "here");
    ADD_FAILURE() << "taken:\n" << deck;
  } catch (const base::UserError &error) {
    EXPECT_EQ(error.number(), "E146");
    EXPECT_EQ(error.code(), base::Exit::checkpoint);
    for (const auto &word : words)
      EXPECT_NE(std::string(error.what()).find(word), std::string::npos) << error.what();
  }
}

TEST(ToGguf, ModelsThatAreRefused) {
  for (const int layers : {26, 27})
    expect_refused(model(layers, 1, 1) + kAttention + kRouter, {"26 or 27", "q_rank"});
  std::string many = model(48, 1, 1) + kAttention + kRouter;
  EXPECT_NO_THROW(convert::require_gguf(dims_of(many), ""));
  many.replace(many.find("310"), 3, "128256");
  expect_refused(many, {"128256"});
  expect_refused(model(513, 1, 1) + kAttention + kRouter, {"512"});
  expect_refused(usual() + "group_score = \"maximum\"\n", {"group_score"});
  const std::string yarn = usual() + "[model.rope]\nfactor = 4\n";
  EXPECT_NO_THROW(convert::require_gguf(dims_of(yarn), ""));
  expect_refused(yarn + "mscale_all_dim = 0.707\n", {"mscale"});
  expect_refused(yarn + "mscale = 0\nmscale_all_dim = 0\n", {"mscale_all_dim"});
  expect_refused(yarn + "beta_fast = 16\n", {"beta_fast"});
  // None of it matters where nothing of it acts.
  EXPECT_NO_THROW(convert::require_gguf(dims_of(usual() + "[model.rope]\nmscale = 0.5\n"), ""));
  EXPECT_NO_THROW(convert::require_gguf(
      dims_of(model(2, 2, 0) + kAttention + kRouter + "group_score = \"maximum\"\n"), ""));
  EXPECT_NO_THROW(convert::require_gguf(dims_of(usual() + "score = \"softmax\"\n"), ""));
}

} // namespace
