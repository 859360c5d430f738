// SPDX-License-Identifier: Apache-2.0
#pragma once
// The launcher's side of a batch. It is started with this as its name (argv[0]) and one end of a socket as standard input.
#include "sandbox/wire.hpp"

namespace sandbox {

// Also makes the linker keep the function that turns such a process into the launcher.
extern const char *const kLauncherName;

// In the launcher: runs all programs of a request, sends their answers; returns the exit code. The caller's end of the socket is
// watched: when the caller is gone, everything is killed.
int run_programs(int socket, const wire::Request &request, const Isolation &isolation);
// Blocking; false when the other end is gone.
bool send_all(int socket, const std::string &bytes);
bool receive_frame(int socket, std::string &body);

} // namespace sandbox
