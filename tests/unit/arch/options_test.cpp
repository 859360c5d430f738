// SPDX-License-Identifier: Apache-2.0
// Dims from decks: the shipped ones by their published totals, and contradictions by number and line.
#include <gtest/gtest.h>

#include <string>

#include "arch/counts.hpp"
#include "arch/options.hpp"
#include "base/error.hpp"

namespace {

using arch::Dims;

Dims shipped(const std::string &name) {
  deck::Deck deck =
      deck::Deck::read(std::string(HADAL_SOURCE_DIR) + "/input/pretrain/" + name + ".toml");
  return arch::read_dims(deck);
}

TEST(ShippedDecks, V3) {
  const Dims d = shipped("deepseek_v3");
  EXPECT_EQ(arch::count_parameters(d).main, 671026419200);
  EXPECT_EQ(arch::count_parameters(d).mtp, 11610068224);
  EXPECT_EQ(arch::flops_per_token(d, 4096, arch::Attention::causal).total(), 260641652736);
  EXPECT_EQ(arch::cache_bytes_per_token(d, 2), 70272);
  EXPECT_EQ(d.mtp_hidden, arch::MtpHidden::post_norm);
}

TEST(ShippedDecks, V2) {
  const Dims d = shipped("deepseek_v2");
  EXPECT_EQ(arch::count_parameters(d).main, 235741434880);
  EXPECT_EQ(arch::count_parameters(d).mtp, 0);
  EXPECT_EQ(d.group_score, arch::GroupScore::maximum);
}

TEST(ShippedDecks, V2Lite) {
  const Dims d = shipped("deepseek_v2_lite");
  EXPECT_EQ(arch::count_parameters(d).main, 15706484224);
  EXPECT_EQ(d.score, arch::Score::softmax);
}

TEST(ShippedDecks, Bench) {
  const Dims d = shipped("bench");
  EXPECT_EQ((arch::count_parameters(d).main + 50000) / 100000, 1420); // 142.0 M, as documented
}

TEST(Options, DefaultsAreThoseOfDims) {
  deck::Deck deck = deck::Deck::parse("", "empty.toml");
  const Dims read = arch::read_dims(deck), fresh;
  EXPECT_EQ(arch::count_parameters(read).main, 671026419200);
  EXPECT_EQ(read.norm_eps, fresh.norm_eps);
  EXPECT_EQ(read.init_std, fresh.init_std);
  EXPECT_EQ(read.rope_theta, fresh.rope_theta);
  EXPECT_EQ(read.route_scale, fresh.route_scale);
  EXPECT_EQ(read.yarn.original, fresh.yarn.original);
  EXPECT_EQ(read.yarn.beta_fast, fresh.yarn.beta_fast);
  EXPECT_EQ(read.mtp_depth, fresh.mtp_depth);
}

constexpr const char *kEveryKey = R"(
[model]
vocabulary = 1001
dim = 1002
layers = 13
dense_layers = 4
dense_hidden = 1005
expert_hidden = 1006
shared_experts = 7
norm_eps = 1e-5
init_std = 0.5
[model.attention]
heads = 11
q_rank = 12
kv_rank = 13
nope_dim = 14
rope_dim = 16
value_dim = 15
[model.router]
experts = 24
chosen = 5
groups = 6
chosen_groups = 3
score = "softmax"
group_score = "maximum"
bias = false
normalise = false
scale = 1.5
[model.rope]
theta = 20000.0
factor = 40.0
original = 2048
beta_fast = 16.0
beta_slow = 2.0
mscale = 0.5
mscale_all_dim = 0.25
[mtp]
depth = 2
hidden = "pre_norm"
)";

