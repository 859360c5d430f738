// SPDX-License-Identifier: Apache-2.0
// The files that a program sees: system folders and what the options name, all read-only; a few devices; one folder of its own, in
// memory and of limited size. Nothing else of the machine: no homes, no data, no right answers.
#include <cerrno>
#include <climits>
#include <cstring>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sandbox/keeper.hpp"

namespace sandbox {

// Plain data: the launcher runs before the constructors of this program's objects.
const char *const kSystem[] = {"/usr",
                               "/bin",
                               "/sbin",
                               "/lib",
                               "/lib32",
                               "/lib64",
                               "/etc/alternatives",
                               "/etc/ld.so.cache",
                               "/etc/ld.so.conf",
                               "/etc/ld.so.conf.d",
                               nullptr};
const char *const kDevices[] = {"/dev/null",   "/dev/zero",    "/dev/full",
                                "/dev/random", "/dev/urandom", nullptr};

namespace {

const char *const kOld = "/old"; // where the machine's root lies while the new one is made

bool make_folders_above(const std::string &path) {
  for (std::size_t at = path.find('/', 1); at != std::string::npos; at = path.find('/', at + 1))
    if (mkdir(path.substr(0, at).c_str(), 0755) != 0 && errno != EEXIST) return false;
  return true;
}

// As <linux/mount.h> has it from Linux 5.12 on; the header is older on some machines.
struct MountAttributes {
  std::uint64_t set, clear, propagation, user_namespace;
};

bool make_read_only(const std::string &path) {
  const MountAttributes attributes{0x1 | 0x2, 0, 0,
                                   0}; // read-only, no set-user-id; with all that is mounted below
  if (syscall(442 /* mount_setattr */, AT_FDCWD, path.c_str(), 0x8000 /* recursive */, &attributes,
              sizeof attributes) == 0)
    return true;
  struct statvfs now = {}; // older: this mount alone, with the flags that it must keep
  if (statvfs(path.c_str(), &now) != 0) return false;
  unsigned long flags = MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID;
  if ((now.f_flag & ST_NODEV) != 0) flags |= MS_NODEV;
  if ((now.f_flag & ST_NOEXEC) != 0) flags |= MS_NOEXEC;
  if ((now.f_flag & ST_NOATIME) != 0) flags |= MS_NOATIME;
  if ((now.f_flag & ST_NODIRATIME) != 0) flags |= MS_NODIRATIME;
  if ((now.f_flag & ST_RELATIME) != 0) flags |= MS_RELATIME;
  return mount(nullptr, path.c_str(), nullptr, flags, nullptr) == 0;
}

// The same path as on the machine; what is not there is left out.
bool expose(const std::string &path, bool read_only) {
  const std::string from = std::string(kOld) + path;
  struct stat what = {};
  if (lstat(from.c_str(), &what) != 0) return errno == ENOENT;
  if (!make_folders_above(path)) return false;
  if (S_ISLNK(what.st_mode)) {
    char target[PATH_MAX] = {};
    if (readlink(from.c_str(), target, sizeof target - 1) < 0) return false;
    return symlink(target, path.c_str()) == 0 || errno == EEXIST;
  }
  if (S_ISDIR(what.st_mode)) {
    if (mkdir(path.c_str(), 0755) != 0 && errno != EEXIST) return false;
  } else {
    const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd >= 0) close(fd);
    if (fd < 0 && errno != EROFS) return false; // there already, below a folder that was exposed
  }
  return mount(from.c_str(), path.c_str(), nullptr, MS_BIND | MS_REC, nullptr) == 0 &&
         (!read_only || make_read_only(path));
}

bool add_small_things() {
  const std::string user = std::to_string(geteuid()), group = std::to_string(getegid());
  return make_folders_above("/etc/passwd") &&
         write_file("/etc/passwd",
                    "program:x:" + user + ":" + group + "::" + kFolder + ":/bin/sh\n", 0644) &&
         symlink("/proc/self/fd", "/dev/fd") == 0 &&
         symlink("/proc/self/fd/0", "/dev/stdin") == 0 &&
         symlink("/proc/self/fd/1", "/dev/stdout") == 0 &&
         symlink("/proc/self/fd/2", "/dev/stderr") == 0 && symlink(kFolder, "/dev/shm") == 0 &&
         (symlink(kFolder, "/tmp") == 0 || errno == EEXIST);
}

} // namespace

std::string make_view(const Options &options, bool &own_proc) {
  const mode_t mask = umask(022);
  if (mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return "private mounts";
  const char *const place = "/tmp"; // any folder does: what is mounted there becomes the root
  if (mount("hadal", place, "tmpfs", MS_NOSUID | MS_NODEV, "size=1m,mode=0755") != 0)
    return "new root";
  if (chdir(place) != 0 || mkdir("old", 0700) != 0) return "new root's folder";
  if (syscall(SYS_pivot_root, ".", "old") != 0 || chdir("/") != 0) return "pivot_root";
  for (const char *const *path = kSystem; *path != nullptr; ++path)
    if (!expose(*path, true)) return *path;
  for (const std::string &path : options.visible)
    if (!expose(path, true)) return path;
  for (const char *const *path = kDevices; *path != nullptr; ++path)
    if (!expose(*path, false)) return *path;
  if (!add_small_things()) return "small files";
  if (mkdir("/proc", 0755) != 0) return "/proc";
  own_proc = mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr) == 0;
  const std::string size =
      "size=" + std::to_string(options.limits.file) + ",nr_inodes=4096,mode=0700";
  if (mkdir(kFolder, 0700) != 0 ||
      mount("hadal", kFolder, "tmpfs", MS_NOSUID | MS_NODEV, size.c_str()) != 0)
    return "working folder";
  if (umount2(kOld, MNT_DETACH) != 0 || rmdir(kOld) != 0) return "old root";
  if (mount(nullptr, "/", nullptr, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV,
            nullptr) != 0)
    return "read-only root";
  umask(mask);
  return chdir(kFolder) == 0 ? "" : kFolder;
}

} // namespace sandbox
