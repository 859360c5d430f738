// SPDX-License-Identifier: Apache-2.0
#pragma once
// What this rank has sent, by axis, operation and class of link. Nodes are those of the mesh, so that virtual nodes count as nodes.
// Blocks that a collective verb copies from a rank to itself are bytes of the same rank, and no message.
#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace comm {

class Communicator;

enum class Link { same_rank, same_node, other_node };

class Traffic {
public:
  struct Count {
    std::int64_t messages = 0, bytes = 0;
  };
  struct Row {
    std::array<Count, 3> of_link;
    void add(Link link, std::int64_t messages, std::int64_t bytes);
    const Count &operator[](Link link) const { return of_link[static_cast<std::size_t>(link)]; }
  };
  using Key = std::pair<std::string, std::string>; // axis, operation

  // By world rank; empty: one node.
  void set_nodes(std::vector<int> node_of_world) { node_of_world_ = std::move(node_of_world); }
  Link link(int world_rank, int other) const;
  // Stays where it is.
  Row &row(const std::string &axis, const std::string &operation) {
    return rows_[{axis, operation}];
  }
  const std::map<Key, Row> &rows() const { return rows_; }
  // Of an axis, or of one operation on it, or (axis empty) of an operation on all axes.
  Row total(const std::string &axis, const std::string &operation = "") const;
  void clear(); // counts begin at nothing again

private:
  std::map<Key, Row> rows_;
  std::vector<int> node_of_world_;
};

// The sum over all ranks, on all ranks; what it sends itself is not in it.
Traffic traffic_of_all(Communicator &world);

// A line for each axis; with operations a line for each of them below.
std::string traffic_table(const Traffic &traffic, bool operations);

} // namespace comm
