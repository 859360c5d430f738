// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <thread>

#include "tests/support/tiny_run.hpp"

namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

std::size_t count(const std::string &text, const std::string &part) {
  std::size_t n = 0;
  for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++n;
  return n;
}
bool holds(const std::string &text, const std::string &part) { return count(text, part) > 0; }

class Distil : public ::testing::Test {
protected:
  void SetUp() override {
    support::write_text(at("sums.jsonl"), R"({"prompt": "What is 2 + 3?", "answer": "5"}
{"prompt": "What is 10 + 20?", "answer": "30"}
{"prompt": "What is 7 + 1?", "answer": "8"}
)");
    support::write_text(at("deck.toml"), R"([distil]
directory = "out"
model = "teacher"
samples = 4
keep = 3
forms = ["plain", "system"]
system = "Look back at your answer."
concurrency = 2
timeout = 0.5
backoff = 0.02

[[distil.source]]
name = "sums"
paths = ["sums.jsonl"]

[[reward]]
name = "right"
kind = "math"
)");
  }
  fs::path at(const std::string &name) const { return scratch_.path() / name; }
  std::string text(const std::string &name) const { return support::read_text(at(name)); }

  // The url of a server that was started for this test.
  std::string serve(const std::string &mode) {
    server_ = std::make_unique<support::Child>(
        Words{HADAL_PYTHON, std::string(HADAL_SOURCE_DIR) + "/tests/distil/server.py",
              at(mode).string(), mode});
    for (int i = 0; i < 600 && !fs::exists(at(mode + ".port")); ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    return "http://127.0.0.1:" + text(mode + ".port") + "/v1";
  }
  support::Outcome distil(const std::string &url, const Words &more = {}) const {
    Words words = {support::hadal(), "distil", "deck.toml", "distil.url=\"" + url + "\""};
    words.insert(words.end(), more.begin(), more.end());
    return support::run(words, scratch_.path().string(), 60);
  }
  static void expect_told(const support::Outcome &outcome, int code, const std::string &number) {
    EXPECT_EQ(outcome.code, code) << outcome.output;
    EXPECT_TRUE(holds(outcome.output, "[" + number + "]")) << outcome.output;
  }

  support::Scratch scratch_;
  std::unique_ptr<support::Child> server_;
};

TEST_F(Distil, a_server_that_fails_at_times_gives_every_answer_once) {
  const std::string url = serve("flaky");
  ::setenv("HADAL_TEST_KEY", "secret", 1);
  const auto out = distil(url, {"distil.key_variable=\"HADAL_TEST_KEY\""});
  ASSERT_EQ(out.code, 0) << out.output;
  EXPECT_EQ(count(text("flaky"), "\n"), 24U + 5U) << text("flaky"); // five were repeated
  EXPECT_EQ(count(text("flaky"), "Bearer secret"), 29U);
  EXPECT_EQ(count(text("flaky"), "/v1/chat/completions"), 29U);
  EXPECT_FALSE(holds(text("out/answers.jsonl"), "secret"));
  // Half of the answers are wrong; the right ones of a question say the same, so that one is kept: 3 problems, 2 forms.
  const std::string sft = text("out/sft.jsonl");
  EXPECT_EQ(count(sft, "\n"), 6U) << sft;
  EXPECT_EQ(count(sft, "Look back at your answer."), 3U);
  EXPECT_TRUE(holds(sft, R"({"messages":[{"role":"user","content":"What is 2 + 3?"},)"
                         R"({"role":"assistant","content":"It is 5."}],"source":"sums"})"))
      << sft;
  const std::string stats = text("out/stats.json");
  for (const char *line : {"\"answers\": 24", "\"ended\": 24", "\"correct\": 12", "\"kept\": 6",
                           "\"repeated\": 6", "\"asked_now\": 24"})
    EXPECT_TRUE(holds(stats, line)) << line << "\n" << stats;

  const auto again =
      distil(url, {"distil.samples=5"}); // one more each; the key is no part of the asking
  ASSERT_EQ(again.code, 0) << again.output;
  EXPECT_EQ(count(text("flaky"), "\n"), 29U + 6U);
}

TEST_F(Distil, a_server_that_dies_midway_loses_nothing) {
  const auto out = distil(serve("dying"), {"distil.retries=2"});
  expect_told(out, 3, "E376");
  EXPECT_TRUE(holds(out.output, "status 503")) << out.output;
  EXPECT_EQ(count(text("out/answers.jsonl"), "\"answer\""), 5U);
  EXPECT_FALSE(fs::exists(at("out/sft.jsonl")));
  expect_told(distil("http://127.0.0.1:1/v1", {"distil.model=other"}), 6, "E372");
  // Another server of the same model is asked what is missing.
  const auto end = distil(serve("flaky"));
  ASSERT_EQ(end.code, 0) << end.output;
  EXPECT_EQ(count(text("flaky"), "\n"), 24U - 5U + 5U) << text("flaky");
  EXPECT_EQ(count(text("out/answers.jsonl"), "\"answer\""), 24U);
  EXPECT_EQ(count(text("out/sft.jsonl"), "\n"), 6U);
}

TEST_F(Distil, what_is_refused_is_not_repeated) {
  expect_told(distil(serve("refusing"), {"distil.concurrency=1"}), 3, "E375");
  EXPECT_EQ(count(text("refusing"), "\n"), 1U);
}

TEST_F(Distil, bad_decks_and_problems) {
  const std::string url = "http://127.0.0.1:1/v1";
  expect_told(distil(url, {"distil.checkpoint=\"x\""}), 2, "E370");
  expect_told(distil(url, {"distil.keep=5"}), 2, "E370");
  expect_told(distil(url, {"distil.forms=[\"other\"]"}), 2, "E370");
  expect_told(distil(url, {"distil.system=\"\""}), 2, "E370");
  expect_told(distil("127.0.0.1", {}), 2, "E370");
  expect_told(distil(url, {"distil.key_variable=\"HADAL_TEST_NO_SUCH\""}), 3, "E371");
  expect_told(distil(url, {"distil.retries=0"}), 3, "E376");
  support::write_text(at("sums.jsonl"), "{\"prompt\": \"2 + 3?\"}\n");
  expect_told(distil(url, {}), 6, "E333");
  support::write_text(at("sums.jsonl"), "{\"answer\": \"5\"}\n");
  expect_told(distil(url, {}), 6, "E352");
}

// A model of a few steps says nothing of sense: kept is what ended, whatever it says.
TEST(DistilCheckpoint, the_same_samples_each_time) {
  const support::TinyRun tiny;
  ASSERT_EQ(tiny.built().code, 0) << tiny.built().output;
  const auto trained = tiny.train("base", {"train.steps=4", "train.validate_every=0"});
  ASSERT_EQ(trained.code, 0) << trained.output;
  const std::string source = HADAL_SOURCE_DIR;
  const auto distil = [&](const std::string &out, const Words &more) {
    Words words = {support::hadal(),
                   "distil",
                   source + "/input/distil/tiny.toml",
                   "distil.directory=" + out,
                   "distil.checkpoint=base",
                   "distil.source.0.paths=[\"" + source + "/input/grpo/samples\"]"};
    words.insert(words.end(), more.begin(), more.end());
    return support::run(words, tiny.folder(), 120);
  };
  const auto first = distil("one", {"distil.batch=2"});
  const auto second = distil("two", {"distil.batch=7"});
  // Such a model ends no answer within its tokens, or a few: both starts must say the same.
  EXPECT_EQ(first.code, second.code) << first.output << second.output;
  EXPECT_TRUE(first.code == 0 || holds(first.output, "[E378]")) << first.output;
  const auto journal = support::read_text(tiny.at("one/answers.jsonl"));
  EXPECT_GT(count(journal, "\n"), 8U) << journal;
  EXPECT_EQ(journal, support::read_text(tiny.at("two/answers.jsonl")));
  const auto third = distil("one", {});
  EXPECT_TRUE(holds(third.output, " 0 are asked")) << third.output;
}

} // namespace
