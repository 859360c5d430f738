// SPDX-License-Identifier: Apache-2.0
// Reading tokenizer.json: what is accepted, and that everything else is refused by number and name.
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

#include "base/error.hpp"
#include "data/byte_alphabet.hpp"
#include "data/json.hpp"
#include "data/tokenizer.hpp"

namespace {

using data::Token;

// All bytes (ids in the order of their characters), then "ab", "abc", "bc"; merges in this order: b
// c, a b, a bc.
std::string valid_file() {
  std::string vocabulary, merges;
  int id = 0;
  for (const unsigned char byte : data::byte_alphabet::by_code_point()) {
    if (!vocabulary.empty()) vocabulary += ", ";
    data::write_json_string(vocabulary, data::byte_alphabet::text_of(byte));
    vocabulary += ": " + std::to_string(id++);
  }
  return R"({"version": "1.0", "truncation": null, "padding": null, "added_tokens": [
    {"id": 259, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true},
    {"id": 260, "content": "bc<s>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": true, "special": false}],
    "normalizer": null,
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
    "post_processor": null, "decoder": {"type": "ByteLevel"},
    "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null, "end_of_word_suffix": null,
      "fuse_unk": false, "byte_fallback": false, "ignore_merges": false, "vocab": {)" +
         vocabulary +
         R"(, "bc": 256, "ab": 257, "abc": 258}, "merges": ["b c", ["a", "b"], "a bc"]}})";
}

std::string changed(const std::string &from, const std::string &to) {
  std::string text = valid_file();
  const std::size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  EXPECT_EQ(text.find(from, at + 1), std::string::npos) << from << " stands twice";
  return text.replace(at, from.size(), to);
}

data::Tokenizer load(const std::string &text) {
  return data::Tokenizer::from_json(text, "tokenizer.json");
}

TEST(TokenizerFile, reads_both_forms_of_merges_and_writes_them_again) {
  const data::Tokenizer t = load(valid_file());
  EXPECT_EQ(t.size(), 261);
  EXPECT_EQ(t.encode("abc"), (std::vector<Token>{258})); // b c first, then a bc
  EXPECT_EQ(t.encode("ab"), (std::vector<Token>{257}));
  EXPECT_EQ(t.encode("ab abc").size(), 3u); // " abc" has no merge of the space
  const std::string written = t.to_json();
  EXPECT_EQ(load(written).to_json(), written);
  EXPECT_EQ(load(written).hash(), t.hash());
  EXPECT_EQ(load(written).encode("abcab"), t.encode("abcab"));
}

TEST(TokenizerFile, added_tokens_of_the_raw_set_go_first) {
  const data::Tokenizer t = load(valid_file());
  EXPECT_EQ(t.encode("bc<s>", true),
            (std::vector<Token>{256, 259})); // though bc<s> begins earlier and is longer
  EXPECT_EQ(t.encode("a<s><s>", true).size(), 3u);
  EXPECT_EQ(t.decode(std::vector<Token>{260, 259}, true), "bc<s>");
  EXPECT_EQ(t.bos(), 259);
  EXPECT_THROW(t.eos(), base::UserError); // E105: the file names none
}

TEST(TokenizerFile, ignore_merges_takes_a_whole_piece) {
  const std::string without = R"("merges": ["b c", ["a", "b"], "a bc"])",
                    some = R"("merges": ["b c", "a bc"])";
  std::string text = changed(without, some);
  EXPECT_EQ(load(text).encode("ab").size(), 2u);
  text.replace(text.find("\"ignore_merges\": false"), 22, "\"ignore_merges\": true");
  EXPECT_EQ(load(text).encode("ab"), (std::vector<Token>{257}));
  EXPECT_EQ(load(load(text).to_json()).encode("ab"),
            (std::vector<Token>{257})); // the key is written again
}

TEST(TokenizerFile, accepts_what_changes_nothing) {
  const std::pair<const char *, const char *> cases[] = {
      {"\"normalizer\": null", R"("normalizer": {"type": "Sequence", "normalizers": []})"},
      {"\"post_processor\": null",
       R"("post_processor": {"type": "TemplateProcessing", "single": []})"},
      {"\"dropout\": null", "\"dropout\": 0.0"},
      {"\"unk_token\": null", "\"unk_token\": \"<s>\""},
      {"\"end_of_word_suffix\": null", "\"end_of_word_suffix\": \"\""},
      {"\"type\": \"BPE\", ", ""},
      {"\"decoder\": {\"type\": \"ByteLevel\"}",
       R"("decoder": {"type": "Sequence", "decoders": [{"type": "ByteLevel"}]})"},
  };
  for (const auto &[from, to] : cases) {
    const std::string text = changed(from, to);
    EXPECT_EQ(load(text).encode("abc ab"), load(valid_file()).encode("abc ab")) << to;
    EXPECT_EQ(load(load(text).to_json()).to_json(), load(text).to_json()) << to;
  }
}

