// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/hdf5_file.hpp"

#include <bit>
#include <cstring>
#include <mutex>

#include <fmt/format.h>
#include <hdf5.h>

#include "checkpoint/hdf5_driver.hpp"

namespace checkpoint {
namespace {

// Memory is written as it lies.
static_assert(std::endian::native == std::endian::little);

std::mutex &library_mutex() {
  static std::mutex mutex;
  return mutex;
}

herr_t collect(unsigned, const H5E_error2_t *error, void *text) {
  auto &out = *static_cast<std::string *>(text);
  if (error->desc && *error->desc) out += (out.empty() ? "" : "; ") + std::string(error->desc);
  return 0;
}

[[noreturn]] void fail(const std::string &what) {
  std::string stack;
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, collect, &stack);
  throw Hdf5Failure(what + (stack.empty() ? "" : ": " + stack));
}

// An HDF5 identifier that closes itself.
class Handle {
public:
  Handle(hid_t id, herr_t (*close)(hid_t), const std::string &what) : id_(id), close_(close) {
    if (id < 0) fail(what);
  }
  ~Handle() {
    if (id_ >= 0) close_(id_);
  }
  Handle(const Handle &) = delete;
  operator hid_t() const { return id_; }
  // Closes now; a failure (a full disk, for example) is not lost.
  void close(const std::string &what) {
    const hid_t id = id_;
    id_ = -1;
    if (close_(id) < 0) fail(what);
  }

private:
  hid_t id_;
  herr_t (*close_)(hid_t);
};

hid_t bf16_type() {
  const hid_t type = H5Tcopy(H5T_IEEE_F32LE);
  // Fields first, then the size: sign 15, exponent 8 bits from 7, mantissa 7 bits from 0, bias 127.
  if (type < 0 || H5Tset_fields(type, 15, 7, 8, 0, 7) < 0 || H5Tset_precision(type, 16) < 0 ||
      H5Tset_size(type, 2) < 0 || H5Tset_ebias(type, 127) < 0)
    fail("making the bf16 type");
  return type;
}

hid_t type_of(Type type) {
  switch (type) {
  case Type::f32: return H5Tcopy(H5T_IEEE_F32LE);
  case Type::bf16: return bf16_type();
  case Type::f64: return H5Tcopy(H5T_IEEE_F64LE);
  case Type::i64: return H5Tcopy(H5T_STD_I64LE);
  case Type::i32: return H5Tcopy(H5T_STD_I32LE);
  case Type::u8: return H5Tcopy(H5T_STD_U8LE);
  }
  return -1;
}

// Format 1.8 for the widest readership; no lock of HDF5's own: the run directory is locked, and some parallel file systems know none.
hid_t file_access() {
  const hid_t list = H5Pcreate(H5P_FILE_ACCESS);
  if (list < 0 || H5Pset_libver_bounds(list, H5F_LIBVER_V18, H5F_LIBVER_V18) < 0)
    fail("file access");
#if H5_VERSION_GE(1, 12, 1) || (H5_VERSION_GE(1, 10, 7) && H5_VERS_MINOR == 10)
  if (H5Pset_file_locking(list, false, true) < 0) fail("file locking");
#endif
  return list;
}

hid_t space_of(const Item &item) {
  if (item.shape.empty()) return H5Screate(H5S_SCALAR);
  const std::vector<hsize_t> dims(item.shape.begin(), item.shape.end());
  return H5Screate_simple(static_cast<int>(dims.size()), dims.data(), nullptr);
}

// Equal states give equal files: no times are stored.
void forget_times(hid_t list) {
  if (H5Pset_obj_track_times(list, false) < 0) fail("switching times off");
}

void write_numbers(hid_t set, const char *name, const std::vector<std::int64_t> &numbers) {
  const hsize_t n = numbers.size();
  const Handle space(n > 0 ? H5Screate_simple(1, &n, nullptr) : H5Screate(H5S_NULL), H5Sclose,
                     name);
  const Handle attribute(H5Acreate2(set, name, H5T_STD_I64LE, space, H5P_DEFAULT, H5P_DEFAULT),
                         H5Aclose, name);
  if (n > 0 && H5Awrite(attribute, H5T_NATIVE_INT64, numbers.data()) < 0)
    fail(std::string("writing attribute ") + name);
}

enum class Form { tensors, pieces };

std::uint64_t write_item(hid_t group, const Item &item, Form form) {
  const hsize_t extent = item.size();
  const Handle type(type_of(item.type), H5Tclose, item.name),
      space(form == Form::pieces ? H5Screate_simple(1, &extent, nullptr) : space_of(item), H5Sclose,
            item.name);
  const std::string name =
      form == Form::pieces ? fmt::format("{}@{}", item.name, item.first) : item.name;
  const Handle list(H5Pcreate(H5P_DATASET_CREATE), H5Pclose, item.name);
  forget_times(list);
  // A produced tensor is only given its place here; its bytes follow when the file is closed.
  if (item.produce && (H5Pset_alloc_time(list, H5D_ALLOC_TIME_EARLY) < 0 ||
                       H5Pset_fill_time(list, H5D_FILL_TIME_NEVER) < 0))
    fail("placing " + item.name);
  Handle set(H5Dcreate2(group, name.c_str(), type, space, H5P_DEFAULT, list, H5P_DEFAULT), H5Dclose,
             "creating " + item.name);
  if (form == Form::pieces) {
    write_numbers(set, "shape", item.shape);
    write_numbers(set, "first", {item.first});
  }
  if (item.size() > 0 && !item.produce &&
      H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, item.data) < 0)
    fail("writing " + item.name);
  const haddr_t offset = item.size() > 0 ? H5Dget_offset(set) : 0;
  if (offset == HADDR_UNDEF) fail("placing " + item.name);
  set.close("closing " + item.name);
  return offset;
}

