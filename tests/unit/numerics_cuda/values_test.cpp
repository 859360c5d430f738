// SPDX-License-Identifier: Apache-2.0
// The CUDA bodies against plain loops of doubles; skipped where there is no GPU.
#include "numerics/cuda/gemm.hpp"
#include "tests/unit/numerics/products.hpp"

using namespace products;
namespace cuda = numerics::cuda;

namespace {

// An array on the device.
template <class T> class Device {
public:
  explicit Device(const Values &v) : count_(v.size()) {
    std::vector<T> host(v.size());
    for (std::size_t i = 0; i < v.size(); ++i) host[i] = T(static_cast<float>(v[i]));
    EXPECT_EQ(cudaMalloc(&data_, count_ * sizeof(T)), cudaSuccess);
    EXPECT_EQ(cudaMemcpy(data_, host.data(), count_ * sizeof(T), cudaMemcpyHostToDevice),
              cudaSuccess);
  }
  ~Device() { cudaFree(data_); }
  Device(const Device &) = delete;
  T *data() { return static_cast<T *>(data_); }
  Values values() const {
    std::vector<T> host(count_);
    EXPECT_EQ(cudaMemcpy(host.data(), data_, count_ * sizeof(T), cudaMemcpyDeviceToHost),
              cudaSuccess);
    Values v(count_);
    for (std::size_t i = 0; i < count_; ++i) v[i] = static_cast<float>(host[i]);
    return v;
  }

private:
  void *data_ = nullptr;
  std::size_t count_;
};

template <class A> void check(cuda::Gemm &gemm, Index T, Index O, Index I) {
  const cuda::Type type = sizeof(A) == 2 ? cuda::Type::bf16 : cuda::Type::f32;
  const Offsets offsets{0, T / 4, T / 4, T};
  const Values x = support::normal<A>(T * I, 1), w = support::normal<A>(3 * O * I, 2),
               dy = support::normal<A>(T * O, 3);
  Device<A> dx_x(x), dw_w(w), ddy(dy), y(Values(T * O)), dx(Values(T * I));
  Device<float> dw(Values(3 * O * I, 0.5));
  gemm.grouped_linear(type, type, offsets, {0, O, I}, dx_x.data(), dw_w.data(), y.data());
  gemm.grouped_linear_backward_input(type, offsets, {0, O, I}, ddy.data(), dw_w.data(), dx.data(),
                                     false);
  gemm.grouped_linear_backward_weight(type, offsets, {0, O, I}, ddy.data(), dx_x.data(), dw.data());
  ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  const Values got_y = y.values(), got_dx = dx.values(), got_dw = dw.values();
  const auto part = [](const Values &v, Index begin, Index n) {
    return Values(v.begin() + begin, v.begin() + begin + n);
  };
  for (Index e = 0; e < 3; ++e) {
    const Index from = offsets[e], n = offsets[e + 1] - from;
    const double *we = &w[e * O * I];
    expect_close<A>(part(got_y, from * O, n * O), products::linear(&x[from * I], we, n, O, I), I,
                    "y");
    expect_close<A>(part(got_dx, from * I, n * I),
                    products::backward_input(&dy[from * O], we, n, O, I), O, "dx");
    Reference want = products::backward_weight(&dy[from * O], &x[from * I], n, O, I);
    for (std::size_t i = 0; i < want.sum.size(); ++i) want.sum[i] += 0.5, want.magnitude[i] += 0.5;
    expect_close<float>(part(got_dw, e * O * I, O * I), want, n + 1, "dw");
  }
}

} // namespace

TEST(CudaGemm, Values) {
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) GTEST_SKIP() << "no GPU";
  cuda::Gemm gemm(nullptr);
  check<float>(gemm, 256, 96, 64);
  check<bf16>(gemm, 256, 96, 64);
  check<bf16>(gemm, 1000, 352, 512);
}
