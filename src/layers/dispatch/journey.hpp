// SPDX-License-Identifier: Apache-2.0
#pragma once
// A flight as legs: messages that land together, and what is done when they have (which may add legs). Tags are drawn when a flight
// begins, in the same order on all ranks; what progress() posts later comes at a different moment on each.
#include <functional>
#include <list>

#include "layers/dispatch/route.hpp"

namespace layers::dispatch {

class Journey : public Flight {
public:
  bool progress(Context &ctx) override;
  void finish(Context &ctx) override;
  void add(std::vector<comm::Request> messages, std::function<void(Context &)> landed = {});

private:
  struct Leg {
    std::vector<comm::Request> messages;
    std::function<void(Context &)> landed;
  };
  std::list<Leg> legs_;
  bool busy_ = false; // what is done at a landing launches kernels, and those may poll
};

// Rows in blocks of one rank each, one block behind the other.
struct Rows {
  std::vector<Index> count, first; // of each rank
  Index total = 0;
  explicit Rows(std::vector<Index> rows = {});
};

// The blocks of the other ranks, begun; an empty block is no message.
std::vector<comm::Request> send_rows(comm::Communicator &to, int tag, const void *data,
                                     const Rows &rows, std::size_t row_bytes, comm::What what);
std::vector<comm::Request> receive_rows(comm::Communicator &from, int tag, void *data,
                                        const Rows &rows, std::size_t row_bytes, comm::What what);
// This rank's block to itself.
void keep_rows(comm::Communicator &group, const void *sent, const Rows &out, void *received,
               const Rows &in, std::size_t row_bytes, comm::What what);

void append(std::vector<comm::Request> &to, std::vector<comm::Request> more);

} // namespace layers::dispatch
