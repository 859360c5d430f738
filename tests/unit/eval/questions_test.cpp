// SPDX-License-Identifier: Apache-2.0
// Tasks and their prompts: the shipped ones on their samples, and what is refused.
#include <map>
#include <set>
#include <sstream>

#include "eval/synthetic.hpp"
#include "tests/unit/eval/tools.hpp"

namespace {

using namespace eval_test;

std::vector<eval::Prepared> prepared(const std::vector<eval::TaskOptions> &tasks,
                                     std::int64_t seed = 0) {
  eval::Options o = options();
  o.tasks = tasks, o.seed = seed;
  return eval::prepare(o, true);
}
std::vector<eval::Question> questions(const std::string &task, std::int64_t shots = 1,
                                      std::int64_t seed = 0) {
  return prepared({named(task, shots)}, seed).at(0).questions;
}

TEST(Shipped, EveryTaskReadsItsSamples) {
  std::set<std::string> names;
  for (const auto &entry : fs::directory_iterator(input() / "tasks")) {
    const std::string name = entry.path().stem().string();
    const eval::Prepared p = prepared({named(name)}).at(0);
    names.insert(p.task.task.name);
    EXPECT_EQ(p.task.task.name, name);
    EXPECT_FALSE(p.task.task.about.empty()) << name;
    if (p.task.task.kind != eval::Kind::synthetic) {
      EXPECT_GE(p.questions.size(), 1U) << name;
    }
    for (const eval::Question &q : p.questions)
      for (const std::string &context : q.contexts)
        EXPECT_EQ(context.find("{{"), std::string::npos) << name;
  }
  EXPECT_GE(names.size(), 25U);
}

TEST(Shipped, MmluAsUsersKnowIt) {
  const auto all = questions("mmlu", 1);
  ASSERT_EQ(all.size(), 5U);
  EXPECT_EQ(all[0].contexts.at(0),
            "The following are multiple choice questions (with answers) about boat building.\n\n"
            "Which wood floats?\nA. almost every dry one\nB. none\nC. only oak, when wet\nD. only "
            "ebony\nAnswer: A\n\n"
            "Which part of a boat lies lowest in the water?\nA. the mast\nB. the keel\nC. the "
            "tiller\nD. the flag\nAnswer:");
  EXPECT_EQ(all[0].contexts.size(), 1U);
  EXPECT_EQ(all[0].continuations, (std::vector<std::string>{" A", " B", " C", " D"}));
  EXPECT_EQ(all[0].gold, 1U);
  EXPECT_EQ(all[0].group, "boat_building");
  EXPECT_EQ(all[4].group, "kitchen");
}

TEST(Shipped, ChoicesOfOtherLayouts) {
  const auto arc = questions("arc_easy", 0);
  EXPECT_EQ(arc[1].contexts[0], "Question: What does a plant need from the sun?\nAnswer:");
  EXPECT_EQ(arc[1].continuations[0], " light");
  EXPECT_EQ(arc[1].gold, 0U);
  EXPECT_EQ(arc[2].continuations.size(), 3U);
  const auto wino = questions("winogrande", 0);
  ASSERT_EQ(wino[1].contexts.size(), 2U);
  EXPECT_EQ(wino[1].contexts[1], "Nora thanked Ivan for the map, since Ivan");
  EXPECT_EQ(wino[1].continuations[1], " had drawn it.");
  EXPECT_EQ(wino[1].gold, 1U);
  const auto piqa = questions("piqa", 0);
  EXPECT_EQ(piqa[1].gold, 1U);
  const auto swag = questions("hellaswag", 0);
  EXPECT_EQ(swag[1].contexts[0],
            "Tying shoes: How to tie a shoe. Take one lace in each hand. Then you");
  EXPECT_EQ(questions("mmlu_pro", 0)[0].letters.size(), 6U);
}

TEST(Shipped, AnswersOfOtherLayouts) {
  EXPECT_EQ(questions("gsm8k")[2].golds, std::vector<std::string>{"2,000"});
  EXPECT_EQ(questions("math")[1].golds, std::vector<std::string>{"\\frac{5}{6}"});
  const auto trivia = questions("triviaqa", 1);
  EXPECT_EQ(trivia[0].golds, (std::vector<std::string>{"Mercury", "Planet Mercury"}));
  EXPECT_EQ(trivia[0].contexts[0], "Question: What colour has grass?\nAnswer: Green\n\n"
                                   "Question: Which planet is nearest to the sun?\nAnswer:");
  const auto drop = questions("drop", 2);
  EXPECT_NE(drop[0].contexts[0].find("in all?\nAnswer: 50\n\n"), std::string::npos);
  EXPECT_NE(drop[0].contexts[0].find("on Wednesday?\nAnswer: the wheel\n\n"), std::string::npos);
}

TEST(Choices, ShuffledBySeedAndRow) {
  std::set<std::vector<std::string>> orders;
  for (std::int64_t seed = 0; seed < 20; ++seed) {
    const auto all = questions("gpqa", 0, seed);
    EXPECT_EQ(all[1].choices[all[1].gold], "3");
    EXPECT_EQ(all[1].letters, (std::vector<std::string>{"A", "B", "C", "D"}));
    EXPECT_EQ(all[1].choices, questions("gpqa", 0, seed)[1].choices);
    orders.insert(all[1].choices);
  }
  EXPECT_GT(orders.size(), 8U) << "of 24";
}

constexpr const char *kTask = R"([task]
name = "own"
shots = 0
[data]
files = ["rows.jsonl"]
[choices]
texts = ["{{a}}", "{{b}}"]
[answer]
value = "{{answer}}"
is = "letter"
[prompt]
context = "{{q}}"
)";

