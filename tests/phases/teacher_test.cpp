// SPDX-License-Identifier: Apache-2.0
// A student follows a teacher's probabilities: it comes closer to them than one who reads the text alone.
#include "tests/phases/chain.hpp"

namespace {

using phases::Words;
using phases::operator+;

class Teacher : public phases::Chain {
protected:
  // Smaller than its teacher, the first model of the chain.
  static Words student(const std::string &directory, const Words &more) {
    return Words{support::hadal(),
                 "run",
                 "tiny.toml",
                 "run.directory=" + directory,
                 "teacher.checkpoint=base",
                 "teacher.weight=0.9",
                 "teacher.temperature=1.5",
                 "model.dim=32",
                 "model.layers=2",
                 "train.steps=8",
                 "train.validate_every=0",
                 "train.validation_samples=4"} +
           more;
  }
  static support::Outcome learn(const std::string &directory, const Words &more) {
    return support::run(student(directory, more), tiny->folder());
  }
};

// The teacher has read another text than its student, so that the student's own text does not lead to it.
void build_foreign_text(const std::string &folder) {
  std::string text;
  for (int i = 0; i < 6000; ++i)
    text += std::to_string(i * 7919 % 100000) + (i % 8 == 7 ? "\n" : " ");
  std::filesystem::create_directory(folder + "/foreign");
  support::write_text(folder + "/foreign/numbers.md", text);
  std::string deck = support::read_text(folder + "/tiny.toml");
  const auto paths = deck.find("paths = [");
  deck.replace(paths, deck.find('\n', paths) - paths, "paths = [\"foreign\"]");
  const auto directory = deck.find("checkpoints/data/tiny");
  deck.replace(directory, 21, "foreign_data");
  support::write_text(folder + "/foreign.toml", deck);
}

TEST_F(Teacher, StudentComesCloser) {
  const std::string folder = tiny->folder();
  build_foreign_text(folder);
  const auto built =
      support::run({support::hadal(), "data", "build", "foreign.toml",
                    "data.tokenizer=checkpoints/data/tiny/tokenizer.json", "data.validation=0"},
                   folder);
  ASSERT_EQ(built.code, 0) << built.output;
  const auto teacher =
      support::run({support::hadal(), "run", "foreign.toml",
                    "data.tokenizer=checkpoints/data/tiny/tokenizer.json", "data.validation=0",
                    "run.directory=foreigner", "train.steps=20", "train.validate_every=0"},
                   folder);
  ASSERT_EQ(teacher.code, 0) << teacher.output;
  const Words few = {"teacher.checkpoint=foreigner", "train.steps=20"};
  const auto followed = learn("followed", few + Words{"teacher.weight=1"});
  ASSERT_EQ(followed.code, 0) << followed.output;
  // Weight 0: the teacher is asked, and not listened to.
  const auto alone = learn("alone", few + Words{"teacher.weight=0"});
  ASSERT_EQ(alone.code, 0) << alone.output;
  const auto kl = numbers("followed", "teacher_kl"), kl_alone = numbers("alone", "teacher_kl");
  ASSERT_EQ(kl.size(), 20U);
  EXPECT_EQ(kl.front(), kl_alone.front()) << "before the first update both are the same model";
  EXPECT_LT(kl.back(), 0.8 * kl.front());
  EXPECT_LT(kl.back(), 0.8 * kl_alone.back());
}

TEST_F(Teacher, OneHashOnAnyLayoutAndAfterARestart) {
  const auto whole = learn("student_whole", {});
  ASSERT_EQ(whole.code, 0) << whole.output;
  const std::string hash = support::state_hash(whole.output);
  ASSERT_EQ(hash.size(), 32U);
  ASSERT_EQ(learn("student_halves", {"train.steps=3"}).code, 0);
  const auto rest = learn("student_halves", {});
  EXPECT_TRUE(phases::holds(rest.output, "restart from")) << rest.output;
  EXPECT_EQ(support::state_hash(rest.output), hash) << rest.output;
  // Another teacher is another run.
  expect_told(learn("student_halves", {"teacher.checkpoint=student_whole", "train.steps=9"}), 5,
              "E222");
  if (!HADAL_MPI) GTEST_SKIP() << "no MPI";
  const auto four =
      support::run(support::mpirun(4, student("student_four", {"parallel.dp=4", "parallel.ep=2"})),
                   tiny->folder());
  EXPECT_EQ(four.code, 0) << four.output;
  EXPECT_EQ(support::state_hash(four.output), hash) << four.output;
}

TEST_F(Teacher, WrongUse) {
  expect_told(learn("no", {"teacher.checkpoint=nowhere"}), 5, "E210");
  expect_told(learn("no", {"model.vocabulary=600"}), 5, "E392");
  expect_told(learn("no", {"teacher.top_k=513"}), 2, "E390");
  expect_told(learn("no", {"parallel.pp=2", "parallel.schedule=1f1b"}), 2, "E391");
  expect_told(support::run(reward_words("no", {"teacher.checkpoint=base"}), tiny->folder()), 2,
              "E390");
  expect_told(learn("no", {"teacher.checkpoint="}), 2, "E390");
  other_tokenizer("base", "step-00000040", "stranger");
  expect_told(learn("no", {"teacher.checkpoint=stranger"}), 5, "E393");
}

} // namespace
