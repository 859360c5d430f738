// SPDX-License-Identifier: Apache-2.0
// hadal tokenizer train|encode|decode (docs/tokenizer.md); chat and template are in chat.cpp.
#include <charconv>
#include <cstdio>
#include <memory>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "app/commands/chat.hpp"
#include "app/commands/commands.hpp"
#include "base/clock.hpp"
#include "base/files.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "data/glob.hpp"
#include "data/show.hpp"
#include "data/tokenizer.hpp"

namespace app {
namespace {

using base::Exit;
using base::UserError;

struct TrainArguments {
  std::vector<std::string> files;
  std::string output;
  data::TokenizerTraining training;
};

struct CodeArguments {
  std::string tokenizer, file = "-";
  bool special = false, pieces = false, skip_special = false;
};

// A file, or standard input for "-".
std::string read_input(const std::string &path) {
  if (path != "-") return base::read_file(path, Exit::data, "E112", std::size_t{4} << 30);
  std::string text;
  char block[1 << 16];
  for (ssize_t n; (n = ::read(STDIN_FILENO, block, sizeof block)) != 0;) {
    if (n < 0) throw UserError(Exit::data, "E112", "standard input", "cannot be read", "");
    text.append(block, static_cast<std::size_t>(n));
  }
  return text;
}

void write_output(std::string_view bytes) {
  const bool written = std::fwrite(bytes.data(), 1, bytes.size(), stdout) == bytes.size();
  if (written && std::fflush(stdout) == 0) return;
  throw UserError(Exit::data, "E117", "standard output", "cannot be written",
                  "The disk may be full, or the reader of the pipe has ended.");
}

int train(const TrainArguments &arguments) {
  const base::Stopwatch watch;
  data::TokenizerTrainer trainer(arguments.training);
  std::int64_t bytes = 0;
  for (const data::FoundFile &file :
       data::find_files({arguments.files, {}, {}}, "tokenizer train")) {
    const std::string text = base::read_file(file.path, Exit::data, "E112", std::size_t{1} << 30);
    bytes += static_cast<std::int64_t>(text.size());
    trainer.add(text);
  }
  const data::Tokenizer tokenizer = trainer.finish();
  base::write_file_atomic(arguments.output, tokenizer.to_json(), Exit::data, "E117");
  fmt::print("{}: {} tokens from {} of text in {}, hash {}\n", arguments.output, tokenizer.size(),
             base::text::bytes(bytes), base::text::duration(watch.seconds()),
             tokenizer.hash().hex());
  return 0;
}

// One line, whatever the token holds.
std::string piece(const data::Tokenizer &tokenizer, data::Token token) {
  std::string text = data::visible(tokenizer.token_bytes(token));
  std::erase(text, '\n');
  return fmt::format("{:>8}  {}\n", token, text);
}

int encode(const CodeArguments &arguments) {
  const data::Tokenizer tokenizer = data::Tokenizer::load(arguments.tokenizer);
  std::string text;
  for (const data::Token token : tokenizer.encode(read_input(arguments.file), arguments.special))
    text += arguments.pieces ? piece(tokenizer, token)
                             : fmt::format("{}{}", text.empty() ? "" : " ", token);
  if (!arguments.pieces) text += '\n';
  write_output(text);
  return 0;
}

// Numbers separated by white space.
std::vector<data::Token> parse_tokens(const std::string &text, const std::string &where) {
  std::vector<data::Token> tokens;
  const char *at = text.data(), *const end = at + text.size();
  while (true) {
    while (at < end && std::string_view(" \t\r\n").find(*at) != std::string_view::npos) ++at;
    if (at == end) return tokens;
    data::Token token = 0;
    const auto [next, error] = std::from_chars(at, end, token);
    const bool whole =
        next == end || std::string_view(" \t\r\n").find(*next) != std::string_view::npos;
    if (error != std::errc() || !whole)
      throw UserError(Exit::data, "E104", where, fmt::format("byte {}", at - text.data()),
                      "Here stands no token id. Give whole numbers separated by white space.");
    tokens.push_back(token);
    at = next;
  }
}

int decode(const CodeArguments &arguments) {
  const data::Tokenizer tokenizer = data::Tokenizer::load(arguments.tokenizer);
  const std::string where = arguments.file == "-" ? "standard input" : arguments.file;
  const std::string text =
      tokenizer.decode(parse_tokens(read_input(arguments.file), where), arguments.skip_special);
  write_output(text);
  return 0;
}

} // namespace

void add_tokenizer(CLI::App &program, Action &action) {
  CLI::App *command =
      program.add_subcommand("tokenizer", "train a tokenizer, encode, decode, chats");
  command->require_subcommand(1);

  auto training = std::make_shared<TrainArguments>();
  CLI::App *one =
      command->add_subcommand("train", "learn a byte-level BPE tokenizer from text files");
  one->add_option("FILES", training->files, "text files, a document each; folders and globs too")
      ->required();
  one->add_option("--output", training->output, "the tokenizer.json to write")->required();
  one->add_option("--vocabulary", training->training.vocabulary, "ids in all")
      ->capture_default_str();
  one->add_option("--min-count", training->training.min_count, "rarer pairs are not merged")
      ->capture_default_str();
  one->add_option("--add", training->training.extra_added_tokens, "one more added token")
      ->allow_extra_args(false);
  one->callback([training, &action] { action = [training] { return train(*training); }; });

  auto coding = std::make_shared<CodeArguments>();
  one = command->add_subcommand("encode", "text to ids");
  one->add_option("TOKENIZER", coding->tokenizer, "tokenizer.json")->required();
  one->add_option("FILE", coding->file, "text; - is standard input")->capture_default_str();
  one->add_flag("--special", coding->special, "the text of added tokens becomes their ids");
  one->add_flag("--pieces", coding->pieces, "a line for each token, with its text");
  one->callback([coding, &action] { action = [coding] { return encode(*coding); }; });

  one = command->add_subcommand("decode", "ids to text");
  one->add_option("TOKENIZER", coding->tokenizer, "tokenizer.json")->required();
  one->add_option("FILE", coding->file, "ids separated by white space; - is standard input")
      ->capture_default_str();
  one->add_flag("--skip-special", coding->skip_special, "leave added tokens out");
  one->callback([coding, &action] { action = [coding] { return decode(*coding); }; });

  add_tokenizer_chat(*command, action);
}

} // namespace app
