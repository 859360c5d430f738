// SPDX-License-Identifier: Apache-2.0
// System calls that programs of this kind do not need and that are the usual ways out: mounts, namespaces, other processes' memory,
// loading of code into the kernel. They fail with EPERM. The rest is allowed: what is open to a process without privileges is kept small
// by limits and namespaces, not by a list that every new C library would break.
#include <cerrno>
#include <cstddef>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sandbox/keeper.hpp"

namespace sandbox {

namespace {

#if defined(__x86_64__)
constexpr unsigned kMachine = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr unsigned kMachine = AUDIT_ARCH_AARCH64;
#else
constexpr unsigned kMachine = 0;
#endif

// By number, since the headers of some machines are older than the calls: 425 to 449 are the same everywhere.
constexpr unsigned kRingSetup = 425, kPidfdOpen = 434, kClone3 = 435, kPidfdGetfd = 438,
                   kProcessMadvise = 440;

const unsigned kDenied[] = {
    SYS_ptrace, SYS_process_vm_readv, SYS_process_vm_writev, SYS_mount, SYS_umount2, SYS_pivot_root,
    SYS_chroot, SYS_unshare, SYS_setns, SYS_bpf, SYS_perf_event_open, SYS_userfaultfd, SYS_keyctl,
    SYS_add_key, SYS_request_key, SYS_init_module, SYS_finit_module, SYS_delete_module,
    SYS_kexec_load, SYS_open_by_handle_at, SYS_swapon, SYS_swapoff, SYS_reboot, SYS_syslog,
    SYS_acct, SYS_quotactl, kRingSetup,
    // open_tree, move_mount, fsopen, fsconfig, fsmount, fspick; mount_setattr
    428, 429, 430, 431, 432, 433, 442};
// Where other processes can be seen.
const unsigned kDeniedOutside[] = {
    SYS_socket,  SYS_tkill,       SYS_rt_sigqueueinfo, SYS_rt_tgsigqueueinfo, 424,     kPidfdOpen,
    kPidfdGetfd, kProcessMadvise, SYS_migrate_pages,   SYS_move_pages,        SYS_kcmp};

struct Assembler {
  std::vector<sock_filter> code;
  void add(unsigned short what, unsigned value, unsigned char yes = 0, unsigned char no = 0) {
    code.push_back({what, yes, no, value});
  }
  void load(std::size_t offset) { add(BPF_LD | BPF_W | BPF_ABS, static_cast<unsigned>(offset)); }
  void argument(int i) {
    load(offsetof(seccomp_data, args) + 8 * static_cast<std::size_t>(i));
  } // its low half
  void fail(unsigned error) { add(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error); }
  void allow() { add(BPF_RET | BPF_K, SECCOMP_RET_ALLOW); }
  void fail_if_call(unsigned call, unsigned error) {
    add(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1);
    fail(error);
  }
  // To be allowed when the first argument is one of two values.
  void own_only(unsigned call, unsigned one, unsigned other) {
    add(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 5);
    argument(0);
    add(BPF_JMP | BPF_JEQ | BPF_K, one, 1, 0);
    add(BPF_JMP | BPF_JEQ | BPF_K, other, 0, 1);
    allow();
    fail(EPERM);
  }
};

std::vector<sock_filter> program(bool keep_off) {
  constexpr unsigned kNamespaces = CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWNS |
                                   CLONE_NEWIPC | CLONE_NEWUTS | 0x02000000u /* CLONE_NEWCGROUP */;
  Assembler a;
  a.load(offsetof(seccomp_data, arch));
  a.add(BPF_JMP | BPF_JEQ | BPF_K, kMachine, 1, 0);
  a.fail(EPERM); // calls of another machine's numbering
  a.load(offsetof(seccomp_data, nr));
#ifdef __x86_64__
  a.add(BPF_JMP | BPF_JGE | BPF_K, 0x40000000u, 0, 1); // x32
  a.fail(EPERM);
#endif
  for (const unsigned call : kDenied) a.fail_if_call(call, EPERM);
  a.fail_if_call(kClone3, ENOSYS); // its flags cannot be read here; C libraries then take clone
  if (keep_off) {
    for (const unsigned call : kDeniedOutside) a.fail_if_call(call, EPERM);
    const auto self = static_cast<unsigned>(getpid());
    a.own_only(SYS_kill, self, self), a.load(offsetof(seccomp_data, nr));
    a.own_only(SYS_tgkill, self, self), a.load(offsetof(seccomp_data, nr));
    a.own_only(SYS_prlimit64, 0, self), a.load(offsetof(seccomp_data, nr));
  }
  a.add(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 3);
  a.argument(0);
  a.add(BPF_JMP | BPF_JSET | BPF_K, kNamespaces, 0, 1);
  a.fail(EPERM);
  a.allow();
  return a.code;
}

} // namespace

bool install_filter(bool keep_off) {
  if (kMachine == 0) return false;
  std::vector<sock_filter> code = program(keep_off);
  const sock_fprog whole{static_cast<unsigned short>(code.size()), code.data()};
  return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &whole, 0, 0) == 0;
}

} // namespace sandbox
