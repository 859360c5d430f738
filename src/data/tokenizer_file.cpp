// SPDX-License-Identifier: Apache-2.0
#include "data/tokenizer_file.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <unordered_map>
#include <unordered_set>

#include <fmt/format.h>

#include "base/error.hpp"
#include "data/byte_alphabet.hpp"

namespace data {

namespace {

constexpr std::int64_t kMaxIds = std::int64_t{1} << 24;

class Reader {
public:
  explicit Reader(std::string_view where) : where_(where) {}

  TokenizerFile read(const Json &root) {
    if (!root.as<Json::Object>()) fail("the document", "is {} instead of an object", root.kind());
    known_keys(root, "",
               {"version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer",
                "post_processor", "decoder", "model"});
    for (const char *key : {"truncation", "padding"}) {
      if (const Json *value = root.find(key); value && !value->is_null()) {
        fail(key, "is set; texts are neither cut nor padded here. Set it to null");
      }
    }
    normalizer(copy(root, "normalizer", file_.normalizer));
    pre_tokenizer(copy(root, "pre_tokenizer", file_.pre_tokenizer));
    post_processor(copy(root, "post_processor", file_.post_processor), "post_processor");
    decoder(copy(root, "decoder", file_.decoder), "decoder");
    model(need<Json::Object>(root, "", "model", "an object"));
    added_tokens(root.find("added_tokens"));
    return std::move(file_);
  }

private:
  template <class... Args>
  [[noreturn]] void fail(std::string_view part, fmt::format_string<Args...> text,
                         Args &&...args) const {
    throw base::UserError(base::Exit::data, "E101", where_, part,
                          fmt::format(text, std::forward<Args>(args)...));
  }

  static std::string join(std::string_view path, std::string_view key) {
    return path.empty() ? std::string(key) : fmt::format("{}.{}", path, key);
  }

  // The member `key`, of type T; the whole Json is returned.
  template <class T>
  const Json &need(const Json &object, std::string_view path, std::string_view key,
                   const char *kind) const {
    const Json *value = object.find(key);
    if (!value) fail(join(path, key), "is missing; it must be {}", kind);
    if (!value->as<T>()) fail(join(path, key), "is {}; it must be {}", value->kind(), kind);
    return *value;
  }

  bool flag(const Json &object, std::string_view path, std::string_view key, bool otherwise) const {
    const Json *value = object.find(key);
    if (!value || value->is_null()) return otherwise;
    if (!value->as<bool>()) fail(join(path, key), "is {}; it must be true or false", value->kind());
    return *value->as<bool>();
  }

  void known_keys(const Json &object, std::string_view path,
                  std::initializer_list<std::string_view> known) const {
    for (const auto &[key, value] : *object.as<Json::Object>()) {
      if (std::ranges::find(known, key) == known.end()) {
        std::string names;
        for (const std::string_view name : known) {
          if (!names.empty()) names += ", ";
          names += name;
        }
        fail(join(path, key), "is not a key known here; the known ones are {}", names);
      }
    }
  }

  static const Json &copy(const Json &root, std::string_view key, Json &out) {
    if (const Json *value = root.find(key)) out = *value;
    return out;
  }

  // "type" of a part that is an object.
  const std::string &type(const Json &part, std::string_view path) const {
    if (!part.as<Json::Object>()) fail(path, "is {}; it must be an object or null", part.kind());
    return *need<std::string>(part, path, "type", "a string").as<std::string>();
  }

  void normalizer(const Json &part) const {
    if (part.is_null()) return;
    const std::string &name = type(part, "normalizer");
    if (name != "Sequence")
      fail("normalizer", "is {}; only none or an empty Sequence is known here", name);
    if (!need<Json::Array>(part, "normalizer", "normalizers", "an array")
             .as<Json::Array>()
             ->empty()) {
      fail("normalizer", "changes the text; only none or an empty Sequence is known here");
    }
  }

