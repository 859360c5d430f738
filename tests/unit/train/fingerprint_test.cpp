// SPDX-License-Identifier: Apache-2.0
// The part of the fingerprint that belongs to the training; fingerprints of checkpoints that hold none. (The model's part:
// tests/unit/arch; runs that are refused: tests/restart/fingerprint.)
#include <cstdlib>
#include <filesystem>
#include <functional>

#include <gtest/gtest.h>

#include <set>

#include "train/continuing.hpp"
#include "train/fingerprint.hpp"

namespace {

namespace fs = std::filesystem;
using checkpoint::Reader, train::Options;
using Names = std::vector<std::string>;

// Everything is switched on.
Options all_on() {
  Options o;
  o.dims.mtp_depth = 1, o.dims.yarn.factor = 4;
  o.mtp.lambda_tokens = 100;
  o.data.fim_rate = 0.1;
  o.teacher.checkpoint = "teacher";
  return o;
}

Names differing(const Options &a, const Options &b) {
  const auto found = arch::differences(train::fingerprint(a), train::fingerprint(b), {});
  Names names;
  for (const auto &d : found.refused) names.push_back(d.name);
  for (const auto &name : found.not_told_by_us) names.push_back("- " + name);
  for (const auto &name : found.not_told_by_them) names.push_back("+ " + name);
  return names;
}

TEST(Fingerprint, EachFieldOfTheTrainingChangesItsEntry) {
  const std::vector<std::pair<const char *, std::function<void(Options &)>>> fields = {
      {"balance.alpha", [](Options &o) { o.balance.alpha *= 2; }},
      {"balance.gamma", [](Options &o) { o.balance.gamma *= 2; }},
      {"balance.gamma_tokens", [](Options &o) { o.balance.gamma_tokens = 1; }},
      {"mtp.lambda", [](Options &o) { o.mtp.lambda *= 2; }},
      {"mtp.lambda_late", [](Options &o) { o.mtp.lambda_late *= 2; }},
      {"mtp.lambda_tokens", [](Options &o) { ++o.mtp.lambda_tokens; }},
      {"data.mask_documents", [](Options &o) { o.data.mask_documents = true; }},
      {"data.fim_rate", [](Options &o) { o.data.fim_rate = 0.2; }},
      {"teacher.state", [](Options &o) { o.teacher.hash = "other"; }},
      {"teacher.top_k", [](Options &o) { ++o.teacher.top_k; }},
      {"teacher.temperature", [](Options &o) { o.teacher.temperature *= 2; }},
      {"teacher.weight", [](Options &o) { o.teacher.weight /= 2; }},
      {"model.router.scale", [](Options &o) { o.dims.route_scale = 1; }}};
  for (const auto &[name, change] : fields) {
    Options o = all_on();
    change(o);
    EXPECT_EQ(differing(all_on(), o), Names{name});
  }
}

TEST(Fingerprint, WhatDoesNotDecideTheLossDoesNotCount) {
  Options o = all_on();
  o.rate.peak *= 2, o.optimizer.decay += 1, o.run.seed = 9, o.batch.sequence = 77;
  o.train.steps = 5, o.checkpoint.every = 3, o.average.beta = 0.5;
  o.precision.compute = train::Compute::bf16;
  EXPECT_EQ(differing(all_on(), o), Names{});
  Options a, b; // no MTP, no change of lambda: its keys do nothing
  b.mtp.lambda = 7, b.mtp.lambda_late = 8, b.mtp.lambda_tokens = 9;
  EXPECT_EQ(differing(a, b), Names{});
  a.dims.router_bias = b.dims.router_bias = false, b.balance.gamma = 5;
  EXPECT_EQ(differing(a, b), Names{});
  a.dims.dense_layers = b.dims.dense_layers = a.dims.layers, b.balance.alpha = 5;
  EXPECT_EQ(differing(a, b), Names{});
}

TEST(Fingerprint, KnownNamesAreThoseOfRunsWithEverythingOn) {
  using train::Phase;
  std::set<std::string> all;
  for (const Phase phase : {Phase::pretrain, Phase::extend, Phase::sft, Phase::reward, Phase::grpo})
    for (const bool mtp : {true, false}) {
      Options o = all_on();
      o.run.phase = phase, o.mtp.train = mtp;
      if (phase == Phase::reward) o.dims.head = arch::Head::reward;
      for (const auto &entry : train::fingerprint(o).entries) all.insert(entry.first);
    }
  const Names known = train::fingerprint_names();
  EXPECT_EQ(all, std::set<std::string>(known.begin(), known.end()));
}

TEST(Fingerprint, WhatAPhaseDoesNotReadDoesNotCount) {
  Options o = all_on();
  o.teacher = {};
  o.run.phase = train::Phase::sft;
  Options other = o;
  other.teacher.weight = 0.1; // of none
  other.data.fim_rate = 0.7, other.grpo.beta = 3;
  EXPECT_EQ(differing(o, other), Names{});
  other.sft.train_on = data::TrainOn::last;
  EXPECT_EQ(differing(o, other), Names{"sft.train_on"});
  o.run.phase = other.run.phase = train::Phase::grpo;
  EXPECT_EQ(differing(o, other), Names{"grpo.beta"});
}

class FingerprintOf : public testing::Test {
protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "hadal-fingerprint-XXXXXX").string();
    folder_ = mkdtemp(name.data());
  }
  void TearDown() override { fs::remove_all(folder_); }
  Reader written(const std::string &deck, const nlohmann::json &info = nlohmann::json::object()) {
    checkpoint::Snapshot s;
    s.step = ++step_;
    s.deck = deck, s.info = info;
    s.sections = {{"counters", {}, {{"step", step_}}}};
    checkpoint::Writer writer({folder_, 9, 0});
    writer.start(std::move(s));
    writer.wait();
    return Reader::open(folder_);
  }
  fs::path folder_;
  std::int64_t step_ = 0;
};

