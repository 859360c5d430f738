// SPDX-License-Identifier: Apache-2.0
#include <csignal>
#include <optional>

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/files.hpp"
#include "base/log.hpp"

namespace {

namespace fs = std::filesystem;
using base::Exit;
using base::UserError;

class Files : public ::testing::Test {
protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "hadal_files_XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  void TearDown() override { fs::remove_all(folder_); }
  fs::path folder_;
};

template <class F> UserError error_of(F &&action) {
  try {
    action();
  } catch (const UserError &error) {
    return error;
  }
  ADD_FAILURE() << "no error came";
  return UserError(Exit::ok, "", "", "", "");
}

bool contains(const UserError &error, const std::string &part) {
  return std::string(error.what()).find(part) != std::string::npos;
}

std::size_t entries(const fs::path &folder) {
  return static_cast<std::size_t>(
      std::distance(fs::directory_iterator(folder), fs::directory_iterator()));
}

TEST(UserError, HasTheAgreedShape) {
  const UserError error(Exit::deck, "E014", "tiny.toml:23", "[parallel] ep = 6", "One.\nTwo.");
  EXPECT_STREQ(error.what(), "tiny.toml:23: [parallel] ep = 6\n  One.\n  Two.     [E014]");
  EXPECT_EQ(error.code(), Exit::deck);
  EXPECT_EQ(static_cast<int>(error.code()), 2);
  EXPECT_EQ(error.number(), "E014");
  EXPECT_STREQ(UserError(Exit::data, "E100", "", "no data", "Give some.").what(),
               "no data\n  Give some.     [E100]");
}

TEST(Check, PrintsTheValues) {
  const int experts = 7;
  EXPECT_NO_THROW(HADAL_CHECK(experts == 7, "experts {}", experts));
  try {
    HADAL_CHECK(experts == 8, "experts {}", experts);
    FAIL();
  } catch (const base::Fault &fault) {
    EXPECT_NE(std::string(fault.what()).find("experts == 8: experts 7"), std::string::npos);
  }
}

TEST_F(Files, ReadsWhatWasWritten) {
  const std::string text("line\n\0binary\xFF", 13);
  base::write_file_atomic(folder_ / "a", text, Exit::data, "E100");
  EXPECT_EQ(base::read_file(folder_ / "a", Exit::data, "E100"), text);
  base::write_file_atomic(folder_ / "a", "", Exit::data, "E100");
  EXPECT_EQ(base::read_file(folder_ / "a", Exit::data, "E100"), "");
  EXPECT_EQ(entries(folder_), 1U) << "temporary files were left";
  EXPECT_FALSE(base::read_file("/proc/self/status", Exit::data, "E100").empty()); // says size 0
}

TEST_F(Files, RefusesWhatIsNoReadableFile) {
  const UserError none =
      error_of([&] { (void)base::read_file(folder_ / "none", Exit::data, "E100"); });
  EXPECT_TRUE(contains(none, (folder_ / "none").string()));
  EXPECT_TRUE(contains(none, "No such file"));
  EXPECT_EQ(none.code(), Exit::data);
  EXPECT_EQ(none.number(), "E100");
  EXPECT_TRUE(contains(error_of([&] { (void)base::read_file(folder_, Exit::deck, "E001"); }),
                       "is a directory"));
  ASSERT_EQ(::mkfifo((folder_ / "pipe").c_str(), 0600), 0);
  EXPECT_TRUE(
      contains(error_of([&] { (void)base::read_file(folder_ / "pipe", Exit::deck, "E001"); }),
               "not a regular file")); // and does not hang
}

TEST_F(Files, RefusesAboveTheLimit) {
  base::write_file_atomic(folder_ / "a", "12345", Exit::data, "E100");
  EXPECT_EQ(base::read_file(folder_ / "a", Exit::data, "E100", 5), "12345");
  EXPECT_TRUE(contains(
      error_of([&] { (void)base::read_file(folder_ / "a", Exit::data, "E100", 4); }), "too large"));
}

TEST_F(Files, WritesNothingWhereItCannot) {
  const UserError no_folder = error_of(
      [&] { base::write_file_atomic(folder_ / "no" / "a", "x", Exit::checkpoint, "E200"); });
  EXPECT_EQ(no_folder.code(), Exit::checkpoint);
  EXPECT_TRUE(contains(no_folder, "cannot be written"));
  // A folder in the way of the name: the temporary file must go again.
  fs::create_directory(folder_ / "taken");
  (void)error_of([&] { base::write_file_atomic(folder_ / "taken", "x", Exit::data, "E100"); });
  EXPECT_EQ(entries(folder_), 1U);
  // A folder without write permission (root may write everywhere).
  if (::geteuid() == 0) return;
  fs::create_directory(folder_ / "locked");
  fs::permissions(folder_ / "locked", fs::perms::owner_read | fs::perms::owner_exec);
  EXPECT_TRUE(contains(
      error_of([&] { base::write_file_atomic(folder_ / "locked" / "a", "x", Exit::data, "E100"); }),
      "Permission denied"));
}

TEST_F(Files, FailedWriteLeavesTheOldText) {
  const fs::path path = folder_ / "a";
  base::write_file_atomic(path, "old", Exit::data, "E100");
  // A limit on file size stands in for a full disk: write() fails half way.
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  rlimit small = before;
  small.rlim_cur = 4096;
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const UserError error = error_of(
      [&] { base::write_file_atomic(path, std::string(1 << 20, 'n'), Exit::data, "E100"); });
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, SIG_DFL);
  EXPECT_TRUE(contains(error, "cannot be written"));
  EXPECT_EQ(base::read_file(path, Exit::data, "E100"), "old");
  EXPECT_EQ(entries(folder_), 1U);
}

