// SPDX-License-Identifier: Apache-2.0
#pragma once
// Listens to what Kokkos tells its tools: names of kernels, regions and allocations while the object lives. One at a time.
// The interface of callbacks is the same from Kokkos 3.4 to 5; 3.4 has no fence events.
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include <Kokkos_Core.hpp>

namespace support {

class KokkosListener {
public:
  KokkosListener() {
    namespace tools = Kokkos::Tools::Experimental;
    heard() = {};
    tools::set_begin_parallel_for_callback(&kernel);
    tools::set_begin_parallel_reduce_callback(&kernel);
    tools::set_begin_parallel_scan_callback(&kernel);
    tools::set_push_region_callback([](const char *name) { note(&Heard::regions, name); });
    tools::set_allocate_data_callback(
        [](const auto, const char *name, const void *, const std::uint64_t bytes) {
          note(&Heard::allocations, name, bytes);
        });
  }
  ~KokkosListener() {
    namespace tools = Kokkos::Tools::Experimental;
    tools::set_begin_parallel_for_callback(nullptr);
    tools::set_begin_parallel_reduce_callback(nullptr);
    tools::set_begin_parallel_scan_callback(nullptr);
    tools::set_push_region_callback(nullptr);
    tools::set_allocate_data_callback(nullptr);
  }
  KokkosListener(const KokkosListener &) = delete;
  KokkosListener &operator=(const KokkosListener &) = delete;

  const std::vector<std::string> &kernels() const { return heard().kernels; }
  const std::vector<std::string> &regions() const { return heard().regions; }
  const std::vector<std::string> &allocations() const { return heard().allocations; }
  // Of all allocations with this name.
  std::uint64_t bytes(const std::string &name) const {
    const auto it = heard().bytes.find(name);
    return it == heard().bytes.end() ? 0 : it->second;
  }
  void forget() { heard() = {}; }

private:
  struct Heard {
    std::vector<std::string> kernels, regions, allocations;
    std::map<std::string, std::uint64_t> bytes;
  };
  static Heard &heard() {
    static Heard all;
    return all;
  }
  static void note(std::vector<std::string> Heard::*list, const char *name,
                   const std::uint64_t bytes = 0) {
    static std::mutex mutex;
    const std::lock_guard guard(mutex);
    (heard().*list).emplace_back(name ? name : "");
    if (bytes > 0) heard().bytes[name ? name : ""] += bytes;
  }
  static void kernel(const char *name, const std::uint32_t, std::uint64_t *) {
    note(&Heard::kernels, name);
  }
};

} // namespace support
