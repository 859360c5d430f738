// SPDX-License-Identifier: Apache-2.0
#include "sandbox/keeper.hpp"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dirent.h>
#include <fcntl.h>
#include <functional>
#include <linux/capability.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace sandbox {

namespace {

// Where a keeper has its files; what is behind is closed.
constexpr int kNotes = 3, kGo = 4, kInput = 5, kOutput = 6, kErrors = 7;

[[noreturn]] void fail(const std::string &what, int why) {
  Note note;
  note.kind = Note::failed, note.value = why;
  std::snprintf(note.what, sizeof note.what, "%s", what.c_str());
  (void)!write(kNotes, &note, sizeof note);
  _exit(1);
}

// The files of a cell at their places. Through numbers above all of these, since places may be taken by another one of them.
void move_files(const Cell &cell) {
  const int from[] = {cell.notes, cell.go, cell.input, cell.output, cell.errors};
  int high[5];
  for (int i = 0; i < 5; ++i) high[i] = from[i] < 0 ? -1 : fcntl(from[i], F_DUPFD_CLOEXEC, 64);
  for (int i = 0; i < 5; ++i)
    if (high[i] >= 0) dup3(high[i], kNotes + i, O_CLOEXEC);
  close_from(kErrors + 1);
  const int nothing = open("/dev/null", O_RDWR);
  for (int i = 0; i < 3; ++i) dup2(nothing, i); // the caller's socket among them
  if (nothing > 2) close(nothing);
}

void set_limit(__rlimit_resource which, std::int64_t soft, std::int64_t hard) {
  rlimit old{};
  getrlimit(which, &old);
  rlimit now{static_cast<rlim_t>(soft), static_cast<rlim_t>(hard)};
  now.rlim_max = std::min(now.rlim_max, old.rlim_max);
  now.rlim_cur = std::min(now.rlim_cur, now.rlim_max);
  if (setrlimit(which, &now) != 0) fail("setrlimit", errno);
}

void set_limits(const Cell &cell) {
  const Limits &l = cell.options.limits;
  set_limit(RLIMIT_CORE, 0, 0);
  set_limit(RLIMIT_CPU, l.cpu, l.cpu + 1); // first SIGXCPU, then SIGKILL
  set_limit(RLIMIT_FSIZE, l.file, l.file);
  set_limit(RLIMIT_NOFILE, l.open_files, l.open_files);
  // The keeper counts too.
  set_limit(RLIMIT_NPROC, cell.tasks + l.processes + 1, cell.tasks + l.processes + 1);
  set_limit(RLIMIT_MEMLOCK, 0, 0);
  set_limit(RLIMIT_MSGQUEUE, 0, 0);
  set_limit(RLIMIT_STACK, std::int64_t{8} << 20, l.memory);
  set_limit(RLIMIT_AS, l.memory, l.memory);
}

void drop_capabilities() {
  for (int i = 0; prctl(PR_CAPBSET_READ, i, 0, 0, 0) >= 0; ++i) prctl(PR_CAPBSET_DROP, i, 0, 0, 0);
  prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  __user_cap_header_struct head{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct none[2] = {};
  if (syscall(SYS_capset, &head, none) != 0) fail("capset", errno);
}

// In the child of the keeper: from here to the foreign program.
[[noreturn]] void become(const Cell &cell, const std::vector<std::string> &command) {
  setsid();
  if (!cell.namespaces) prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  lseek(kInput, 0, SEEK_SET);
  dup2(kInput, 0), dup2(kOutput, 1), dup2(kErrors, 2);
  const std::string path = resolve(command[0]);
  std::vector<std::string> environment = {"PATH=/usr/local/bin:/usr/bin:/bin",
                                          "HOME=" + cell.folder,
                                          "TMPDIR=" + cell.folder,
                                          "LANG=C.UTF-8",
                                          "PYTHONHASHSEED=0",
                                          "PYTHONDONTWRITEBYTECODE=1",
                                          "OMP_NUM_THREADS=1",
                                          "OPENBLAS_NUM_THREADS=1"};
  std::vector<char *> words, variables;
  for (const std::string &word : command) words.push_back(const_cast<char *>(word.c_str()));
  for (const std::string &one : environment) variables.push_back(const_cast<char *>(one.c_str()));
  words.push_back(nullptr), variables.push_back(nullptr);
  drop_capabilities();
  if (cell.landlock && !confine_files(cell.options, cell.folder)) fail("landlock", errno);
  set_limits(cell);
  if (cell.filter && !install_filter(!cell.namespaces)) fail("seccomp", errno);
  execve(path.c_str(), words.data(), variables.data());
  fail(command[0], errno);
}

void settle_in(const Cell &cell, bool &own_proc) {
  // When memory runs out, the kernel is to take the foreign program, not the caller.
  write_file("/proc/self/oom_score_adj", "1000", 0);
  if (cell.namespaces) {
    const std::string failed = make_view(cell.options, own_proc);
    if (!failed.empty()) fail(failed, errno);
    (void)!sethostname("sandbox", 7);
  } else if (chdir(cell.folder.c_str()) != 0) {
    fail("working folder", errno);
  }
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) fail("no new privileges", errno);
  prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
  prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); // the program has no business in this process's files
}