struct Own {
  Folder folder;
  fs::path file;
  explicit Own(const std::string &task, const std::string &rows) {
    file = folder.write("own.toml", task);
    folder.write("rows.jsonl", rows);
  }
  std::vector<eval::Question> ask(std::int64_t shots = 0, std::uint64_t seed = 0) const {
    eval::Options o = options();
    o.seed = static_cast<std::int64_t>(seed);
    o.tasks = {{file.string(), folder.path().string(), shots, 0}};
    return eval::prepare(o, false).at(0).questions;
  }
};

std::string changed(std::string text, const std::string &from, const std::string &to) {
  text.replace(text.find(from), from.size(), to);
  return text;
}

TEST(Tasks, FaultsOfFilesAreNamedWithTheirLine) {
  const std::string good = R"({"q": "1", "a": "x", "b": "y", "answer": "B"})"
                           "\n";
  EXPECT_EQ(Own(kTask, good).ask()[0].gold, 1U);
  const auto refused = [&](const std::string &rows) { return [=] { Own(kTask, rows).ask(); }; };
  expect_error(refused(""), "E304", "no row");
  expect_error(refused(good + changed(good, "\"B\"", "\"C\"")), "E306", "rows.jsonl:2");
  expect_error(refused(good + changed(good, "\"B\"", "\"b\"")), "E306", "A, B");
  expect_error(refused(good + changed(good, "\"q\"", "\"p\"")), "E305", "rows.jsonl:2");
  expect_error(refused(changed(good, "\"y\"", "\"\"")), "E306", "1 choices");
  expect_error([&] { Own(kTask, good).ask(1); }, "E315", "0 examples");
  const std::string index = changed(kTask, "\"letter\"", "\"index1\"");
  EXPECT_EQ(Own(index, changed(good, "\"B\"", "2")).ask()[0].gold, 1U);
  for (const char *bad : {"0", "3", "-1", "1.5", "\"\"", "99999999999999999999"})
    expect_error([&] { Own(index, changed(good, "\"B\"", bad)).ask(); }, "E306", "none of the 2");
}

TEST(Tasks, FaultsOfTaskFiles) {
  const auto read = [&](const std::string &from, const std::string &to) {
    return [=] { Own(changed(kTask, from, to), "{}\n").ask(); };
  };
  expect_error(read("is = \"letter\"", "is = \"leter\""), "E008", "own.toml:10");
  expect_error(read("shots = 0", "shot = 0"), "E005", "did you mean shots");
  expect_error(read("name = \"own\"", "name = \"a/b\""), "E307", "own.toml:2");
  expect_error(read("context = \"{{q}}\"", ""), "E307", "context");
  expect_error(read("texts = [\"{{a}}\", \"{{b}}\"]", ""), "E307", "[choices]");
  expect_error(read("value = \"{{answer}}\"", ""), "E307", "answer");
  expect_error(read("{{q}}", "{{q|up}}"), "E308", "own.toml:12");
  expect_error(read("files = [\"rows.jsonl\"]", "files = [\"gone.jsonl\"]"), "E301", "gone.jsonl");
  expect_error(read("[prompt]", "[score]\nmetrics = [\"f1\"]\n[prompt]"), "E307", "acc, acc_norm");
  expect_error(
      read("[prompt]", "[[filter]]\nname = \"x\"\nextract = \"regex\"\npattern = \"(\"\n[prompt]"),
      "E316", "pattern");
  expect_error([] { eval::task_file("mmul", (input() / "tasks").string(), "deck:3"); }, "E300",
               "did you mean mmlu");
  expect_error([] { prepared({named("mmlu"), named("mmlu")}); }, "E318", "Two tasks");
  eval::Options o = options();
  o.tasks = {named("humaneval")};
  expect_error([&] { eval::prepare(o, false); }, "E310", "humaneval");
}

