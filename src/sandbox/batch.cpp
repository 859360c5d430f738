// SPDX-License-Identifier: Apache-2.0
// The launcher at work: as many programs at once as the options say, each with its keeper, one poll() for all.
#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <list>
#include <poll.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sandbox/keeper.hpp"
#include "sandbox/launcher.hpp"

namespace sandbox {

namespace {

using Clock = std::chrono::steady_clock;
constexpr double kStart = 30; // seconds to make a cell

double since(Clock::time_point t) {
  return std::chrono::duration<double>(Clock::now() - t).count();
}
Clock::time_point in(double seconds) {
  return Clock::now() +
         std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
}

struct Running {
  std::size_t index = 0;
  pid_t keeper = -1;
  int output = -1, errors = -1, notes = -1;
  Clock::time_point began, deadline;
  bool started = false, over = false;
  int step = 0, last_step = 0;
  Outcome outcome;
  std::string folder; // to be removed
};

// Tasks count for each user of each namespace since Linux 5.14, before that for the user as a whole.
bool counts_by_namespace() {
  utsname name{};
  int major = 0, minor = 0;
  return uname(&name) == 0 && std::sscanf(name.release, "%d.%d", &major, &minor) == 2 &&
         (major > 5 || (major == 5 && minor >= 14));
}

void remove_folder(const std::string &folder) {
  namespace fs = std::filesystem;
  std::error_code error;
  // Folders that a program has locked are opened first. No process is left that could put links in their place.
  for (fs::recursive_directory_iterator
           at(folder, fs::directory_options::skip_permission_denied, error),
       end;
       !error && at != end; at.increment(error))
    if (at->symlink_status(error).type() == fs::file_type::directory)
      fs::permissions(at->path(), fs::perms::owner_all, error);
  fs::remove_all(folder, error);
}

class Batch {
public:
  Batch(int socket, const wire::Request &request, const Isolation &isolation)
      : socket_(socket), request_(request), options_(request.options), isolation_(isolation) {}

  int run() {
    std::size_t next = 0;
    while (next < request_.programs.size() || !running_.empty()) {
      while (next < request_.programs.size() &&
             running_.size() < static_cast<std::size_t>(options_.parallel)) {
        const std::string failed = start(next);
        if (failed.empty()) {
          ++next;
          continue;
        }
        if (running_.empty()) return fail(failed);
        break; // again when another one has ended
      }
      if (!wait()) return stop_all();
      for (auto one = running_.begin(); one != running_.end();) {
        if (!failure_.empty()) return fail(failure_);
        if (!one->over) {
          ++one;
          continue;
        }
        stop(*one);
        wire::Answer answer{static_cast<std::int64_t>(one->index), std::move(one->outcome), {}};
        one = running_.erase(one);
        if (!send_all(socket_, wire::frame(answer))) return stop_all();
      }
    }
    return 0;
  }

private:
  std::string start(std::size_t index);
  const Language &language_of(const Program &program) const;
  int make_input(const std::string &text) const;
  bool wait();
  void read_text(Running &one, int &fd, std::string &text);
  void read_notes(Running &one);
  void ended(Running &one, const Note &note);
  void over_limit(Running &one, Hit hit);
  void stop(Running &one);
  int stop_all() {
    for (Running &one : running_) stop(one);
    return 1;
  }
  int fail(const std::string &what) {
    wire::Answer answer;
    answer.failure.number = "E342", answer.failure.read = what;
    answer.failure.advice = "A program could not be started; is a limit of the machine reached "
                            "(processes, files, memory)?";
    stop_all();
    send_all(socket_, wire::frame(answer));
    return 1;
  }

