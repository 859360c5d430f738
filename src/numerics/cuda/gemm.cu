// SPDX-License-Identifier: Apache-2.0
// cuBLASLt thinks in columns: a packed row-major a[m,n] is its column-major a^T[n,m] with leading dimension n. So
//   y^T[O,T]  = (w^T)^T x^T      dx^T[I,T] = w^T dy^T      dw^T[I,O] += x^T (dy^T)^T
#include "numerics/cuda/gemm.hpp"

#include <cublasLt.h>

#include <map>
#include <string>
#include <tuple>

// As in base/error.hpp, which nvcc cannot read: the format checks of fmt 9 are beyond it.
namespace base {
[[noreturn]] void check_failed(const char *file, int line, const char *condition,
                               const std::string &values);
}

namespace numerics::cuda {

namespace {

void check(cublasStatus_t status, const char *what) {
  if (status != CUBLAS_STATUS_SUCCESS)
    base::check_failed(__FILE__, __LINE__, what, cublasLtGetStatusName(status));
}
void check(cudaError_t status, const char *what) {
  if (status != cudaSuccess)
    base::check_failed(__FILE__, __LINE__, what, cudaGetErrorString(status));
}

std::size_t bytes(Type type) { return type == Type::bf16 ? 2 : 4; }
cudaDataType_t cuda_type(Type type) { return type == Type::bf16 ? CUDA_R_16BF : CUDA_R_32F; }

const std::byte *at(const void *from, Index elements, Type type) {
  return static_cast<const std::byte *>(from) + static_cast<std::size_t>(elements) * bytes(type);
}
std::byte *at(void *from, Index elements, Type type) {
  return static_cast<std::byte *>(from) + static_cast<std::size_t>(elements) * bytes(type);
}

// A matrix as the library sees it: columns of length rows, packed.
class Layout {
public:
  Layout(Type type, Index rows, Index columns) {
    check(cublasLtMatrixLayoutCreate(&handle_, cuda_type(type), rows, columns, rows),
          "cublasLtMatrixLayoutCreate");
  }
  ~Layout() { cublasLtMatrixLayoutDestroy(handle_); }
  Layout(const Layout &) = delete;
  cublasLtMatrixLayout_t get() const { return handle_; }

private:
  cublasLtMatrixLayout_t handle_ = nullptr;
};

class Operation {
public:
  Operation(bool turn_a, bool turn_b) {
    check(cublasLtMatmulDescCreate(&handle_, CUBLAS_COMPUTE_32F, CUDA_R_32F),
          "cublasLtMatmulDescCreate");
    set(CUBLASLT_MATMUL_DESC_TRANSA, turn_a);
    set(CUBLASLT_MATMUL_DESC_TRANSB, turn_b);
  }
  ~Operation() { cublasLtMatmulDescDestroy(handle_); }
  Operation(const Operation &) = delete;
  cublasLtMatmulDesc_t get() const { return handle_; }

private:
  void set(cublasLtMatmulDescAttributes_t attribute, bool turned) {
    const cublasOperation_t operation = turned ? CUBLAS_OP_T : CUBLAS_OP_N;
    check(cublasLtMatmulDescSetAttribute(handle_, attribute, &operation, sizeof(operation)),
          "cublasLtMatmulDescSetAttribute");
  }
  cublasLtMatmulDesc_t handle_ = nullptr;
};

} // namespace

// c[m,n] = op(a) op(b) + beta c, column-major.
struct Product {
  bool turn_a, turn_b;
  Type in, out;
  Index m, n, k;
  bool accumulate;
};

struct Gemm::State {
  cudaStream_t stream;
  std::size_t workspace_bytes;
  void *workspace = nullptr;
  cublasLtHandle_t library = nullptr;
  using Key = std::tuple<bool, bool, Type, Type, Index, Index, Index, bool>;
  std::map<Key, cublasLtMatmulAlgo_t> algorithms; // the heuristics cost more than a small product

  State(cudaStream_t stream_, std::size_t bytes_) : stream(stream_), workspace_bytes(bytes_) {
    check(cublasLtCreate(&library), "cublasLtCreate");
    check(cudaMalloc(&workspace, workspace_bytes), "cudaMalloc of the workspace");
  }
  ~State() {
    cudaFree(workspace);
    cublasLtDestroy(library);
  }
  State(const State &) = delete;

