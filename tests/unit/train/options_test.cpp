// SPDX-License-Identifier: Apache-2.0
// Keys that contradict each other: number, place, and what the text says.
#include <gtest/gtest.h>

#include "schedule/check.hpp"
#include "train/options.hpp"

namespace {

const std::string kSource = "[[data.source]]\nname = 'x'\npaths = ['x']\n"; // lines 1 to 3

struct Wrong {
  const char *text;   // from line 4 on
  const char *number; // of the error
  int line;           // 0: an override
  const char *says;
  std::vector<std::string> overrides = {};
};

const std::vector<Wrong> kWrong = {
    {"[parallel]\ndp = 4\nep = 3\n", "E014", 6, "ep must divide dp (4)"},
    {"[parallel]\ndp = 6\nep = 6\n", "E014", 6, "256 routed experts cannot be shared evenly by 6"},
    {"[batch]\nmicro_batch = 3\nglobal_batch = 8\n", "E020", 6, "a multiple of 3"},
    {"[batch]\nglobal_batch = 10\n[parallel]\ndp = 4\n", "E020", 5, "a multiple of 4"},
    {"[run]\nreproducible = 'any_layout'\n[batch]\nglobal_batch = 12\n", "E020", 7, "8 shards"},
    {"[run]\nreproducible = 'any_layout'\n[batch]\nmicro_batch = 2\nglobal_batch = "
     "24\n[parallel]\ndp = 2\n",
     "E020", 8, "a multiple of 16"},
    {"[batch]\nramp_tokens = 1000\n", "E021", 4, "ramp"},
    {"[batch]\nstart = 8\n", "E021", 5, "start needs ramp_tokens"},
    {"[batch]\nstart = 16\nramp_tokens = 1000\n", "E021", 5, "global_batch (8)"},
    {"[batch]\nmicro_batch = 2\nstart = 5\nramp_tokens = 1000\n", "E021", 6, "multiples of 2"},
    {"[parallel]\nshards = 12\n", "E023", 5, "power of two"},
    {"[run]\nreproducible = 'any_layout'\n[parallel]\ndp = 3\nshards = 8\n", "E023", 8,
     "multiple of dp (3)"},
    {"[model]\nlayers = 4\ndense_layers = 1\n[parallel]\npp = 5\n", "E024", 8,
     "4 layers cannot be shared by 5"},
    {"[model]\nlayers = 6\n[parallel]\npp = 4\nschedule = 'dualpipev'\n", "E024", 7,
     "6 layers cannot be shared by 8 stages on 4"},
    {"[parallel]\npp = 2\n", "E015", 0, "accumulate on 2 ranks", {"parallel.schedule=accumulate"}},
    {"[parallel]\npp = 3\nschedule = 'dualpipe'\n", "E015", 6, "the ranks must be even"},
    {"[model]\nlayers = 4\n[parallel]\npp = 2\nstages = [2, 1]\nschedule = '1f1b'\n", "E018", 8,
     "2 numbers with the sum 3"},
    {"[model]\nlayers = 4\n[parallel]\npp = 2\nstages = [2, 2]\nschedule = 'dualpipev'\n", "E018",
     8, "4 stages of 4 layers"},
    {"[batch]\nglobal_batch = 10\n[parallel]\npp = 2\ndp = 2\nschedule = 'dualpipe'\n", "E020", 5,
     "a multiple of 4: micro_batch (1) x dp (2) x 2 directions of dualpipe"},
    {"[batch]\nstart = 6\nramp_tokens = 9\n[parallel]\npp = 2\ndp = 2\nschedule = 'dualpipe'\n",
     "E021", 5, "multiples of 4"},
    {"[run]\nreproducible = 'any_layout'\n[parallel]\npp = 2\ndp = 8\nschedule = 'dualpipe'\n",
     "E023",
     0,
     "dp (8) x 2 directions",
     {"parallel.shards=8"}},
    {"[rate]\ntail_tokens = 5\n", "E025", 5, "cosine_tokens"},
    {"[rate]\npeak = 1e-4\ncosine_tokens = 9\nfinal = 2e-4\n", "E025", 7, "peak (0.0001)"},
    {"[train]\non_bad_loss = 'roll_back'\n", "E026", 5, "checkpoint.every"},
    {"[train]\nspike_factor = 0.5\n", "E027", 5, "above 1"},
    {"[run]\naccept_changes = ['mtp.lambda', 'model.router.scal']\n", "E029", 5,
     "did you mean model.router.scale?"},
    {"[run]\ntrace_steps = [5, 3]\n", "E031", 5, "the first and the last step"},
    {"[run]\ntrace_steps = [5]\n", "E031", 5, "two numbers"},
    {"", "E029", 0, "no fingerprint has;", {"run.accept_changes=['entirely_else']"}},
    {"[parallel]\ndp = 4\n", "E014", 0, "ep must divide dp (4)", {"parallel.ep=3"}},
};

TEST(Options, ContradictionsHaveNumberAndPlace) {
  for (const Wrong &wrong : kWrong) {
    SCOPED_TRACE(wrong.text);
    try {
      deck::Deck deck = deck::Deck::parse(kSource + wrong.text, "a.toml", wrong.overrides);
      train::read_options(deck);
      ADD_FAILURE() << "nothing was thrown";
    } catch (const base::UserError &error) {
      const std::string what = error.what();
      EXPECT_EQ(error.number(), wrong.number) << what;
      EXPECT_EQ(error.code(), base::Exit::deck);
      EXPECT_EQ(what.rfind(wrong.line == 0 ? "command line"
                                           : "a.toml:" + std::to_string(wrong.line) + ":",
                           0),
                0U)
          << what;
      EXPECT_NE(what.find(wrong.says), std::string::npos) << what;
    }
  }
}

// The shortest sequence that the table allows still has rows at every depth of MTP.
TEST(Options, SequencesAreLongEnoughForMtp) {
  deck::Deck deck =
      deck::Deck::parse(kSource + "[batch]\nsequence = 8\n[mtp]\ndepth = 2\n", "a.toml");
  EXPECT_EQ(train::read_options(deck).batch.sequence, 8);
}

TEST(Options, DefaultsAreTheReports) {
  deck::Deck deck = deck::Deck::parse(kSource, "folder/my run.toml");
  const auto o = train::read_options(deck);
  EXPECT_EQ(o.dims.layers, 61);
  EXPECT_EQ(o.batch.sequence, 4096);
  EXPECT_EQ(o.optimizer.beta2, 0.95);
  EXPECT_EQ(o.optimizer.decay, 0.1);
  EXPECT_EQ(o.shards(), 1);
  EXPECT_EQ(o.run.directory, "checkpoints/my run");
}

TEST(Options, ShardsCountUnderAnyLayoutOnly) {
  deck::Deck deck = deck::Deck::parse(
      kSource + "[run]\nreproducible = 'any_layout'\n[parallel]\nshards = 4\n", "a.toml");
  EXPECT_EQ(train::read_options(deck).shards(), 4);
}

// DeepSeek-V3's ramp begins with 24 micro-batches on 16 ranks of DualPipe, whose whole pattern needs 32: every level has a program.
TEST(Options, EveryLevelOfThePublishedRampHasAProgram) {
  deck::Deck deck = deck::Deck::read(HADAL_SOURCE_DIR "/input/pretrain/deepseek_v3.toml");
  const auto o = train::read_options(deck);
  EXPECT_EQ(o.step_unit(), 256); // 128 data-parallel ranks x 2 directions
  std::vector<std::int64_t> levels;
  for (std::int64_t tokens = 0; levels.empty() || levels.back() < o.batch.global_batch;) {
    const std::int64_t samples = optim::batch_at(o.batch.start, o.batch.global_batch,
                                                 o.batch.ramp_tokens, o.step_unit(), tokens);
    tokens += samples * o.batch.sequence;
    if (!levels.empty() && levels.back() == samples) continue;
    levels.push_back(samples);
    ASSERT_EQ(samples % o.parallel.dp, 0);
    const auto program =
        schedule::build(o.parallel.schedule, 16, static_cast<int>(samples / o.parallel.dp));
    const auto verdict = schedule::check(program);
    EXPECT_TRUE(verdict.ok()) << samples << ": " << verdict.faults.front();
  }
  EXPECT_EQ(levels.front(), 3072);
  EXPECT_EQ(levels.back(), 15360);
  EXPECT_EQ(levels.size(), 49U); // in steps of 256
}

// Every level of a ramp is divisible among ranks, directions and shards.
TEST(Options, UnitOfAStep) {
  const auto unit = [](const std::string &text) {
    deck::Deck deck = deck::Deck::parse(kSource + text, "a.toml");
    return train::read_options(deck).step_unit();
  };
  const std::string batch = "[batch]\nglobal_batch = 64\nmicro_batch = 2\n[parallel]\n";
  EXPECT_EQ(unit(batch), 2);
  EXPECT_EQ(unit(batch + "dp = 4\n"), 8);
  EXPECT_EQ(unit(batch + "dp = 4\npp = 2\nschedule = 'dualpipe'\n"), 16);
  const std::string any = "[run]\nreproducible = 'any_layout'\n";
  EXPECT_EQ(unit(any + batch), 16); // 8 shards, on every layout
  EXPECT_EQ(unit(any + batch + "dp = 4\npp = 2\nschedule = 'dualpipe'\n"), 16);
}

TEST(Options, UnknownKeysAreRefused) {
  deck::Deck deck = deck::Deck::parse(kSource + "[batch]\nmicro_bach = 2\n", "a.toml");
  try {
    train::read_options(deck);
    FAIL() << "nothing was thrown";
  } catch (const base::UserError &error) {
    EXPECT_EQ(error.number(), "E005");
    EXPECT_NE(std::string(error.what()).find("micro_batch"), std::string::npos) << error.what();
  }
}

} // namespace
