// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/meeting.hpp"

#include <algorithm>
#include <chrono>
#include <fcntl.h>
#include <fstream>
#include <sstream>
#include <thread>
#include <unistd.h>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/files.hpp"
#include "checkpoint/places.hpp"

namespace checkpoint {

namespace fs = std::filesystem;
using base::Exit, base::UserError;

namespace {

constexpr const char *kIntact = "Earlier checkpoints are intact.";
constexpr double kGrace = 5;       // seconds that writer 0 gives the others to read a reason
constexpr double kDisappeared = 2; // seconds after which a directory that is not to be seen is gone

std::string failed_file_of(int writer) { return fmt::format("part-{:05}.failed", writer); }
// "I have read why, and am gone."
std::string left_file_of(int writer) { return fmt::format("part-{:05}.left", writer); }

std::string host() {
  char name[256] = "";
  return ::gethostname(name, sizeof(name) - 1) == 0 ? name : "?";
}

// "" when it cannot be read.
std::string quiet_text(const fs::path &path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return in ? text.str() : "";
}

// Sleeps between two looks, longer and longer.
class Pause {
public:
  void operator()() {
    std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds_));
    milliseconds_ = std::min(milliseconds_ + milliseconds_ / 4 + 1, 250);
  }

private:
  int milliseconds_ = 2;
};

} // namespace

Meeting::Meeting(const WriterOptions &options, const Snapshot &snapshot)
    : options_(options), attempt_(snapshot.attempt),
      place_(options.directory / step_name(snapshot.step)),
      partial_(fmt::format("{}.{}.partial", place_.string(), snapshot.attempt)) {}

fs::path Meeting::state_file() const { return partial_ / state_file_of(options_.writer); }

void Meeting::join() {
  HADAL_CHECK(!landed(), "{} is of attempt {} already", place_.string(), attempt_);
  fs::create_directories(options_.directory);
  fs::create_directory(partial_); // by whoever comes first
  for (const std::string &name : {state_file_of(options_.writer), part_file_of(options_.writer),
                                  failed_file_of(options_.writer), left_file_of(options_.writer)})
    HADAL_CHECK(!fs::exists(partial_ / name), "{} is there already: attempt {} was used before",
                (partial_ / name).string(), attempt_);
  joined_ = true;
}

Meeting::Names Meeting::look() const {
  Names names;
  std::error_code error;
  for (fs::directory_iterator entry(partial_, error), end; !error && entry != end;
       entry.increment(error))
    names.insert(entry->path().filename().string());
  return names;
}

void Meeting::throw_failures(const Names &names) {
  for (const std::string &name : names) {
    if (!name.ends_with(".failed")) continue;
    second_hand_ = true;
    const std::string text = quiet_text(partial_ / name);
    const auto line = text.find('\n');
    const std::string number = text.substr(0, line),
                      reason = line == text.npos ? "" : text.substr(line + 1);
    if (number == "E202")
      throw UserError(Exit::checkpoint, "E202", place_.string(), reason, kIntact);
    const int writer = std::atoi(name.substr(5).c_str());
    throw UserError(Exit::checkpoint, "E201", place_.string(),
                    fmt::format("writer {} failed: {}", writer,
                                reason.empty() ? "it could not even write why" : reason),
                    kIntact);
  }
}

void Meeting::heed() {
  if (looked_.seconds() < 0.5) return;
  looked_ = {};
  throw_failures(look());
}

void Meeting::given_up() {
  second_hand_ = true;
  throw UserError(Exit::checkpoint, "E201", place_.string(),
                  "the writing was given up by writer 0, whose own message says why", kIntact);
}

// The run ends by a fault of its own: who is asked why, and who is waited for, may be the one that is lost.
void Meeting::require_wanted() {
  if (!abandoned()) return;
  throw UserError(Exit::checkpoint, "E201", place_.string(),
                  "the writing was given up, because the run ends; its own message says why",
                  kIntact);
}

void Meeting::explain() {
  std::error_code error;
  if (!joined_ || second_hand_ || options_.writer == 0 || fs::exists(state_file(), error)) return;
  throw_failures(look());
  if (!fs::exists(partial_, error)) given_up();
}

std::vector<int> Meeting::missing(const Names &names) const {
  std::vector<int> writers;
  for (int w = 0; w < options_.writers; ++w)
    if (!names.contains(part_file_of(w))) writers.push_back(w);
  return writers;
}

void Meeting::too_late(const std::vector<int> &writers, const std::string &what) const {
  throw UserError(Exit::checkpoint, "E202", place_.string(),
                  fmt::format("{} writer{} {} within {:g} s", what, writers.size() == 1 ? "" : "s",
                              fmt::join(writers, ", "), options_.deadline),
                  kIntact);
}

