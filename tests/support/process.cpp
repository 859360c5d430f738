// SPDX-License-Identifier: Apache-2.0
#include "tests/support/process.hpp"

#include <atomic>
#include <chrono>
#include <csignal>
#include <fcntl.h>
#include <fstream>
#include <sstream>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace support {

namespace fs = std::filesystem;

Child::Child(const std::vector<std::string> &command, const std::string &directory) {
  static std::atomic<int> count{0};
  log_ = (fs::temp_directory_path() /
          ("hadal-test-" + std::to_string(getpid()) + "-" + std::to_string(count++) + ".log"))
             .string();
  std::vector<char *> arguments;
  for (const auto &word : command) arguments.push_back(const_cast<char *>(word.c_str()));
  arguments.push_back(nullptr);
  pid_ = fork();
  if (pid_ != 0) return;
  const int file = open(log_.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  const int nothing = open("/dev/null", O_RDONLY);
  dup2(nothing, 0), dup2(file, 1), dup2(file, 2);
  if (!directory.empty() && chdir(directory.c_str()) != 0) _exit(126);
  execvp(arguments[0], arguments.data());
  _exit(127);
}

Child::~Child() {
  if (pid_ > 0) {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  std::error_code error;
  fs::remove(log_, error);
}

void Child::signal(int number) {
  if (pid_ > 0) kill(pid_, number);
}

bool Child::running() {
  siginfo_t info = {};
  return pid_ > 0 &&
         waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
         info.si_pid == 0;
}

Outcome Child::wait(double seconds) {
  Outcome out;
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  int status = 0;
  while (waitpid(pid_, &status, WNOHANG) == 0) {
    if (std::chrono::steady_clock::now() > end) {
      out.timed_out = true;
      kill(pid_, SIGKILL);
      waitpid(pid_, &status, 0);
      break;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  pid_ = -1;
  out.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  out.output = read_text(log_);
  return out;
}

std::string hadal() {
  const char *other = std::getenv("HADAL_PROGRAM");
  return other ? other : std::string(HADAL_BINARY_DIR) + "/hadal";
}

Scratch::Scratch() {
  std::string name = (fs::temp_directory_path() / "hadal-test-XXXXXX").string();
  path_ = mkdtemp(name.data());
}
Scratch::~Scratch() {
  std::error_code error;
  fs::remove_all(path_, error);
}

void write_text(const fs::path &path, const std::string &text) {
  fs::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << text;
}

std::string read_text(const fs::path &path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

std::string state_hash(const std::string &output) {
  const auto at = output.rfind("state hash ");
  return at == std::string::npos ? "" : output.substr(at + 11, 32);
}

} // namespace support
