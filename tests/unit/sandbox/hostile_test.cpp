// SPDX-License-Identifier: Apache-2.0
// Programs that do what foreign programs do. Each is run with what the machine offers (namespaces, where it has them) and once more as
// if it had none. A property that a machine cannot give is skipped by name.
#include <arpa/inet.h>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <set>
#include <sys/socket.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

#include "base/error.hpp"
#include "sandbox/sandbox.hpp"

namespace {

namespace fs = std::filesystem;
using sandbox::Hit, sandbox::Options, sandbox::Outcome, sandbox::Program;

// Commands of all processes, to find what outlived its sandbox.
std::multiset<std::string> processes_with(const std::string &mark) {
  std::multiset<std::string> found;
  std::error_code error;
  for (const auto &entry : fs::directory_iterator("/proc", error)) {
    std::ifstream file(entry.path() / "cmdline");
    std::string words{std::istreambuf_iterator<char>(file), {}};
    if (words.find(mark) != std::string::npos) found.insert(words);
  }
  return found;
}

class Hostile : public testing::TestWithParam<bool> {
protected:
  void SetUp() override {
    options_.require = sandbox::Require::best;
    options_.try_namespaces = GetParam();
    options_.limits.wall = 1, options_.limits.cpu = 1;
    options_.limits.memory = std::int64_t{256} << 20;
    options_.limits.processes = 16, options_.limits.file = 1 << 20,
    options_.limits.output = 1 << 16;
    isolation_ = sandbox::isolation(options_);
    if (GetParam() && !isolation_.namespaces)
      GTEST_SKIP() << "NO NAMESPACES ON THIS MACHINE, NOTHING TESTED: " << isolation_.why;
    if (!isolation_.system_calls) std::cerr << "NO FILTER OF SYSTEM CALLS ON THIS MACHINE\n";
  }
  Outcome python(const std::string &source, const std::string &input = "") const {
    return sandbox::run({"python", source, input}, options_);
  }
  Outcome shell(const std::string &source) const {
    return sandbox::run({"sh", source, ""}, options_);
  }

