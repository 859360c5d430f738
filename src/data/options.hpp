// SPDX-License-Identifier: Apache-2.0
#pragma once
// The deck's [data] table and its [[data.source]] list (docs/data.md): where text comes from, how it becomes token shards,
// and how documents are packed into samples.
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "deck/deck.hpp"

namespace data {

enum class TextFormat { text, jsonl };
enum class BadText { stop, skip };

// One [[data.source]]: a named body of text with its weight in the mixture.
struct SourceOptions {
  std::string name;
  std::vector<std::string> paths, include, exclude;
  TextFormat format = TextFormat::text;
  std::string field;
  double weight = 1.0;
  template <class R> void keys(R &r) {
    r.required(name, "name",
               "short name of the source; names its shards, so letters, digits, - and _ only");
    r.required(paths, "paths",
               "files, folders (read recursively) and globs (*, ?, [abc], **); symbolic links are "
               "not followed");
    r.key(include, "include",
          "file-name patterns that files from folders and globs must match; empty: all (jsonl: "
          "*.jsonl)");
    r.key(exclude, "exclude",
          "file-name patterns of files from folders and globs that are left out");
    r.template choice<TextFormat>(format, "format", TextFormat::text,
                                  {{"text", TextFormat::text}, {"jsonl", TextFormat::jsonl}},
                                  "text: a file is a document; jsonl: a line is a JSON object with "
                                  "the document in one field");
    r.key(field, "field", "text", "jsonl only: name of the field that holds the document");
    r.key(
        weight, "weight", 1.0, 0.0, 1e9, "",
        "share of the samples drawn from this source, relative to the others; 0: built, not read");
  }
};

// The table [data]. What build() makes depends on the keys up to on_bad_text and on the sources without their weights.
struct Options {
  std::string directory, tokenizer;
  std::int64_t vocabulary = 0, tokenizer_text = 0, shard_tokens = 0, seed = 0;
  double validation = 0.0, newline_split = 0.0;
  BadText on_bad_text = BadText::stop;
  bool mask_documents = false;
  double fim_rate = 0.0;
  std::vector<SourceOptions> sources;

  template <class R> void keys(R &r) {
    r.key(directory, "directory", "", "where the shards lie; empty: checkpoints/data/<deck name>");
    r.key(tokenizer, "tokenizer", "",
          "path of a tokenizer.json; empty: one is trained on the training text");
    r.key(vocabulary, "vocabulary", 4096, 320, 1 << 20, "tokens",
          "size of a trained tokenizer, added tokens included");
    r.key(tokenizer_text, "tokenizer_text", 64000000, 1, std::int64_t{1} << 40, "bytes",
          "about how much text a tokenizer is trained on; documents are drawn evenly");
    r.key(validation, "validation", 0.02, 0.0, 0.9, "",
          "share of the documents held out, chosen by the hash of their content");
    r.key(shard_tokens, "shard_tokens", 16 << 20, 16, std::int64_t{1} << 32, "tokens",
          "a shard is closed at the first document end at or beyond this size");
    r.key(newline_split, "newline_split", 0.0, 0.0, 1.0, "",
          "share of the tokens joining punctuation and line breaks that are split in the training "
          "text");
    r.key(seed, "seed", 0, 0, std::int64_t{1} << 62, "",
          "seed of the random decisions made while building (newline_split)");
    r.template choice<BadText>(on_bad_text, "on_bad_text", BadText::stop,
                               {{"stop", BadText::stop}, {"skip", BadText::skip}},
                               "what to do with a document that is not valid UTF-8: stop with an "
                               "error, or skip and count it");
    r.key(mask_documents, "mask_documents", false,
          "documents packed into one sample do not see each other");
    r.key(fim_rate, "fim_rate", 0.1, 0.0, 1.0, "",
          "share of the documents rewritten for fill-in-the-middle: prefix, suffix, middle");
  }
  std::vector<double> weights() const; // of the sources, in deck order
};

// Reads [data] and [[data.source]] and checks them against each other (E110).
Options read_options(deck::Deck &deck);
// What cannot be checked key by key; where: deck path for the message.
void check_options(const Options &options, const std::string &where);
// options.directory, or checkpoints/data/<deck name>.
std::filesystem::path directory_of(const Options &options, const std::string &deck_path);

} // namespace data
