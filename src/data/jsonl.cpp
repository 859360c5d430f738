// SPDX-License-Identifier: Apache-2.0
#include "data/jsonl.hpp"

#include <fmt/format.h>

#include "base/error.hpp"

namespace data {
namespace {

using base::Exit;
using base::UserError;

constexpr std::size_t kLongestLine = std::size_t{1} << 30;
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

} // namespace

bool JsonLines::read(std::string &line) {
  line.clear();
  std::streambuf &buffer = *in_.rdbuf();
  bool any = false;
  for (int c = buffer.sbumpc(); c != std::char_traits<char>::eof(); c = buffer.sbumpc()) {
    any = true;
    if (c == '\n') break;
    line.push_back(static_cast<char>(c));
    if (line.size() > kLongestLine)
      throw UserError(Exit::data, "E113",
                      fmt::format("{}:{}", files_[file_].path.string(), line_ + 1),
                      "a line longer than 1 GiB", "Is this a JSONL file, one object a line?");
  }
  if (any) ++line_;
  return any;
}

std::vector<JsonLine> JsonLines::next(std::size_t bytes) {
  std::vector<JsonLine> lines;
  std::size_t held = 0;
  std::string line;
  while (held < bytes && file_ < files_.size()) {
    const std::string name = files_[file_].path.string();
    if (!open_) {
      in_ = std::ifstream(files_[file_].path, std::ios::binary);
      if (!in_)
        throw UserError(Exit::data, "E112", name, "cannot be read",
                        "Was it moved? Check its permissions.");
      open_ = true;
    }
    if (!read(line)) {
      open_ = false;
      ++file_;
      line_ = 0;
      continue;
    }
    if (line_ == 1 && line.starts_with(kByteOrderMark)) line.erase(0, kByteOrderMark.size());
    if (line.find_first_not_of(" \t\r\v\f") == std::string::npos) continue;
    held += line.size();
    lines.push_back({std::move(line), fmt::format("{}:{}", name, line_)});
    line.clear();
  }
  return lines;
}

} // namespace data
