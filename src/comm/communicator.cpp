// SPDX-License-Identifier: Apache-2.0
#include "comm/communicator.hpp"

#include <algorithm>
#include <cstring>
#include <numeric>

namespace comm {
namespace {

constexpr int kCollectiveTags =
    1 << 13; // kTags + kCollectiveTags stays below 32767, the least that MPI grants

const char *at(const void *base, std::size_t offset) {
  return static_cast<const char *>(base) + offset;
}
char *at(void *base, std::size_t offset) { return static_cast<char *>(base) + offset; }

} // namespace

Blocks Blocks::packed(std::vector<std::size_t> bytes) {
  Blocks blocks{std::move(bytes), {}};
  blocks.offsets.resize(blocks.bytes.size());
  std::exclusive_scan(blocks.bytes.begin(), blocks.bytes.end(), blocks.offsets.begin(),
                      std::size_t(0));
  return blocks;
}

int Communicator::next_tag() { return kTags + collective_++ % kCollectiveTags; }

Request Communicator::begin(bool sending, int peer, int tag, void *data, std::size_t bytes,
                            What what) {
  HADAL_CHECK(peer >= 0 && peer < size(), "peer {} on axis {} of {} ranks ({})", peer, axis(),
              size(), what.operation);
  terms().began(what);
  if (sending) count(peer, bytes, what);
  const Envelope envelope{sending, peer, tag, bytes, what};
  return Request(sending ? begin_send(envelope, data) : begin_receive(envelope, data));
}

Request Communicator::isend(int peer, int tag, const void *data, std::size_t bytes, What what) {
  HADAL_CHECK(tag >= 0 && tag < kTags, "tag {} of {}", tag, what.operation);
  return begin(true, peer, tag, const_cast<void *>(data), bytes, what);
}

Request Communicator::irecv(int peer, int tag, void *data, std::size_t bytes, What what) {
  HADAL_CHECK(tag >= 0 && tag < kTags, "tag {} of {}", tag, what.operation);
  return begin(false, peer, tag, data, bytes, what);
}

void Communicator::send(int peer, int tag, const void *data, std::size_t bytes, What what) {
  Request request = isend(peer, tag, data, bytes, what);
  wait(request);
}

void Communicator::recv(int peer, int tag, void *data, std::size_t bytes, What what) {
  Request request = irecv(peer, tag, data, bytes, what);
  wait(request);
}

void Communicator::copy(void *to, const void *from, std::size_t bytes) {
  if (bytes && to != from) std::memmove(to, from, bytes);
}

void Communicator::keep(void *to, const void *from, std::size_t bytes, What what) {
  if (bytes) count(rank(), bytes, what);
  copy(to, from, bytes);
}

void Communicator::count(int peer, std::size_t bytes, What what) {
  auto found = std::find_if(traffic_.begin(), traffic_.end(),
                            [&](const auto &row) { return row.first == what.operation; });
  if (found == traffic_.end()) {
    traffic_.emplace_back(what.operation, &terms().traffic.row(axis(), what.operation));
    found = traffic_.end() - 1;
  }
  const Link link = terms().traffic.link(place().world_rank(),
                                         place().world_ranks[static_cast<std::size_t>(peer)]);
  found->second->add(link, link == Link::same_rank ? 0 : 1, static_cast<std::int64_t>(bytes));
}

std::vector<Request> Communicator::start_all_to_all_v(const void *send, const Blocks &out,
                                                      void *receive, const Blocks &in, What what) {
  const auto n = static_cast<std::size_t>(size());
  HADAL_CHECK(out.bytes.size() == n && out.offsets.size() == n && in.bytes.size() == n &&
                  in.offsets.size() == n,
              "{}: blocks for {} and {} ranks of {}", what.operation, out.bytes.size(),
              in.bytes.size(), n);
  const int tag = next_tag();
  const auto me = static_cast<std::size_t>(rank());
  HADAL_CHECK(out.bytes[me] == in.bytes[me], "{}: {} bytes to myself, {} from myself",
              what.operation, out.bytes[me], in.bytes[me]);
  std::vector<Request> requests;
  // Each rank begins with another peer, so that they do not all knock at one door. Empty blocks are no message.
  for (int step = 1; step < size(); ++step) {
    const int peer = (rank() + size() - step) % size();
    const auto p = static_cast<std::size_t>(peer);
    if (in.bytes[p])
      requests.push_back(begin(false, peer, tag, at(receive, in.offsets[p]), in.bytes[p], what));
  }
  for (int step = 1; step < size(); ++step) {
    const int peer = (rank() + step) % size();
    const auto p = static_cast<std::size_t>(peer);
    if (out.bytes[p])
      requests.push_back(
          begin(true, peer, tag, const_cast<char *>(at(send, out.offsets[p])), out.bytes[p], what));
  }
  keep(at(receive, in.offsets[me]), at(send, out.offsets[me]), out.bytes[me], what);
  return requests;
}

void Communicator::all_to_all_v(const void *send, const Blocks &out, void *receive,
                                const Blocks &in, What what) {
  auto requests = start_all_to_all_v(send, out, receive, in, what);
  wait_all(requests);
}

std::vector<Request> Communicator::start_all_gather_v(const void *mine, void *receive,
                                                      const Blocks &in, What what) {
  const auto n = static_cast<std::size_t>(size());
  HADAL_CHECK(in.bytes.size() == n && in.offsets.size() == n, "{}: blocks for {} ranks of {}",
              what.operation, in.bytes.size(), n);
  // The same block to everybody.
  const Blocks out{std::vector<std::size_t>(n, in.bytes[static_cast<std::size_t>(rank())]),
                   std::vector<std::size_t>(n, 0)};
  return start_all_to_all_v(mine, out, receive, in, what);
}

void Communicator::all_gather_v(const void *mine, void *receive, const Blocks &in, What what) {
  auto requests = start_all_gather_v(mine, receive, in, what);
  wait_all(requests);
}

void Communicator::broadcast(int root, void *data, std::size_t bytes, What what) {
  HADAL_CHECK(root >= 0 && root < size(), "root {} of {}", root, what.operation);
  const int tag = next_tag();
  if (bytes == 0) return;
  // Binomial tree over the ranks counted from the root.
  const int place = (rank() - root + size()) % size();
  int reach = 1;
  while (reach < size() && !(place & reach)) reach *= 2;
  if (place != 0) {
    Request from = begin(false, (place - reach + root) % size(), tag, data, bytes, what);
    wait(from);
  }
  std::vector<Request> requests;
  for (int step = reach / 2; step > 0; step /= 2)
    if (place + step < size())
      requests.push_back(begin(true, (place + step + root) % size(), tag, data, bytes, what));
  wait_all(requests);
}

void Communicator::gather(int root, const void *mine, std::size_t bytes, void *receive, What what) {
  HADAL_CHECK(root >= 0 && root < size(), "root {} of {}", root, what.operation);
  const int tag = next_tag();
  if (bytes == 0) return;
  std::vector<Request> requests;
  if (rank() != root) {
    requests.push_back(begin(true, root, tag, const_cast<void *>(mine), bytes, what));
  } else {
    for (int peer = 0; peer < size(); ++peer) {
      char *place = at(receive, static_cast<std::size_t>(peer) * bytes);
      if (peer == root)
        copy(place, mine, bytes);
      else
        requests.push_back(begin(false, peer, tag, place, bytes, what));
    }
  }
  wait_all(requests);
}

void Communicator::barrier(What what) {
  Communicator &c = host();
  const int tag = c.next_tag();
  // After round k everybody has heard, directly or not, of the 2^(k+1) ranks before it.
  for (int step = 1; step < size(); step *= 2) {
    char out = 0, in = 0;
    Request requests[] = {c.begin(false, (rank() + size() - step) % size(), tag, &in, 1, what),
                          c.begin(true, (rank() + step) % size(), tag, &out, 1, what)};
    wait_all(requests);
  }
}

template <class T, class Combine>
void Communicator::all_reduce(std::span<T> values, What what, const Combine &combine) {
  Communicator &c = host();
  const int tag = c.next_tag();
  const std::size_t bytes = values.size_bytes();
  if (bytes == 0) return;
  std::vector<T> other(values.size());
  for (int step = 1; step < size(); step *= 2) {
    if (rank() % (2 * step) != 0) {
      Request up = c.begin(true, rank() - step, tag, values.data(), bytes, what);
      wait(up);
      break;
    }
    if (rank() + step >= size()) continue;
    Request from = c.begin(false, rank() + step, tag, other.data(), bytes, what);
    wait(from);
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = combine(values[i], other[i]);
  }
  c.broadcast(0, values.data(), bytes, what);
}

void Communicator::all_reduce_sum(std::span<std::int64_t> values, What what) {
  all_reduce(values, what, [](std::int64_t a, std::int64_t b) { return a + b; });
}

void Communicator::all_reduce_max(std::span<std::int64_t> values, What what) {
  all_reduce(values, what, [](std::int64_t a, std::int64_t b) { return std::max(a, b); });
}

void Communicator::all_reduce_tree(std::span<double> values, What what) {
  all_reduce(values, what, [](double lower, double higher) { return lower + higher; });
}

std::vector<std::int64_t> Communicator::all_gather_number(std::int64_t mine, What what) {
  const auto n = static_cast<std::size_t>(size());
  std::vector<std::int64_t> all(n);
  host().all_gather_v(&mine, all.data(), Blocks::packed(std::vector<std::size_t>(n, sizeof(mine))),
                      what);
  return all;
}

std::vector<std::string> Communicator::all_gather_text(const std::string &mine, What what) {
  const auto sizes = all_gather_number(static_cast<std::int64_t>(mine.size()), what);
  const Blocks in = Blocks::packed({sizes.begin(), sizes.end()});
  std::string joined(in.offsets.back() + in.bytes.back(), '\0');
  host().all_gather_v(mine.data(), joined.data(), in, what);
  std::vector<std::string> all;
  for (std::size_t r = 0; r < sizes.size(); ++r)
    all.push_back(joined.substr(in.offsets[r], in.bytes[r]));
  return all;
}

std::unique_ptr<Communicator> Communicator::split(int colour, int key, const std::string &name) {
  const What what{"split of an axis"};
  const auto colours = all_gather_number(colour, what), keys = all_gather_number(key, what);
  std::vector<int> members;
  if (colour >= 0)
    for (int r = 0; r < size(); ++r)
      if (colours[static_cast<std::size_t>(r)] == colour) members.push_back(r);
  std::stable_sort(members.begin(), members.end(), [&](int a, int b) {
    return keys[static_cast<std::size_t>(a)] < keys[static_cast<std::size_t>(b)];
  });
  Place place{name, -1, static_cast<int>(members.size()), {}, place_->terms};
  for (std::size_t i = 0; i < members.size(); ++i) {
    place.world_ranks.push_back(place_->world_ranks[static_cast<std::size_t>(members[i])]);
    if (members[i] == rank()) place.rank = static_cast<int>(i);
  }
  return subgroup(colour, members, std::move(place));
}

} // namespace comm
