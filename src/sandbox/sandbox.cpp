// SPDX-License-Identifier: Apache-2.0
#include "sandbox/sandbox.hpp"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <poll.h>
#include <sched.h>
#include <set>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/error.hpp"
#include "base/text.hpp"
#include "sandbox/keeper.hpp"
#include "sandbox/launcher.hpp"

extern char **environ;

namespace sandbox {

using base::Exit, base::UserError;
using Clock = std::chrono::steady_clock;

namespace {

[[noreturn]] void fail_start(const std::string &read, const std::string &advice) {
  throw UserError(Exit::machine, "E342", "[sandbox]", read, advice);
}

int cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  return sched_getaffinity(0, sizeof set, &set) == 0 ? std::max(1, CPU_COUNT(&set)) : 1;
}

const Language *find(const Options &options, const std::string &name) {
  const Language *found =
      nullptr; // the last of a name counts: a deck's come behind the built-in ones
  for (const Language &one : options.languages)
    if (one.name == name) found = &one;
  return found;
}

void check_languages(const Options &options, const std::vector<std::string> &wanted) {
  std::vector<std::string> names;
  for (const Language &one : options.languages) {
    names.push_back(one.name);
    if (one.run.empty() || one.file.empty() || one.file.find('/') != std::string::npos)
      throw UserError(Exit::deck, "E344", "[[sandbox.language]]", one.name,
                      "A language needs a command to run and the plain name of a file.");
  }
  for (const std::string &name : wanted)
    if (find(options, name) == nullptr) {
      const std::string near = base::text::nearest(name, names);
      throw UserError(
          Exit::deck, "E343", "[sandbox]", base::text::readable(name),
          fmt::format("No such language{} There are: {}. [[sandbox.language]] adds one.",
                      near.empty() ? "." : fmt::format("; did you mean {}?", near),
                      fmt::join(names, ", ")));
    }
}

// The options as the launcher wants them: nothing left to choose, real paths.
Options settled(Options options) {
  const auto refuse = [](const std::string &read, const std::string &advice) {
    throw UserError(Exit::deck, "E344", "[sandbox]", read, advice);
  };
  const Limits &l = options.limits;
  if (!std::isfinite(l.wall) || l.wall <= 0 || l.wall > 1e6)
    refuse(fmt::format("wall = {}", l.wall), "Seconds above 0, a million at most.");
  for (const auto &[name, value] : {std::pair<const char *, std::int64_t>{"cpu", l.cpu},
                                    {"memory", l.memory},
                                    {"processes", l.processes},
                                    {"file", l.file},
                                    {"output", l.output},
                                    {"open_files", l.open_files}})
    if (value <= 0) refuse(fmt::format("{} = {}", name, value), "A limit is above 0.");
  std::error_code error;
  for (std::string &path : options.visible) {
    const std::string read = fmt::format("visible: {}", path);
    if (!path.starts_with('/')) refuse(read, "An absolute path is wanted.");
    const auto real = std::filesystem::canonical(path, error);
    if (error) refuse(read, error.message() + ".");
    for (const char *taken : {"/proc", "/dev", "/sys", kFolder, "/old"})
      if (real == "/" || (real.string() + "/").starts_with(std::string(taken) + "/"))
        refuse(read, "Of the root, /proc, /dev and /sys programs see their own, or nothing.");
    path = real.string();
  }
  if (options.directory.empty()) {
    const auto temporary = std::filesystem::temp_directory_path(error);
    options.directory = error ? std::string("/tmp") : temporary.string();
  }
  options.directory = std::filesystem::absolute(options.directory).string();
  if (options.parallel <= 0) options.parallel = cpus();
  return options;
}

class Launcher {
public:
  Launcher() {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
      fail_start("socketpair", std::strerror(errno));
    socket_ = ends[0];
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_adddup2(&files, ends[1], 0);
    posix_spawn_file_actions_addopen(&files, 1, "/dev/null", O_WRONLY, 0);
    posix_spawnattr_init(&attributes);
    sigset_t all, none;
    sigfillset(&all), sigemptyset(&none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setsigmask(&attributes, &none);
    // A session of its own: what a terminal or a scheduler sends to the caller's group is the caller's to handle.
    posix_spawnattr_setflags(
        &attributes,
        static_cast<short>(POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK));
    char *words[] = {const_cast<char *>(kLauncherName), nullptr};
    const int error = posix_spawn(&pid_, "/proc/self/exe", &files, &attributes, words, environ);
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&attributes);
    close(ends[1]);
    if (error != 0) {
      close(socket_);
      fail_start("/proc/self/exe",
                 fmt::format("The launcher cannot be started: {}.", std::strerror(error)));
    }
  }
  ~Launcher() {
    close(socket_); // a launcher that still works kills its programs and ends
    while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
  Launcher(const Launcher &) = delete;
  Launcher &operator=(const Launcher &) = delete;

  void send(const wire::Request &request) {
    if (!send_all(socket_, wire::frame(request))) lost();
  }
  template <class T> T receive(Clock::time_point until) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(until - Clock::now()).count();
    pollfd one{socket_, POLLIN, 0};
    int ready = 0;
    while ((ready = poll(&one, 1, static_cast<int>(std::clamp<long>(left, 0, 1 << 30)))) < 0 &&
           errno == EINTR) {
    }
    if (ready == 0) {
      kill(pid_, SIGKILL); // its keepers die with it
      fail_start("the launcher of programs",
                 "It does not answer in time; is the machine overloaded?");
    }
    std::string body;
    if (!receive_frame(socket_, body)) lost();
    T value;
    wire::Reader(body) & value;
    return value;
  }

private:
  [[noreturn]] void lost() {
    fail_start("the launcher of programs",
               "It ended before its work was done (killed, or out of memory?).");
  }
  int socket_ = -1;
  pid_t pid_ = -1;
};

[[noreturn]] void refuse(const wire::Report &report) {
  throw UserError(Exit::machine, report.number, "[sandbox]", base::text::readable(report.read),
                  report.advice);
}

std::vector<Outcome> work(wire::Request request, Isolation &isolation) {
  check_languages(request.options, request.wanted);
  request.options = settled(std::move(request.options));
  Launcher launcher;
  launcher.send(request);
  const auto seconds = [](double s) {
    return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(s));
  };
  const auto report = launcher.receive<wire::Report>(Clock::now() + seconds(60));
  isolation = report.isolation;
  if (!report.number.empty()) refuse(report);
  // Every program in its time, twice for the compiler; the launcher sees to that, this is for a launcher that hangs.
  const double each = 2 * request.options.limits.wall + 60;
  std::vector<Outcome> outcomes(request.programs.size());
  for (std::size_t i = 0; i < outcomes.size(); ++i) {
    auto answer = launcher.receive<wire::Answer>(Clock::now() + seconds(each));
    if (answer.index < 0) refuse(answer.failure);
    HADAL_CHECK(answer.index < static_cast<std::int64_t>(outcomes.size()), "program {} of {}",
                answer.index, outcomes.size());
    outcomes[static_cast<std::size_t>(answer.index)] = std::move(answer.outcome);
  }
  return outcomes;
}

} // namespace

