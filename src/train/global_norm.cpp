// SPDX-License-Identifier: Apache-2.0
#include "train/global_norm.hpp"

#include <cstring>
#include <map>

namespace train {

using tensor::Index;
using tensor::Vec;

namespace {

// What a rank tells of a piece: sums of whole blocks, or the elements of a cut one.
struct Head {
  std::int64_t order = 0; // of the tensor in the registry
  std::int64_t first = 0; // block number, or element of the global tensor
  std::int64_t count = 0; // blocks or elements
  std::int64_t cut = 0;   // 1: elements follow
};

void append(std::string &message, const void *data, std::size_t bytes) {
  message.append(static_cast<const char *>(data), bytes);
}

// The elements [begin, end) of the piece, in global numbers, whose block is not whole here.
void append_cut(std::string &message, const Owned &piece, Vec<const float> values, Index begin,
                Index end) {
  if (begin >= end) return;
  const Head head{piece.slot->order, begin, end - begin, 1};
  append(message, &head, sizeof(head));
  const Index offset = begin - (piece.slot->first + piece.begin);
  std::vector<float> host(static_cast<std::size_t>(end - begin));
  Kokkos::deep_copy(
      Kokkos::View<float *, Kokkos::HostSpace, Kokkos::MemoryTraits<Kokkos::Unmanaged>>(
          host.data(), host.size()),
      Vec<const float>(values.data() + offset, host.size()));
  append(message, host.data(), host.size() * sizeof(float));
}

std::string describe(tensor::Context &ctx, const Ownership &ownership, const Exchange &exchange,
                     optim::SquareSum &square_sum) {
  constexpr Index block = optim::kNormBlock;
  std::string message;
  for (const Owned &piece : ownership.pieces()) {
    if (!piece.slot->spec.trained()) continue;
    const Vec<const float> values = exchange.gradient(piece);
    Index whole = 1;
    for (const Index extent : piece.slot->global_shape) whole *= extent;
    const Index begin = piece.slot->first + piece.begin, end = piece.slot->first + piece.end;
    const Index inner = std::min((begin + block - 1) / block * block, end);
    const Index outer = end == whole ? end : std::max(inner, end / block * block);
    append_cut(message, piece, values, begin, inner);
    if (outer > inner) {
      const auto sums =
          square_sum.blocks(ctx, Vec<const float>(values.data() + (inner - begin), outer - inner));
      const Head head{piece.slot->order, inner / block, static_cast<std::int64_t>(sums.size()), 0};
      append(message, &head, sizeof(head));
      append(message, sums.data(), sums.size() * sizeof(double));
    }
    append_cut(message, piece, values, outer, end);
  }
  return message;
}

struct Tensor {
  std::vector<double> blocks;
  std::map<Index, std::vector<float>> cut; // by block
  Index size = 0;
};

void place(std::vector<Tensor> &tensors, const std::string &message) {
  constexpr Index block = optim::kNormBlock;
  for (std::size_t at = 0; at < message.size();) {
    Head head;
    std::memcpy(&head, message.data() + at, sizeof(head));
    at += sizeof(head);
    Tensor &t = tensors.at(static_cast<std::size_t>(head.order));
    if (head.cut == 0) {
      std::memcpy(t.blocks.data() + head.first, message.data() + at,
                  static_cast<std::size_t>(head.count) * sizeof(double));
      at += static_cast<std::size_t>(head.count) * sizeof(double);
      continue;
    }
    for (Index i = 0; i < head.count; ++i, at += sizeof(float)) {
      const Index element = head.first + i;
      auto &values = t.cut[element / block];
      values.resize(static_cast<std::size_t>(std::min(block, t.size - element / block * block)));
      std::memcpy(&values[static_cast<std::size_t>(element % block)], message.data() + at,
                  sizeof(float));
    }
  }
}

} // namespace

GlobalNorm::GlobalNorm(const arch::Dims &dims) {
  for (const auto &spec : arch::registry(dims)) tensors_.push_back({spec.size(), spec.trained()});
}

double GlobalNorm::squares(tensor::Context &ctx, const Ranks &ranks, const Ownership &ownership,
                           const Exchange &exchange, optim::SquareSum &square_sum) const {
  std::vector<Tensor> tensors;
  for (const Extent &extent : tensors_) {
    Tensor t;
    t.size = extent.size;
    t.blocks.assign(static_cast<std::size_t>((t.size + optim::kNormBlock - 1) / optim::kNormBlock),
                    0.0);
    tensors.push_back(std::move(t));
  }
  const std::string mine = describe(ctx, ownership, exchange, square_sum);
  for (const std::string &message : ranks.world().all_gather_text(mine, {"gradient norm"}))
    place(tensors, message);
  double sum = 0;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    Tensor &t = tensors[i];
    if (!tensors_[i].trained) continue;
    for (const auto &[block, values] : t.cut)
      t.blocks[static_cast<std::size_t>(block)] =
          optim::block_squares(values.data(), static_cast<Index>(values.size()));
    sum += optim::tree_sum(t.blocks);
  }
  return sum;
}

} // namespace train