  int socket_;
  const wire::Request &request_;
  const Options &options_;
  const Isolation &isolation_;
  const bool by_namespace_ = counts_by_namespace();
  std::list<Running> running_;
  std::string failure_;
};

const Language &Batch::language_of(const Program &program) const {
  const Language *found = nullptr;
  for (const Language &one : options_.languages)
    if (one.name == program.language) found = &one;
  return *found; // the caller has seen to it
}

// Standard input is a file in memory: nobody has to push it through a pipe to a program that does not read.
int Batch::make_input(const std::string &text) const {
  const int fd = static_cast<int>(memfd_create("input", MFD_CLOEXEC));
  for (std::size_t at = 0; fd >= 0 && at < text.size();) {
    const ssize_t n = write(fd, text.data() + at, text.size() - at);
    if (n <= 0) {
      close(fd);
      return -1;
    }
    at += static_cast<std::size_t>(n);
  }
  return fd;
}

std::string Batch::start(std::size_t index) {
  Running one;
  one.index = index;
  int output[2], errors[2], notes[2], go[2];
  const auto failed = [](const char *what) {
    return std::string(what) + ": " + std::strerror(errno);
  };
  if (!isolation_.namespaces) {
    one.folder = options_.directory + "/hadal-program-XXXXXX";
    if (mkdtemp(one.folder.data()) == nullptr) return failed("working folder");
  }
  const Program &program = request_.programs[index];
  const int input = make_input(program.input);
  if (input < 0) return failed("input");
  if (pipe2(output, O_CLOEXEC) != 0 || pipe2(errors, O_CLOEXEC) != 0 ||
      pipe2(notes, O_CLOEXEC) != 0 || pipe2(go, O_CLOEXEC) != 0)
    return failed(
        "pipe"); // what was opened goes with the launcher: it fails, or has another 1000 files
  const Language &language = language_of(program);
  Cell cell(options_, language);
  cell.program = &program, cell.folder = one.folder;
  cell.namespaces = isolation_.namespaces, cell.filter = isolation_.system_calls;
  cell.landlock = isolation_.landlock;
  cell.tasks = isolation_.namespaces && by_namespace_ ? 0 : tasks_of_user();
  cell.input = input, cell.output = output[1], cell.errors = errors[1], cell.notes = notes[1],
  cell.go = go[0];
  one.keeper = fork_keeper(isolation_.namespaces);
  if (one.keeper == 0) keep(cell);
  std::string what = one.keeper < 0 ? failed("clone") : "";
  for (const int fd : {input, output[1], errors[1], notes[1], go[0]}) close(fd);
  one.output = output[0], one.errors = errors[0], one.notes = notes[0];
  for (const int fd : {one.output, one.errors, one.notes}) fcntl(fd, F_SETFL, O_NONBLOCK);
  if (what.empty() && isolation_.namespaces && !map_users(one.keeper)) what = failed("user map");
  if (what.empty() && write(go[1], "g", 1) != 1) what = failed("keeper");
  close(go[1]);
  one.last_step = language.compile.empty() ? 0 : 1;
  one.began = Clock::now(), one.deadline = in(kStart);
  if (what.empty())
    running_.push_back(std::move(one));
  else
    stop(one);
  return what;
}

// Until something comes or a deadline passes; false when the caller is gone.
bool Batch::wait() {
  std::vector<pollfd> all{{socket_, POLLIN, 0}};
  Clock::time_point first = in(3600);
  for (const Running &one : running_) {
    first = std::min(first, one.deadline);
    for (const int fd : {one.notes, one.output, one.errors})
      all.push_back({fd, POLLIN, 0}); // -1 is passed over
  }
  const double left = std::chrono::duration<double>(first - Clock::now()).count();
  const int ready = poll(all.data(), all.size(), std::max(0, static_cast<int>(left * 1000) + 1));
  if (ready < 0) return errno == EINTR;
  if (all[0].revents != 0) return false; // nothing is sent behind the request
  std::size_t at = 1;
  for (Running &one : running_) {
    if (all[at + 1].revents != 0) read_text(one, one.output, one.outcome.output);
    if (all[at + 2].revents != 0) read_text(one, one.errors, one.outcome.errors);
    if (all[at].revents != 0 && !one.over) read_notes(one);
    if (!one.over && Clock::now() >= one.deadline) {
      if (!one.started) failure_ = "a program's cell is not made in time";
      over_limit(one, Hit::wall);
    }
    at += 3;
  }
  return true;
}

void Batch::over_limit(Running &one, Hit hit) {
  one.over = true;
  one.outcome.hit = hit, one.outcome.timed_out = hit == Hit::wall || hit == Hit::cpu;
  one.outcome.finished = false;
  one.outcome.compiled = one.step == one.last_step;
  one.outcome.seconds = since(one.began);
}

void Batch::read_text(Running &one, int &fd, std::string &text) {
  char piece[65536];
  const ssize_t n = read(fd, piece, sizeof piece);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n <= 0) {
    close(fd);
    fd = -1;
    return;
  }
  const auto limit = static_cast<std::size_t>(options_.limits.output);
  text.append(piece, static_cast<std::size_t>(n));
  if (text.size() <= limit) return;
  text.resize(limit);
  if (!one.over || one.outcome.hit == Hit::nothing) over_limit(one, Hit::output);
}

void Batch::read_notes(Running &one) {
  Note note;
  const ssize_t n = read(one.notes, &note, sizeof note);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n !=
      sizeof note) { // the keeper was killed: nobody but the kernel, short of memory, does that
    over_limit(one, Hit::memory);
    one.outcome.signal = SIGKILL;
    return;
  }
  switch (note.kind) {
  case Note::began:
    one.started = true, one.step = note.step;
    one.began = Clock::now(), one.deadline = in(options_.limits.wall);
    break;
  case Note::failed:
    failure_ = std::string(note.what) + ": " + std::strerror(note.value);
    one.over = true;
    break;
  case Note::ended:
    if (note.value == 0 &&
        note.step < one.last_step) // compiled; what the compiler said is not the program's
      one.outcome.output.clear(), one.outcome.errors.clear();
    else
      ended(one, note);
  }
}