TEST(Options, EveryKeyLandsInItsField) {
  deck::Deck deck = deck::Deck::parse(kEveryKey, "all.toml");
  const Dims d = arch::read_dims(deck);
  deck.finish();
  EXPECT_EQ(d.vocabulary, 1001);
  EXPECT_EQ(d.model, 1002);
  EXPECT_EQ(d.layers, 13);
  EXPECT_EQ(d.dense_layers, 4);
  EXPECT_EQ(d.dense_hidden, 1005);
  EXPECT_EQ(d.expert_hidden, 1006);
  EXPECT_EQ(d.shared, 7);
  EXPECT_EQ(d.norm_eps, 1e-5);
  EXPECT_EQ(d.init_std, 0.5);
  EXPECT_EQ(d.heads, 11);
  EXPECT_EQ(d.q_rank, 12);
  EXPECT_EQ(d.kv_rank, 13);
  EXPECT_EQ(d.nope, 14);
  EXPECT_EQ(d.rope, 16);
  EXPECT_EQ(d.value, 15);
  EXPECT_EQ(d.experts, 24);
  EXPECT_EQ(d.chosen, 5);
  EXPECT_EQ(d.groups, 6);
  EXPECT_EQ(d.chosen_groups, 3);
  EXPECT_EQ(d.score, arch::Score::softmax);
  EXPECT_EQ(d.group_score, arch::GroupScore::maximum);
  EXPECT_FALSE(d.router_bias);
  EXPECT_FALSE(d.normalise);
  EXPECT_EQ(d.route_scale, 1.5);
  EXPECT_EQ(d.rope_theta, 20000.0);
  EXPECT_EQ(d.yarn.factor, 40.0);
  EXPECT_EQ(d.yarn.original, 2048);
  EXPECT_EQ(d.yarn.beta_fast, 16.0);
  EXPECT_EQ(d.yarn.beta_slow, 2.0);
  EXPECT_EQ(d.yarn.mscale, 0.5);
  EXPECT_EQ(d.yarn.mscale_all_dim, 0.25);
  EXPECT_EQ(d.mtp_depth, 2);
  EXPECT_EQ(d.mtp_hidden, arch::MtpHidden::pre_norm);
}

void expect_refused(const std::string &text, const std::string &number, const std::string &said) {
  try {
    deck::Deck deck = deck::Deck::parse(text, "d.toml");
    arch::read_dims(deck);
    FAIL() << "accepted: " << text;
  } catch (const base::UserError &error) {
    EXPECT_EQ(error.number(), number) << error.what();
    EXPECT_EQ(error.code(), base::Exit::deck);
    EXPECT_NE(std::string(error.what()).find(said), std::string::npos) << error.what();
  }
}

TEST(Options, Contradictions) {
  expect_refused("[model.attention]\n\nrope_dim = 63\n", "E040", "d.toml:3");
  expect_refused("[model.router]\ngroups = 6\n", "E041", "d.toml:2");
  expect_refused("[model.router]\ngroups = 6\n", "E041", "1, 2, 4, 8, 16, 32, 64, 128, 256");
  expect_refused("[model.router]\nchosen_groups = 9\n", "E042", "only 8 groups");
  expect_refused("[model.router]\ngroups = 32\nchosen_groups = 1\nchosen = 16\n", "E043",
                 "only 8 experts");
  expect_refused("[model.router]\nchosen = 17\n", "E007", "d.toml:2");
  expect_refused(
      "[model.router]\nexperts = 8\ngroups = 8\nchosen_groups = 8\ngroup_score = \"top2_sum\"\n",
      "E044", "d.toml:5");
  expect_refused("[model]\ndense_layers = 62\n", "E045", "d.toml:2");
  expect_refused("[model.rope]\nfactor = 40.0\nbeta_fast = 1.0\n", "E046", "d.toml:3");
  expect_refused("[model]\ndim = 131072\nexpert_hidden = 262144\nlayers = "
                 "1024\n[model.router]\nexperts = 512\n",
                 "E047", "d.toml:2");
}

TEST(Options, WithoutExpertsTheRouterIsNotLookedAt) {
  deck::Deck deck = deck::Deck::parse(
      "[model]\nlayers = 2\ndense_layers = 2\n[model.router]\ngroups = 6\n", "d.toml");
  const Dims d = arch::read_dims(deck);
  EXPECT_EQ(arch::count_parameters(d).rooms.size(), 5u); // embedding, norm, mla, ffn, head
  expect_refused(
      "[model]\nlayers = 2\ndense_layers = 2\n[model.router]\ngroups = 6\n[mtp]\ndepth = 1\n",
      "E041", "d.toml:5");
}

TEST(Options, EveryDeclaredKeyHasHelp) {
  std::size_t keys = 0;
  for (const auto &[table, list] : arch::declared_keys()) {
    for (const auto &key : list) {
      EXPECT_EQ(key.table, table);
      EXPECT_FALSE(key.help.empty()) << key.name;
      ++keys;
    }
  }
  EXPECT_EQ(keys, 34u);
}

} // namespace
