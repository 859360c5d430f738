// SPDX-License-Identifier: Apache-2.0
#include "data/corpus.hpp"

#include <algorithm>
#include <utility>

#include <nlohmann/json.hpp>

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/hash.hpp"
#include "base/text.hpp"

namespace data {
namespace {

using base::Exit;
using base::UserError;

constexpr std::size_t kLargestDocument = std::size_t{1} << 30;
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

bool blank(std::string_view text) {
  return text.find_first_not_of(" \t\r\n\v\f") == std::string_view::npos;
}

void drop_mark(std::string &text) {
  if (text.starts_with(kByteOrderMark)) text.erase(0, kByteOrderMark.size());
}

std::string field_names(const nlohmann::json &object) {
  std::string names;
  int count = 0;
  for (const auto &item : object.items()) {
    if (++count > 12) return names + ", ...";
    names += (names.empty() ? "" : ", ") + item.key();
  }
  return names.empty() ? "none" : names;
}

[[noreturn]] void changed(const FoundFile &file) {
  throw UserError(
      Exit::data, "E128", file.path.string(), "changed while the data was being built",
      "Its size is no longer the one that was listed; let its writer finish, then build again.");
}

} // namespace

Corpus::Corpus(const SourceOptions &source, BadText on_bad_text)
    : source_(source), on_bad_text_(on_bad_text) {
  FileQuery query{source.paths, source.include, source.exclude};
  if (query.include.empty() && source.format == TextFormat::jsonl) query.include = {"*.jsonl"};
  files_ = find_files(query, fmt::format("[[data.source]] \"{}\"", source.name));
  std::uint64_t sum = 0;
  for (const FoundFile &file : files_) {
    before_.push_back(sum);
    sum += file.size;
  }
  before_.push_back(sum);
}

std::optional<std::string> Corpus::next() {
  return source_.format == TextFormat::text ? next_text() : next_line();
}

void Corpus::seek(const Position &position) {
  HADAL_CHECK(position.file <= files_.size(), "position {} of {} files", position.file,
              files_.size());
  position_ = position;
  skipped_ = {};
  open_ = false;
  lines_.close();
}

std::uint64_t Corpus::bytes_read() const { return before_[position_.file] + position_.offset; }
std::uint64_t Corpus::bytes_total() const { return before_.back(); }

std::string Corpus::fingerprint() const {
  std::string text;
  for (const FoundFile &file : files_)
    text += fmt::format("{}\n{} {}\n", file.path.native(), file.size, file.modified);
  return base::hash128(text).hex();
}

std::optional<std::string> Corpus::next_text() {
  while (position_.file < files_.size()) {
    const FoundFile &file = files_[position_.file];
    std::string text = base::read_file(file.path, Exit::data, "E112", kLargestDocument);
    if (text.size() != file.size) changed(file);
    position_ = {position_.file + 1, 0, 0};
    drop_mark(text);
    if (auto document = accept(std::move(text), file.path.string())) return document;
  }
  return std::nullopt;
}

std::optional<std::string> Corpus::next_line() {
  std::string line;
  while (position_.file < files_.size()) {
    if (!open_lines()) continue;
    const std::string where =
        fmt::format("{}:{}", files_[position_.file].path.string(), position_.line + 1);
    if (!read_line(line)) {
      if (position_.offset != files_[position_.file].size) changed(files_[position_.file]);
      position_ = {position_.file + 1, 0, 0};
      open_ = false;
      continue;
    }
    if (position_.line == 1) drop_mark(line);
    if (blank(line)) continue; // an empty line between records is no document
    if (!base::text::valid_utf8(line)) {
      accept(std::move(line), where);
      continue;
    }
    if (auto document = accept(field_of(line, where), where)) return document;
  }
  return std::nullopt;
}

// Opens the file of the position where it is not open yet; false when it was empty.
bool Corpus::open_lines() {
  if (open_) return true;
  const FoundFile &file = files_[position_.file];
  lines_ = std::ifstream(file.path, std::ios::binary);
  if (lines_) lines_.seekg(static_cast<std::streamoff>(position_.offset));
  if (!lines_)
    throw UserError(Exit::data, "E112", file.path.string(), "cannot be read",
                    "Was it moved? Check its permissions, then build again.");
  if (position_.offset < file.size) return open_ = true;
  position_ = {position_.file + 1, 0, 0};
  return false;
}

bool Corpus::read_line(std::string &line) {
  line.clear();
  std::streambuf &buffer = *lines_.rdbuf();
  bool any = false;
  for (int c = buffer.sbumpc(); c != std::char_traits<char>::eof(); c = buffer.sbumpc()) {
    any = true;
    ++position_.offset;
    if (c == '\n') break;
    line.push_back(static_cast<char>(c));
    if (line.size() > kLargestDocument)
      throw UserError(
          Exit::data, "E113",
          fmt::format("{}:{}", files_[position_.file].path.string(), position_.line + 1),
          "a line longer than 1 GiB",
          "Is this a JSONL file, one object a line? Split the document.");
  }
  if (any) ++position_.line;
  return any;
}

// Applies the rules for bad and empty documents.
std::optional<std::string> Corpus::accept(std::string &&text, const std::string &where) {
  if (!base::text::valid_utf8(text)) {
    if (on_bad_text_ == BadText::stop)
      throw UserError(Exit::data, "E115", where, "is not valid UTF-8",
                      "Convert it (iconv -f LATIN1 -t UTF-8), leave it out by exclude, or set "
                      "data.on_bad_text = \"skip\".");
    ++skipped_.bad;
    return std::nullopt;
  }
  if (blank(text)) {
    ++skipped_.empty;
    return std::nullopt;
  }
  return std::move(text);
}

std::string Corpus::field_of(const std::string &line, const std::string &where) const {
  nlohmann::json object;
  try {
    object = nlohmann::json::parse(line);
  } catch (const nlohmann::json::exception &error) {
    std::string_view why = error.what();
    why.remove_prefix(std::min(why.size(), why.find("] ") + 2)); // the library's own numbering
    throw UserError(Exit::data, "E113", where, "not a JSON object: " + std::string(why),
                    "Each line must be one whole JSON object (JSONL).");
  }
  if (!object.is_object())
    throw UserError(Exit::data, "E113", where,
                    fmt::format("a JSON {}, not an object", object.type_name()),
                    "Each line must be one JSON object such as {\"text\": \"...\"}.");
  const auto found = object.find(source_.field);
  if (found == object.end())
    throw UserError(
        Exit::data, "E114", where, fmt::format("no field \"{}\"", source_.field),
        fmt::format(
            "The object has: {}. Name the field that holds the document in field of source \"{}\".",
            field_names(object), source_.name));
  if (!found->is_string())
    throw UserError(Exit::data, "E114", where,
                    fmt::format("field \"{}\" is a {}", source_.field, found->type_name()),
                    "The document must be a JSON string.");
  return found->get<std::string>();
}

} // namespace data
