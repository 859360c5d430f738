// SPDX-License-Identifier: Apache-2.0
#include "convert/from_hf.hpp"

#include <fmt/format.h>

#include "arch/counts.hpp"
#include "arch/fingerprint.hpp"
#include "arch/hf_config.hpp"
#include "arch/options.hpp"
#include "base/files.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "convert/hf_tensors.hpp"
#include "convert/out.hpp"
#include "data/tokenizer.hpp"

namespace convert {

namespace fs = std::filesystem;
namespace st = checkpoint::safetensors;
using base::Exit, base::UserError;

namespace {

constexpr std::size_t kMostText = std::size_t{1} << 28;

arch::HfConfig read_config(const FromHf &o) {
  const fs::path path = o.directory / "config.json";
  const std::string text = base::read_file(path, Exit::checkpoint, "E140", 1 << 24);
  try {
    arch::HfConfig config = arch::read_hf_config(text, path.string());
    if (o.without_mtp) config.dims.mtp_depth = 0;
    return config;
  } catch (const UserError &error) {
    throw error.with(Exit::checkpoint);
  }
}

// Small files that stand beside the tensors, as they are; config.json under another name.
std::vector<std::pair<std::string, std::string>> companions_of(const fs::path &directory) {
  std::vector<std::pair<std::string, std::string>> found;
  for (const std::string name : checkpoint::kCompanions) {
    const fs::path path = directory / (name == "hf_config.json" ? "config.json" : name);
    std::error_code error;
    if (fs::exists(path, error))
      found.emplace_back(name, base::read_file(path, Exit::data, "E100", kMostText));
  }
  return found;
}

// tokenizer.json, checked: its text goes into the checkpoint, its hash into the manifest.
std::string read_tokenizer(const FromHf &o, const arch::Dims &dims, nlohmann::json &info) {
  const fs::path path = o.directory / "tokenizer.json";
  std::error_code error;
  if (!fs::exists(path, error)) {
    base::log::warn("{} holds no tokenizer.json: the checkpoint can be trained on, but not speak",
                    o.directory.string());
    return "";
  }
  std::string text = base::read_file(path, Exit::data, "E100", kMostText);
  const auto tokenizer = data::Tokenizer::from_json(text, path.string());
  if (tokenizer.size() > dims.vocabulary)
    throw UserError(Exit::data, "E101", path.string(),
                    fmt::format("has {} ids, config.json says vocab_size = {}", tokenizer.size(),
                                dims.vocabulary),
                    "The tokenizer belongs to another model.");
  info["tokenizer"] = tokenizer.hash().hex();
  return text;
}

// Most of the matrices' elements: F32, or a format of 16 or 8 bits, which is computed with as bf16.
bool mostly_f32(const HfFiles &files) {
  std::uint64_t f32 = 0, all = 0;
  for (const auto &[name, tensor] : files.tensors()) {
    all += tensor.entry.size();
    if (tensor.entry.dtype == st::Dtype::f32) f32 += tensor.entry.size();
  }
  return 2 * f32 > all;
}

std::string deck_of(const arch::HfConfig &config, bool f32) {
  return fmt::format("# The model of an imported checkpoint. A deck that goes on from it "
                     "(run.init_from) has the same tables.\n{}\n[batch]\nsequence = {}\n\n"
                     "[precision]\ncompute = \"{}\"\n",
                     arch::deck_text(config.dims), config.max_positions, f32 ? "f32" : "bf16");
}

void tell(const HfFiles &files, const arch::Dims &dims,
          const std::vector<checkpoint::Section> &all) {
  const auto counts = arch::count_parameters(dims);
  base::log::info("{} tensors, {} in {} file{}", files.tensors().size(),
                  base::text::bytes(static_cast<std::int64_t>(files.bytes())), files.files(),
                  files.files() == 1 ? "" : "s");
  base::log::info("{} parameters ({} activated), {} layers ({} dense), MTP modules: {}",
                  base::text::with_commas(counts.main), base::text::with_commas(counts.activated),
                  dims.layers, dims.dense_layers, dims.mtp_depth);
  for (const auto &section : all)
    if (section.name == kScalesSection)
      base::log::info("{} tensors in FP8 blocks: multiplied by their scales, which are kept",
                      section.items.size());
}

} // namespace

fs::path from_hf(const FromHf &o) {
  const arch::HfConfig config = read_config(o);
  const HfFiles files(o.directory);
  checkpoint::Snapshot snapshot;
  snapshot.sections = sections_of(files, config.dims, o.without_mtp);
  snapshot.info["phase"] = "import";
  snapshot.info["max_positions"] = config.max_positions;
  auto fingerprint = arch::fingerprint(config.dims);
  for (const auto &[name, value] : config.training) fingerprint.set(name, value);
  if (!config.tells_mtp_hidden)
    std::erase_if(fingerprint.entries, [](const auto &e) { return e.first == "mtp.hidden"; });
  snapshot.info["fingerprint"] = fingerprint.to_json();
  snapshot.tokenizer = read_tokenizer(o, config.dims, snapshot.info);
  snapshot.companions = companions_of(o.directory);
  snapshot.deck = deck_of(config, mostly_f32(files));
  tell(files, config.dims, snapshot.sections);
  NewFolder out(o.out);
  checkpoint::Writer writer({o.out / "checkpoints", 1, 0});
  writer.start(std::move(snapshot));
  writer.wait();
  const fs::path place = checkpoint::Reader::list(o.out).back();
  out.keep();
  base::log::info("{} written: {} in {:.1f} s", place.string(),
                  base::text::bytes(static_cast<std::int64_t>(writer.last_bytes())),
                  writer.last_seconds());
  return place;
}

} // namespace convert
