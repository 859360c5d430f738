// SPDX-License-Identifier: Apache-2.0
#include "infer/portions.hpp"

namespace infer {
namespace {

// A request without samples to draw goes to one replica whole.
Index pieces_of(const Request &r) { return r.sampling.max_tokens == 0 ? 1 : r.samples; }

std::int64_t weight_of(const Request &r) {
  const auto prompt = static_cast<std::int64_t>(r.prompt.size());
  return r.sampling.max_tokens + (prompt + pieces_of(r) - 1) / pieces_of(r);
}

} // namespace

std::vector<Portion> portions(const std::vector<Request> &requests, int replica, int replicas) {
  __int128 all = 0, before = 0;
  for (const Request &r : requests) all += static_cast<__int128>(weight_of(r)) * pieces_of(r);
  std::vector<Portion> mine;
  for (std::size_t i = 0; i < requests.size(); ++i) {
    const Request &r = requests[i];
    Portion portion{i, 0, 0};
    for (Index k = 0; k < pieces_of(r); ++k, before += weight_of(r)) {
      if (before * replicas / all != replica) continue;
      if (portion.count == 0) portion.first = k;
      ++portion.count;
    }
    if (portion.count == 0) continue;
    if (r.sampling.max_tokens == 0) portion.count = r.samples;
    mine.push_back(portion);
  }
  return mine;
}

Request request_of(const Request &whole, const Portion &portion) {
  Request part = whole;
  part.samples = portion.count;
  part.stream += static_cast<std::uint64_t>(portion.first);
  if (portion.first > 0) part.score_from = -1, part.choices.clear();
  return part;
}

} // namespace infer
