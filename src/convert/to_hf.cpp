// SPDX-License-Identifier: Apache-2.0
#include "convert/to_hf.hpp"

#include <fmt/format.h>

#include "arch/hf_config.hpp"
#include "base/files.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "convert/hf_plan.hpp"
#include "convert/out.hpp"
#include "convert/shard_writer.hpp"
#include "convert/source.hpp"
#include "data/chat_jinja.hpp"
#include "data/chat_template.hpp"
#include "data/tokenizer.hpp"

namespace convert {

namespace fs = std::filesystem;
namespace st = checkpoint::safetensors;
using base::Exit;

namespace {

void write_text(const fs::path &path, const std::string &text) {
  base::write_file_atomic(path, text, Exit::checkpoint, "E149");
}

std::string companion(const Source &source, const char *name) {
  return source.reader().text_file(name).value_or("");
}

// The tokenizer's files as they came; for a tokenizer that was trained here, those that other programs look for are made.
void write_tokenizer(const ToHf &o, const Source &source, arch::HfWriting &config,
                     std::string &generation) {
  const std::string text = companion(source, "tokenizer.json");
  if (text.empty()) {
    base::log::warn("{} has no tokenizer: none is exported", source.reader().directory().string());
    return;
  }
  const auto tokenizer =
      data::Tokenizer::from_json(text, (source.reader().directory() / "tokenizer.json").string());
  config.bos = tokenizer.bos(), config.eos = tokenizer.eos();
  write_text(o.out / "tokenizer.json", text);
  std::string settings = companion(source, "tokenizer_config.json");
  if (settings.empty())
    settings = data::chat::tokenizer_config_text(tokenizer, data::chat::Form::corrected);
  write_text(o.out / "tokenizer_config.json", settings);
  if (const std::string jinja = companion(source, "chat_template.jinja"); !jinja.empty())
    write_text(o.out / "chat_template.jinja", jinja);
  if (generation.empty())
    generation = fmt::format("{{\n  \"bos_token_id\": {},\n  \"eos_token_id\": {}\n}}\n",
                             config.bos, config.eos);
}

// Shards of at most so many bytes (a larger tensor has one of its own), tensors in the order of the model.
std::vector<std::vector<HfTensor>> cut_into_shards(std::vector<HfTensor> tensors,
                                                   std::uint64_t most) {
  std::vector<std::vector<HfTensor>> shards(1);
  std::uint64_t bytes = 0;
  for (HfTensor &tensor : tensors) {
    if (bytes > 0 && bytes + tensor.bytes() > most) {
      shards.emplace_back();
      bytes = 0;
    }
    bytes += tensor.bytes();
    shards.back().push_back(std::move(tensor));
  }
  return shards;
}

void write_tensors(const ToHf &o, std::vector<HfTensor> tensors) {
  const auto shards = cut_into_shards(std::move(tensors), o.shard_bytes);
  st::Index index;
  for (std::size_t i = 0; i < shards.size(); ++i) {
    const std::string name =
        shards.size() == 1 ? "model.safetensors"
                           : fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards.size());
    write_shard(o.out / name, shards[i]);
    for (const HfTensor &tensor : shards[i]) {
      index.total_size += tensor.bytes();
      index.files.emplace_back(tensor.name, name);
    }
    base::log::info("{} written ({} tensors)", name, shards[i].size());
  }
  if (shards.size() > 1) write_text(o.out / "model.safetensors.index.json", st::make_index(index));
  base::log::info("{} tensors, {}", index.files.size(),
                  base::text::bytes(static_cast<std::int64_t>(index.total_size)));
}

} // namespace

void to_hf(const ToHf &o) {
  const Source source = Source::open(o.checkpoint, o.section);
  arch::HfWriting config;
  config.max_positions = source.max_positions();
  config.dtype = o.type == HfType::f32 ? "float32" : "bfloat16";
  config.fp8 = o.type == HfType::fp8;
  config.original = companion(source, "hf_config.json");
  arch::write_hf_config(source.dims(),
                        config); // refuses what cannot be said before anything is written
  NewFolder out(o.out);
  std::string generation = companion(source, "generation_config.json");
  write_tokenizer(o, source, config, generation);
  write_text(o.out / "config.json", arch::write_hf_config(source.dims(), config));
  if (!generation.empty()) write_text(o.out / "generation_config.json", generation);
  write_tensors(o, plan_hf(source, o.type));
  base::sync_directory(o.out);
  out.keep();
  base::log::info("{} written", o.out.string());
}

} // namespace convert