std::optional<Part> Meeting::read_part(int writer) const {
  auto part = parse_part(quiet_text(partial_ / part_file_of(writer)));
  std::error_code error;
  if (!part || fs::file_size(partial_ / state_file_of(writer), error) != part->state.bytes || error)
    return std::nullopt;
  HADAL_CHECK(part->writer == writer, "{} is of writer {}", part_file_of(writer), part->writer);
  return part;
}

std::vector<Part> Meeting::gather() {
  std::vector<std::optional<Part>> found(static_cast<std::size_t>(options_.writers));
  const base::Stopwatch watch;
  for (Pause pause;; pause()) {
    require_wanted();
    const Names names = look();
    throw_failures(names);
    std::vector<int> absent;
    for (int w = 0; w < options_.writers; ++w) {
      auto &part = found[static_cast<std::size_t>(w)];
      if (!part && names.contains(part_file_of(w))) part = read_part(w);
      if (!part) absent.push_back(w);
    }
    if (absent.empty()) break;
    if (watch.seconds() > options_.deadline) too_late(absent, "no part came of");
  }
  std::vector<Part> parts;
  for (auto &part : found) parts.push_back(std::move(*part));
  return parts;
}

bool Meeting::landed() const {
  return quiet_text(place_ / kAttemptFile) == attempt_ + "\n" && fs::exists(place_ / kDoneFile);
}

void Meeting::await_outcome() {
  base::Stopwatch watch, seen;
  bool complete =
      false; // all parts are there: writer 0 has the deadline anew to bring them together
  for (Pause pause;; pause()) {
    if (landed()) return;
    require_wanted();
    const Names names = look();
    throw_failures(names);
    if (!names.empty()) seen = {};
    if (seen.seconds() > kDisappeared && !landed()) given_up();
    auto absent = missing(names);
    if (!complete && absent.empty() && !names.empty()) complete = true, watch = {};
    if (watch.seconds() <= options_.deadline) continue;
    if (landed()) return;
    if (complete) too_late({0}, "all parts are there, but they were not brought together by");
    too_late(absent, "no part came of");
  }
}

void Meeting::note_failure(const std::string &name, const std::string &text) const {
  try {
    base::write_file_atomic(partial_ / name, text, Exit::checkpoint, "E201");
  } catch (const std::exception &) { // a full disk: an empty file may still find room
    const int file = ::open((partial_ / name).c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    if (file >= 0) ::close(file);
  }
}

bool Meeting::all_gone(const Names &names, bool patient) const {
  for (int w = 0; w < options_.writers; ++w)
    if (!names.contains(left_file_of(w)) && !names.contains(failed_file_of(w)) &&
        (patient || names.contains(part_file_of(w))))
      return false;
  return true;
}

void Meeting::remove() const {
  std::error_code error;
  for (int i = 0; i < 10 && fs::exists(partial_, error); ++i)
    fs::remove_all(partial_, error); // again when something came in meanwhile
}

// Writer 0 removes all when the others have read the reason. Those that are busy with their files find no more than the reason, and the
// last of them removes it; after a deadline nobody is waited for but those who gave their part.
void Meeting::clear(bool patient) const {
  const base::Stopwatch watch;
  const double grace = std::min(kGrace, options_.deadline);
  for (Pause pause;; pause()) {
    const Names names = look();
    if (names.empty() || all_gone(names, patient) || (!patient && watch.seconds() > grace))
      return remove();
    if (watch.seconds() <= grace && !abandoned()) continue;
    std::error_code error;
    for (const std::string &name : names)
      if (!name.ends_with(".failed") && !name.ends_with(".left"))
        fs::remove(partial_ / name, error);
    return;
  }
}

void Meeting::leave(const std::string &number, const std::string &reason) noexcept {
  try {
    std::error_code error;
    const int own = options_.writer;
    // A part that was given may be sealed at this moment: its file stays until the whole directory goes.
    if (own == 0 || !fs::exists(partial_ / part_file_of(own), error))
      fs::remove(state_file(), error), fs::remove(partial_ / blocks_file_of(own), error);
    if (!fs::exists(partial_, error)) return;
    std::string line = reason.substr(0, reason.find('\n'));
    if (const std::string front = place_.string() + ": "; line.starts_with(front))
      line.erase(0, front.size()); // those who read it say it themselves
    if (second_hand_)
      note_failure(left_file_of(own), "");
    else
      note_failure(
          failed_file_of(own),
          fmt::format("{}\n{}{}", number, line, number == "E202" ? "" : " (on " + host() + ")"));
    if (own == 0) return clear(number != "E202");
    const Names names = look();
    // Nobody else came within the deadline: it is too late for them to read why.
    const std::string mark = fmt::format("-{:05}.", own);
    const bool alone = number == "E202" && std::ranges::all_of(names, [&](const auto &n) {
                         return n.find(mark) != n.npos;
                       });
    if (alone || all_gone(names, true)) remove();
  } catch (const std::exception &) { // what remains is removed by the next run
  }
}

} // namespace checkpoint
