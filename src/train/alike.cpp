// SPDX-License-Identifier: Apache-2.0
#include "train/alike.hpp"

#include <algorithm>
#include <sstream>

#include <fmt/format.h>

#include "base/error.hpp"
#include "base/hash.hpp"
#include "base/revision.hpp"

namespace train {
namespace {

// The first line in which two texts differ, in both.
std::string difference(const std::string &mine, const std::string &theirs) {
  std::istringstream a(mine), b(theirs);
  std::string left, right, table;
  for (;;) {
    const bool more_left = static_cast<bool>(std::getline(a, left)),
               more_right = static_cast<bool>(std::getline(b, right));
    if (!more_left && !more_right) return "";
    if (!more_left) left = "nothing more";
    if (!more_right) right = "nothing more";
    if (left != right) return fmt::format("{}{}, rank 0: {}", table, left, right);
    if (left.starts_with("[")) table = left + " ";
  }
}

// Every rank's text must be that of rank 0, line by line. A line in brackets names the table of those behind it.
void require_alike(comm::Communicator &world, const std::string &what, const std::string &text,
                   const std::string &advice) {
  const auto hashes =
      world.all_gather_text(base::hash128(text).hex(), {"comparison of what ranks were given"});
  std::vector<int> others;
  for (std::size_t rank = 0; rank < hashes.size(); ++rank)
    if (hashes[rank] != hashes[0]) others.push_back(static_cast<int>(rank));
  if (others.empty()) return;
  const bool differs = hashes[static_cast<std::size_t>(world.rank())] != hashes[0];
  const auto first = world.all_gather_text(world.rank() == 0 ? text : "", {"deck of rank 0"})[0];
  const auto told =
      world.all_gather_text(differs ? difference(text, first) : "", {"differences of decks"});
  constexpr std::size_t kTold = 4;
  std::string lines =
      fmt::format("the {} of {} rank(s) is not that of rank 0", what, others.size());
  for (std::size_t i = 0; i < std::min(kTold, others.size()); ++i)
    lines += fmt::format("\n  rank {}: {}", others[i], told[static_cast<std::size_t>(others[i])]);
  if (others.size() > kTold) lines += fmt::format("\n  and {} more", others.size() - kTold);
  throw base::UserError(base::Exit::machine, "E090", what, lines, advice);
}

} // namespace

void meet(comm::Communicator &world, double deadline, const std::string &deck) {
  comm::Options waits = world.terms().options();
  waits.deadline = deadline;
  world.terms().set_options(waits);
  require_alike(world, "deck", deck + "[program]\nrevision = " + base::revision() + "\n",
                "Start all ranks with the same program, the same deck and the same words.");
}

void require_same_data(comm::Communicator &world, const std::string &content,
                       const std::string &tokenizer) {
  require_alike(world, "data", "content " + content + "\ntokenizer " + tokenizer + "\n",
                "A node reads a folder of its own: build the data on one, and copy it to all.");
}

} // namespace train