TEST_F(FingerprintOf, StoredOnesComeBack) {
  const Options o = all_on();
  const Reader reader = written("", {{"fingerprint", train::fingerprint(o).to_json()}});
  EXPECT_TRUE(train::has_fingerprint(reader));
  const auto found = arch::differences(train::fingerprint_of(reader), train::fingerprint(o), {});
  EXPECT_TRUE(found.refused.empty() && found.not_told_by_them.empty() &&
              found.not_told_by_us.empty());
  EXPECT_NO_THROW(train::require_same_meaning(reader, o));
}

TEST_F(FingerprintOf, TheDeckTellsWhatIsNotStored) {
  const std::string model = "[model.router]\nscale = 1.5\n";
  const Reader training = written(model + "[balance]\nalpha = 0.25\n[mtp]\ndepth = 1\nlambda = "
                                          "0.5\n[data]\nfim_rate = 0.75\n");
  EXPECT_FALSE(train::has_fingerprint(training));
  const auto all = train::fingerprint_of(training);
  EXPECT_EQ(*all.find("model.router.scale"), "1.5");
  EXPECT_EQ(*all.find("balance.alpha"), "0.25");
  EXPECT_EQ(*all.find("mtp.lambda"), "0.5");
  EXPECT_EQ(*all.find("data.fim_rate"), "0.75");
  // A deck of another kind: the defaults of the training would be guesses.
  const auto part = train::fingerprint_of(written(model));
  EXPECT_EQ(*part.find("model.router.scale"), "1.5");
  EXPECT_EQ(part.find("balance.alpha"), nullptr);
  EXPECT_TRUE(train::fingerprint_of(written("")).entries.empty());
}

TEST_F(FingerprintOf, OldFormatsAreComparedToo) {
  const Reader old = Reader::open(fs::path(HADAL_SOURCE_DIR) / "checkpoints/fixtures/format-1");
  Options o; // its deck leaves the model at the defaults
  EXPECT_NO_THROW(train::require_same_meaning(old, o));
  o.dims.route_scale = 1, o.dims.rope_theta = 5;
  const auto number = [&] {
    try {
      train::require_same_meaning(old, o);
    } catch (const base::UserError &error) {
      EXPECT_EQ(error.code(), base::Exit::checkpoint);
      EXPECT_NE(std::string(error.what())
                    .find("run.accept_changes=[\"model.rope.theta\", \"model.router.scale\"]"),
                std::string::npos)
          << error.what();
      return error.number();
    }
    return std::string();
  };
  EXPECT_EQ(number(), "E222");
  o.run.accept_changes = {"model.router.scale", "model.rope.theta"};
  EXPECT_EQ(number(), "");
}

} // namespace