  void pre_tokenizer(const Json &part) {
    if (part.is_null()) fail("pre_tokenizer", "is missing; it must end in ByteLevel");
    std::vector<const Json *> steps;
    if (type(part, "pre_tokenizer") == "Sequence") {
      const Json &list = need<Json::Array>(part, "pre_tokenizer", "pretokenizers", "an array");
      for (const Json &step : *list.as<Json::Array>()) steps.push_back(&step);
    } else {
      steps.push_back(&part);
    }
    if (steps.empty()) fail("pre_tokenizer", "is empty; it must end in ByteLevel");
    for (std::size_t i = 0; i < steps.size(); ++i) {
      const std::string path =
          steps.size() == 1 ? "pre_tokenizer" : fmt::format("pre_tokenizer.pretokenizers[{}]", i);
      const std::string &name = type(*steps[i], path);
      const bool last = i + 1 == steps.size();
      if (last != (name == "ByteLevel"))
        fail(path, "is {}; known are Split, and ByteLevel as the last one", name);
      last ? byte_level(*steps[i], path) : split(*steps[i], path, name);
    }
    try {
      Splitter(file_.splits, false);
    } catch (const PatternError &error) {
      fail("pre_tokenizer", "{}", error.what());
    }
  }

  void byte_level(const Json &step, const std::string &path) {
    known_keys(step, path, {"type", "add_prefix_space", "trim_offsets", "use_regex"});
    if (flag(step, path, "add_prefix_space", true)) {
      fail(path + ".add_prefix_space",
           "is true (also when it is not stated); it would change the text");
    }
    flag(step, path, "trim_offsets", true);
    if (flag(step, path, "use_regex", true)) file_.splits.push_back({kByteLevelPattern});
  }

  void split(const Json &step, const std::string &path, const std::string &name) {
    if (name != "Split") fail(path, "is {}; known are Split, and ByteLevel as the last one", name);
    known_keys(step, path, {"type", "pattern", "behavior", "invert"});
    flag(step, path, "invert", false); // Isolated keeps matches and gaps alike
    const std::string &behavior =
        *need<std::string>(step, path, "behavior", "a string").as<std::string>();
    if (behavior != "Isolated")
      fail(path + ".behavior", "is {}; only Isolated is known here", behavior);
    const Json &pattern = need<Json::Object>(step, path, "pattern", "an object");
    known_keys(pattern, path + ".pattern", {"Regex", "String"});
    const bool literal = pattern.find("String") != nullptr;
    const Json &text =
        need<std::string>(pattern, path + ".pattern", literal ? "String" : "Regex", "a string");
    if (pattern.as<Json::Object>()->size() != 1)
      fail(path + ".pattern", "has both Regex and String");
    file_.splits.push_back({*text.as<std::string>(), literal});
  }

  // Adds tokens round a text in other programs; encode never does (docs/tokenizer.md), so that
  // these change nothing.
  void post_processor(const Json &part, const std::string &path) const {
    if (part.is_null()) return;
    const std::string &name = type(part, path);
    if (name == "ByteLevel" || name == "TemplateProcessing") return;
    if (name != "Sequence")
      fail(path, "is {}; known are ByteLevel, TemplateProcessing and Sequence", name);
    for (const Json &step :
         *need<Json::Array>(part, path, "processors", "an array").as<Json::Array>()) {
      if (type(step, path) == "Sequence") fail(path, "is a Sequence within a Sequence");
      post_processor(step, path + ".processors");
    }
  }

  void decoder(const Json &part, const std::string &path) const {
    if (part.is_null()) fail(path, "is missing; it must be ByteLevel");
    const std::string &name = type(part, path);
    if (name == "ByteLevel") return;
    const Json *list = part.find("decoders");
    const bool one = name == "Sequence" && list && list->as<Json::Array>() &&
                     list->as<Json::Array>()->size() == 1;
    if (!one || type((*list->as<Json::Array>())[0], path) != "ByteLevel") {
      fail(path, "is {}; only ByteLevel is known here", name);
    }
  }

