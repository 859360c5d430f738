// SPDX-License-Identifier: Apache-2.0
#include "convert/hf_plan.hpp"

#include <cstring>
#include <memory>

#include <fmt/format.h>

#include "base/log.hpp"
#include "convert/formats.hpp"
#include "convert/fp8_blocks.hpp"
#include "convert/hf_tensors.hpp"

namespace convert {

namespace st = checkpoint::safetensors;
using arch::Index, arch::TensorSpec;

namespace {

using Read = Fp8Blocks::Read;

// FP32 numbers written in F32 or BF16.
auto as(st::Dtype dtype, Read read) {
  return [dtype, read = std::move(read), numbers = std::vector<float>()](
             std::uint64_t first, std::uint64_t count, void *to) mutable {
    if (dtype == st::Dtype::f32) return read(first, count, static_cast<float *>(to));
    numbers.resize(count);
    read(first, count, numbers.data());
    auto *out = static_cast<char *>(to);
    for (std::size_t i = 0; i < count; ++i) {
      const std::uint16_t bits = to_bf16(numbers[i]);
      std::memcpy(out + 2 * i, &bits, 2);
    }
  };
}

class Planner {
public:
  Planner(const Source &source, HfType type) : source_(source), type_(type) {}

  std::vector<HfTensor> operator()() {
    const arch::Dims &dims = source_.dims();
    for (const TensorSpec &spec : source_.registry()) {
      add(spec);
      if (spec.kind == arch::Kind::router && !dims.router_bias &&
          dims.score == arch::Score::sigmoid)
        add_zero_bias(spec);
      if (spec.kind == arch::Kind::router && dims.shared == 0) add_no_shared(spec);
      if (spec.room == "mtp" && spec.name.ends_with("mtp.head_norm")) add_copies(spec.layer);
    }
    return std::move(list_);
  }

private:
  st::Dtype plain() const { return type_ == HfType::f32 ? st::Dtype::f32 : st::Dtype::bf16; }

  Read weights(const std::string &name, std::uint64_t offset) const {
    return
        [this_source = &source_, name, offset](std::uint64_t first, std::size_t count, float *to) {
          this_source->read(name, offset + first, count, to);
        };
  }

  void add(const TensorSpec &spec) {
    const auto shape = hf_shape(spec);
    std::uint64_t size = 1, index = 0;
    for (const Index extent : shape) size *= static_cast<std::uint64_t>(extent);
    for (const std::string &name : hf_names(spec)) {
      const Read read = weights(spec.name, index * size);
      if (type_ == HfType::fp8 && spec.hf_fp8)
        add_fp8(spec, name, shape, read, index);
      else
        add_plain(name, spec.kind == arch::Kind::bias ? st::Dtype::f32 : plain(), shape, read);
      ++index;
    }
  }

  void add_plain(const std::string &name, st::Dtype dtype, const std::vector<Index> &shape,
                 const Read &read) {
    list_.push_back({name, dtype, shape, as(dtype, read)});
  }

  void add_fp8(const TensorSpec &spec, const std::string &name, const std::vector<Index> &shape,
               const Read &read, std::uint64_t expert) {
    Read factors;
    if (source_.has_extra(kScalesSection, spec.name)) {
      const auto blocks = static_cast<std::uint64_t>(blocks_of(shape[0]) * blocks_of(shape[1]));
      factors = [this_source = &source_, tensor = spec.name,
                 offset = expert * blocks](std::uint64_t first, std::size_t count, float *to) {
        this_source->read_extra(kScalesSection, tensor, offset + first, count, to);
      };
    }
    const auto blocks = std::make_shared<Fp8Blocks>(shape[0], shape[1], read, factors);
    const auto unit = static_cast<std::uint64_t>(kBlock * shape[1]);
    list_.push_back({name, st::Dtype::f8_e4m3, shape,
                     [blocks, unit](std::uint64_t first, std::uint64_t count, void *to) {
                       blocks->codes(static_cast<Index>(first / unit),
                                     static_cast<Index>((count + unit - 1) / unit),
                                     static_cast<std::uint8_t *>(to));
                     },
                     unit});
    const auto row = static_cast<std::uint64_t>(blocks->block_columns());
    list_.push_back({name + "_scale_inv",
                     st::Dtype::f32,
                     {blocks->block_rows(), blocks->block_columns()},
                     [blocks, row](std::uint64_t first, std::uint64_t count, void *to) {
                       blocks->scales(static_cast<Index>(first / row),
                                      static_cast<Index>(count / row), static_cast<float *>(to));
                     },
                     row});
  }

  // A sigmoid router without bias: readers of deepseek_v3 expect one, and zeros choose the same experts.
  void add_zero_bias(const TensorSpec &router) {
    if (!told_)
      base::log::warn("the router has no bias; zeros are exported, as deepseek_v3 wants one");
    told_ = true;
    add_plain(fmt::format("model.layers.{}.mlp.gate.e_score_correction_bias", router.layer),
              st::Dtype::f32, {router.shape[0]},
              [](std::uint64_t, std::size_t count, float *to) { std::fill_n(to, count, 0.0F); });
  }

  // transformers wants the network of no shared experts too: three tensors without elements.
  void add_no_shared(const TensorSpec &router) {
    const std::string prefix = fmt::format("model.layers.{}.mlp.shared_experts.", router.layer);
    const Index D = source_.dims().model;
    const Read nothing = [](std::uint64_t, std::size_t, float *) {};
    add_plain(prefix + "gate_proj.weight", plain(), {0, D}, nothing);
    add_plain(prefix + "up_proj.weight", plain(), {0, D}, nothing);
    add_plain(prefix + "down_proj.weight", plain(), {D, 0}, nothing);
  }

  void add_copies(Index layer) {
    const arch::Dims &dims = source_.dims();
    const auto [embedding, head] = hf_mtp_copies(dims, layer - dims.layers);
    for (const auto &[name, ours] : {std::pair(embedding, "embedding"), std::pair(head, "head")}) {
      const std::string kept = fmt::format("layers.{}.mtp.{}", layer, ours);
      Read read = weights(ours, 0);
      if (source_.has_extra(kCopiesSection, kept))
        read = [this_source = &source_, kept](std::uint64_t first, std::size_t count, float *to) {
          this_source->read_extra(kCopiesSection, kept, first, count, to);
        };
      add_plain(name, plain(), {dims.vocabulary, dims.model}, read);
    }
  }

  const Source &source_;
  HfType type_;
  std::vector<HfTensor> list_;
  bool told_ = false;
};

} // namespace

std::uint64_t HfTensor::size() const {
  std::uint64_t elements = 1;
  for (const auto extent : shape) elements *= static_cast<std::uint64_t>(extent);
  return elements;
}
std::uint64_t HfTensor::bytes() const { return size() * st::bytes_of(dtype); }

std::vector<HfTensor> plan_hf(const Source &source, HfType type) { return Planner(source, type)(); }

} // namespace convert