void read_item(hid_t group, const Item &item) {
  const Handle set(H5Dopen2(group, item.name.c_str(), H5P_DEFAULT), H5Dclose,
                   "opening " + item.name);
  const Handle type(type_of(item.type), H5Tclose, item.name),
      file_type(H5Dget_type(set), H5Tclose, item.name),
      space(H5Dget_space(set), H5Sclose, item.name);
  if (H5Tequal(type, file_type) <= 0)
    throw Hdf5Failure(item.name + " has another number format in the file");
  if (H5Sget_simple_extent_npoints(space) != static_cast<hssize_t>(item.size()))
    throw Hdf5Failure(item.name + " has another size in the file");
  if (item.size() > 0 && H5Dread(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, item.data) < 0)
    fail("reading " + item.name);
}

TensorOffsets write(const std::filesystem::path &path, const std::vector<Section> &sections,
                    Form form, const Pulse &pulse) {
  const std::lock_guard lock(library_mutex());
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  WriteFault fault;
  const auto stop_at_fault = [&](const std::string &what) {
    if (fault.error != 0) throw Hdf5Failure(what + ": " + std::strerror(fault.error));
  };
  const Handle access(file_access(), H5Pclose, "file access");
  if (!use_write_driver(access, fault)) fail("file driver");
  const Handle file_list(H5Pcreate(H5P_FILE_CREATE), H5Pclose, "file creation");
  const Handle group_list(H5Pcreate(H5P_GROUP_CREATE), H5Pclose, "group creation");
  forget_times(file_list), forget_times(group_list);
  const hid_t created = H5Fcreate(path.c_str(), H5F_ACC_TRUNC, file_list, access);
  if (created < 0) stop_at_fault("creating the file");
  Handle file(created, H5Fclose, "creating the file");
  TensorOffsets offsets;
  for (const Section &section : sections) {
    auto &of_section = offsets.emplace_back();
    if (section.items.empty()) continue;
    const Handle group(H5Gcreate2(file, section.name.c_str(), H5P_DEFAULT, group_list, H5P_DEFAULT),
                       H5Gclose, "creating group " + section.name);
    for (const Item &item : section.items) {
      if (pulse) pulse();
      of_section.push_back(write_item(group, item, form));
      stop_at_fault("writing " + section.name + "/" + item.name);
    }
  }
  file.close("closing the file");
  stop_at_fault("writing");
  return offsets;
}

} // namespace

TensorOffsets write_hdf5(const std::filesystem::path &path, const std::vector<Section> &sections) {
  return write(path, sections, Form::tensors, {});
}

TensorOffsets write_hdf5_pieces(const std::filesystem::path &path,
                                const std::vector<Section> &sections, const Pulse &pulse) {
  return write(path, sections, Form::pieces, pulse);
}

void read_hdf5(const std::filesystem::path &path, const std::string &section,
               const std::vector<Item> &items) {
  const std::lock_guard lock(library_mutex());
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  const Handle access(file_access(), H5Pclose, "file access");
  const Handle file(H5Fopen(path.c_str(), H5F_ACC_RDONLY, access), H5Fclose, "opening the file");
  const Handle group(H5Gopen2(file, section.c_str(), H5P_DEFAULT), H5Gclose,
                     "opening group " + section);
  for (const Item &item : items) read_item(group, item);
}

} // namespace checkpoint
