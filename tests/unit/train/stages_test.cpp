// SPDX-License-Identifier: Apache-2.0
// Which layers a stage gets: by cost from the registry, or as the deck says.
#include <gtest/gtest.h>

#include <algorithm>

#include "train/ranks.hpp"

namespace {

std::vector<std::int64_t> layers_of(const std::vector<model::Part> &parts) {
  std::vector<std::int64_t> layers;
  for (const model::Part &part : parts) layers.push_back(part.last - part.first);
  return layers;
}

train::Options options_of(const std::string &file, const std::vector<std::string> &overrides = {}) {
  deck::Deck deck = deck::Deck::read(HADAL_SOURCE_DIR "/input/pretrain/" + file, overrides);
  return train::read_options(deck);
}

using Layers = std::vector<std::int64_t>;

// Head and MTP module cost 3.9 layers: with one layer more they are the last of 16 stages, and 60 layers are 15 stages of four.
TEST(Stages, DeepSeekV3In16) {
  const auto parts = train::cut_into_stages(options_of("deepseek_v3.toml"), 16);
  EXPECT_EQ(layers_of(parts), (Layers{4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 1}));
  EXPECT_TRUE(parts.front().embedding);
  EXPECT_TRUE(parts.back().head);
  EXPECT_EQ(std::count_if(parts.begin(), parts.end(), [](const auto &p) { return p.head; }), 1);
  EXPECT_EQ(std::count_if(parts.begin(), parts.end(), [](const auto &p) { return p.embedding; }),
            1);
  for (std::size_t i = 1; i < parts.size(); ++i) EXPECT_EQ(parts[i].first, parts[i - 1].last);
  EXPECT_EQ(parts.back().last, 61);
}

TEST(Stages, WhatFollowsTheLayersCounts) {
  // Without an MTP module the head costs less than 1.4 layers.
  const auto plain = train::cut_into_stages(options_of("deepseek_v3.toml", {"mtp.depth=0"}), 16);
  EXPECT_EQ(layers_of(plain), (Layers{4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 3, 2}));
  // With two modules they cost 6.3 layers and stand alone.
  const auto two = train::cut_into_stages(options_of("deepseek_v3.toml", {"mtp.depth=2"}), 16);
  EXPECT_EQ(two.back().last - two.back().first, 0);
  // The longer the sequences, the more the layers weigh against the head.
  const auto longer = train::cut_into_stages(
      options_of("deepseek_v3.toml", {"batch.sequence='128Ki'", "train.steps=1"}), 16);
  EXPECT_GT(longer.back().last - longer.back().first, 0);
}

TEST(Stages, OneStageHoldsAll) {
  const auto parts = train::cut_into_stages(options_of("tiny.toml"), 1);
  ASSERT_EQ(parts.size(), 1U);
  EXPECT_TRUE(parts[0].embedding && parts[0].head);
  EXPECT_EQ(parts[0].last, options_of("tiny.toml").dims.layers);
}

TEST(Stages, AsTheDeckSays) {
  const std::vector<std::string> keys = {"model.layers=5", "parallel.pp=4",
                                         "parallel.schedule=1f1b", "parallel.stages=[0,3,2,0]"};
  const auto parts = train::cut_into_stages(options_of("tiny.toml", keys), 4);
  EXPECT_EQ(layers_of(parts), (Layers{0, 3, 2, 0}));
  EXPECT_TRUE(parts[0].embedding);
  EXPECT_TRUE(parts[3].head);
}

} // namespace
