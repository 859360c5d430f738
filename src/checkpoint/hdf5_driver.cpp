// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/hdf5_driver.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <iterator>
#include <new>
#include <unistd.h>

#if H5_VERSION_GE(1, 13, 0)
#include <H5FDdevelop.h>
#endif

namespace checkpoint {
namespace {

struct Settings {
  WriteFault *fault;
};

struct File {
  H5FD_t base; // first: HDF5 knows the file by it
  int descriptor;
  haddr_t end_of_addresses, end_of_file;
  WriteFault *fault;
  void note(int error) {
    if (fault->error == 0) fault->error = error;
  }
};

File &file_of(H5FD_t *base) { return *reinterpret_cast<File *>(base); }
const File &file_of(const H5FD_t *base) { return *reinterpret_cast<const File *>(base); }

H5FD_t *open_file(const char *name, unsigned, hid_t access, haddr_t) {
  const auto *settings = static_cast<const Settings *>(H5Pget_driver_info(access));
  if (settings == nullptr) return nullptr;
  const int descriptor = ::open(name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (descriptor < 0) {
    if (settings->fault->error == 0) settings->fault->error = errno;
    return nullptr;
  }
  auto *file = new (std::nothrow) File{{}, descriptor, 0, 0, settings->fault};
  if (file == nullptr) {
    ::close(descriptor);
    return nullptr;
  }
  return &file->base;
}

herr_t close_file(H5FD_t *base) {
  File &file = file_of(base);
  if (::close(file.descriptor) != 0) file.note(errno);
  delete &file;
  return 0;
}

herr_t query(const H5FD_t *, unsigned long *features) {
  *features = H5FD_FEAT_AGGREGATE_METADATA | H5FD_FEAT_ACCUMULATE_METADATA | H5FD_FEAT_DATA_SIEVE |
              H5FD_FEAT_AGGREGATE_SMALLDATA;
  return 0;
}

haddr_t end_of_addresses(const H5FD_t *base, H5FD_mem_t) { return file_of(base).end_of_addresses; }

herr_t set_end_of_addresses(H5FD_t *base, H5FD_mem_t, haddr_t address) {
  file_of(base).end_of_addresses = address;
  return 0;
}

haddr_t end_of_file(const H5FD_t *base, H5FD_mem_t) { return file_of(base).end_of_file; }

// HDF5 reads back some of its own structure; behind the end of the file lie zeros.
herr_t read_bytes(H5FD_t *base, H5FD_mem_t, hid_t, haddr_t address, size_t size, void *buffer) {
  auto *to = static_cast<char *>(buffer);
  while (size > 0) {
    const ssize_t n = ::pread(file_of(base).descriptor, to, size, static_cast<off_t>(address));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return -1;
    if (n == 0) {
      std::memset(to, 0, size);
      break;
    }
    to += n, address += static_cast<haddr_t>(n), size -= static_cast<size_t>(n);
  }
  return 0;
}

herr_t write_bytes(H5FD_t *base, H5FD_mem_t, hid_t, haddr_t address, size_t size,
                   const void *buffer) {
  File &file = file_of(base);
  file.end_of_file = std::max(file.end_of_file, address + size);
  const auto *from = static_cast<const char *>(buffer);
  constexpr size_t kMost = size_t{1} << 30; // some systems refuse 2 GiB at once
  while (size > 0 && file.fault->error == 0) {
    const ssize_t n =
        ::pwrite(file.descriptor, from, std::min(size, kMost), static_cast<off_t>(address));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      file.note(n < 0 ? errno : ENOSPC);
      break;
    }
    from += n, address += static_cast<haddr_t>(n), size -= static_cast<size_t>(n);
  }
  return 0;
}

herr_t truncate_file(H5FD_t *base, hid_t, hbool_t) {
  File &file = file_of(base);
  if (file.end_of_file == file.end_of_addresses) return 0;
  if (::ftruncate(file.descriptor, static_cast<off_t>(file.end_of_addresses)) != 0)
    file.note(errno);
  file.end_of_file = file.end_of_addresses;
  return 0;
}

hid_t make_driver() {
  static H5FD_class_t driver{};
#ifdef H5FD_CLASS_VERSION
  driver.version = H5FD_CLASS_VERSION;
  driver.value = static_cast<H5FD_class_value_t>(511); // from the range for one's own drivers
#endif
  driver.name = "hadal_write";
  driver.maxaddr = (haddr_t{1} << 62) - 1;
  driver.fc_degree = H5F_CLOSE_STRONG;
  driver.fapl_size = sizeof(Settings);
  driver.open = open_file;
  driver.close = close_file;
  driver.query = query;
  driver.get_eoa = end_of_addresses;
  driver.set_eoa = set_end_of_addresses;
  driver.get_eof = end_of_file;
  driver.read = read_bytes;
  driver.write = write_bytes;
  driver.truncate = truncate_file;
  constexpr H5FD_mem_t kMap[H5FD_MEM_NTYPES] = H5FD_FLMAP_DICHOTOMY;
  std::copy(std::begin(kMap), std::end(kMap), std::begin(driver.fl_map));
  return H5FDregister(&driver);
}

} // namespace

bool use_write_driver(hid_t file_access, WriteFault &fault) {
  static const hid_t driver = make_driver();
  const Settings settings{&fault};
  return driver >= 0 && H5Pset_driver(file_access, driver, &settings) >= 0;
}

} // namespace checkpoint
