// SPDX-License-Identifier: Apache-2.0
#include "infer/cache.hpp"

#include <algorithm>
#include <functional>

namespace infer {

using tensor::Cube;
using tensor::Mat;

PagePool::PagePool(const Index pages) : users_(static_cast<std::size_t>(pages), 0), free_(pages) {
  for (Index page = 0; page < pages; ++page) heap_.push_back(page); // ascending: a heap
}

Index PagePool::take() {
  HADAL_CHECK(!heap_.empty(), "no page of {} is free", size());
  std::pop_heap(heap_.begin(), heap_.end(), std::greater<>());
  const Index page = heap_.back();
  heap_.pop_back();
  users_[static_cast<std::size_t>(page)] = 1, --free_;
  return page;
}

void PagePool::share(const Index page) {
  HADAL_CHECK(users(page) > 0, "page {} is free and cannot be shared", page);
  ++users_[static_cast<std::size_t>(page)];
}

void PagePool::drop(const Index page) {
  HADAL_CHECK(users(page) > 0, "page {} is free already", page);
  if (--users_[static_cast<std::size_t>(page)] > 0) return;
  heap_.push_back(page), ++free_;
  std::push_heap(heap_.begin(), heap_.end(), std::greater<>());
}

template <class A>
Cache<A>::Cache(const arch::Dims &dims, const Index layers, const Index pages, const bool keeps_kv)
    : pages_(pages), latent_(dims.kv_rank), rope_(dims.rope),
      kv_(keeps_kv ? dims.heads * (dims.nope + dims.value) : 0),
      latent_LX("infer::latent_LX", layers, pages * kPage * dims.kv_rank), // zeros: finite
      key_LX("infer::key_LX", layers, pages * kPage * dims.rope),
      kv_LX("infer::kv_LX", layers, pages * kPage * kv_) {}

template <class A> layers::mla::Pages<A> Cache<A>::layer(const Index layer) const {
  return {Cube<A>(&latent_LX(layer, 0), pages_, kPage, latent_),
          Cube<A>(&key_LX(layer, 0), pages_, kPage, rope_),
          kv_ > 0 ? Cube<A>(&kv_LX(layer, 0), pages_, kPage, kv_) : Cube<A>()};
}

namespace {

template <class A>
void copy_pages(tensor::Context &ctx, const Mat<A> data_LX, const Index size, const Index from,
                const Index to) {
  tensor::for_rows(
      ctx, "infer::copy_page", data_LX.extent(0),
      KOKKOS_LAMBDA(const tensor::Row &row, const Index layer) {
        const A *source = &data_LX(layer, from * size);
        A *target = &data_LX(layer, to * size);
        tensor::row_for(row, size,
                        [=](const Index i) { numerics::copy_element(source[i], target[i]); });
      });
}

} // namespace

template <class A>
void Cache<A>::copy(tensor::Context &ctx, const Index from, const Index to) const {
  copy_pages(ctx, latent_LX, kPage * latent_, from, to);
  copy_pages(ctx, key_LX, kPage * rope_, from, to);
  if (kv_ > 0) copy_pages(ctx, kv_LX, kPage * kv_, from, to);
}

template <class A> std::size_t Cache<A>::bytes() const {
  return (latent_LX.size() + key_LX.size() + kv_LX.size()) * sizeof(A);
}

template <class A>
std::size_t Cache<A>::bytes(const arch::Dims &dims, const Index layers, const Index pages,
                            const bool keeps_kv) {
  const Index numbers =
      dims.kv_rank + dims.rope + (keeps_kv ? dims.heads * (dims.nope + dims.value) : 0);
  return static_cast<std::size_t>(pages * kPage * layers * numbers) * sizeof(A);
}

template class Cache<float>;
template class Cache<numerics::bf16>;

} // namespace infer
