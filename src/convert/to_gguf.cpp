// SPDX-License-Identifier: Apache-2.0
#include "convert/to_gguf.hpp"

#include <algorithm>
#include <set>

#include <fmt/format.h>

#include "base/error.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "checkpoint/gguf.hpp"
#include "convert/gguf_keys.hpp"
#include "convert/gguf_rules.hpp"
#include "convert/source.hpp"

namespace convert {
namespace {

namespace fs = std::filesystem;
namespace gguf = checkpoint::gguf;
using arch::Index;
using arch::TensorSpec;

constexpr std::size_t kPiece = std::size_t{4} << 20; // numbers in memory at once: 16 MiB

// A tensor of the file and what fills it.
enum class Filling {
  whole,  // the tensor of the checkpoint as it is
  keys,   // of each head the N rows for keys, transposed
  values, // of each head the V rows for values
  zeros   // the checkpoint has no such tensor
};
struct Planned {
  const TensorSpec *spec;
  Filling filling;
  gguf::Tensor tensor;
};

gguf::Type wanted_type(GgufType type) {
  switch (type) {
  case GgufType::f32: return gguf::Type::f32;
  case GgufType::bf16: return gguf::Type::bf16;
  case GgufType::f16: return gguf::Type::f16;
  case GgufType::q8_0: return gguf::Type::q8_0;
  }
  return gguf::Type::f32;
}

class Plan {
public:
  // registry: as the file is to have it; present: names that the checkpoint has.
  Plan(const arch::Dims &dims, GgufType type, const std::vector<TensorSpec> &registry,
       const std::set<std::string> &present)
      : type_(wanted_type(type)) {
    for (const TensorSpec &spec : registry) {
      const std::size_t split = spec.gguf_name.find("{kv}");
      if (spec.gguf_name.empty()) continue;
      if (split != std::string::npos) {
        const Index H = dims.heads, N = dims.nope, V = dims.value, C = dims.kv_rank;
        const auto name = [&](const char *part) {
          return std::string(spec.gguf_name).replace(split, 4, part);
        };
        add(spec, Filling::keys, name("k"), {H, C, N});
        add(spec, Filling::values, name("v"), {H, V, C});
      } else {
        add(spec, present.contains(spec.name) ? Filling::whole : Filling::zeros, spec.gguf_name,
            spec.shape);
      }
    }
  }
  const std::vector<Planned> &list() const { return list_; }
  std::vector<gguf::Tensor> tensors() const {
    std::vector<gguf::Tensor> tensors;
    for (const Planned &p : list_) tensors.push_back(p.tensor);
    return tensors;
  }
  const std::set<std::uint64_t> &uneven_rows() const { return uneven_rows_; }

private:
  void add(const TensorSpec &spec, Filling filling, std::string name,
           const std::vector<Index> &shape) {
    gguf::Tensor tensor{std::move(name), {shape.rbegin(), shape.rend()}, type_};
    if (spec.kind != arch::Kind::matrix) tensor.type = gguf::Type::f32;
    if (tensor.type == gguf::Type::q8_0 && tensor.dims[0] % gguf::kBlock != 0) {
      uneven_rows_.insert(tensor.dims[0]);
      tensor.type = gguf::Type::f16;
    }
    list_.push_back({&spec, filling, std::move(tensor)});
  }

  gguf::Type type_;
  std::vector<Planned> list_;
  std::set<std::uint64_t> uneven_rows_;
};

class Filler {
public:
  Filler(const Source &source, gguf::Writer &writer) : source_(source), writer_(writer) {}

  void fill(const Planned &p) {
    switch (p.filling) {
    case Filling::whole: return copy(p, 0, p.tensor.size());
    case Filling::keys: return keys(p);
    case Filling::values: return values(p);
    case Filling::zeros: return zeros(p);
    }
  }

private:
  void give(const Planned &p, std::span<const float> piece) {
    if (const auto value = gguf::unfit(p.tensor.type, piece))
      throw base::UserError(
          base::Exit::checkpoint, "E146", source_.reader().directory().string(),
          fmt::format("{} holds {}", p.spec->name, *value),
          fmt::format("which {} cannot hold. Take --type f32.", gguf::name_of(p.tensor.type)));
    writer_.append(piece);
  }

