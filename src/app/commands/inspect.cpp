// SPDX-License-Identifier: Apache-2.0
// hadal inspect CHECKPOINT [--hash] [--verify] [--tensors]: what lies in a checkpoint.
#include <memory>
#include <sstream>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "app/commands/commands.hpp"
#include "base/text.hpp"
#include "checkpoint/checkpoint.hpp"
#include "train/fingerprint.hpp"

namespace app {
namespace {

struct InspectArguments {
  std::string place;
  bool hash = false, verify = false, tensors = false;
};

std::string value_text(const nlohmann::json &value) {
  std::string text = value.dump();
  if (text.size() > 60) text = text.substr(0, 57) + "...";
  return text;
}

// A checkpoint of many writers: how many files, and how much in all.
void print_state_files(const nlohmann::json &files) {
  std::int64_t count = 0, bytes = 0;
  for (const auto &[name, file] : files.items())
    if (name.starts_with("state-")) ++count, bytes += file.at("bytes").get<std::int64_t>();
  fmt::print("state       {} in {} file{}, state-00000.h5 and so on\n", base::text::bytes(bytes),
             count, count == 1 ? "" : "s");
}

void print_head(const checkpoint::Reader &reader) {
  const auto &m = reader.manifest();
  const auto &files = m.at("files");
  fmt::print("checkpoint  {}\n", reader.directory().string());
  fmt::print("step        {}\n", reader.step());
  fmt::print("written     {} by revision {}, format version {}\n", m.value("written", "?"),
             m.value("revision", "?"), m.at("format_version").get<std::int64_t>());
  if (files.contains("state.h5")) {
    const auto &file = files.at("state.h5");
    fmt::print("state.h5    {}, XXH3-128 {}\n",
               base::text::bytes(file.at("bytes").get<std::int64_t>()),
               file.at("xxh3_128").get<std::string>());
  } else {
    print_state_files(files);
  }
  for (const auto &[key, value] : m.at("info").items())
    if (key != "fingerprint")
      fmt::print("{:<11} {}\n", key,
                 value.is_string() ? value.get<std::string>() : value_text(value));
}

void print_fingerprint(const checkpoint::Reader &reader) {
  const auto fingerprint = train::fingerprint_of(reader);
  if (fingerprint.entries.empty()) return;
  fmt::print("\nfingerprint{}\n", train::has_fingerprint(reader)
                                      ? ""
                                      : " (none is stored; this is what its deck tells)");
  std::istringstream lines(arch::table(fingerprint));
  for (std::string line; std::getline(lines, line);) fmt::print("  {}\n", line);
}

void print_sections(const checkpoint::Reader &reader, bool tensors) {
  fmt::print("\n{:<16} {:>8} {:>18} {:>11}\n", "section", "tensors", "elements", "bytes");
  for (const auto &name : reader.section_names()) {
    const auto items = reader.describe(name);
    std::size_t elements = 0, bytes = 0;
    for (const auto &item : items) elements += item.size(), bytes += item.bytes();
    fmt::print("{:<16} {:>8} {:>18} {:>11}\n", name, items.size(),
               base::text::with_commas(static_cast<std::int64_t>(elements)),
               base::text::bytes(static_cast<std::int64_t>(bytes)));
    if (tensors)
      for (const auto &item : items)
        fmt::print("  {:<40} {:<5} [{}]\n", item.name, checkpoint::name_of(item.type),
                   fmt::join(item.shape, ", "));
    const auto scalars = reader.scalars(name);
    for (const auto &[key, value] : scalars.items())
      fmt::print("  {:<20} {}\n", key, value_text(value));
  }
}

// The checksums of all bytes, and the state hash of what lies in the file against the one noted.
void verify(const checkpoint::Reader &reader, const std::string &hash) {
  const std::string noted = reader.state_hash();
  if (!noted.empty() && noted != hash)
    throw base::UserError(base::Exit::checkpoint, "E211", reader.directory().string(),
                          fmt::format("has state hash {}, {} was written", hash, noted),
                          "The state changed between its hash and its writing: suspect the memory "
                          "of that machine. Use another checkpoint; nothing was deleted.");
  fmt::print("verified    all checksums are right\n");
}

int inspect(const InspectArguments &arguments) {
  const auto reader = checkpoint::Reader::open(arguments.place);
  print_head(reader);
  const bool read = arguments.hash || arguments.verify;
  const std::string hash = read ? reader.compute_state_hash() : reader.state_hash();
  if (arguments.verify) verify(reader, hash);
  print_sections(reader, arguments.tensors);
  print_fingerprint(reader);
  fmt::print("\nstate hash {}{}\n", hash, read ? "" : " (as noted; --hash reads the file)");
  return 0;
}

} // namespace

void add_inspect(CLI::App &program, Action &action) {
  CLI::App *command = program.add_subcommand("inspect", "what lies in a checkpoint");
  auto arguments = std::make_shared<InspectArguments>();
  command->add_option("CHECKPOINT", arguments->place, "a step directory or a run directory")
      ->required();
  command->add_flag("--hash", arguments->hash, "compute the state hash from the file");
  command->add_flag("--verify", arguments->verify, "compare all bytes with their checksums");
  command->add_flag("--tensors", arguments->tensors, "list every tensor");
  command->callback([arguments, &action] { action = [arguments] { return inspect(*arguments); }; });
}

} // namespace app