TEST(Examples, DrawnBySeedNeverTheQuestionItself) {
  std::string rows;
  for (int i = 0; i < 6; ++i)
    rows += R"({"q": "q)" + std::to_string(i) +
            R"(", "a": "x", "b": "y", "answer": "A"})"
            "\n";
  const Own first(kTask, rows);
  EXPECT_EQ(first.ask(2)[0].contexts[0], "q1 x\n\nq2 x\n\nq0");
  EXPECT_EQ(first.ask(2)[3].contexts[0], "q0 x\n\nq1 x\n\nq3");
  const Own drawn(std::string(kTask) + "pick = \"random\"\n", rows);
  std::set<std::string> seen;
  for (std::uint64_t seed = 0; seed < 12; ++seed) {
    const auto all = drawn.ask(3, seed);
    for (std::size_t i = 0; i < all.size(); ++i)
      EXPECT_EQ(all[i].contexts[0].find("q" + std::to_string(i)),
                all[i].contexts[0].rfind("q" + std::to_string(i)));
    EXPECT_EQ(all[0].contexts, drawn.ask(3, seed)[0].contexts);
    seen.insert(all[0].contexts[0]);
  }
  EXPECT_GT(seen.size(), 6U);
}

// --- puzzles ---------------------------------------------------------------------------------------------------------

std::int64_t count(const std::string &text) {
  return static_cast<std::int64_t>(tokenizer().encode(text).size());
}
std::vector<eval::Question> puzzles(const std::string &name, std::int64_t longest = 0,
                                    std::int64_t limit = 3) {
  eval::Asking asking;
  asking.limit = limit, asking.seed = 5;
  return eval::make_puzzles(eval::read_task(named(name).file), asking, count, longest);
}

TEST(Puzzles, NeedlesStandWhereTheyShould) {
  const auto all = puzzles("needle");
  ASSERT_EQ(all.size(), 3U * 3 * 5);
  for (const auto &q : all) {
    long length = 0;
    double depth = 0;
    ASSERT_EQ(std::sscanf(q.group.c_str(), "length=%ld depth=%lf", &length, &depth), 2);
    const std::string &text = q.contexts[0];
    EXPECT_LE(count(text), length);
    EXPECT_GT(count(text), length - 60) << "a sentence more would fit";
    const std::size_t at = text.find(q.golds[0]);
    ASSERT_NE(at, std::string::npos);
    EXPECT_EQ(text.find(q.golds[0], at + 1), std::string::npos) << "said once";
    EXPECT_NEAR(static_cast<double>(at) / static_cast<double>(text.size()), depth, 0.25) << q.group;
  }
  EXPECT_EQ(all[0].contexts, puzzles("needle")[0].contexts);
  EXPECT_NE(all[0].golds, all[1].golds);
}

TEST(Puzzles, DistractorsHaveOtherNamesAndValues) {
  for (const auto &q : puzzles("ruler_multikey")) {
    const std::string &text = q.contexts[0];
    std::set<std::string> names, values;
    for (std::size_t at = text.find("number of "); at != std::string::npos;
         at = text.find("number of ", at + 1)) {
      const std::size_t is = text.find(" is ", at), end = text.find('.', at);
      if (is == std::string::npos || end == std::string::npos) continue;
      names.insert(text.substr(at, is - at));
      values.insert(text.substr(is, end - is));
    }
    EXPECT_EQ(names.size(), 4U) << text;
    EXPECT_EQ(values.size(), 4U);
  }
}

TEST(Puzzles, VariablesFollowFromTheText) {
  for (const auto &q : puzzles("ruler_variables")) {
    const std::string &text = q.contexts[0];
    ASSERT_EQ(q.golds.size(), 5U);
    const std::size_t asked = text.find("value ") + 6;
    std::map<std::string, std::string> value;
    for (std::size_t at = text.find("VAR "); at != std::string::npos;) {
      const std::size_t end = text.find('.', at), equals = text.find(" = ", at);
      const std::string name = text.substr(at + 4, equals - at - 4);
      std::string right = text.substr(equals + 3, end - equals - 3);
      if (right.starts_with("VAR ")) {
        ASSERT_TRUE(value.contains(right.substr(4))) << "read before it was set";
        right = value[right.substr(4)];
      }
      value[name] = right;
      at = text.find("VAR ", end);
    }
    const std::string wanted = text.substr(asked, text.find('?', asked) - asked);
    std::set<std::string> found;
    for (const auto &[name, one] : value)
      if (one == wanted) found.insert(name);
    EXPECT_EQ(found, std::set<std::string>(q.golds.begin(), q.golds.end()));
  }
}

TEST(Puzzles, FrequentWordsAreTheGolds) {
  for (const auto &q : puzzles("ruler_words")) {
    std::map<std::string, int> times;
    std::istringstream words(q.contexts[0].substr(0, q.contexts[0].find("\n\n")));
    std::string number, word;
    while (words >> number >> word) ++times[word];
    EXPECT_GT(times.size(), 10U);
    for (const auto &[one, n] : times) {
      const bool gold = std::find(q.golds.begin(), q.golds.end(), one) != q.golds.end();
      EXPECT_EQ(n, gold ? 10 : 2) << one;
    }
  }
}

TEST(Puzzles, LengthsThatCannotBe) {
  expect_error([] { puzzles("needle", 600); }, "E312", "600");
  eval::Task task = eval::read_task(named("needle").file);
  task.synthetic.lengths = {20};
  expect_error([&] { eval::make_puzzles(task, {}, count, 0); }, "E312", "alone");
}

} // namespace
