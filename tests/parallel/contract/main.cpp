// SPDX-License-Identifier: Apache-2.0
#include <cstdio>

#include <Kokkos_Core.hpp>

#include "tests/parallel/contract/bodies.hpp"

namespace contract {
namespace {
comm::Session *the_session = nullptr;
}
comm::Session &session() { return *the_session; }
} // namespace contract

int main(int argc, char **argv) {
  ::testing::InitGoogleTest(&argc, argv);
  comm::Session session;
  contract::the_session = &session;
  int failed = 1;
  {
    Kokkos::ScopeGuard guard(argc, argv);
    auto &listeners = ::testing::UnitTest::GetInstance()->listeners();
    // One rank tells how it goes; failures are in everybody's exit code, and in its own words.
    if (!session.speaks() && !std::getenv("HADAL_TEST_ALL_RANKS"))
      delete listeners.Release(listeners.default_result_printer());
    failed = RUN_ALL_TESTS();
  }
  if (failed) {
    for (const auto *suite = ::testing::UnitTest::GetInstance(); suite; suite = nullptr)
      std::fprintf(stderr, "rank %d: %d tests failed (HADAL_TEST_ALL_RANKS=1 tells which)\n",
                   session.world().rank(), suite->failed_test_count());
    comm::abort_all(failed);
  }
  session.finish();
  return 0;
}
