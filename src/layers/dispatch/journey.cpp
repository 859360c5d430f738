// SPDX-License-Identifier: Apache-2.0
#include "layers/dispatch/journey.hpp"

#include "base/error.hpp"

namespace layers::dispatch {
namespace {

// sending and receiving go round the group in opposite directions, so that not all knock at one door.
std::vector<comm::Request> post(comm::Communicator &group, bool sending, int tag, char *data,
                                const Rows &rows, std::size_t row_bytes, comm::What what) {
  HADAL_CHECK(static_cast<int>(rows.count.size()) == group.size(), "{}: {} blocks for {} ranks",
              what.operation, rows.count.size(), group.size());
  std::vector<comm::Request> requests;
  for (int step = 1; step < group.size(); ++step) {
    const int peer = (group.rank() + (sending ? step : group.size() - step)) % group.size();
    const auto p = static_cast<std::size_t>(peer);
    const std::size_t bytes = static_cast<std::size_t>(rows.count[p]) * row_bytes;
    if (bytes)
      requests.push_back(group.begin(sending, peer, tag,
                                     data + static_cast<std::size_t>(rows.first[p]) * row_bytes,
                                     bytes, what));
  }
  return requests;
}

} // namespace

bool Journey::progress(Context &ctx) {
  if (busy_) return false;
  busy_ = true;
  for (auto leg = legs_.begin(); leg != legs_.end();) {
    bool there = true;
    for (comm::Request &message : leg->messages) there = comm::test(message) && there;
    if (!there) {
      ++leg;
      continue;
    }
    if (leg->landed) leg->landed(ctx);
    leg = legs_.erase(leg);
  }
  busy_ = false;
  return legs_.empty();
}

// Legs are added behind those that they follow from: nothing that others need is held up by the one waited for.
void Journey::finish(Context &ctx) {
  while (!progress(ctx)) comm::wait_all(legs_.front().messages);
}

void Journey::add(std::vector<comm::Request> messages, std::function<void(Context &)> landed) {
  legs_.push_back({std::move(messages), std::move(landed)});
}

Rows::Rows(std::vector<Index> rows) : count(std::move(rows)) {
  for (const Index n : count) {
    first.push_back(total);
    total += n;
  }
}

std::vector<comm::Request> send_rows(comm::Communicator &to, int tag, const void *data,
                                     const Rows &rows, std::size_t row_bytes, comm::What what) {
  return post(to, true, tag, const_cast<char *>(static_cast<const char *>(data)), rows, row_bytes,
              what);
}

std::vector<comm::Request> receive_rows(comm::Communicator &from, int tag, void *data,
                                        const Rows &rows, std::size_t row_bytes, comm::What what) {
  return post(from, false, tag, static_cast<char *>(data), rows, row_bytes, what);
}

void keep_rows(comm::Communicator &group, const void *sent, const Rows &out, void *received,
               const Rows &in, std::size_t row_bytes, comm::What what) {
  const auto me = static_cast<std::size_t>(group.rank());
  HADAL_CHECK(out.count[me] == in.count[me], "{} rows to myself, {} from myself", out.count[me],
              in.count[me]);
  const auto at = [&](const Rows &rows) {
    return static_cast<std::size_t>(rows.first[me]) * row_bytes;
  };
  group.keep(static_cast<char *>(received) + at(in), static_cast<const char *>(sent) + at(out),
             static_cast<std::size_t>(out.count[me]) * row_bytes, what);
}

void append(std::vector<comm::Request> &to, std::vector<comm::Request> more) {
  for (comm::Request &request : more) to.push_back(std::move(request));
}

} // namespace layers::dispatch
