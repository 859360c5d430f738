// SPDX-License-Identifier: Apache-2.0
// Programs that behave, what they see, and what is refused.
#include <atomic>
#include <cmath>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <thread>
#include <unistd.h>

#include "base/error.hpp"
#include "sandbox/sandbox.hpp"

namespace {

namespace fs = std::filesystem;
using sandbox::Hit, sandbox::Options, sandbox::Outcome, sandbox::Program;

Options best() {
  Options options;
  options.require = sandbox::Require::best;
  options.limits.wall = 10;
  return options;
}
template <class F>
void expect_error(const F &f, const std::string &number, const std::string &text) {
  try {
    f();
    ADD_FAILURE() << "no " << number;
  } catch (const base::UserError &error) {
    EXPECT_EQ(error.number(), number) << error.what();
    EXPECT_NE(std::string(error.what()).find(text), std::string::npos) << error.what();
  }
}

TEST(Sandbox, RunsAProgram) {
  const Outcome o = sandbox::run(
      {"python",
       "import sys\nprint(sum(map(int, sys.stdin.read().split())))\nprint('so', file=sys.stderr)\n",
       "1 2 39"},
      best());
  EXPECT_TRUE(o.finished) << o.errors;
  EXPECT_EQ(o.output, "42\n");
  EXPECT_EQ(o.errors, "so\n");
  EXPECT_EQ(o.exit_code, 0);
  EXPECT_EQ(o.hit, Hit::nothing);
  EXPECT_GT(o.seconds, 0);
  std::cout << sandbox::isolation(best()).text() << "\n";
}

TEST(Sandbox, TellsHowItEnded) {
  const auto outcomes = sandbox::run_all({{"sh", "exit 3", ""},
                                          {"sh", "kill -SEGV $$", ""},
                                          {"python", "def f(:\n", ""},
                                          {"python", "import os\nos.abort()\n", ""},
                                          {"sh", "printf '\\377\\000x'", ""},
                                          {"sh", "", ""}},
                                         best());
  EXPECT_EQ(outcomes[0].exit_code, 3);
  EXPECT_FALSE(outcomes[0].finished);
  EXPECT_EQ(outcomes[1].signal, SIGSEGV);
  EXPECT_FALSE(outcomes[1].finished);
  EXPECT_NE(outcomes[2].errors.find("SyntaxError"), std::string::npos);
  EXPECT_EQ(outcomes[3].signal, SIGABRT);
  EXPECT_EQ(outcomes[4].output, std::string("\377\0x", 3));
  EXPECT_TRUE(outcomes[5].finished);
}

TEST(Sandbox, ManyAtOnceInOrder) {
  std::vector<Program> programs;
  for (int i = 0; i < 40; ++i)
    programs.push_back({"sh", "read x; echo $((x * x))", std::to_string(i) + "\n"});
  Options options = best();
  options.parallel = 7;
  const auto outcomes = sandbox::run_all(programs, options);
  for (int i = 0; i < 40; ++i)
    EXPECT_EQ(outcomes[static_cast<std::size_t>(i)].output, std::to_string(i * i) + "\n");
  EXPECT_TRUE(sandbox::run_all({}, options).empty());
}

TEST(Sandbox, FromManyThreads) {
  std::vector<std::thread> threads;
  std::atomic<int> right{0};
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&right, t] {
      const Outcome o = sandbox::run({"sh", "echo " + std::to_string(t), ""}, best());
      if (o.output == std::to_string(t) + "\n") ++right;
    });
  for (auto &thread : threads) thread.join();
  EXPECT_EQ(right, 4);
}

TEST(Sandbox, CompilesFirst) {
  Options options = best();
  options.limits.wall = 60, options.limits.cpu = 60;
  try {
    sandbox::check(options, {"c++"});
  } catch (const base::UserError &error) {
    GTEST_SKIP() << "NO COMPILER IN THE SANDBOX: " << error.what();
  }
  const auto outcomes =
      sandbox::run_all({{"c++",
                         "#include <cstdio>\nint main() { int a, b; std::scanf(\"%d %d\", &a, &b); "
                         "std::printf(\"%d\\n\", a * b); }\n",
                         "6 7"},
                        {"c++", "int main( {}\n", ""}},
                       options);
  EXPECT_TRUE(outcomes[0].finished) << outcomes[0].errors;
  EXPECT_EQ(outcomes[0].output, "42\n");
  EXPECT_FALSE(outcomes[1].compiled);
  EXPECT_FALSE(outcomes[1].finished);
  EXPECT_NE(outcomes[1].errors.find("error"), std::string::npos);
}

TEST(Sandbox, EachHasAnEmptyFolderAndALittleEnvironment) {
  setenv("HADAL_SECRET", "x", 1);
  const Program look{
      "python",
      "import os\nprint(sorted(os.listdir('.')), 'HADAL_SECRET' in os.environ, len(os.environ) < "
      "16)\n"
      "open('left', 'w').write('x')\nos.mkdir('d')\nopen('d/f', 'w').close()\nos.chmod('d', 0)\n",
      ""};
  for (const bool namespaces : {true, false}) {
    Options options = best();
    options.try_namespaces = namespaces;
    const fs::path folder = fs::temp_directory_path() / ("hadal_box_" + std::to_string(getpid()));
    fs::create_directories(folder);
    fs::permissions(folder, fs::perms::all);
    options.directory = folder.string();
    for (int i = 0; i < 2; ++i) {
      const Outcome o = sandbox::run(look, options);
      EXPECT_EQ(o.output, "['program.py'] False True\n") << o.errors;
    }
    EXPECT_TRUE(fs::is_empty(folder));
    fs::remove_all(folder);
  }
}

