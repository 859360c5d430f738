// SPDX-License-Identifier: Apache-2.0
#pragma once
// The six products in plain loops of doubles, and a context to call the kernels with.
#include <vector>

#include <gtest/gtest.h>

#include "base/hash.hpp"
#include "numerics/gemm.hpp"
#include "tests/support/arrays.hpp"
#include "tests/support/bounds.hpp"

namespace products {

using numerics::bf16;
using support::Values;
using tensor::Index;
using Offsets = std::vector<Index>;

struct Bench {
  tensor::Arena arena{"test", 1024};
  tensor::Context ctx{tensor::Exec(), arena};
};

// sums[m,n] of terms and of their magnitudes.
struct Reference {
  Values sum, magnitude;
};

// c[m,n] = sum_k a(m,k) b(k,n)
template <class FA, class FB>
Reference product(Index m, Index n, Index k, const FA &a, const FB &b) {
  Reference r{Values(m * n), Values(m * n)};
  for (Index i = 0; i < m; ++i)
    for (Index j = 0; j < n; ++j)
      for (Index l = 0; l < k; ++l) {
        const double term = a(i, l) * b(l, j);
        r.sum[i * n + j] += term, r.magnitude[i * n + j] += std::abs(term);
      }
  return r;
}

// Rows of x[.,I] from `from` on, times w[O,I] transposed.
inline Reference linear(const double *x, const double *w, Index T, Index O, Index I) {
  return product(
      T, O, I, [&](Index t, Index i) { return x[t * I + i]; },
      [&](Index i, Index o) { return w[o * I + i]; });
}
inline Reference backward_input(const double *dy, const double *w, Index T, Index O, Index I) {
  return product(
      T, I, O, [&](Index t, Index o) { return dy[t * O + o]; },
      [&](Index o, Index i) { return w[o * I + i]; });
}
inline Reference backward_weight(const double *dy, const double *x, Index T, Index O, Index I) {
  return product(
      O, I, T, [&](Index o, Index t) { return dy[t * O + o]; },
      [&](Index t, Index i) { return x[t * I + i]; });
}

// Every element within the rigorous bound of n terms, and a result of many elements within the statistical one of the table.
template <class Y>
void expect_close(const Values &got, const Reference &want, Index terms, const std::string &what) {
  ASSERT_EQ(got.size(), want.sum.size()) << what;
  for (std::size_t i = 0; i < got.size(); ++i) {
    const double allowed = support::sum_bound<Y>(terms, want.magnitude[i], want.sum[i]);
    ASSERT_LE(std::abs(got[i] - want.sum[i]), allowed)
        << what << ", element " << i << ": " << got[i] << " for " << want.sum[i];
  }
  const double relative = got.size() > 1000 ? support::relative_error(got, want.sum) : 0;
  EXPECT_LE(relative, support::bound<Y>(1, double(terms))) << what;
}

template <class View> std::string hash_of(const View &v) {
  return base::hash128(v.data(), v.size() * sizeof(typename View::value_type)).hex();
}

// Runs this test program again with other environment variables; returns what it wrote and its exit status.
struct Child {
  std::string output;
  int status;
};
Child run_again(const std::string &environment, const std::string &filter);

} // namespace products
