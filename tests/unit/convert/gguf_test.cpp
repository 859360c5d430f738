// SPDX-License-Identifier: Apache-2.0
// Export to GGUF: the keys of the file, its tokenizer, and what is refused.
#include <set>

#include "convert/gguf_rules.hpp"
#include "tests/unit/convert/gguf_sample.hpp"

namespace {

using namespace gguf_sample;

// Those of the model that EveryKey makes; the lists of tokens aside.
std::map<std::string, gguf_reader::Value> expected_keys() {
  return {
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
}

TEST(ToGguf, EveryKey) {
  Sample s(usual() + "[model.rope]\nfactor = 40\noriginal = 96\nmscale = 0.707\n"
                     "mscale_all_dim = 0.707\ntheta = 5e4\n");
  const auto file = s.exported(GgufType::q8_0);
  const auto right = expected_keys();
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

// Numbers of the published files, which are no part of the repository.
TEST(ToGguf, GenuineTokenizer) {
  const char *shared = std::getenv("HADAL_SHARED");
  const fs::path folder =
      (shared ? fs::path(shared) : fs::path(HADAL_SOURCE_DIR) / ".." / "shared") / "data" /
      "deepseek_v3_tokenizer";
  if (!fs::exists(folder / "tokenizer.json")) GTEST_SKIP() << folder << " is not there";
  std::string deck = usual();
  deck.replace(deck.find("310"), 3, "128900");
  deck.replace(deck.find("dim = 32"), 8, "dim = 4");
  const std::string config = sample::read(folder / "tokenizer_config.json");
  Sample s(deck, sample::read(folder / "tokenizer.json"), {{"tokenizer_config.json", config}});
  const auto file = s.exported(GgufType::bf16);
  const auto &tokens = file.key<Texts>("tokenizer.ggml.tokens");
  const auto &kinds = file.key<std::vector<std::int32_t>>("tokenizer.ggml.token_type");
  ASSERT_EQ(tokens.size(), 128900U);
  EXPECT_EQ(tokens[0], "<｜begin▁of▁sentence｜>");
  EXPECT_EQ(tokens[201], "Ċ");
  EXPECT_EQ(tokens[128803], "<｜User｜>");
  EXPECT_EQ(tokens[128899], "[PAD128899]");
  EXPECT_EQ(std::count(kinds.begin(), kinds.end(), 3), 804);
  EXPECT_EQ(std::count(kinds.begin(), kinds.end(), 4), 14);
  EXPECT_EQ(std::count(kinds.begin(), kinds.end(), 5), 128900 - 128815);
  EXPECT_EQ(file.key<Texts>("tokenizer.ggml.merges").size(), 127741U);
  EXPECT_EQ(file.key<std::uint32_t>("tokenizer.ggml.bos_token_id"), 0U);
  EXPECT_EQ(file.key<std::uint32_t>("tokenizer.ggml.eos_token_id"), 1U);
  EXPECT_EQ(file.key<std::uint32_t>("tokenizer.ggml.padding_token_id"), 1U);
  EXPECT_EQ(file.key<bool>("tokenizer.ggml.add_bos_token"), true);
  EXPECT_EQ(file.key<std::string>("tokenizer.chat_template"),
            nlohmann::json::parse(config).at("chat_template").get<std::string>());
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
