// SPDX-License-Identifier: Apache-2.0
#pragma once
// Which replica takes which samples of a list of requests: runs of consecutive samples of about the same number of tokens, so that the
// samples of a prompt mostly stay together and share its pages. A function of the list alone; results do not depend on it.
#include "infer/engine.hpp"

namespace infer {

// Samples [first, first + count) of a request.
struct Portion {
  std::size_t request;
  Index first, count;
};
std::vector<Portion> portions(const std::vector<Request> &requests, int replica, int replicas);

// The request that asks for a portion. What is asked of the prompt itself belongs to the first sample.
Request request_of(const Request &whole, const Portion &portion);

} // namespace infer
