// SPDX-License-Identifier: Apache-2.0
// hadal eval through the program.
#include <gtest/gtest.h>

#include "tests/support/tiny_run.hpp"

namespace {

namespace fs = std::filesystem;
using support::Outcome;
const std::string kSource = HADAL_SOURCE_DIR;

class Evaluate : public testing::Test {
protected:
  static void SetUpTestSuite() {
    tiny_ = new support::TinyRun;
    trained_ = tiny_->train("model", {"train.steps=2"}).code;
  }
  static void TearDownTestSuite() { delete tiny_, tiny_ = nullptr; }
  void SetUp() override { ASSERT_EQ(trained_, 0); }

  // The shipped tiny deck, in the folder of the source.
  static Outcome evaluate(const std::string &directory, const std::vector<std::string> &more = {}) {
    std::vector<std::string> words = {support::hadal(),
                                      "eval",
                                      "input/evaluate/tiny.toml",
                                      "evaluate.checkpoint=" + tiny_->at("model").string(),
                                      "evaluate.directory=" + tiny_->at(directory).string(),
                                      "evaluate.max_tokens=8"};
    words.insert(words.end(), more.begin(), more.end());
    return support::run(words, kSource);
  }
  static inline support::TinyRun *tiny_ = nullptr;
  static inline int trained_ = -1;
};

TEST_F(Evaluate, EveryTaskTwiceTheSame) {
  const Outcome first = evaluate("first"), again = evaluate("again", {"evaluate.batch=3"});
  ASSERT_EQ(first.code, 0) << first.output;
  ASSERT_EQ(again.code, 0) << again.output;
  int files = 0;
  for (const auto &entry : fs::directory_iterator(tiny_->at("first"))) {
    const auto name = entry.path().filename();
    EXPECT_EQ(support::read_text(entry.path()), support::read_text(tiny_->at("again") / name))
        << name << ": batches change nothing";
    ++files;
  }
  EXPECT_EQ(files, 22 + 2 + 2); // samples of the tasks, two grids, results
  const std::string table = support::read_text(tiny_->at("first/results.txt"));
  for (const auto &entry : fs::directory_iterator(kSource + "/input/evaluate/tasks")) {
    const std::string name = entry.path().stem().string();
    const bool runs_programs = name == "humaneval" || name == "mbpp" || name == "livecodebench";
    EXPECT_EQ(table.find("|" + name + " ") == std::string::npos, runs_programs) << name;
  }
  EXPECT_NE(first.output.find("|Version|"), std::string::npos) << first.output;
}

TEST_F(Evaluate, NeedlesBecomeAPicture) {
  const Outcome asked = evaluate("grid", {"evaluate.tasks=[\"needle\"]", "evaluate.limit=1"});
  ASSERT_EQ(asked.code, 0) << asked.output;
  const std::string tool = kSource + "/tools/needle", folder = tiny_->at("grid").string();
  const Outcome drawn = support::run({tool, folder});
  EXPECT_EQ(drawn.code, 0) << drawn.output;
  EXPECT_EQ(support::read_text(tiny_->at("grid/grid_needle.png")).substr(1, 3), "PNG");
  support::write_text(tiny_->at("grid/grid_bad.csv"), "length,depth,samples,value,stderr\n1,x\n");
  const Outcome refused = support::run({tool, folder});
  EXPECT_EQ(refused.code, 2) << refused.output;
  EXPECT_NE(refused.output.find("grid_bad.csv: line 2"), std::string::npos) << refused.output;
  EXPECT_EQ(support::run({tool, tiny_->at("model").string()}).code, 2) << "no grid there";
}

TEST_F(Evaluate, GoesOnBehindWhatIsThere) {
  const std::vector<std::string> only = {"evaluate.tasks=[\"arc_easy\"]"};
  ASSERT_EQ(evaluate("parts", only).code, 0);
  const fs::path samples = tiny_->at("parts/samples_arc_easy.jsonl");
  const std::string whole = support::read_text(samples),
                    results = support::read_text(tiny_->at("parts/results.json"));
  support::write_text(samples, whole.substr(0, whole.size() - 40)); // the last line is cut
  const Outcome resumed = evaluate("parts", only);
  ASSERT_EQ(resumed.code, 0) << resumed.output;
  EXPECT_NE(resumed.output.find("2 are there"), std::string::npos) << resumed.output;
  EXPECT_EQ(support::read_text(samples), whole);
  EXPECT_EQ(support::read_text(tiny_->at("parts/results.json")), results);
  const Outcome other = evaluate("parts", {only[0], "evaluate.shots=0"});
  EXPECT_EQ(other.code, 2) << other.output;
  EXPECT_NE(other.output.find("E313"), std::string::npos) << other.output;
  EXPECT_EQ(evaluate("parts", {only[0], "evaluate.shots=0", "evaluate.existing=replace"}).code, 0);
}

TEST_F(Evaluate, AsAChatAndInBf16) {
  const Outcome chat = evaluate("chat", {"evaluate.tasks=[\"ifeval\", \"mmlu\"]",
                                         "evaluate.chat=true", "evaluate.precision=bf16"});
  EXPECT_EQ(chat.code, 0) << chat.output;
  EXPECT_NE(support::read_text(tiny_->at("chat/results.json")).find("\"chat\": true"),
            std::string::npos);
}

// What two steps of training teach is no Python; that the programs are run shows in the line about the sandbox and in the values.
TEST_F(Evaluate, ProgramsAreRunWhereTheDeckSaysSo) {
  const Outcome ran =
      evaluate("programs", {"evaluate.tasks=[\"humaneval\", \"mbpp\", \"livecodebench\"]",
                            "evaluate.programs=true", "evaluate.shots=0", "sandbox.require=best",
                            "sandbox.wall=2s"});
  ASSERT_EQ(ran.code, 0) << ran.output;
  EXPECT_NE(ran.output.find("sandbox: "), std::string::npos) << ran.output;
  const std::string table = support::read_text(tiny_->at("programs/results.txt"));
  for (const char *name : {"|humaneval ", "|mbpp ", "|livecodebench"})
    EXPECT_NE(table.find(name), std::string::npos) << table;
  EXPECT_NE(table.find("pass@1"), std::string::npos) << table;
}

TEST_F(Evaluate, FaultsAreNumbered) {
  struct Case {
    std::vector<std::string> words;
    int code;
    const char *number;
  };
  const Case cases[] = {{{"evaluate.tasks=[\"mmul\"]"}, 2, "E300"},
                        {{"evaluate.tasks=[]"}, 2, "E318"},
                        {{"evaluate.tasks=[\"humaneval\"]"}, 2, "E310"},
                        {{"evaluate.tasks=[\"humaneval\"]", "evaluate.programs=true",
                          "sandbox.visible=[\"/nowhere\"]"},
                         2,
                         "E344"},
                        {{"evaluate.data=nowhere"}, 6, "E301"},
                        {{"evaluate.shots=9"}, 6, "E315"},
                        {{"evaluate.bacth=9"}, 2, "E005"},
                        {{"evaluate.checkpoint=nowhere"}, 5, "E210"},
                        {{"evaluate.max_length=200"}, 2, "E312"},
                        {{"evaluate.directory=/proc/nowhere"}, 3, "E314"}};
  for (const Case &one : cases) {
    std::vector<std::string> words = {support::hadal(), "eval", "input/evaluate/tiny.toml"};
    const auto has = [&](const char *key) {
      return one.words[0].rfind(std::string("evaluate.") + key + "=", 0) == 0;
    };
    if (!has("checkpoint")) words.push_back("evaluate.checkpoint=" + tiny_->at("model").string());
    if (!has("directory")) words.push_back("evaluate.directory=" + tiny_->at("faults").string());
    words.insert(words.end(), one.words.begin(), one.words.end());
    const Outcome refused = support::run(words, kSource);
    EXPECT_EQ(refused.code, one.code) << refused.output;
    EXPECT_NE(refused.output.find(one.number), std::string::npos) << one.number << refused.output;
  }
  const Outcome check =
      support::run({support::hadal(), "eval", "input/evaluate/tiny.toml", "--check"}, kSource);
  EXPECT_EQ(check.code, 0) << check.output;
}

} // namespace
