// SPDX-License-Identifier: Apache-2.0
#pragma once
// Messages between the ranks of one axis. Everything is bytes: a cast belongs to the arithmetic, never to the message.
// A body (loopback/, mpi/, nccl/) brings begin_send, begin_receive and subgroup; the collective verbs stand on these, so
// that each of them has a deadline and the same order of sums everywhere. All ranks of an axis call the collective verbs in
// the same order. Sender and receiver state the same number of bytes. See docs/communication.md.
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "comm/request.hpp"

namespace comm {

inline constexpr int kTags =
    1 << 14; // callers' tags are 0 .. kTags - 1; the collective verbs use those above

// Sizes and places of the blocks of a message to or from each rank, in bytes.
struct Blocks {
  std::vector<std::size_t> bytes, offsets;
  // One behind the other.
  static Blocks packed(std::vector<std::size_t> bytes);
};

class Communicator {
public:
  virtual ~Communicator() = default;
  Communicator(const Communicator &) = delete;

  int rank() const { return place_->rank; }
  int size() const { return place_->size; }
  const std::string &axis() const { return place_->axis; }
  const Place &place() const { return *place_; }
  Terms &terms() const { return *place_->terms; }

  // --- one message ---
  Request isend(int peer, int tag, const void *data, std::size_t bytes, What what);
  Request irecv(int peer, int tag, void *data, std::size_t bytes, What what);
  void send(int peer, int tag, const void *data, std::size_t bytes, What what);
  void recv(int peer, int tag, void *data, std::size_t bytes, What what);

  // --- blocks of bytes; pointers are those of the body (host, or device with NCCL) ---
  void all_to_all_v(const void *send, const Blocks &out, void *receive, const Blocks &in, What);
  // Posted, not awaited; the blocks of the rank itself are copied at once.
  std::vector<Request> start_all_to_all_v(const void *send, const Blocks &out, void *receive,
                                          const Blocks &in, What what);
  // in.bytes[rank()] bytes of mine to all; block r comes from rank r. `mine` may be my block itself.
  void all_gather_v(const void *mine, void *receive, const Blocks &in, What what);
  std::vector<Request> start_all_gather_v(const void *mine, void *receive, const Blocks &in, What);
  void broadcast(int root, void *data, std::size_t bytes, What what);
  // `bytes` of everybody, in order of rank; receive is read at the root alone.
  void gather(int root, const void *mine, std::size_t bytes, void *receive, What what);

  // --- small values, on the host with every body ---
  void barrier(What what = {"barrier"});
  void all_reduce_sum(std::span<std::int64_t> values, What what);
  void all_reduce_max(std::span<std::int64_t> values, What what);
  // The balanced tree over the ranks, level by level: neighbours are added, lower + higher; a last one without a
  // neighbour goes up unchanged.
  void all_reduce_tree(std::span<double> values, What what);
  // Every rank's text or number, by rank.
  std::vector<std::string> all_gather_text(const std::string &mine, What what);
  std::vector<std::int64_t> all_gather_number(std::int64_t mine, What what);

  // The ranks of one colour, ordered by key, then by rank here. A negative colour belongs to nobody: null.
  std::unique_ptr<Communicator> split(int colour, int key, const std::string &axis);

  // For verbs built on top (reduce.hpp): a tag that all ranks get alike, because all call in the same order.
  int next_tag();
  Request begin(bool sending, int peer, int tag, void *data, std::size_t bytes, What what);
  virtual void copy(void *to, const void *from, std::size_t bytes);
  // A block of this rank for itself.
  void keep(void *to, const void *from, std::size_t bytes, What what);

protected:
  explicit Communicator(Place place) : place_(std::make_shared<const Place>(std::move(place))) {}
  const std::shared_ptr<const Place> &shared_place() const { return place_; }

  virtual std::unique_ptr<Pending> begin_send(const Envelope &, const void *data) = 0;
  virtual std::unique_ptr<Pending> begin_receive(const Envelope &, void *data) = 0;
  // `members` are ranks of this axis, `place` the new place of this rank; of all ranks of this axis, those with a
  // negative colour with an empty place.
  virtual std::unique_ptr<Communicator> subgroup(int colour, const std::vector<int> &members,
                                                 Place place) = 0;
  // Where messages of host memory go.
  virtual Communicator &host() { return *this; }

private:
  template <class T, class Combine>
  void all_reduce(std::span<T> values, What what, const Combine &combine);
  void count(int peer, std::size_t bytes, What what);
  std::shared_ptr<const Place> place_;
  int collective_ = 0;
  // By operation: names are literals, so that the pointer tells most of them apart.
  std::vector<std::pair<const char *, Traffic::Row *>> traffic_;
};

} // namespace comm