struct Fault {
  const char *from, *to, *says; // says: words of the message
};

const char *const kByteLevel =
    R"({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true})";
const char *const kMerges = R"("merges": ["b c", ["a", "b"], "a bc"])";

const Fault kFaults[] = {
    {"{\"version\"", "\"version\"", "no valid JSON at line 1"},
    {"\"version\": \"1.0\"", "\"version\": \"1.0\", \"version\": \"1.0\"",
     "\"version\" stands twice"},
    {"\"abc\": 258", "\"abc\": 258, \"abc\": 258", "\"abc\" stands twice"},
    {"\"abc\": 258", "\"abc\": 259", "the id 259"},
    {"\"abc\": 258", "\"abc\": 257", "the same id 257"},
    {"\"abc\": 258", "\"abc\": -1", "the id -1"},
    {"\"abc\": 258", "\"abc\": 258.0", "whole numbers"},
    {"\"abc\": 258", "\"abc\": \"258\"", "whole numbers"},
    {"\"abc\": 258", "\"abc\": 99999999999999999999", "whole numbers"},
    {"\"abc\": 258", "\"abc\": 1e999", "no valid JSON"},
    {"\"abc\": 258", "\"abc\\ud800\": 258", "no valid JSON"},
    {"\"abc\": 258", "\"\xFF\": 258", "no valid JSON"},
    {"\"abc\": 258", "\"abd\": 258", "\"abc\", which is not in model.vocab"},
    {"\"!\": 0", "\"!!\": 0", "the token of byte 33"},
    {kMerges, R"("merges": ["b c", "b c"])", "a second time"},
    {kMerges, R"("merges": ["b  c"])", "one space"},
    {kMerges, R"("merges": ["bc"])", "one space"},
    {kMerges, R"("merges": ["b zz"])", "\"zz\""},
    {kMerges, R"("merges": [["b", "c", "d"]])", "array of two strings"},
    {kMerges, R"("merges": [7])", "array of two strings"},
    {kMerges, R"("merges": {"b": "c"})", "model.merges"},
    {kMerges, R"("murges": [])", "model.murges"},
    {"\"id\": 260", "\"id\": 261", "hole"},
    {"\"id\": 260", "\"id\": 259", "the id 259 of"},
    {"\"id\": 260", "\"id\": 5", "in model.vocab"},
    {"\"id\": 260", "\"id\": -4", "-4"},
    {"\"id\": 260", "\"id\": 4294967296", "4294967296"},
    {"\"id\": 260", "\"id\": null", "whole number"},
    {"\"content\": \"bc<s>\"", "\"content\": \"<s>\"", "second time"},
    {"\"content\": \"bc<s>\"", "\"content\": \"\"", "no text"},
    {"\"content\": \"bc<s>\"", "\"content\": \"abc\"", "in model.vocab it is 258"},
    {"\"content\": \"bc<s>\", \"single_word\": false",
     "\"content\": \"bc<s>\", \"single_word\": true", "single_word"},
    {"\"content\": \"bc<s>\", \"single_word\": false", "\"content\": \"bc<s>\", \"single_word\": 1",
     "true or false"},
    {"\"padding\": null", "\"padding\": {}", "padding"},
    {"\"truncation\": null", "\"truncation\": {\"max_length\": 8}", "truncation"},
    {"\"normalizer\": null", R"("normalizer": {"type": "NFC"})", "NFC"},
    {"\"normalizer\": null",
     R"("normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}]})", "normalizer"},
    {"\"normalizer\": null", "\"normalizer\": \"NFC\"", "an object or null"},
    {"\"post_processor\": null", R"("post_processor": {"type": "BertProcessing"})",
     "BertProcessing"},
    {"\"decoder\": {\"type\": \"ByteLevel\"}", R"("decoder": {"type": "Metaspace"})", "Metaspace"},
    {"\"decoder\": {\"type\": \"ByteLevel\"}", "\"decoder\": null", "decoder"},
    {kByteLevel, "null", "pre_tokenizer"},
    {kByteLevel, R"({"type": "Whitespace"})", "Whitespace"},
    {kByteLevel, R"({"type": "ByteLevel"})", "add_prefix_space"},
    {kByteLevel, R"({"type": "ByteLevel", "add_prefix_space": false, "use_regex": "no"})",
     "true or false"},
    {kByteLevel, R"({"type": "Sequence", "pretokenizers": []})", "empty"},
    {kByteLevel, R"({"type": "Sequence", "pretokenizers": [{"type": "Digits"}]})", "Digits"},
    {kByteLevel,
     R"({"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": {"Regex": "\\w+"}, "behavior": "Isolated", "invert": false}, {"type": "ByteLevel", "add_prefix_space": false}]})",
     "\\w"},
    {kByteLevel,
     R"({"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": {"Regex": "a"}, "behavior": "Removed", "invert": false}, {"type": "ByteLevel", "add_prefix_space": false}]})",
     "Removed"},
    {"\"type\": \"BPE\"", "\"type\": \"WordPiece\"", "WordPiece"},
    {"\"type\": \"BPE\"", "\"type\": 3", "model.type"},
    {"\"dropout\": null", "\"dropout\": 0.1", "dropout"},
    {"\"byte_fallback\": false", "\"byte_fallback\": true", "byte_fallback"},
    {"\"continuing_subword_prefix\": null", "\"continuing_subword_prefix\": \"##\"",
     "continuing_subword_prefix"},
    {"\"fuse_unk\": false", "\"fuse_unk\": false, \"new_idea\": 1", "new_idea"},
};