  void copy(const Planned &p, std::uint64_t first, std::uint64_t count) {
    for (std::uint64_t done = 0; done < count;) {
      const std::size_t n = std::min<std::uint64_t>(count - done, kPiece);
      piece_.resize(n);
      source_.read(p.spec->name, first + done, n, piece_.data());
      give(p, piece_);
      done += n;
    }
  }

  // [N, C] of each head becomes [C, N].
  void keys(const Planned &p) {
    const arch::Dims &d = source_.dims();
    const auto N = static_cast<std::size_t>(d.nope), C = static_cast<std::size_t>(d.kv_rank);
    const auto head_rows = static_cast<std::size_t>(d.nope + d.value);
    for (std::size_t h = 0; h < static_cast<std::size_t>(d.heads); ++h) {
      piece_.resize(N * C);
      source_.read(p.spec->name, h * head_rows * C, N * C, piece_.data());
      turned_.resize(N * C);
      for (std::size_t n = 0; n < N; ++n)
        for (std::size_t c = 0; c < C; ++c) turned_[c * N + n] = piece_[n * C + c];
      give(p, turned_);
    }
  }

  void values(const Planned &p) {
    const arch::Dims &d = source_.dims();
    const auto head = static_cast<std::uint64_t>((d.nope + d.value) * d.kv_rank);
    for (std::uint64_t h = 0; h < static_cast<std::uint64_t>(d.heads); ++h)
      copy(p, h * head + static_cast<std::uint64_t>(d.nope * d.kv_rank),
           static_cast<std::uint64_t>(d.value * d.kv_rank));
  }

  void zeros(const Planned &p) {
    const std::uint64_t count = p.tensor.size();
    for (std::uint64_t done = 0; done < count;) {
      piece_.assign(std::min<std::uint64_t>(count - done, kPiece), 0.0F);
      give(p, piece_);
      done += piece_.size();
    }
  }

  const Source &source_;
  gguf::Writer &writer_;
  std::vector<float> piece_, turned_;
};

void say_what_differs(const arch::Dims &d, const Plan &plan) {
  if (d.mtp_depth > 0)
    base::log::warn("multi-token prediction modules are left out ({}): files of this kind of model "
                    "have none",
                    d.mtp_depth);
  if (d.moe() && d.shared == 0)
    base::log::warn("llama.cpp asks for a shared expert; one of zeros is written, which adds "
                    "nothing to what the model computes");
  if (d.moe() && d.groups > 1 && !limits_groups(d))
    base::log::info("all {} groups of experts are chosen: exported without groups, which is the "
                    "same",
                    d.groups);
  for (const std::uint64_t row : plan.uneven_rows())
    base::log::info("rows of {} numbers are no whole blocks of {}: F16 in place of Q8_0", row,
                    gguf::kBlock);
}

} // namespace

void to_gguf(const ToGguf &options) {
  std::error_code error;
  if (fs::exists(fs::symlink_status(options.out, error)))
    throw base::UserError(base::Exit::checkpoint, "E147", options.out.string(), "exists already",
                          "Nothing is overwritten; give a new name or remove it.");
  const Source source = Source::open(options.checkpoint, options.section);
  require_gguf(source.dims(), source.reader().directory().string());
  arch::Dims dims = source.dims();
  dims.mtp_depth = 0;
  if (dims.moe()) dims.shared = std::max<Index>(dims.shared, 1);
  const auto registry = arch::registry(dims);
  std::set<std::string> present;
  for (const TensorSpec &spec : source.registry()) present.insert(spec.name);
  const Plan plan(dims, options.type, registry, present);
  gguf::KeyValues keys;
  const std::string name = options.out.stem().string();
  add_model_keys(dims, source.max_positions(), base::text::valid_utf8(name) ? name : "model",
                 options.type, keys);
  add_tokenizer_keys(source.reader(), dims.vocabulary, keys);
  say_what_differs(source.dims(), plan);
  gguf::Writer writer(options.out, std::move(keys), plan.tensors());
  Filler filler(source, writer);
  for (const Planned &planned : plan.list()) filler.fill(planned);
  writer.finish();
  base::log::info("{}: {} tensors, {}", options.out.string(), plan.list().size(),
                  base::text::bytes(static_cast<std::int64_t>(writer.bytes())));
}

} // namespace convert
