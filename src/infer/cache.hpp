// SPDX-License-Identifier: Apache-2.0
#pragma once
// The latent cache in pages. A page holds kPage tokens of one sequence in all layers; a sequence is a table of pages. Several sequences may
// use one page (samples of one prompt): who writes behind a shared part copies the page first.
#include <span>
#include <vector>

#include "layers/mla/decode.hpp"

namespace infer {

using tensor::Index;

// Tokens of a page: one block of attention's walk over the keys, so that a page is walked as it lies.
inline constexpr Index kPage = layers::attention::kKeyBlock;
constexpr Index pages_for(Index tokens) { return (tokens + kPage - 1) / kPage; }

// Which pages are in use, and by how many sequences. The lowest free page is given out first.
class PagePool {
public:
  explicit PagePool(Index pages);
  Index take();           // one user; a Fault when none is free
  void share(Index page); // one user more
  void drop(Index page);  // one user less
  Index users(Index page) const { return users_[static_cast<std::size_t>(page)]; }
  Index free() const { return free_; }
  Index size() const { return static_cast<Index>(users_.size()); }

private:
  std::vector<Index> users_;
  std::vector<Index> heap_; // free pages, lowest first
  Index free_;
};

// What the pages hold, of some layers.
template <class A> class Cache {
public:
  // keeps_kv: keys and values are kept beside the latents.
  Cache(const arch::Dims &dims, Index layers, Index pages, bool keeps_kv = false);
  layers::mla::Pages<A> layer(Index layer) const;
  // The whole of page `from`, in all layers.
  void copy(tensor::Context &ctx, Index from, Index to) const;
  Index pages() const { return pages_; }
  std::size_t bytes() const;
  // pages x kPage x layers x (C + R) numbers, and H (N + V) more where keys and values are kept.
  static std::size_t bytes(const arch::Dims &dims, Index layers, Index pages, bool keeps_kv);

private:
  Index pages_, latent_, rope_, kv_;
  tensor::Mat<A> latent_LX, key_LX, kv_LX; // X: page, token, number
};

} // namespace infer
