// SPDX-License-Identifier: Apache-2.0
// Writes tokenizer.json in the layout of the published DeepSeek-V3 file (a test gets that file back
// byte for byte).
#include "data/tokenizer_file.hpp"

namespace data {

namespace {

Json object(Json::Object members) { return Json{std::move(members)}; }
Json text(const char *value) { return Json{std::string(value)}; }

Json byte_level_part(bool add_prefix_space, bool trim_offsets, bool use_regex) {
  return object({{"type", text("ByteLevel")},
                 {"add_prefix_space", Json{add_prefix_space}},
                 {"trim_offsets", Json{trim_offsets}},
                 {"use_regex", Json{use_regex}}});
}

} // namespace

TokenizerFile deepseek_form() {
  TokenizerFile form;
  Json::Array steps;
  for (const SplitRule &rule : deepseek_rules()) {
    form.splits.push_back(rule);
    steps.push_back(object({{"type", text("Split")},
                            {"pattern", object({{"Regex", Json{rule.pattern}}})},
                            {"behavior", text("Isolated")},
                            {"invert", Json{false}}}));
  }
  steps.push_back(byte_level_part(false, true, false));
  form.normalizer = object({{"type", text("Sequence")}, {"normalizers", Json{Json::Array{}}}});
  form.pre_tokenizer =
      object({{"type", text("Sequence")}, {"pretokenizers", Json{std::move(steps)}}});
  form.post_processor = byte_level_part(true, false, true);
  form.decoder = byte_level_part(true, true, true);
  form.model_scalars = {{"type", text("BPE")},          {"dropout", Json{}},
                        {"unk_token", Json{}},          {"continuing_subword_prefix", Json{}},
                        {"end_of_word_suffix", Json{}}, {"fuse_unk", Json{false}},
                        {"byte_fallback", Json{false}}};
  return form;
}

std::string TokenizerFile::to_json() const {
  Json::Array tokens;
  for (const AddedToken &token : added) {
    tokens.push_back(object({{"id", Json{static_cast<std::int64_t>(token.id)}},
                             {"content", Json{token.content}},
                             {"single_word", Json{false}},
                             {"lstrip", Json{false}},
                             {"rstrip", Json{false}},
                             {"normalized", Json{token.normalized}},
                             {"special", Json{token.special}}}));
  }
  Json::Object model = model_scalars;
  Json::Object words;
  for (std::size_t id = 0; id < vocabulary.size(); ++id) {
    words.emplace_back(vocabulary[id], Json{static_cast<std::int64_t>(id)});
  }
  Json::Array pairs;
  for (const MergePair &merge : merges) {
    pairs.push_back(Json{vocabulary[static_cast<std::size_t>(merge.left)] + " " +
                         vocabulary[static_cast<std::size_t>(merge.right)]});
  }
  model.emplace_back("vocab", Json{std::move(words)});
  model.emplace_back("merges", Json{std::move(pairs)});
  std::string out;
  object({{"version", text("1.0")},
          {"truncation", Json{}},
          {"padding", Json{}},
          {"added_tokens", Json{std::move(tokens)}},
          {"normalizer", normalizer},
          {"pre_tokenizer", pre_tokenizer},
          {"post_processor", post_processor},
          {"decoder", decoder},
          {"model", object(std::move(model))}})
      .write(out);
  return out;
}

} // namespace data
