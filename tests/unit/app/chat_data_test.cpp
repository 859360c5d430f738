// SPDX-License-Identifier: Apache-2.0
// hadal data show and stats of decks with conversations and with pairs.
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

#include "data/tokenizer.hpp"
#include "tests/unit/app/hadal.hpp"

namespace {

namespace fs = std::filesystem;
using app_test::hadal, app_test::Outcome;

const std::string kSamples = std::string(HADAL_SOURCE_DIR) + "/input/";

class ChatData : public testing::Test {
protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "hadal-chat-data-XXXXXX").string();
    folder_ = mkdtemp(name.data());
    data::TokenizerTraining training;
    training.vocabulary = 300;
    training.min_count = 1;
    data::TokenizerTrainer trainer(training);
    trainer.add("What is 3 + 4? Please work out 12 - 7. Ana has a red lamp, Ben has a kite.");
    write("tokenizer.json", trainer.finish().to_json());
    write("sft.toml", deck("sft", kSamples + "sft/samples"));
    write("pairs.toml", deck("pairs", kSamples + "reward/samples"));
  }
  void TearDown() override { fs::remove_all(folder_); }
  void write(const std::string &name, const std::string &text) {
    std::ofstream(folder_ / name, std::ios::binary) << text;
  }
  std::string at(const std::string &name) const { return (folder_ / name).string(); }
  std::string deck(const std::string &table, const std::string &path) const {
    return "[run]\nseed = 3\n[batch]\nsequence = 256\nglobal_batch = 4\n[train]\nsteps = 10\n[" +
           table + "]\ntokenizer = \"" + at("tokenizer.json") + "\"\n[[" + table +
           ".source]]\nname = \"all\"\npaths = [\"" + path + "\"]\n";
  }
  fs::path folder_;
};

TEST_F(ChatData, ShowOfConversations) {
  const Outcome shown = hadal({"data", "show", at("sft.toml"), "--samples", "2", "--from", "5"});
  EXPECT_EQ(shown.code, 0) << shown.err;
  EXPECT_NE(shown.out.find("training sample 5 |"), std::string::npos) << shown.out;
  EXPECT_NE(shown.out.find("training sample 6 |"), std::string::npos);
  EXPECT_EQ(shown.out.find("training sample 7 |"), std::string::npos);
  EXPECT_NE(shown.out.find("⟨Assistant⟩⟦"), std::string::npos);
  EXPECT_NE(shown.out.find("⟨end⟩⟧"), std::string::npos);
  EXPECT_NE(shown.out.find("⟨padding: "), std::string::npos);
  const Outcome all =
      hadal({"data", "show", at("sft.toml"), "sft.train_on=all", "--colour", "always"});
  EXPECT_EQ(all.code, 0) << all.err;
  EXPECT_NE(all.out.find("\x1b[1;38;5;229m"), std::string::npos);
  EXPECT_EQ(hadal({"data", "show", at("sft.toml"), "--validation", "--samples", "1"}).code, 0);
  const Outcome other =
      hadal({"data", "show", at("sft.toml"), "--samples", "1", "--from", "5", "--sequence", "100"});
  EXPECT_NE(other.out.find("| 101 tokens |"), std::string::npos) << other.out << other.err;
}

TEST_F(ChatData, ShowOfPairs) {
  const Outcome shown = hadal({"data", "show", at("pairs.toml"), "--samples", "1"});
  EXPECT_EQ(shown.code, 0) << shown.err;
  EXPECT_NE(shown.out.find("⟨pair 0, chosen: "), std::string::npos) << shown.out;
  EXPECT_NE(shown.out.find("⟨pair 0, rejected: "), std::string::npos);
}

TEST_F(ChatData, Stats) {
  const Outcome stats = hadal({"data", "stats", at("sft.toml")});
  EXPECT_EQ(stats.code, 0) << stats.err;
  for (const char *part : {"400 lines", "p95", "% padding", "planned: 40 samples", "content: "})
    EXPECT_NE(stats.out.find(part), std::string::npos) << part << "\n" << stats.out;
  const Outcome more = hadal({"data", "stats", at("sft.toml"), "--tokens", "256k"});
  EXPECT_NE(more.out.find("planned: 1,000 samples"), std::string::npos) << more.out << more.err;
  const Outcome epochs = hadal({"data", "stats", at("sft.toml"), "train.epochs=3"});
  EXPECT_NE(epochs.out.find("samples, about "), std::string::npos) << epochs.out << epochs.err;
  EXPECT_EQ(epochs.out.find("planned: 40 samples"), std::string::npos);
  EXPECT_EQ(hadal({"data", "stats", at("pairs.toml")}).code, 0);
  const Outcome verify = hadal({"data", "stats", at("sft.toml"), "--verify"});
  EXPECT_EQ(verify.code, 2);
}

TEST_F(ChatData, Faults) {
  const auto refused = [&](const std::vector<std::string> &words, int code,
                           const std::string &number) {
    const Outcome outcome = hadal(words);
    EXPECT_EQ(outcome.code, code) << outcome.err;
    EXPECT_NE(outcome.err.find(number), std::string::npos) << outcome.err;
  };
  const std::string show = at("sft.toml");
  refused({"data", "show", show, "--validation", "--from", "900"}, 6, "E129");
  refused({"data", "show", show, "sft.tokenizer=\"\""}, 2, "E139");
  refused({"data", "show", show, "sft.tokenizer=" + at("none.json")}, 6, "E100");
  refused({"data", "show", show, "sft.train_onn=all"}, 2, "E005");
  refused({"data", "stats", show, "batch.sequence=8"}, 6, "E135");
  refused({"data", "stats", show, "batch.sequence=16", "sft.over_long=stop"}, 6, "E137");
  refused({"data", "build", show}, 2, "E139");
  refused({"data", "text", at("pairs.toml")}, 2, "E139");
  write("both.toml", deck("sft", kSamples + "sft/samples") + "[pairs]\npacking = true\n");
  refused({"data", "show", at("both.toml")}, 2, "E139");
}

} // namespace