  void model(const Json &part) {
    known_keys(part, "model",
               {"type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix",
                "fuse_unk", "byte_fallback", "ignore_merges", "vocab", "merges"});
    if (const Json *name = part.find("type"); name && type(part, "model") != "BPE") {
      fail("model.type", "is {}; only BPE is known here", *name->as<std::string>());
    }
    if (const Json *rate = part.find("dropout"); rate && !rate->is_null()) {
      const bool zero = (rate->as<double>() && *rate->as<double>() == 0) ||
                        (rate->as<std::int64_t>() && *rate->as<std::int64_t>() == 0);
      if (!zero) fail("model.dropout", "is set; random merges are not done here. Set it to null");
    }
    for (const char *key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
      const Json *text = part.find(key);
      if (text && !text->is_null() &&
          !(text->as<std::string>() && text->as<std::string>()->empty())) {
        fail(join("model", key), "is set; byte-level merges have none. Set it to null");
      }
    }
    if (const Json *unknown = part.find("unk_token");
        unknown && !unknown->is_null() && !unknown->as<std::string>()) {
      fail("model.unk_token", "is {}; it must be a string or null", unknown->kind());
    }
    flag(part, "model", "fuse_unk", false); // every byte has its token, so nothing is unknown
    if (flag(part, "model", "byte_fallback", false))
      fail("model.byte_fallback", "is true; only byte-level is known here");
    file_.ignore_merges = flag(part, "model", "ignore_merges", false);
    vocabulary(need<Json::Object>(part, "model", "vocab", "an object"));
    merges(need<Json::Array>(part, "model", "merges", "an array"));
    for (const auto &[key, value] : *part.as<Json::Object>()) {
      if (key != "vocab" && key != "merges") file_.model_scalars.emplace_back(key, value);
    }
  }

  void vocabulary(const Json &part) {
    const auto &members = *part.as<Json::Object>();
    const auto size = static_cast<std::int64_t>(members.size());
    if (size > kMaxIds)
      fail("model.vocab", "has {} entries; at most {} are accepted", size, kMaxIds);
    file_.vocabulary.resize(members.size());
    std::vector<bool> taken(members.size());
    id_of_.reserve(members.size());
    for (const auto &[text, value] : members) {
      const auto *id = value.as<std::int64_t>();
      if (!id) fail("model.vocab", "gives {} {}; ids are whole numbers", shown(text), value.kind());
      if (*id < 0 || *id >= size) {
        fail("model.vocab", "gives {} the id {}; {} entries have the ids 0 to {} without holes",
             shown(text), *id, size, size - 1);
      }
      const auto i = static_cast<std::size_t>(*id);
      if (taken[i])
        fail("model.vocab", "gives {} and {} the same id {}", shown(file_.vocabulary[i]),
             shown(text), *id);
      taken[i] = true;
      file_.vocabulary[i] = text;
      id_of_.emplace(text, static_cast<Token>(*id));
    }
    for (int byte = 0; byte < 256; ++byte) {
      const std::string &text = byte_alphabet::text_of(static_cast<unsigned char>(byte));
      if (!id_of_.contains(text)) {
        fail("model.vocab", "lacks {}, the token of byte {}; byte-level merges begin with all 256",
             shown(text), byte);
      }
    }
  }

  Token part_of_merge(std::size_t rank, std::string_view text) const {
    const auto found = id_of_.find(text);
    if (found == id_of_.end())
      fail("model.merges", "number {} names {}, which is not in model.vocab", rank, shown(text));
    if (!byte_alphabet::to_bytes(text)) {
      fail("model.merges",
           "number {} names {}, which has characters outside the byte-level alphabet", rank,
           shown(text));
    }
    return found->second;
  }

