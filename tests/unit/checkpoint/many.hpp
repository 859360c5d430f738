// SPDX-License-Identifier: Apache-2.0
#pragma once
// The state of sample.hpp written by several writers of this process at once, cut in several ways.
#include "tests/unit/checkpoint/sample.hpp"

namespace sample {

using checkpoint::WriterOptions;

// Items of a section without data and without scalars.
inline std::vector<Section> outline(std::vector<Section> sections) {
  for (Section &section : sections)
    for (Item &item : section.items) item.data = nullptr;
  return sections;
}

inline Item piece(const Item &of, std::int64_t first, std::int64_t count) {
  Item item = of;
  item.first = first, item.count = count;
  if (of.data) item.data = static_cast<char *>(of.data) + item.first_byte();
  return item;
}

// How a state is shared between n: whole tensors in turn, or each tensor cut into n runs, of which the last ones may be longer; `grain`
// elements are never cut. turned: who begins.
struct Cut {
  int n = 1;
  bool whole = false;
  std::int64_t grain = 1;
  int turned = 0;
};

inline std::vector<Section> share(const std::vector<Section> &sections, const Cut &cut, int of) {
  std::vector<Section> own;
  int tensor = cut.turned;
  for (const Section &section : sections) {
    Section mine{section.name, {}, {}};
    mine.scalars = nlohmann::json::object();
    for (const Item &item : section.items) {
      const int who = (of + tensor++) % cut.n;
      const auto size = static_cast<std::int64_t>(item.size()), each = size / cut.n / cut.grain;
      const std::int64_t first = who * each * cut.grain,
                         last = who + 1 == cut.n ? size : (who + 1) * each * cut.grain;
      if (cut.whole ? who == 0 : last > first)
        mine.items.push_back(cut.whole ? item : piece(item, first, last - first));
    }
    own.push_back(std::move(mine));
  }
  return own;
}

inline Snapshot part_of(State &state, std::int64_t step, const Cut &cut, int writer,
                        const std::string &attempt) {
  Snapshot s = state.snapshot(step);
  s.whole = outline(s.sections);
  s.sections = share(s.sections, cut, writer);
  s.attempt = attempt;
  return s;
}

// What each writer came to: "" or its message. `spoil` changes what a writer does: it may change its snapshot, or return
// false, then this writer takes no part at all.
using Spoil = std::function<bool(int writer, Snapshot &snapshot)>;
inline std::vector<std::string> put_many(const fs::path &directory, std::int64_t step,
                                         const Cut &cut, double deadline = 60,
                                         const Spoil &spoil = {}, std::int64_t keep_last = 1000) {
  std::vector<std::string> outcomes(static_cast<std::size_t>(cut.n));
  const std::string attempt = checkpoint::new_attempt();
  State state; // all point to the same numbers
  std::vector<std::unique_ptr<Writer>> writers;
  for (int w = 0; w < cut.n; ++w)
    writers.push_back(
        std::make_unique<Writer>(WriterOptions{directory, keep_last, 0, w, cut.n, deadline}));
  const auto note = [&](int w, const std::function<void()> &act) {
    try {
      act();
    } catch (const std::exception &error) {
      outcomes[static_cast<std::size_t>(w)] = error.what();
    }
  };
  for (int w = 0; w < cut.n; ++w) {
    Snapshot s = part_of(state, step, cut, w, attempt);
    if (!spoil || spoil(w, s))
      note(w, [&] { writers[static_cast<std::size_t>(w)]->start(std::move(s)); });
  }
  for (int w = 0; w < cut.n; ++w) note(w, [&] { writers[static_cast<std::size_t>(w)]->wait(); });
  return outcomes;
}

inline std::vector<std::string> all_well(int writers) {
  return std::vector<std::string>(static_cast<std::size_t>(writers));
}

// Reads a checkpoint into a blank state as `cut.n` readers would, and gives the state hash of what came.
inline std::string read_back(const fs::path &place, const Cut &cut, bool verified_elsewhere) {
  State state;
  state.matrix.assign(6, 0), state.half.assign(4, 0), state.exact.assign(2, 0);
  state.big.assign(2, 0), state.small.assign(3, 0), state.bytes.assign(2, 9);
  state.moments.assign(state.moments.size(), 0), state.alone = 0;
  state.steps = 0;
  std::vector<Section> sections = state.sections();
  for (int r = 0; r < cut.n; ++r) {
    const Reader reader = verified_elsewhere ? Reader::open_verified(place) : Reader::open(place);
    for (const Section &section : share(sections, cut, r))
      reader.read(section.name, section.items, false);
    for (Section &section : sections) section.scalars = reader.scalars(section.name);
  }
  return checkpoint::state_hash(sections);
}

} // namespace sample
