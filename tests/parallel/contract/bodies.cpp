// SPDX-License-Identifier: Apache-2.0
#include "tests/parallel/contract/bodies.hpp"

#ifdef HADAL_CONTRACT_NCCL
#include "comm/nccl/nccl.hpp"
#endif

namespace contract {

void on_all_bodies(const std::function<void(comm::Communicator &)> &f,
                   const comm::Options &options) {
  session().set_options(options);
#ifdef HADAL_CONTRACT_NCCL
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0)
    GTEST_SKIP() << "no GPU: the NCCL body is compiled and linked, not run";
  cudaSetDevice(session().world().rank() % devices);
  const auto world = comm::nccl::over(session().world());
  f(*world);
#else
  if (session().parallel()) return f(session().world());
  for (const int ranks : {1, 2, 3, 4, 8}) {
    SCOPED_TRACE("threads: " + std::to_string(ranks));
    comm::loopback::run(ranks, options, f);
  }
#endif
}

} // namespace contract