std::vector<Language> usual_languages() {
  return {{"python", "program.py", {}, {"python3", "-I", "program.py"}},
          {"sh", "program.sh", {}, {"sh", "program.sh"}},
          {"c++",
           "program.cpp",
           {"c++", "-std=c++20", "-O1", "-o", "program", "program.cpp"},
           {"./program"}}};
}

std::string Isolation::text() const {
  std::string out = namespaces ? fmt::format("namespaces (users, processes, network, files{})",
                                             own_proc ? "" : ", no /proc")
                               : fmt::format("no namespaces ({})", why);
  out += system_calls ? ", system calls filtered" : ", system calls not filtered";
  if (!namespaces) out += landlock ? ", files by Landlock" : ", all files of this user";
  if (other_user) out += ", not as root";
  return out;
}

const char *name_of(Hit hit) {
  switch (hit) {
  case Hit::nothing: return "nothing";
  case Hit::wall: return "time";
  case Hit::cpu: return "processor time";
  case Hit::output: return "output";
  case Hit::file: return "file size";
  case Hit::memory: return "memory";
  }
  return "";
}

Isolation check(const Options &options, const std::vector<std::string> &languages) {
  Isolation isolation;
  work({options, languages, {}}, isolation);
  return isolation;
}

Isolation isolation(const Options &options) { return check(options, {}); }

Outcome run(const Program &program, const Options &options) {
  return run_all({program}, options).at(0);
}

std::vector<Outcome> run_all(const std::vector<Program> &programs, const Options &options) {
  if (programs.empty()) return {};
  std::set<std::string> names;
  for (const Program &one : programs) names.insert(one.language);
  Isolation isolation;
  return work({options, {names.begin(), names.end()}, programs}, isolation);
}

} // namespace sandbox
