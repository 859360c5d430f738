// SPDX-License-Identifier: Apache-2.0
#pragma once
// Arrays of the tests: plain vectors of doubles on the host, moved to and from the views of the program; random contents;
// errors of a result.
#include <cmath>
#include <cstdint>
#include <vector>

#include "base/random.hpp"
#include "tensor/types.hpp"

namespace support {

using Values = std::vector<double>;

// Standard normal numbers times scale, rounded to what A holds, so that both sides start from the same numbers.
template <class A = float>
Values normal(std::size_t n, std::uint64_t seed, double scale = 1.0, double mean = 0.0) {
  Values v(n);
  for (std::size_t i = 0; i < n; ++i)
    v[i] = static_cast<float>(A(static_cast<float>(
        mean + scale * base::random::normal(seed, base::random::Purpose::test, 0, i))));
  return v;
}

// Copies v into a packed view of any rank (row-major order).
template <class View> void upload(const Values &v, const View &to) {
  using T = typename View::non_const_value_type;
  Kokkos::View<T *, Kokkos::HostSpace> host("support::upload", v.size());
  for (std::size_t i = 0; i < v.size(); ++i) host(i) = T(static_cast<float>(v[i]));
  Kokkos::deep_copy(tensor::Vec<T>(to.data(), v.size()), host);
}

template <class View> Values download(const View &from) {
  using T = typename View::non_const_value_type;
  Kokkos::View<T *, Kokkos::HostSpace> host("support::download", from.size());
  Kokkos::deep_copy(host, tensor::Vec<const T>(from.data(), from.size()));
  Values v(from.size());
  for (std::size_t i = 0; i < v.size(); ++i) v[i] = static_cast<float>(host(i));
  return v;
}

template <class T> tensor::Vec<T> vec(const Values &v) {
  tensor::Vec<T> to("support::vec", v.size());
  upload(v, to);
  return to;
}
template <class T> tensor::Mat<T> mat(const Values &v, tensor::Index n, tensor::Index m) {
  tensor::Mat<T> to("support::mat", n, m);
  upload(v, to);
  return to;
}
template <class T>
tensor::Cube<T> cube(const Values &v, tensor::Index n, tensor::Index m, tensor::Index k) {
  tensor::Cube<T> to("support::cube", n, m, k);
  upload(v, to);
  return to;
}

// Largest |a - b|; a NaN on either side counts as infinite.
inline double max_error(const Values &a, const Values &b) {
  double worst = a.size() == b.size() ? 0.0 : INFINITY;
  for (std::size_t i = 0; i < a.size() && i < b.size(); ++i) {
    const double e = std::abs(a[i] - b[i]);
    worst = e <= worst ? worst : (std::isnan(e) ? INFINITY : e);
  }
  return worst;
}

// |a - b| / |b| in the 2-norm; a NaN gives infinity.
inline double relative_error(const Values &a, const Values &b) {
  double difference = 0, norm = 0;
  for (std::size_t i = 0; i < a.size() && i < b.size(); ++i)
    difference += (a[i] - b[i]) * (a[i] - b[i]), norm += b[i] * b[i];
  if (a.size() != b.size() || std::isnan(difference)) return INFINITY;
  return difference == 0 ? 0.0 : std::sqrt(difference / norm);
}

inline double dot(const Values &a, const Values &b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

inline double norm(const Values &a) { return std::sqrt(dot(a, a)); }

} // namespace support
