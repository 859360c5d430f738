// SPDX-License-Identifier: Apache-2.0
#pragma once
// Messages under way. A request knows where it comes from and what it carries, so that a wait that is overdue can tell.
// The memory of a message must stay until its request is done.
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "comm/terms.hpp"

namespace comm {

// A rank's place on an axis.
struct Place {
  std::string axis;
  int rank = 0, size = 1;
  std::vector<int> world_ranks; // of each rank of the axis
  std::shared_ptr<Terms> terms;

  int world_rank() const { return world_ranks[static_cast<std::size_t>(rank)]; }
  // "rank 3 of axis ep (world rank 11, node n2)"
  std::string name(int rank) const;
};

struct Envelope {
  bool sending = false;
  int peer = 0, tag = 0;
  std::size_t bytes = 0;
  What what;
};

// One body's part of a request. Its destructor withdraws what is not done.
class Pending {
public:
  Pending(std::shared_ptr<const Place> place, const Envelope &envelope)
      : place_(std::move(place)), envelope_(envelope) {}
  virtual ~Pending() = default;
  virtual bool poll() = 0; // progresses; true when done
  virtual std::size_t outstanding() const { return envelope_.bytes; }
  const Envelope &envelope() const { return envelope_; }
  const Place &place() const { return *place_; }
  const std::shared_ptr<const Place> &shared_place() const { return place_; }

private:
  std::shared_ptr<const Place> place_;
  Envelope envelope_;
};

class Request {
public:
  Request() = default; // done
  explicit Request(std::unique_ptr<Pending> pending) : pending_(std::move(pending)) {}
  bool done() const { return !pending_; }
  const Pending *pending() const { return pending_.get(); }

private:
  friend bool test(Request &);
  std::unique_ptr<Pending> pending_;
};

// A wait came to its deadline (E078), or the process was asked to stop while it waited (E079).
class Overdue : public base::UserError {
public:
  using base::UserError::UserError;
};

// True when the message is done; progresses it otherwise. Never waits.
bool test(Request &);
// Both progress all of the requests and end in Overdue at the latest.
void wait(Request &);
void wait_all(std::span<Request>);

} // namespace comm
