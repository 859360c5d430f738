// SPDX-License-Identifier: Apache-2.0
#include "base/disk_check.hpp"

#include <csignal>
#include <sys/resource.h>

#include <gtest/gtest.h>

namespace {

namespace fs = std::filesystem;

class DiskCheck : public ::testing::Test {
protected:
  DiskCheck() {
    std::string name = (fs::temp_directory_path() / "hadal-disk-XXXXXX").string();
    folder = mkdtemp(name.data());
  }
  ~DiskCheck() override { fs::remove_all(folder); }
  std::string fault(const fs::path &file) {
    try {
      base::check_disk(file, 1 << 20, "E088");
    } catch (const base::UserError &error) {
      EXPECT_EQ(error.number(), "E088");
      return error.what();
    }
    return "";
  }
  fs::path folder;
};

TEST_F(DiskCheck, MeasuresAndLeavesNothing) {
  for (const std::size_t bytes : {std::size_t(1), std::size_t(4097), std::size_t(3) << 20}) {
    const auto rates = base::check_disk(folder / "file", bytes, "E088");
    EXPECT_GT(rates.write, 0);
    EXPECT_GT(rates.read, 0);
  }
  EXPECT_TRUE(fs::is_empty(folder));
}

TEST_F(DiskCheck, FaultsAreNamed) {
  EXPECT_NE(fault(folder / "missing/file").find("missing/file"), std::string::npos);
  // A disk that takes half a file.
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  const rlimit half{1 << 19, before.rlim_max};
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  setrlimit(RLIMIT_FSIZE, &half);
  const std::string text = fault(folder / "file");
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_NE(text.find("cannot be written"), std::string::npos) << text;
  EXPECT_TRUE(fs::is_empty(folder));
}

} // namespace
