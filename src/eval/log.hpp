// SPDX-License-Identifier: Apache-2.0
#pragma once
// samples_<task>.jsonl: a first line that says what evaluation it is of, then a line for each question, in order. It grows batch by
// batch; what a broken evaluation left (whole lines) is taken up.
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "eval/options.hpp"
#include "eval/results.hpp"

namespace eval {

class SampleLog {
public:
  // directory "": nothing is read or written. Errors E313 (samples of another evaluation), E314 (cannot be written).
  SampleLog(const std::filesystem::path &directory, const std::string &task,
            const std::string &fingerprint, Existing existing);
  void add(std::vector<Sample> samples);
  const std::vector<Sample> &samples() const { return samples_; }

private:
  bool read(const std::string &fingerprint);
  void open(const std::string &head);
  void write(const std::string &text);

  struct Close {
    void operator()(std::FILE *file) const { std::fclose(file); }
  };
  std::filesystem::path path_;
  std::unique_ptr<std::FILE, Close> file_;
  std::vector<Sample> samples_;
};

} // namespace eval
