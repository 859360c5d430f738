// SPDX-License-Identifier: Apache-2.0
#pragma once
// A file driver for writing with HDF5 that never fails before HDF5's eyes. HDF5 1.10 does not get
// over a write that fails (a full disk): it keeps a half-closed file and crashes when the program
// ends. So the driver takes the first error of the operating system for itself, lets all later
// writes pass, and the caller asks for the error when the file is closed.
#include <hdf5.h>

namespace checkpoint {

// Where the driver leaves errno; must outlive the file.
struct WriteFault {
  int error = 0;
};

// Sets the driver in a file-access list; false when HDF5 refuses. The caller holds the library's
// mutex.
bool use_write_driver(hid_t file_access, WriteFault &fault);

} // namespace checkpoint
