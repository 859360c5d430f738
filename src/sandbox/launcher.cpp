// SPDX-License-Identifier: Apache-2.0
// The launcher: what this executable is when it is started under the launcher's name. A constructor that runs before main() and before
// those of other files sees to that, so that every executable with this room in it (the program, each test) has a launcher without a
// line in its main(). Here: the beginning, giving up root, and finding out what the machine offers.
#include "sandbox/launcher.hpp"

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <sstream>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sandbox/keeper.hpp"

namespace sandbox {

const char *const kLauncherName = "hadal-sandbox-launcher";

bool send_all(int socket, const std::string &bytes) {
  for (std::size_t at = 0; at < bytes.size();) {
    const ssize_t n = send(socket, bytes.data() + at, bytes.size() - at, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    at += static_cast<std::size_t>(n);
  }
  return true;
}

namespace {

bool receive_bytes(int socket, char *to, std::size_t size) {
  for (std::size_t at = 0; at < size;) {
    const ssize_t n = recv(socket, to + at, size - at, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    at += static_cast<std::size_t>(n);
  }
  return true;
}

} // namespace

bool receive_frame(int socket, std::string &body) {
  std::uint64_t size = 0;
  if (!receive_bytes(socket, reinterpret_cast<char *>(&size), sizeof size)) return false;
  body.resize(size);
  return receive_bytes(socket, body.data(), size);
}

namespace {

constexpr uid_t kNobody = 65534;

bool leave_root() {
  // Dumpable again, so that /proc/self belongs to the new user: its namespaces are described there.
  return setgroups(0, nullptr) == 0 && setresgid(kNobody, kNobody, kNobody) == 0 &&
         setresuid(kNobody, kNobody, kNobody) == 0 && prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) == 0;
}

// Everything that comes until the end, for 20 seconds at most.
std::string read_all(int fd) {
  std::string all;
  char piece[4096];
  for (pollfd one{fd, POLLIN, 0}; poll(&one, 1, 20000) > 0;) {
    const ssize_t n = read(fd, piece, sizeof piece);
    if (n <= 0) break;
    all.append(piece, static_cast<std::size_t>(n));
  }
  return all;
}

struct Found {
  std::string failed; // "": everything could be made
  std::vector<std::string> missing;
};

// A keeper without a program makes everything that a keeper makes.
Found probe(const wire::Request &request, bool namespaces, Isolation &isolation) {
  Found found;
  int notes[2], text[2], go[2];
  if (pipe2(notes, O_CLOEXEC) != 0 || pipe2(text, O_CLOEXEC) != 0 || pipe2(go, O_CLOEXEC) != 0)
    return {std::string("pipe: ") + std::strerror(errno), {}};
  const pid_t pid = fork_keeper(namespaces);
  if (pid == 0) {
    Cell cell(request.options, request.options.languages[0]);
    cell.wanted = &request.wanted;
    cell.namespaces = namespaces, cell.folder = request.options.directory;
    cell.notes = notes[1], cell.output = text[1], cell.go = go[0];
    keep(cell);
  }
  const int why = errno;
  close(notes[1]), close(text[1]), close(go[0]);
  if (pid < 0)
    found.failed = std::string("clone: ") + std::strerror(why);
  else if (namespaces && !map_users(pid))
    found.failed = std::string("user map: ") + std::strerror(errno);
  else if (write(go[1], "g", 1) != 1)
    found.failed = "the keeper ended";
  close(go[1]);
  if (found.failed.empty()) {
    std::istringstream lines(read_all(text[0]));
    for (std::string word, rest; lines >> word && std::getline(lines >> std::ws, rest);) {
      if (word == "proc") isolation.own_proc = rest == "1";
      if (word == "filter") isolation.system_calls = rest == "1";
      if (word == "landlock") isolation.landlock = rest == "1";
      if (word == "missing") found.missing.push_back(rest);
    }
    Note note;
    const bool told = read(notes[0], &note, sizeof note) == sizeof note;
    if (!told) found.failed = "the keeper was killed or did not come to an end";
    if (told && note.kind == Note::failed)
      found.failed = std::string(note.what) + ": " + std::strerror(note.value);
  }
  close(notes[0]), close(text[0]);
  if (pid > 0) kill(pid, SIGKILL), waitpid(pid, nullptr, 0);
  return found;
}

wire::Report survey(const wire::Request &request) {
  wire::Report report;
  Isolation &isolation = report.isolation;
  const auto refuse = [&](const char *number, std::string read, std::string advice) {
    report.number = number, report.read = std::move(read), report.advice = std::move(advice);
    return report;
  };
  if (geteuid() == 0) {
    isolation.other_user = leave_root();
    if (!isolation.other_user)
      return refuse("E342", "root",
                    std::string("Foreign programs are not run as root, and this root cannot "
                                "become another user: ") +
                        std::strerror(errno) + ".");
  }
  Found found{"not tried", {}};
  if (request.options.try_namespaces) found = probe(request, true, isolation);
  isolation.namespaces = found.failed.empty();
  isolation.why = found.failed;
  if (!isolation.namespaces) {
    if (request.options.require == Require::namespaces)
      return refuse("E340", "require = \"namespaces\": " + isolation.why,
                    "This machine or container does not let its users make namespaces, so that "
                    "programs could not be shut off. Run elsewhere, or say sandbox.require = "
                    "\"best\" (docs/rewards.md has what that means).");
    isolation.own_proc = false;
    if (access(request.options.directory.c_str(), W_OK | X_OK) != 0)
      return refuse("E344", "directory = " + request.options.directory,
                    std::string("Programs have no folder to work in there: ") +
                        std::strerror(errno) + ".");
    // Programs of the same user must not read or write this process.
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    found = probe(request, false, isolation);
    if (!found.failed.empty())
      return refuse("E342", found.failed, "No program can be started on this machine.");
  }
  if (!found.missing.empty())
    return refuse("E341", found.missing[0],
                  "The command is not found in /usr/local/bin, /usr/bin or /bin, or not visible to "
                  "programs. Install it, or give [[sandbox.language]] a path and sandbox.visible "
                  "its folder.");
  return report;
}

int launch() {
  constexpr int kSocket = 0;
  prctl(PR_SET_NAME, "hadal-sandbox", 0, 0, 0);
  prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
  signal(SIGPIPE, SIG_IGN);
  close_from(3); // whatever the caller left open
  umask(077);
  if (chdir("/") != 0) return 1;
  std::string body;
  if (!receive_frame(kSocket, body)) return 1;
  wire::Request request;
  wire::Reader(body) & request;
  const wire::Report report = survey(request);
  if (!send_all(kSocket, wire::frame(report)) || !report.number.empty()) return 0;
  return run_programs(kSocket, request, report.isolation);
}

// 101 is the first number that is not the compiler's own.
__attribute__((constructor(101))) void become_launcher(int argc, char **argv,
                                                       char ** /*environment*/) {
  if (argc != 1 || std::strcmp(argv[0], kLauncherName) != 0) return;
  int code = 1;
  try {
    code = launch();
  } catch (const std::exception &error) {
    (void)!write(2, error.what(), std::strlen(error.what()));
  }
  _exit(code);
}

} // namespace

} // namespace sandbox