TEST(TokenizerFile, refuses_what_it_does_not_do) {
  for (const Fault &fault : kFaults) {
    try {
      load(changed(fault.from, fault.to));
      ADD_FAILURE() << "accepted: " << fault.to;
    } catch (const base::UserError &error) {
      EXPECT_EQ(error.number(), "E101") << fault.to;
      EXPECT_EQ(error.code(), base::Exit::data);
      EXPECT_NE(std::string(error.what()).find(fault.says), std::string::npos)
          << fault.to << "\n  says: " << error.what();
      EXPECT_TRUE(std::string(error.what()).starts_with("tokenizer.json: ")) << error.what();
    }
  }
}

TEST(TokenizerFile, survives_any_cut_and_any_flipped_byte) {
  const std::string text = valid_file();
  int accepted = 0;
  const auto attempt = [&accepted](const std::string &broken) {
    try {
      load(broken);
      ++accepted;
    } catch (const base::UserError &) {
    }
  };
  for (std::size_t length = 0; length < text.size(); length += 7) attempt(text.substr(0, length));
  EXPECT_EQ(accepted, 0);
  for (std::size_t i = 0; i < text.size(); i += 3) {
    std::string broken = text;
    broken[i] = static_cast<char>(broken[i] ^ (1 << (i % 7)));
    attempt(broken);
  }
  attempt(std::string(100000, '['));
  attempt("");
  attempt("[]");
  attempt("null");
}

TEST(TokenizerFile, messages_show_any_bytes) {
  EXPECT_EQ(data::shown("plain"), "\"plain\"");
  EXPECT_EQ(data::shown("中\n\"\\"), "\"中\\x0a\\\"\\\\\"");
  EXPECT_EQ(data::shown("cut \xE4\xB8"), "\"cut \\xe4\\xb8\"");
  EXPECT_EQ(data::shown("0123456789", 4), "\"...6789\"");
  EXPECT_EQ(data::shown("a中中", 4), "\"...中\""); // no half a character
}

TEST(TokenizerFile, a_missing_file_is_named) {
  try {
    data::Tokenizer::load("no/such/tokenizer.json");
    FAIL();
  } catch (const base::UserError &error) {
    EXPECT_EQ(error.number(), "E100");
    EXPECT_EQ(error.code(), base::Exit::data);
    EXPECT_NE(std::string(error.what()).find("no/such/tokenizer.json"), std::string::npos);
  }
}

TEST(TokenizerFile, wrong_ids_and_wrong_text_are_errors_of_the_data) {
  const data::Tokenizer t = load(valid_file());
  for (const Token id : {-1, 261, 2147483647, -2147483647 - 1}) {
    EXPECT_THROW(t.decode(std::vector<Token>{id}), base::UserError) << id;
    EXPECT_THROW(t.token_bytes(id), base::UserError) << id;
    EXPECT_FALSE(t.is_special(id));
    EXPECT_TRUE(t.split_newline(id).empty());
  }
  try {
    t.encode("ab\xFF");
    FAIL();
  } catch (const base::UserError &error) {
    EXPECT_EQ(error.number(), "E102");
    EXPECT_NE(std::string(error.what()).find("byte 2"), std::string::npos) << error.what();
  }
}

} // namespace
