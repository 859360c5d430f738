// SPDX-License-Identifier: Apache-2.0
#include "eval/log.hpp"

#include <cerrno>
#include <cstring>

#include <fmt/format.h>

#include "base/files.hpp"
#include "eval/records.hpp"

namespace eval {

using base::Exit, base::UserError;
using data::Json;

namespace {

[[noreturn]] void cannot_write(const std::filesystem::path &path, const std::string &why) {
  throw UserError(Exit::machine, "E314", path.string(), "cannot be written: " + why,
                  "Free some space, check the permissions, or take another evaluate.directory.");
}

} // namespace

SampleLog::SampleLog(const std::filesystem::path &directory, const std::string &task,
                     const std::string &fingerprint, Existing existing) {
  if (directory.empty()) return;
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error) cannot_write(directory, error.message());
  path_ = directory / ("samples_" + task + ".jsonl");
  const bool there = existing == Existing::resume && std::filesystem::exists(path_, error) &&
                     std::filesystem::file_size(path_, error) > 0 && read(fingerprint);
  std::string text;
  write_line(text, Json{Json::Object{{"task", Json{task}}, {"fingerprint", Json{fingerprint}}}});
  text += "\n";
  if (there)
    for (const Sample &sample : samples_) text += to_line(sample);
  open(text);
}

// Lines up to the first that is cut or out of order; false when the file has not even its first line.
bool SampleLog::read(const std::string &fingerprint) {
  const std::string text = base::read_file(path_, Exit::machine, "E314");
  std::size_t begin = 0;
  bool head = true;
  for (std::size_t end = text.find('\n'); end != std::string::npos;
       begin = end + 1, end = text.find('\n', begin)) {
    const std::string_view line = std::string_view(text).substr(begin, end - begin);
    if (head) {
      head = false;
      std::string found;
      try {
        const Json json = Json::parse(line);
        if (const Json *value = json.find("fingerprint")) scalar_text(*value, found);
      } catch (const data::JsonError &) {
        found = "unreadable";
      }
      if (found != fingerprint)
        throw UserError(Exit::deck, "E313", path_.string(), "samples of another evaluation",
                        "Checkpoint, task, files or keys differ. Take another "
                        "evaluate.directory, or evaluate.existing = \"replace\".");
      continue;
    }
    Sample sample;
    if (!from_line(line, sample) || sample.index != static_cast<std::int64_t>(samples_.size()))
      break;
    Json all = Json::parse(line);
    auto &members = std::get<Json::Object>(all.value);
    Json::Object details;
    for (auto &[key, value] : members) {
      if (key != "index" && key != "group" && key != "values")
        details.emplace_back(key, std::move(value));
    }
    sample.details = Json{std::move(details)};
    samples_.push_back(std::move(sample));
  }
  return !head;
}

// What is kept is written anew, so that a cut line goes; then the file grows.
void SampleLog::open(const std::string &text) {
  base::write_file_atomic(path_, text, Exit::machine, "E314");
  file_.reset(std::fopen(path_.c_str(), "ab"));
  if (!file_) cannot_write(path_, std::strerror(errno));
}

void SampleLog::write(const std::string &text) {
  if (!file_) return;
  if (std::fwrite(text.data(), 1, text.size(), file_.get()) != text.size() ||
      std::fflush(file_.get()) != 0)
    cannot_write(path_, std::strerror(errno));
}

void SampleLog::add(std::vector<Sample> samples) {
  std::string text;
  for (Sample &sample : samples) {
    text += to_line(sample);
    samples_.push_back(std::move(sample));
  }
  write(text);
}

} // namespace eval
