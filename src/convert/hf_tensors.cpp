// SPDX-License-Identifier: Apache-2.0
#include "convert/hf_tensors.hpp"

#include <algorithm>
#include <cstring>
#include <set>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/error.hpp"
#include "base/log.hpp"
#include "convert/formats.hpp"
#include "data/json.hpp"

namespace convert {

namespace st = checkpoint::safetensors;
using arch::Index, arch::TensorSpec;
using checkpoint::Item, checkpoint::Section, checkpoint::Type;
using Tensors = std::vector<const HfFiles::Tensor *>;

namespace {

constexpr std::size_t kMostListed = 40;

// A registry tensor made of one foreign tensor or of one for each expert, as a stream of FP32.
Item item_of(const HfFiles &files, const std::string &name, std::vector<Index> shape,
             Tensors tensors) {
  Item item{name, std::move(shape), Type::f32, nullptr, {}};
  item.produce = [&files, tensors = std::move(tensors)](std::uint64_t first, std::size_t bytes,
                                                        void *to) {
    std::uint64_t element = first / sizeof(float), left = bytes / sizeof(float);
    auto *out = static_cast<float *>(to);
    const std::uint64_t each = tensors.front()->entry.size();
    while (left > 0) {
      const std::uint64_t n = std::min(left, each - element % each);
      files.read(*tensors[element / each], element % each, n, out);
      out += n, element += n, left -= n;
    }
  };
  return item;
}

std::optional<Item> scales_of(const HfFiles &files, const TensorSpec &spec,
                              const Tensors &tensors) {
  Tensors scales;
  for (const auto *tensor : tensors) {
    if (tensor->scale == nullptr) return std::nullopt;
    scales.push_back(tensor->scale);
  }
  std::vector<Index> shape(scales.front()->entry.shape);
  if (spec.shape.size() == 3) shape.insert(shape.begin(), spec.shape[0]);
  return item_of(files, spec.name, shape, scales);
}

// What is wrong with the files, collected.
class Faults {
public:
  void add(const std::string &line) {
    if (count_++ < kMostListed) text_ += "\n    " + line;
  }
  void raise(const HfFiles &files, const std::string &advice) const {
    if (count_ == 0) return;
    const std::string more =
        count_ > kMostListed ? fmt::format("\n    and {} more", count_ - kMostListed) : "";
    throw base::UserError(
        base::Exit::checkpoint, "E143",
        files.tensors().empty()
            ? "the safetensors files"
            : files.file_of(files.tensors().begin()->second).parent_path().string(),
        "the tensors are not those of its config.json:" + text_ + more, advice);
  }

private:
  std::string text_;
  std::size_t count_ = 0;
};

// The foreign tensors of one of ours; what is wrong goes to faults.
Tensors take(const HfFiles &files, const TensorSpec &spec, std::set<std::string> &unused,
             Faults &faults) {
  Tensors found;
  const auto shape = hf_shape(spec);
  for (const std::string &name : hf_names(spec)) {
    const auto *tensor = files.find(name);
    unused.erase(name);
    if (tensor == nullptr) {
      faults.add(name + ": missing");
      continue;
    }
    if (tensor->scale != nullptr) unused.erase(tensor->scale->entry.name);
    if (tensor->entry.shape != shape)
      faults.add(fmt::format("{}: [{}], expected [{}]", name, fmt::join(tensor->entry.shape, ", "),
                             fmt::join(shape, ", ")));
    else if (st::bytes_of(tensor->entry.dtype) == 0)
      faults.add(fmt::format("{}: of type {}; F32, BF16, F16 and F8_E4M3 can be read", name,
                             tensor->entry.dtype_name));
    else
      found.push_back(tensor);
  }
  return found;
}

// What holds nothing of the model: buffers of old writers, and tensors without elements (networks of no shared experts).
bool without_meaning(const std::string &name, const st::Entry &entry) {
  return entry.size() == 0 || name.ends_with("rotary_emb.inv_freq");
}

bool behind_main_model(const std::string &name, const arch::Dims &dims) {
  constexpr const char *kLayers = "model.layers.";
  if (!name.starts_with(kLayers)) return false;
  const std::string digits = name.substr(std::strlen(kLayers), 5);
  return std::isdigit(static_cast<unsigned char>(digits[0])) != 0 &&
         std::stoll(digits) >= dims.layers;
}

// An MTP module's own embedding and head: equal to the main ones (then they are one tensor here), or kept.
void take_copies(const HfFiles &files, const arch::Dims &dims, std::set<std::string> &unused,
                 Faults &faults, Section &copies) {
  for (Index k = 0; k < dims.mtp_depth; ++k) {
    const auto [embedding, head] = hf_mtp_copies(dims, k);
    for (const auto &[name, main, ours] :
         {std::tuple(embedding, "model.embed_tokens.weight", "embedding"),
          std::tuple(head, "lm_head.weight", "head")}) {
      const auto *copy = files.find(name), *original = files.find(main);
      if (copy == nullptr || original == nullptr) continue;
      unused.erase(name);
      const std::vector<Index> shape = {dims.vocabulary, dims.model};
      if (copy->entry.shape != shape || st::bytes_of(copy->entry.dtype) == 0) {
        faults.add(fmt::format("{}: {} [{}], expected [{}]", name, copy->entry.dtype_name,
                               fmt::join(copy->entry.shape, ", "), fmt::join(shape, ", ")));
      } else if (st::bytes_of(original->entry.dtype) != 0 && !files.same(*copy, *original)) {
        base::log::warn(
            "{} differs from {}: Hadal's MTP modules share the main one. The copy is kept "
            "in section {} and exported again; training does not use it.",
            name, main, kCopiesSection);
        copies.items.push_back(
            item_of(files, fmt::format("layers.{}.mtp.{}", dims.layers + k, ours), shape, {copy}));
      }
    }
  }
}

} // namespace

std::vector<std::string> hf_names(const TensorSpec &spec) {
  const auto at = spec.hf_name.find("{e}");
  if (at == std::string::npos) return {spec.hf_name};
  std::vector<std::string> names;
  for (Index e = 0; e < spec.shape[0]; ++e) {
    std::string name = spec.hf_name;
    names.push_back(name.replace(at, 3, std::to_string(e)));
  }
  return names;
}

std::vector<Index> hf_shape(const TensorSpec &spec) {
  std::vector<Index> shape = spec.shape;
  if (spec.hf_name.find("{e}") != std::string::npos) shape.erase(shape.begin());
  return shape;
}

std::pair<std::string, std::string> hf_mtp_copies(const arch::Dims &dims, Index depth) {
  const std::string prefix = fmt::format("model.layers.{}.", dims.layers + depth);
  return {prefix + "embed_tokens.weight", prefix + "shared_head.head.weight"};
}

std::vector<Section> sections_of(const HfFiles &files, const arch::Dims &dims, bool without_mtp) {
  std::set<std::string> unused;
  for (const auto &[name, tensor] : files.tensors())
    if (!without_meaning(name, tensor.entry) && !(without_mtp && behind_main_model(name, dims)))
      unused.insert(name);
  Section weights{"weights", {}, nlohmann::json::object()},
      scales{kScalesSection, {}, weights.scalars}, copies{kCopiesSection, {}, weights.scalars};
  Faults faults;
  bool mtp_missing = false;
  for (const TensorSpec &spec : arch::registry(dims)) {
    const Tensors found = take(files, spec, unused, faults);
    if (found.size() < hf_names(spec).size()) {
      mtp_missing = mtp_missing || spec.layer >= dims.layers;
      continue;
    }
    weights.items.push_back(item_of(files, spec.name, spec.shape, found));
    if (auto item = scales_of(files, spec, found)) scales.items.push_back(std::move(*item));
  }
  take_copies(files, dims, unused, faults, copies);
  bool mtp_unknown = false;
  for (const std::string &name : unused) {
    mtp_unknown = mtp_unknown || behind_main_model(name, dims);
    faults.add(data::shown(name, 120) + ": not a tensor of this model");
  }
  faults.raise(files,
               mtp_missing || mtp_unknown
                   ? "num_nextn_predict_layers of config.json says how many MTP modules there "
                     "are; --without-mtp imports the main model alone."
                   : "Is this the config.json of these files?");
  std::vector<Section> all = {std::move(weights)};
  if (!scales.items.empty()) all.push_back(std::move(scales));
  if (!copies.items.empty()) all.push_back(std::move(copies));
  return all;
}

} // namespace convert