  Options options_;
  sandbox::Isolation isolation_;
};

TEST_P(Hostile, SleepsForEver) {
  options_.limits.wall = 2;
  const Outcome o = python("import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
                           "print('here', flush=True)\ntime.sleep(1000)\n");
  EXPECT_TRUE(o.timed_out);
  EXPECT_EQ(o.hit, Hit::wall);
  EXPECT_FALSE(o.finished);
  EXPECT_EQ(o.output, "here\n") << "what was written before counts";
  EXPECT_GE(o.seconds, 2);
  EXPECT_LT(o.seconds, 10);
}

TEST_P(Hostile, Computes) {
  options_.limits.wall = 60; // a second of the processor may take long on a busy machine
  const Outcome o = python("while True: pass\n");
  EXPECT_EQ(o.hit, Hit::cpu);
  EXPECT_TRUE(o.timed_out);
  EXPECT_LT(o.cpu_seconds, 2.5);
}

TEST_P(Hostile, WritesEndlessly) {
  options_.limits.wall = 60;
  for (const char *stream : {"stdout", "stderr"}) {
    const Outcome o =
        python(std::string("import sys\nwhile True: sys.") + stream + ".write('x' * 1000)\n");
    EXPECT_EQ(o.hit, Hit::output);
    EXPECT_FALSE(o.finished);
    EXPECT_EQ(o.output.size() + o.errors.size(), 1U << 16);
  }
}

TEST_P(Hostile, Allocates) {
  options_.limits.wall = 60, options_.limits.cpu = 10;
  const Outcome o = python("a = []\nwhile True: a.append(bytearray(1 << 20))\n");
  EXPECT_FALSE(o.finished);
  EXPECT_EQ(o.hit, Hit::memory) << o.errors;
}

TEST_P(Hostile, FillsTheDisk) {
  options_.limits.wall = 60;
  const Outcome one =
      python("f = open('big', 'wb')\nfor i in range(64): f.write(bytes(1 << 20)), f.flush()\n");
  EXPECT_FALSE(one.finished) << one.errors;
  if (!isolation_.namespaces) return; // there only single files are limited
  const Outcome many = python("for i in range(64): open(str(i), 'wb').write(bytes(1 << 16))\n");
  EXPECT_FALSE(many.finished);
  EXPECT_NE(many.errors.find("No space left"), std::string::npos) << many.errors;
}

TEST_P(Hostile, ForkBomb) {
  const std::string mark = "bomb" + std::to_string(getpid()) + (GetParam() ? "a" : "b");
  const Outcome o = python("import os\nopen('" + mark +
                           ".py', 'w').write('import os, time\\nwhile True:\\n  try: os.fork()\\n  "
                           "except OSError: pass\\n')\n"
                           "os.execv('/usr/bin/env', ['env', 'python3', '" +
                           mark + ".py'])\n");
  EXPECT_FALSE(o.finished);
  EXPECT_TRUE(o.timed_out) << o.errors;
  EXPECT_EQ(processes_with(mark), std::multiset<std::string>{});
}

TEST_P(Hostile, ProcessesAreCounted) {
  options_.limits.wall = 60;
  const Outcome o = python("import os, time\nn = 0\ntry:\n  while n < 200:\n    if os.fork() == 0: "
                           "time.sleep(50), os._exit(0)\n"
                           "    n += 1\nexcept OSError: pass\nprint(n)\n");
  ASSERT_TRUE(o.finished) << o.errors;
  EXPECT_GT(std::stoi(o.output), 4);
  EXPECT_LE(std::stoi(o.output), 16);
  EXPECT_LT(o.seconds, 30) << "its children are not waited for";
}

TEST_P(Hostile, LeavesNobodyBehind) {
  options_.limits.wall = 60;
  const std::string mark = "10" + std::to_string(getpid()) + (GetParam() ? "1" : "2");
  // Double fork, a session of its own, signals ignored, all streams closed.
  const Outcome o = shell("(setsid nohup sh -c 'trap \"\" TERM HUP INT; sleep " + mark +
                          "' >/dev/null 2>&1 </dev/null & ) &\nsleep 0.2\necho done\n");
  EXPECT_TRUE(o.finished) << o.errors;
  EXPECT_EQ(o.output, "done\n");
  EXPECT_EQ(processes_with(mark), std::multiset<std::string>{});
}

TEST_P(Hostile, DiesWithItsCaller) {
  options_.limits.wall = 60;
  const std::string mark = "20" + std::to_string(getpid()) + (GetParam() ? "1" : "2");
  const pid_t caller = fork();
  if (caller == 0) {
    shell("sleep " + mark + " & exec sleep " + mark);
    _exit(0);
  }
  const auto wait_until = [&](bool there) {
    for (int i = 0; i < 3000 && processes_with(mark).empty() == there; ++i) usleep(10000);
    return processes_with(mark).empty() != there;
  };
  EXPECT_TRUE(wait_until(true));
  kill(caller, SIGKILL); // no chance to say good-bye
  waitpid(caller, nullptr, 0);
  EXPECT_TRUE(wait_until(false)) << "the launcher sees the end of its caller";
}

TEST_P(Hostile, HoldsTheStreamsOpen) {
  options_.limits.wall = 60;
  const Outcome o = shell("sleep 1000 &\necho done\n");
  EXPECT_TRUE(o.finished);
  EXPECT_EQ(o.output, "done\n");
  EXPECT_LT(o.seconds, 30) << "the end of the program is its end, not that of its streams";
}

TEST_P(Hostile, ClosesItsStreamsAndGoesOn) {
  const Outcome o =
      python("import os, time\nos.close(0), os.close(1), os.close(2)\ntime.sleep(1000)\n");
  EXPECT_EQ(o.hit, Hit::wall);
}

TEST_P(Hostile, NeverReadsItsInput) {
  options_.limits.wall = 60;
  const Outcome o = python("print('ok')\n", std::string(std::size_t{8} << 20, 'x'));
  EXPECT_TRUE(o.finished) << o.errors;
}

TEST_P(Hostile, KillsEverybody) {
  options_.limits.wall = 60;
  const pid_t self = getpid();
  const Outcome o = python(
      "import os, signal\nfor pid in [os.getppid(), " + std::to_string(self) +
      ", -1]:\n  try: os.kill(pid, signal.SIGKILL)\n  except OSError as e: print(e.errno)\n");
  // This process lives, or there would be no test; the keeper lives, or there would be no outcome.
  EXPECT_TRUE(o.finished) << o.signal << " " << o.errors << o.output;
}

TEST_P(Hostile, ReadsForeignMemory) {
  options_.limits.wall = 60;
  if (!isolation_.namespaces && !isolation_.other_user && !isolation_.landlock)
    GTEST_SKIP() << "NO NAMESPACES, NO LANDLOCK, NOT ROOT: PROGRAMS CAN READ THIS PROCESS";
  const Outcome o = python(
      "import os\nfor pid in [os.getppid(), " + std::to_string(getpid()) +
      "]:\n  try: print('OPEN', open('/proc/%d/mem' % pid, 'r+b').fileno())\n  except OSError as "
      "e: pass\n"
      "  try: print('LINK', os.readlink('/proc/%d/fd/0' % pid))\n  except OSError as e: pass\n");
  EXPECT_TRUE(o.finished) << o.errors;
  EXPECT_EQ(o.output, "");
}

TEST_P(Hostile, HasNoNetwork) {
  options_.limits.wall = 60;
  if (!isolation_.namespaces && !isolation_.system_calls)
    GTEST_SKIP() << "NO NAMESPACES AND NO FILTER: PROGRAMS HAVE THE NETWORK";
  const int server = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET, address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(bind(server, reinterpret_cast<sockaddr *>(&address), sizeof address), 0);
  ASSERT_EQ(listen(server, 1), 0);
  socklen_t size = sizeof address;
  getsockname(server, reinterpret_cast<sockaddr *>(&address), &size);
  const int client = socket(AF_INET, SOCK_STREAM, 0);
  EXPECT_EQ(connect(client, reinterpret_cast<sockaddr *>(&address), sizeof address), 0)
      << "it listens";
  const Outcome o = python("import socket\nsocket.create_connection(('127.0.0.1', " +
                           std::to_string(ntohs(address.sin_port)) + "), 0.5)\n");
  EXPECT_FALSE(o.finished);
  EXPECT_NE(o.errors.find("Error"), std::string::npos);
  close(client), close(server);
}

TEST_P(Hostile, HasNoPrivileges) {
  options_.limits.wall = 60;
  const Outcome o =
      python("import os\nprint(os.getuid() == 0)\nprint([l for l in open('/proc/self/status') if "
             "l.startswith(('CapEff', 'NoNewPrivs'))])\n");
  ASSERT_TRUE(o.finished) << o.errors;
  EXPECT_EQ(o.output, "False\n['CapEff:\\t0000000000000000\\n', 'NoNewPrivs:\\t1\\n']\n");
  if (!isolation_.system_calls) GTEST_SKIP() << "NO FILTER: CALLS NOT TESTED";
  const Outcome ways = python("import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\n"
                              "for what in [lambda: libc.unshare(0x10000000), lambda: "
                              "libc.mount(b'x', b'/', b'tmpfs', 0, None),\n"
                              "             lambda: libc.ptrace(0, 0, 0, 0), lambda: "
                              "libc.syscall(435, 0, 0)]:\n  print(what(), ctypes.get_errno())\n");
  EXPECT_EQ(ways.output, "-1 1\n-1 1\n-1 1\n-1 38\n") << ways.errors;
}

INSTANTIATE_TEST_SUITE_P(, Hostile, testing::Bool(), [](const auto &info) {
  return info.param ? std::string("Namespaces") : std::string("Without");
});

} // namespace
