// SPDX-License-Identifier: Apache-2.0
// The bits of a training do not depend on how many ranks work on it, nor on how they share it: state hash and history after 20 steps of
// the tiny deck (16 micro-batches a step, 8 shards), on real data.
#include "tests/support/many_ranks.hpp"

namespace {

using support::kBf16, support::layout, support::Layout, support::on_nodes_of, support::Words;
using support::operator+;

const Words kTwenty = {"train.steps=20"};

const std::vector<Layout> &layouts() {
  static const std::vector<Layout> all = [] {
    std::vector<Layout> list = {layout(2), layout(4), layout(2, 2), on_nodes_of(2, layout(4, 4)),
                                layout(1, 1, 2, "dualpipev")};
    for (const char *schedule : {"1f1b", "zb1p", "dualpipe"})
      for (const int pp : {2, 4}) list.push_back(layout(1, 1, pp, schedule));
    list.push_back(layout(2, 2, 2, "dualpipe"));
    list.push_back(layout(4, 2, 2, "dualpipe"));
    return list;
  }();
  return all;
}

class Exactness : public support::ManyRanks {
protected:
  static void every_layout_is_as_one_rank(const std::string &name, const Words &precision) {
    const Words settings = kTwenty + precision;
    const auto one = run(Layout(), name + "_one", settings);
    ASSERT_EQ(one.code, 0) << one.output;
    const std::string hash = support::state_hash(one.output), expected = history(name + "_one");
    ASSERT_EQ(hash.size(), 32U);
    ASSERT_EQ(steps_of(name + "_one").size(), 20U);
    for (const Layout &on : layouts()) {
      const std::string directory = name + "_" + on.name;
      const auto outcome = run(on, directory, settings);
      EXPECT_EQ(outcome.code, 0) << on.name << "\n" << outcome.output;
      EXPECT_EQ(support::state_hash(outcome.output), hash) << on.name;
      EXPECT_EQ(history(directory), expected) << on.name;
      std::filesystem::remove_all(at(directory));
    }
  }
};

TEST_F(Exactness, EveryLayoutInF32) { every_layout_is_as_one_rank("f32", {}); }
TEST_F(Exactness, EveryLayoutInBf16) { every_layout_is_as_one_rank("bf16", kBf16); }

// What the comparison rests on: nothing that it is to cover is switched off, and it can fail.
TEST_F(Exactness, TheRunHasEverything) {
  const auto one = run(Layout(), "all", kTwenty);
  ASSERT_EQ(one.code, 0) << one.output;
  const auto values = [](const char *name) { return support::column(at("all/history.csv"), name); };
  const auto deck = support::read_text(at("all/deck.toml"));
  for (const char *line : {"shards = 8", "fim_rate = 0.1", "depth = 1", "micro_batch = 1"})
    EXPECT_TRUE(support::holds(deck, line)) << line << "\n" << deck;
  EXPECT_EQ(values("samples").front(), "8");
  const auto samples = values("samples");
  EXPECT_EQ(std::stol(samples[19]) - std::stol(samples[18]), 16);
  const auto clipped = values("clipped");
  EXPECT_EQ(std::set<std::string>(clipped.begin(), clipped.end()),
            (std::set<std::string>{"0", "1"}));
  for (const char *name : {"mtp_loss", "balance_loss", "grad_norm", "max_violation"})
    for (const auto &value : values(name)) EXPECT_GT(std::stod(value), 0) << name;
  EXPECT_FALSE(values("validation_loss").back().empty());
}

// The comparison can fail: each of these parts reaches the state.
TEST_F(Exactness, EveryPartIsSeenInTheHash) {
  const Words few = {"model.layers=5", "train.steps=6"};
  const auto hash_with = [&](const std::string &key, const std::string &value) {
    const auto outcome = tiny->train("with_" + key + value, few + Words{key + "=" + value});
    EXPECT_EQ(outcome.code, 0) << outcome.output;
    return support::state_hash(outcome.output);
  };
  std::set<std::string> hashes = {hash_with("run.seed", "1")}; // as it is
  const std::vector<std::pair<std::string, std::string>> changes = {
      {"parallel.shards", "4"},      {"data.fim_rate", "0"}, {"average.beta", "0.9"},
      {"balance.gamma", "0"},        {"balance.alpha", "0"}, {"mtp.lambda", "0.2"},
      {"optimizer.clip_norm", "0.5"}};
  for (const auto &[key, value] : changes) hashes.insert(hash_with(key, value));
  EXPECT_EQ(hashes.size(), changes.size() + 1);
}

// Ten steps on one layout, ten on another.
TEST_F(Exactness, AnyLayoutGoesOnFromAnyOther) {
  const std::vector<Layout> five = {Layout{"one", 1, {}}, layout(2, 2), layout(4),
                                    layout(1, 1, 2, "zb1p"), layout(2, 2, 2, "dualpipe")};
  const auto whole = run(five[0], "whole", kTwenty);
  ASSERT_EQ(whole.code, 0) << whole.output;
  const std::string hash = support::state_hash(whole.output), expected = history("whole", false);
  ASSERT_EQ(hash.size(), 32U);
  for (const Layout &first : five) {
    const std::string begun = "begun_" + first.name;
    const auto half = run(first, begun, {"train.steps=10"});
    ASSERT_EQ(half.code, 0) << first.name << "\n" << half.output;
    for (const Layout &second : five) {
      const std::string name = first.name + "_then_" + second.name;
      std::filesystem::copy(at(begun), at(name), std::filesystem::copy_options::recursive);
      const auto outcome = run(second, name, kTwenty);
      EXPECT_EQ(outcome.code, 0) << name << "\n" << outcome.output;
      EXPECT_TRUE(support::holds(outcome.output, "(step 10, state hash")) << outcome.output;
      EXPECT_EQ(support::state_hash(outcome.output), hash) << name;
      EXPECT_EQ(history(name, false), expected) << name;
      std::filesystem::remove_all(at(name));
    }
  }
}

} // namespace
