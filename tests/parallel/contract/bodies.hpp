// SPDX-License-Identifier: Apache-2.0
#pragma once
// The contract's tests are written once and run with every body: threads in this process with several numbers of ranks, or,
// where a launcher started this program, the MPI world. Compiled with HADAL_CONTRACT_NCCL their messages lie on the device.
#include <cstring>
#include <functional>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#ifdef HADAL_CONTRACT_NCCL
#include <cuda_runtime_api.h>
#endif

#include "comm/loopback/loopback.hpp"
#include "comm/session.hpp"

namespace contract {

comm::Session &session();

// f as every rank of every world that this program has.
void on_all_bodies(const std::function<void(comm::Communicator &)> &f,
                   const comm::Options &options = {60});

// Memory that a message may lie in: of the host, or of the device under NCCL.
template <class T> class Buffer {
public:
  explicit Buffer(std::size_t n, T value = T())
      : host_(n + 1, value) { // never empty: a pointer is wanted
#ifdef HADAL_CONTRACT_NCCL
    EXPECT_EQ(cudaMalloc(reinterpret_cast<void **>(&device_), host_.size() * sizeof(T)),
              cudaSuccess);
    upload();
#endif
  }
#ifdef HADAL_CONTRACT_NCCL
  ~Buffer() { cudaFree(device_); }
  T *data() { return device_; }
  void upload() {
    cudaMemcpy(device_, host_.data(), host_.size() * sizeof(T), cudaMemcpyHostToDevice);
  }
  void download() {
    cudaMemcpy(host_.data(), device_, host_.size() * sizeof(T), cudaMemcpyDeviceToHost);
  }

private:
  T *device_ = nullptr;

public:
#else
  T *data() { return host_.data(); }
  void upload() {}
  void download() {}
#endif
  Buffer(const Buffer &) = delete;
  T &operator[](std::size_t i) { return host_[i]; }
  std::size_t size() const { return host_.size() - 1; }

private:
  std::vector<T> host_;
};

// A byte that tells sender, receiver and place.
inline unsigned char mark(int from, int to, std::size_t i) {
  return static_cast<unsigned char>(from * 37 + to * 11 + static_cast<int>(i * 131 % 251) + 1);
}

} // namespace contract
