// SPDX-License-Identifier: Apache-2.0
#include "distil/journal.hpp"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <unistd.h>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/error.hpp"
#include "base/files.hpp"
#include "data/json.hpp"

namespace distil {

using base::Exit, base::UserError;

Journal::Journal(std::filesystem::path file, std::string asking, bool replace)
    : path_(std::move(file)) {
  std::error_code error;
  const bool there = std::filesystem::exists(path_, error);
  if (there && !replace) read(asking);
  file_ = open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | (replace ? O_TRUNC : 0),
               0666);
  if (file_ < 0)
    throw UserError(Exit::machine, "E374", path_.string(), std::strerror(errno),
                    "the journal of answers must be writable");
  if (lseek(file_, 0, SEEK_END) == 0)
    append(nlohmann::json{{"journal", 1}, {"asking", asking}}.dump() + "\n");
}

Journal::~Journal() {
  if (file_ >= 0) close(file_);
}

void Journal::read(const std::string &asking) {
  const std::string text = base::read_file(path_, Exit::machine, "E374");
  std::size_t at = 0, number = 0;
  const auto refuse = [&](const char *code, const std::string &what, const char *advice) {
    throw UserError(Exit::data, code, fmt::format("{}:{}", path_.string(), number), what, advice);
  };
  for (std::size_t end; (end = text.find('\n', at)) != std::string::npos; at = end + 1) {
    ++number;
    const auto line = nlohmann::json::parse(text.substr(at, end - at), nullptr, false);
    try {
      if (number == 1) {
        if (line.at("journal") != 1 || line.at("asking") != asking)
          refuse("E372", "answers to another asking (teacher, sampling or system prompt)",
                 "take another distil.directory, or distil.existing = \"replace\"");
        continue;
      }
      answers_[{line.at("question"), line.at("sample")}] = {line.at("answer"), line.at("ended"),
                                                            line.at("tokens")};
    } catch (const nlohmann::json::exception &) {
      refuse("E373", "no line of a journal",
             "the file was changed or damaged; remove the line, or take another directory");
    }
  }
  if (at < text.size()) { // cut short
    std::error_code error;
    std::filesystem::resize_file(path_, at, error);
    if (error)
      throw UserError(Exit::machine, "E374", path_.string(), error.message(),
                      "the journal of answers must be writable");
  }
}

void Journal::append(const std::string &line) {
  for (std::size_t at = 0; at < line.size();) {
    const ssize_t n = write(file_, line.data() + at, line.size() - at);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0)
      throw UserError(Exit::machine, "E374", path_.string(), std::strerror(errno),
                      "free space on the disk and start again: earlier answers are kept");
    at += static_cast<std::size_t>(n);
  }
  if (fdatasync(file_) != 0 && errno != EINVAL)
    throw UserError(Exit::machine, "E374", path_.string(), std::strerror(errno),
                    "free space on the disk and start again: earlier answers are kept");
}

void Journal::add(const Key &key, const Given &given) {
  const nlohmann::ordered_json line = {{"question", key.first},
                                       {"sample", key.second},
                                       {"ended", given.ended},
                                       {"tokens", given.tokens},
                                       {"answer", given.text}};
  // Bytes that are no UTF-8 (a model may say any) stand as U+FFFD, now as after a resume.
  const std::string text = line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  const std::lock_guard lock(mutex_);
  append(text + "\n");
  answers_[key] = {nlohmann::json::parse(text).at("answer"), given.ended, given.tokens};
}

const Given *Journal::find(const Key &key) const {
  const auto at = answers_.find(key);
  return at == answers_.end() ? nullptr : &at->second;
}

std::int64_t Journal::size() const {
  const std::lock_guard lock(mutex_);
  return static_cast<std::int64_t>(answers_.size());
}

} // namespace distil