[[noreturn]] void wait_to_be_killed() {
  for (;;)
    if (waitpid(-1, nullptr, 0) < 0 && errno == ECHILD) pause();
}

void tell(Note::Kind kind, int step, int value, double cpu_seconds) {
  Note note;
  note.kind = kind, note.step = step, note.value = value, note.cpu_seconds = cpu_seconds;
  (void)!write(kNotes, &note, sizeof note);
}

double seconds(const timeval &t) {
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6;
}

// In a child that ends for it: what it tries would hold for this process for ever.
bool tried(const std::function<bool()> &what) {
  const pid_t pid = fork();
  if (pid == 0) _exit(what() ? 0 : 1);
  int status = 1;
  waitpid(pid, &status, 0);
  return status == 0;
}

[[noreturn]] void report(const Cell &cell, bool own_proc) {
  std::string lines = own_proc ? "proc 1\n" : "proc 0\n";
  for (const std::string &name : *cell.wanted)
    for (auto one = cell.options.languages.rbegin(); one != cell.options.languages.rend(); ++one) {
      if (one->name != name) continue;
      for (const auto &command : {one->compile, one->run})
        if (!command.empty() && !command[0].starts_with("./") &&
            access(resolve(command[0]).c_str(), X_OK) != 0)
          lines += "missing " + command[0] + "\n";
      break;
    }
  lines += tried([&] { return install_filter(!cell.namespaces); }) ? "filter 1\n" : "filter 0\n";
  if (!cell.namespaces)
    lines += tried([&] { return confine_files(cell.options, cell.folder); }) ? "landlock 1\n"
                                                                             : "landlock 0\n";
  (void)!write(kOutput, lines.data(), lines.size());
  tell(Note::ended, 0, 0, 0);
  close(kOutput);
  wait_to_be_killed();
}

} // namespace

pid_t fork_keeper(bool namespaces) {
  unsigned long flags = SIGCHLD;
  if (namespaces)
    flags |=
        CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS;
  return static_cast<pid_t>(syscall(SYS_clone, flags, nullptr, nullptr, nullptr, nullptr));
}

bool map_users(pid_t keeper) {
  const std::string folder = "/proc/" + std::to_string(keeper) + "/";
  const std::string user = std::to_string(geteuid()), group = std::to_string(getegid());
  return write_file(folder + "setgroups", "deny", 0) &&
         write_file(folder + "uid_map", user + " " + user + " 1", 0) &&
         write_file(folder + "gid_map", group + " " + group + " 1", 0);
}

void keep(const Cell &original) {
  Cell cell = original;
  move_files(cell);
  // If the launcher is gone already, there is no word to go on either.
  prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  char word = 0;
  if (read(kGo, &word, 1) != 1) _exit(1);
  bool own_proc = false;
  settle_in(cell, own_proc);
  if (cell.namespaces) cell.folder = kFolder;
  if (cell.program == nullptr) report(cell, own_proc);
  if (!write_file(cell.language.file, cell.program->source, 0600)) fail("the source's file", errno);
  int step = 0;
  for (const auto *command : {&cell.language.compile, &cell.language.run}) {
    if (command->empty()) continue;
    tell(Note::began, step, 0, 0);
    const pid_t pid = fork();
    if (pid < 0) fail("fork", errno);
    if (pid == 0) become(cell, *command);
    int status = 0;
    rusage usage{};
    for (pid_t ended = 0; ended != pid;) { // orphans end here too
      ended = wait4(-1, &status, 0, &usage);
      if (ended < 0 && errno != EINTR) fail("wait4", errno);
    }
    tell(Note::ended, step, status, seconds(usage.ru_utime) + seconds(usage.ru_stime));
    if (status != 0) break;
    ++step;
  }
  wait_to_be_killed();
}

std::string resolve(const std::string &command) {
  if (command.find('/') != std::string::npos) return command;
  for (const char *folder : {"/usr/local/bin/", "/usr/bin/", "/bin/"})
    if (access((folder + command).c_str(), X_OK) == 0) return folder + command;
  return {};
}

void close_from(int first) {
#ifdef SYS_close_range
  if (syscall(SYS_close_range, first, ~0U, 0) == 0) return;
#endif
  for (int fd = first; fd < 65536; ++fd)
    close(fd); // older kernels; more than any limit that is usual
}

bool write_file(const std::string &path, const std::string &text, mode_t mode) {
  const int fd =
      open(path.c_str(), O_WRONLY | O_CLOEXEC | (mode != 0 ? O_CREAT | O_EXCL : 0), mode);
  if (fd < 0) return false;
  std::size_t at = 0;
  while (at < text.size()) {
    const ssize_t n = write(fd, text.data() + at, text.size() - at);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    at += static_cast<std::size_t>(n);
  }
  const int why = errno;
  close(fd);
  errno = why;
  return at == text.size();
}

} // namespace sandbox
