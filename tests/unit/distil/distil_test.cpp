// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <unistd.h>

#include "base/error.hpp"
#include "distil/choose.hpp"
#include "distil/http.hpp"
#include "distil/journal.hpp"

namespace {

namespace fs = std::filesystem;

class DistilJournal : public ::testing::Test {
protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("hadal_journal_" + std::to_string(::getpid()));
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }
  fs::path file() const { return folder_ / "answers.jsonl"; }
  std::string text() const {
    std::ostringstream out;
    out << std::ifstream(file()).rdbuf();
    return out.str();
  }
  void write(const std::string &text) const { std::ofstream(file()) << text; }
  std::string refused(const std::string &asking) const {
    try {
      distil::Journal journal(file(), asking, false);
    } catch (const base::UserError &error) {
      return error.number();
    }
    return "";
  }
  fs::path folder_;
};

TEST_F(DistilJournal, a_second_start_finds_what_the_first_wrote) {
  {
    distil::Journal journal(file(), "x", false);
    journal.add({"a/plain", 1}, {"four\nand \"more\" \xC3\xA9", true, 7});
    journal.add({"a/plain", 0}, {"cut \xFF", false, -1});
  }
  distil::Journal journal(file(), "x", false);
  EXPECT_EQ(journal.size(), 2);
  ASSERT_TRUE(journal.find({"a/plain", 1}));
  EXPECT_EQ(journal.find({"a/plain", 1})->text, "four\nand \"more\" \xC3\xA9");
  EXPECT_EQ(journal.find({"a/plain", 1})->tokens, 7);
  EXPECT_EQ(journal.find({"a/plain", 0})->text, "cut \xEF\xBF\xBD");
  EXPECT_FALSE(journal.find({"a/plain", 0})->ended);
  EXPECT_FALSE(journal.find({"a/plain", 2}));
}

TEST_F(DistilJournal, a_line_cut_short_is_dropped_and_the_file_goes_on_behind_the_last_whole_one) {
  { distil::Journal(file(), "x", false).add({"a", 0}, {"whole", true, 1}); }
  const std::string whole = text();
  write(whole + R"({"question":"a","sample":1,"en)");
  { distil::Journal(file(), "x", false).add({"a", 2}, {"next", true, 1}); }
  distil::Journal journal(file(), "x", false);
  EXPECT_EQ(journal.size(), 2);
  EXPECT_FALSE(journal.find({"a", 1}));
  EXPECT_TRUE(text().starts_with(whole));
}

TEST_F(DistilJournal, another_asking_and_damage_are_refused_and_replace_begins_anew) {
  { distil::Journal(file(), "x", false).add({"a", 0}, {"one", true, 1}); }
  EXPECT_EQ(refused("y"), "E372");
  EXPECT_EQ(refused("x"), "");
  write(text() + "nonsense\n");
  EXPECT_EQ(refused("x"), "E373");
  EXPECT_EQ(distil::Journal(file(), "y", true).size(), 0);
  EXPECT_EQ(refused("y"), "");
}

std::vector<distil::Candidate> candidates() {
  return {{0, "The answer is 4.", 5, 1.0, true},
          {1, "4", 1, 0.5, true},
          {2, "wrong", 1, 9.0, false},
          {3, " the  ANSWER\nis 4. ", 5, 2.0, true},
          {4, "four", 1, 0.7, true}};
}
std::vector<std::size_t> chosen(distil::Choose by, std::int64_t keep, std::int64_t &repeated) {
  std::set<std::string> seen;
  return distil::choose(candidates(), by, keep, "q", seen, repeated);
}

TEST(DistilChoose, shortest_best_first_and_equal_texts_once) {
  using distil::Choose;
  std::int64_t repeated = 0;
  using Which = std::vector<std::size_t>;
  EXPECT_EQ(chosen(Choose::shortest, 2, repeated), (Which{1, 4}));
  EXPECT_EQ(repeated, 0);
  EXPECT_EQ(chosen(Choose::shortest, 9, repeated), (Which{1, 4, 0}));
  EXPECT_EQ(repeated, 1); // 3 says what 0 says
  EXPECT_EQ(chosen(Choose::best, 9, repeated), (Which{3, 4, 1}));
  EXPECT_EQ(chosen(Choose::first, 1, repeated), (Which{0}));
}

TEST(DistilChoose, an_answer_is_repeated_under_its_own_question_only) {
  std::set<std::string> seen;
  std::int64_t repeated = 0;
  const std::vector<distil::Candidate> one = {{0, "4", 1, 1, true}};
  EXPECT_EQ(distil::choose(one, distil::Choose::first, 1, "q", seen, repeated).size(), 1U);
  EXPECT_EQ(distil::choose(one, distil::Choose::first, 1, "p", seen, repeated).size(), 1U);
  EXPECT_EQ(distil::choose(one, distil::Choose::first, 1, "q", seen, repeated).size(), 0U);
  EXPECT_EQ(repeated, 1);
}

TEST(DistilHttp, waits_double_up_to_a_minute_and_hear_the_server) {
  EXPECT_DOUBLE_EQ(distil::wait_before(0, 1, 0), 1);
  EXPECT_DOUBLE_EQ(distil::wait_before(3, 1, 0), 8);
  EXPECT_DOUBLE_EQ(distil::wait_before(50, 1, 0), 60);
  EXPECT_DOUBLE_EQ(distil::wait_before(0, 1, 30), 30);
  EXPECT_DOUBLE_EQ(distil::wait_before(0, 1, 1e9), 600);
}

TEST(DistilHttp, addresses) {
  EXPECT_EQ(distil::address_of("http://localhost:80/v1/").origin, "http://localhost:80");
  EXPECT_EQ(distil::address_of("http://localhost:80/v1/").path, "/v1");
  EXPECT_EQ(distil::address_of("http://localhost").path, "");
  for (const char *bad : {"localhost", "ftp://a/v1", "http:///v1", "http://me:key@a/v1"})
    EXPECT_THROW(distil::address_of(bad), base::UserError) << bad;
}

} // namespace
