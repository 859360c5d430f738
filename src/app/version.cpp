// SPDX-License-Identifier: Apache-2.0
#include "app/version.hpp"

#include <Kokkos_Core.hpp>
#include <dnnl.h>
#include <fmt/format.h>

#include "base/revision.hpp"

namespace app {
namespace {

std::string kokkos_version() {
  return fmt::format("{}.{}.{}", KOKKOS_VERSION / 10000, KOKKOS_VERSION / 100 % 100,
                     KOKKOS_VERSION % 100);
}

std::string compiler() {
#if defined(__clang__)
  return "Clang " __clang_version__;
#elif defined(__GNUC__)
  return "GCC " __VERSION__;
#else
  return "unknown";
#endif
}

} // namespace

std::string version_text() {
  const dnnl_version_t *dnnl = dnnl_version();
  return fmt::format(
      "hadal     {}\nrevision  {}\ncompiler  {}\nKokkos    {} ({})\noneDNN    {}.{}.{}",
      base::version(), base::revision(), compiler(), kokkos_version(),
      Kokkos::DefaultExecutionSpace::name(), dnnl->major, dnnl->minor, dnnl->patch);
}

} // namespace app