TEST(Sandbox, SeesNoOtherFiles) {
  const Options options = best();
  if (!sandbox::isolation(options).namespaces)
    GTEST_SKIP() << "NO NAMESPACES ON THIS MACHINE: PROGRAMS SEE ITS FILES";
  const fs::path mine = fs::temp_directory_path() / ("hadal_secret_" + std::to_string(getpid()));
  std::ofstream(mine) << "secret";
  fs::permissions(mine, fs::perms::all);
  const std::string source =
      "import os\nprint(os.path.exists('" + mine.string() +
      "'), os.path.exists('/home'), os.path.exists('/etc/shadow'))\n"
      "for path in ['/usr/x', '/x', '/etc/x', '/usr/bin/x', '/dev/x']:\n"
      "  try: open(path, 'w'), print('WRITTEN', path)\n  except OSError as e: pass\n"
      "print(len([p for p in os.listdir('/proc') if p.isdigit()]) < 5, os.uname().nodename)\n"
      "open('/tmp/mine', 'w').close()\nopen('/dev/null', 'w').write('x')\n";
  const Outcome o = sandbox::run({"python", source, ""}, options);
  EXPECT_TRUE(o.finished) << o.errors;
  EXPECT_EQ(o.output, "False False False\nTrue sandbox\n") << o.errors;
  fs::remove(mine);
}

TEST(Sandbox, LandlockWithoutNamespaces) {
  Options options = best();
  options.try_namespaces = false;
  if (!sandbox::isolation(options).landlock)
    GTEST_SKIP() << "NO LANDLOCK ON THIS MACHINE: WITHOUT NAMESPACES PROGRAMS SEE ITS FILES";
  const fs::path mine = fs::temp_directory_path() / ("hadal_locked_" + std::to_string(getpid()));
  std::ofstream(mine) << "secret";
  fs::permissions(mine, fs::perms::all);
  const std::string source =
      "for mode in 'ra':\n  try: print('OPEN', open('" + mine.string() +
      "', mode).read())\n  except OSError as e: print(e.errno)\n"
      "try: open('" +
      mine.string() +
      "2', 'w'), print('MADE')\nexcept OSError as e: print(e.errno)\n"
      "open('own', 'w').write('x'), open('/dev/null', 'w').write('x')\nprint(open('own').read())\n";
  const Outcome o = sandbox::run({"python", source, ""}, options);
  EXPECT_EQ(o.output, "13\n13\n13\nx\n") << o.errors;
  EXPECT_TRUE(o.finished) << o.errors;
  fs::remove(mine);
}

TEST(Sandbox, WhatIsVisibleCanBeReadAndNotWritten) {
  Options options = best();
  if (!sandbox::isolation(options).namespaces)
    GTEST_SKIP() << "NO NAMESPACES ON THIS MACHINE: EVERYTHING IS VISIBLE";
  const fs::path folder = fs::temp_directory_path() / ("hadal_seen_" + std::to_string(getpid()));
  fs::create_directories(folder);
  std::ofstream(folder / "fact") << "42";
  for (const auto &path : {folder, folder / "fact"}) fs::permissions(path, fs::perms::all);
  options.visible = {folder.string()};
  const Outcome o = sandbox::run(
      {"sh", "cat " + (folder / "fact").string() + "; echo no > " + (folder / "fact").string(), ""},
      options);
  EXPECT_EQ(o.output, "42") << o.errors;
  EXPECT_FALSE(o.finished);
  std::ifstream file(folder / "fact");
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(file), {}), "42");
  fs::remove_all(folder);
}

TEST(Sandbox, Refuses) {
  const Program program{"python", "print(1)", ""};
  const auto with = [&](auto change) {
    return [&program, change] {
      Options options = best();
      change(options);
      sandbox::run(program, options);
    };
  };
  expect_error([&] { sandbox::run({"pyhton", "", ""}, best()); }, "E343", "did you mean python");
  expect_error(with([](Options &o) { o.limits.wall = 0; }), "E344", "wall");
  expect_error(with([](Options &o) { o.limits.wall = std::nan(""); }), "E344", "wall");
  expect_error(with([](Options &o) { o.limits.memory = -1; }), "E344", "memory");
  expect_error(with([](Options &o) { o.visible = {"/nowhere/at/all"}; }), "E344",
               "/nowhere/at/all");
  expect_error(with([](Options &o) { o.visible = {"usr"}; }), "E344", "absolute");
  expect_error(with([](Options &o) { o.visible = {"/proc/1"}; }), "E344", "/proc/1");
  expect_error(with([](Options &o) {
                 o.languages.push_back({"python", "p", {}, {"nosuchpython", "p"}});
               }),
               "E341", "nosuchpython");
  expect_error(with([](Options &o) {
                 o.languages.push_back({"x", "a/b", {}, {"sh"}});
               }),
               "E344", "x");
  expect_error(with([](Options &o) { o.try_namespaces = false, o.directory = "/nowhere"; }), "E344",
               "/nowhere");
  expect_error(
      with([](Options &o) { o.try_namespaces = false, o.require = sandbox::Require::namespaces; }),
      "E340", "best");
}

} // namespace
