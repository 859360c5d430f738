// SPDX-License-Identifier: Apache-2.0
#pragma once
// A teacher behind an OpenAI-compatible server: POST <url>/chat/completions, many at once, with repetitions and a limit of rate.
#include <memory>

#include "distil/teacher.hpp"

namespace distil {

// "http://host:port/v1" -> "http://host:port" and "/v1". Error E370.
struct Address {
  std::string origin, path;
};
Address address_of(const std::string &url);

// Seconds to wait before repetition `attempt` (0, 1, ...): doubled each time, a minute at most; a server's own wish counts, up to ten
// minutes.
double wait_before(std::int64_t attempt, double backoff, double retry_after);

// Errors E370, E371 (the variable of the key is not set). answer(): E375 (refused), E376 (not reached, or not understood, after all
// repetitions); answers that were under way are waited for and kept.
std::unique_ptr<Teacher> http_teacher(const Options &options);

} // namespace distil