  cublasLtMatmulAlgo_t choose(const Product &p, const Operation &operation, const Layout &a,
                              const Layout &b, const Layout &c) {
    const Key key{p.turn_a, p.turn_b, p.in, p.out, p.m, p.n, p.k, p.accumulate};
    if (const auto found = algorithms.find(key); found != algorithms.end()) return found->second;
    cublasLtMatmulPreference_t preference = nullptr;
    check(cublasLtMatmulPreferenceCreate(&preference), "cublasLtMatmulPreferenceCreate");
    cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                         &workspace_bytes, sizeof(workspace_bytes));
    cublasLtMatmulHeuristicResult_t result{};
    int count = 0;
    const cublasStatus_t status =
        cublasLtMatmulAlgoGetHeuristic(library, operation.get(), a.get(), b.get(), c.get(), c.get(),
                                       preference, 1, &result, &count);
    cublasLtMatmulPreferenceDestroy(preference);
    check(status, "cublasLtMatmulAlgoGetHeuristic");
    if (count != 1)
      base::check_failed(__FILE__, __LINE__, "an algorithm was found",
                         "m " + std::to_string(p.m) + ", n " + std::to_string(p.n) + ", k " +
                             std::to_string(p.k));
    return algorithms.emplace(key, result.algo).first->second;
  }

  void run(const Product &p, const void *a, const void *b, void *c) {
    if (p.m == 0 || p.n == 0 || (p.k == 0 && p.accumulate)) return;
    if (p.k == 0) {
      check(cudaMemsetAsync(c, 0, static_cast<std::size_t>(p.m * p.n) * bytes(p.out), stream),
            "cudaMemsetAsync");
      return;
    }
    const Operation operation(p.turn_a, p.turn_b);
    const Layout la(p.in, p.turn_a ? p.k : p.m, p.turn_a ? p.m : p.k);
    const Layout lb(p.in, p.turn_b ? p.n : p.k, p.turn_b ? p.k : p.n);
    const Layout lc(p.out, p.m, p.n);
    const cublasLtMatmulAlgo_t algorithm = choose(p, operation, la, lb, lc);
    const float one = 1, beta = p.accumulate ? 1 : 0;
    check(cublasLtMatmul(library, operation.get(), &one, a, la.get(), b, lb.get(), &beta, c,
                         lc.get(), c, lc.get(), &algorithm, workspace, workspace_bytes, stream),
          "cublasLtMatmul");
  }
};

Gemm::Gemm(cudaStream_t stream, std::size_t workspace_bytes)
    : state_(std::make_unique<State>(stream, workspace_bytes)) {}
Gemm::~Gemm() = default;

void Gemm::linear(Type a, Type y_type, Extents e, const void *x, const void *w, void *y) {
  state_->run({true, false, a, y_type, e.O, e.T, e.I, false}, w, x, y);
}

void Gemm::linear_backward_input(Type a, Extents e, const void *dy, const void *w, void *dx,
                                 bool accumulate) {
  state_->run({false, false, a, a, e.I, e.T, e.O, accumulate}, w, dy, dx);
}

void Gemm::linear_backward_weight(Type a, Extents e, const void *dy, const void *x, float *dw_acc) {
  state_->run({false, true, a, Type::f32, e.I, e.O, e.T, true}, x, dy, dw_acc);
}

void Gemm::grouped_linear(Type a, Type y_type, std::span<const Index> offsets, Extents e,
                          const void *x, const void *w, void *y) {
  for (std::size_t g = 0; g + 1 < offsets.size(); ++g) {
    const Index from = offsets[g], matrix = static_cast<Index>(g) * e.O * e.I;
    linear(a, y_type, {offsets[g + 1] - from, e.O, e.I}, at(x, from * e.I, a), at(w, matrix, a),
           at(y, from * e.O, y_type));
  }
}

void Gemm::grouped_linear_backward_input(Type a, std::span<const Index> offsets, Extents e,
                                         const void *dy, const void *w, void *dx, bool accumulate) {
  for (std::size_t g = 0; g + 1 < offsets.size(); ++g) {
    const Index from = offsets[g], matrix = static_cast<Index>(g) * e.O * e.I;
    linear_backward_input(a, {offsets[g + 1] - from, e.O, e.I}, at(dy, from * e.O, a),
                          at(w, matrix, a), at(dx, from * e.I, a), accumulate);
  }
}

void Gemm::grouped_linear_backward_weight(Type a, std::span<const Index> offsets, Extents e,
                                          const void *dy, const void *x, float *dw_acc) {
  for (std::size_t g = 0; g + 1 < offsets.size(); ++g) {
    const Index from = offsets[g], matrix = static_cast<Index>(g) * e.O * e.I;
    linear_backward_weight(a, {offsets[g + 1] - from, e.O, e.I}, at(dy, from * e.O, a),
                           at(x, from * e.I, a), dw_acc + matrix);
  }
}

} // namespace numerics::cuda
