// SPDX-License-Identifier: Apache-2.0
#pragma once
// Element-by-element helpers on packed arrays: conversions, sums, fills. Labels are the caller's.
#include "numerics/bf16.hpp"
#include "tensor/launch.hpp"

namespace numerics {

template <class To, class From>
void convert(tensor::Context &ctx, const char *label, tensor::Vec<const From> from,
             tensor::Vec<To> to) {
  tensor::for_each(
      ctx, label, static_cast<tensor::Index>(from.extent(0)),
      KOKKOS_LAMBDA(const tensor::Index i) { to(i) = To(static_cast<float>(from(i))); });
}

template <class T> void fill(tensor::Context &ctx, const char *label, tensor::Vec<T> to, T value) {
  tensor::for_each(
      ctx, label, static_cast<tensor::Index>(to.extent(0)),
      KOKKOS_LAMBDA(const tensor::Index i) { to(i) = value; });
}

// Flat view of a packed array.
template <class View> auto flat(const View &v) {
  return tensor::Vec<typename View::value_type>(v.data(), v.size());
}

// to += from, in FP32, rounded once.
template <class T, class From>
void add(tensor::Context &ctx, const char *label, tensor::Vec<const From> from,
         tensor::Vec<T> to_acc) {
  tensor::for_each(
      ctx, label, static_cast<tensor::Index>(from.extent(0)), KOKKOS_LAMBDA(const tensor::Index i) {
        to_acc(i) = T(static_cast<float>(to_acc(i)) + static_cast<float>(from(i)));
      });
}

} // namespace numerics