  void merges(const Json &part) {
    const auto &list = *part.as<Json::Array>();
    file_.merges.reserve(list.size());
    std::unordered_set<std::uint64_t> pairs;
    pairs.reserve(list.size());
    for (std::size_t rank = 0; rank < list.size(); ++rank) {
      std::string_view left, right;
      const auto *text = list[rank].as<std::string>();
      const auto *both = list[rank].as<Json::Array>();
      if (text) {
        const std::size_t space = text->find(' ');
        if (space == std::string::npos || text->find(' ', space + 1) != std::string::npos) {
          fail("model.merges", "number {} is {}; it must be two tokens with one space between them",
               rank, shown(*text));
        }
        left = std::string_view(*text).substr(0, space);
        right = std::string_view(*text).substr(space + 1);
      } else if (both && both->size() == 2 && (*both)[0].as<std::string>() &&
                 (*both)[1].as<std::string>()) {
        left = *(*both)[0].as<std::string>();
        right = *(*both)[1].as<std::string>();
      } else {
        fail("model.merges", "number {} is {}; it must be a string or an array of two strings",
             rank, list[rank].kind());
      }
      const Token l = part_of_merge(rank, left), r = part_of_merge(rank, right);
      const std::string whole = std::string(left) + std::string(right);
      const auto merged = id_of_.find(whole);
      if (merged == id_of_.end())
        fail("model.merges", "number {} makes {}, which is not in model.vocab", rank, shown(whole));
      if (!pairs.insert(static_cast<std::uint64_t>(l) << 32 | static_cast<std::uint32_t>(r))
               .second) {
        fail("model.merges", "number {} joins {} and {} a second time", rank, shown(left),
             shown(right));
      }
      file_.merges.push_back({l, r, merged->second});
    }
  }

  void added_tokens(const Json *part) {
    if (!part || part->is_null()) return;
    const auto *list = part->as<Json::Array>();
    if (!list) fail("added_tokens", "is {}; it must be an array", part->kind());
    std::unordered_set<std::string_view> contents;
    std::unordered_map<std::int64_t, std::string_view> ids;
    for (std::size_t i = 0; i < list->size(); ++i) {
      const Json &entry = (*list)[i];
      const std::string path = fmt::format("added_tokens[{}]", i);
      if (!entry.as<Json::Object>()) fail(path, "is {}; it must be an object", entry.kind());
      known_keys(entry, path,
                 {"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"});
      const std::int64_t id =
          *need<std::int64_t>(entry, path, "id", "a whole number").as<std::int64_t>();
      const std::string &content =
          *need<std::string>(entry, path, "content", "a string").as<std::string>();
      for (const char *key : {"single_word", "lstrip", "rstrip"}) {
        if (flag(entry, path, key, false))
          fail(join(path, key), "is true; added tokens match their text alone here");
      }
      if (content.empty()) fail(path, "has no text");
      if (!contents.insert(content).second) fail(path, "is {} for the second time", shown(content));
      if (id < 0 || id >= kMaxIds) fail(path, "has the id {}; ids are 0 to {}", id, kMaxIds - 1);
      const auto [other, is_new] = ids.emplace(id, content);
      if (!is_new) fail(path, "gives {} the id {} of {}", shown(content), id, shown(other->second));
      const bool special = flag(entry, path, "special", false);
      file_.added.push_back(
          {content, static_cast<Token>(id), special, flag(entry, path, "normalized", !special)});
    }
    std::ranges::sort(file_.added, {}, &AddedToken::id);
    check_added_ids();
  }

  void check_added_ids() const {
    auto next = static_cast<Token>(file_.vocabulary.size());
    for (const AddedToken &token : file_.added) {
      const auto known = id_of_.find(token.content);
      if (known != id_of_.end() && known->second != token.id) {
        fail("added_tokens", "gives {} the id {}; in model.vocab it is {}", shown(token.content),
             token.id, known->second);
      }
      if (known != id_of_.end()) continue;
      if (token.id < static_cast<Token>(file_.vocabulary.size())) {
        fail("added_tokens", "gives {} the id {}, which in model.vocab is {}", shown(token.content),
             token.id, shown(file_.vocabulary[static_cast<std::size_t>(token.id)]));
      }
      if (token.id != next) {
        fail("added_tokens", "leaves a hole: after id {} comes {} ({})", next - 1, token.id,
             shown(token.content));
      }
      ++next;
    }
  }

  std::string_view where_;
  TokenizerFile file_;
  std::unordered_map<std::string_view, Token> id_of_; // views of the document's strings
};

} // namespace

TokenizerFile TokenizerFile::parse(std::string_view json, std::string_view where) {
  try {
    return Reader(where).read(Json::parse(json));
  } catch (const JsonError &error) {
    throw base::UserError(base::Exit::data, "E101", where, "not a tokenizer.json", error.what());
  }
}

} // namespace data
