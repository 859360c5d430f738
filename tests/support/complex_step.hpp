// SPDX-License-Identifier: Apache-2.0
#pragma once
// Derivatives by a complex step: dL/dx = Im L(x + i h) / h with h = 1e-30, exact to rounding because nothing is subtracted
// (Squire and Trapp, SIAM Review 40, 1998). The function must be holomorphic where it is used: |x|^2 is x*x, a maximum or a
// choice is taken on the real part.
#include <complex>
#include <vector>

namespace support {

using Complex = std::complex<double>;
inline constexpr double kStep = 1e-30;

inline double real(double x) { return x; }
inline double real(const Complex &x) { return x.real(); }

inline std::vector<Complex> lift(const std::vector<double> &x) { return {x.begin(), x.end()}; }

// x + i h v.
inline std::vector<Complex> shifted(const std::vector<double> &x, const std::vector<double> &v) {
  std::vector<Complex> y(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) y[i] = Complex(x[i], kStep * v[i]);
  return y;
}

// All partial derivatives of loss(x), one evaluation each. loss: vector<Complex> -> Complex.
template <class Loss> std::vector<double> gradient(const Loss &loss, const std::vector<double> &x) {
  std::vector<double> g(x.size());
  std::vector<Complex> z = lift(x);
  for (std::size_t i = 0; i < x.size(); ++i) {
    z[i] += Complex(0, kStep);
    g[i] = loss(z).imag() / kStep;
    z[i] = x[i];
  }
  return g;
}

// sum_i w_i y_i: turns an output into a loss whose gradient by y is w.
template <class S> S weighted(const std::vector<double> &w, const std::vector<S> &y) {
  S sum = 0;
  for (std::size_t i = 0; i < w.size(); ++i) sum += w[i] * y[i];
  return sum;
}

} // namespace support