void Batch::ended(Running &one, const Note &note) {
  Outcome &o = one.outcome;
  one.over = true;
  o.seconds = since(one.began), o.cpu_seconds = note.cpu_seconds;
  o.compiled = note.step == one.last_step;
  if (WIFEXITED(note.value)) o.exit_code = WEXITSTATUS(note.value);
  if (WIFSIGNALED(note.value)) o.signal = WTERMSIG(note.value);
  o.finished = o.compiled && o.exit_code == 0;
  if (o.signal == SIGXCPU ||
      (o.signal == SIGKILL && o.cpu_seconds >= static_cast<double>(options_.limits.cpu)))
    o.hit = Hit::cpu, o.timed_out = true;
  if (o.signal == SIGXFSZ) o.hit = Hit::file;
  // The rest of what it wrote; what others still hold open is not waited for.
  for (auto [fd, text] : {std::pair{&one.output, &o.output}, std::pair{&one.errors, &o.errors}})
    for (std::size_t before = ~std::size_t{0};
         *fd >= 0 && before != text->size() && o.hit != Hit::output;) {
      before = text->size();
      read_text(one, *fd, *text);
    }
  const std::string last =
      o.errors.substr(o.errors.size() - std::min<std::size_t>(o.errors.size(), 4096));
  if (o.hit == Hit::nothing && !o.finished)
    for (const char *word : {"MemoryError", "bad_alloc", "annot allocate memory", "ut of memory"})
      if (last.find(word) != std::string::npos) o.hit = Hit::memory;
}

void Batch::stop(Running &one) {
  if (one.keeper > 0) {
    if (!isolation_.namespaces) kill_descendants(one.keeper, {});
    kill(one.keeper, SIGKILL); // with namespaces: and all that is in them
    while (waitpid(one.keeper, nullptr, 0) < 0 && errno == EINTR) {
    }
    if (!isolation_.namespaces) { // orphans of a keeper that was killed have come to this process
      std::vector<pid_t> others;
      for (const Running &other : running_)
        if (other.keeper != one.keeper) others.push_back(other.keeper);
      kill_descendants(getpid(), others);
    }
  }
  for (int *fd : {&one.output, &one.errors, &one.notes})
    if (*fd >= 0) close(*fd), *fd = -1;
  if (!one.folder.empty()) remove_folder(one.folder);
}

} // namespace

int run_programs(int socket, const wire::Request &request, const Isolation &isolation) {
  return Batch(socket, request, isolation).run();
}

} // namespace sandbox