TEST_F(Files, MapsWholeFiles) {
  base::write_file_atomic(folder_ / "a", "mapped text", Exit::data, "E100");
  base::MappedFile map(folder_ / "a", Exit::data, "E100");
  EXPECT_EQ(map.text(), "mapped text");
  base::MappedFile moved(std::move(map));
  EXPECT_EQ(moved.text(), "mapped text");
  EXPECT_EQ(map.size(), 0U); // NOLINT: moved-from is empty by contract
  map = std::move(moved);
  EXPECT_EQ(map.text(), "mapped text");
  base::write_file_atomic(folder_ / "empty", "", Exit::data, "E100");
  EXPECT_EQ(base::MappedFile(folder_ / "empty", Exit::data, "E100").size(), 0U);
  EXPECT_THROW(base::MappedFile(folder_, Exit::data, "E100"), UserError);
  EXPECT_THROW(base::MappedFile(folder_ / "none", Exit::data, "E100"), UserError);
}

TEST_F(Files, LockIsExclusive) {
  std::optional<base::DirectoryLock> first(std::in_place, folder_);
  const UserError error = error_of([&] { base::DirectoryLock second(folder_); });
  EXPECT_EQ(error.number(), "E070");
  EXPECT_EQ(error.code(), Exit::machine);
  EXPECT_TRUE(contains(error, "process " + std::to_string(::getpid()) + " on "));
  first.reset();
  EXPECT_NO_THROW(base::DirectoryLock again(folder_));
  EXPECT_EQ(error_of([&] { base::DirectoryLock none(folder_ / "none"); }).number(), "E071");
}

TEST_F(Files, LockEndsWithItsProcess) {
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    new base::DirectoryLock(folder_); // never released: the process is killed
    ::raise(SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_NO_THROW(base::DirectoryLock lock(folder_));
}

TEST_F(Files, LogGoesToConsoleAndFile) {
  ::testing::internal::CaptureStdout();
  ::testing::internal::CaptureStderr();
  base::log::open_file((folder_ / "run.log").string());
  base::log::debug("quiet {}", 1);
  base::log::info("step {}", 2);
  base::log::warn("odd {}", 3);
  base::log::flush();
  const std::string out = ::testing::internal::GetCapturedStdout();
  const std::string err = ::testing::internal::GetCapturedStderr();
  EXPECT_EQ(out, "step 2\n");
  EXPECT_EQ(err, "warning: odd 3\n");
  const std::string file = base::read_file(folder_ / "run.log", Exit::data, "E100");
  for (const char *part : {"debug   quiet 1\n", "info    step 2\n", "warning odd 3\n", "Z info"})
    EXPECT_NE(file.find(part), std::string::npos) << part << "\nin\n" << file;
  EXPECT_EQ(
      error_of([&] { base::log::open_file((folder_ / "no" / "x.log").string() + "/"); }).number(),
      "E073");
}

} // namespace
