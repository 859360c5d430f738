// SPDX-License-Identifier: Apache-2.0
// Some steps of training on random tokens, on any number of ranks: parallel_trainer DECK STEPS [table.key=value ...]. Rank 0 prints a line
// for each step, with every bit of its numbers, and the hash of the whole state, put together from all ranks. No data and no files, so
// that the layout of ranks is all that differs between two calls.
#include <cstdio>
#include <cstring>
#include <exception>

#include <Kokkos_Core.hpp>
#include <fmt/format.h>

#include "base/random.hpp"
#include "comm/session.hpp"
#include "train/step.hpp"

namespace {

using tensor::Index;

class RandomSource : public data::SampleSource {
public:
  RandomSource(std::int64_t sequence, std::int64_t vocabulary)
      : sequence_(sequence), vocabulary_(vocabulary) {}
  std::vector<data::Sample> next(data::Cursor &cursor, std::int64_t count) const override {
    std::vector<data::Sample> samples(static_cast<std::size_t>(count));
    drawn_ += count;
    for (auto &sample : samples) {
      const auto number = static_cast<std::uint64_t>(cursor.next_sample++);
      for (std::int64_t i = 0; i <= sequence_; ++i) {
        // Few tokens are frequent, so that experts are loaded unevenly.
        const auto bits = base::random::bits(1, base::random::Purpose::test, number,
                                             static_cast<std::uint64_t>(i));
        sample.tokens.push_back(static_cast<data::Token>((bits % 3 == 0 ? bits >> 8 : bits % 7) %
                                                         static_cast<std::uint64_t>(vocabulary_)));
      }
      sample.segments = {0};
      if (number % 3 == 1) sample.segments.push_back(static_cast<std::int32_t>(sequence_ / 3));
    }
    return samples;
  }
  void skip(data::Cursor &cursor, std::int64_t count) const override {
    cursor.next_sample += count;
  }

  std::int64_t drawn() const { return drawn_; }

private:
  std::int64_t sequence_, vocabulary_;
  mutable std::int64_t drawn_ = 0;
};

void append(std::string &to, const void *data, std::size_t bytes) {
  to.append(static_cast<const char *>(data), bytes);
}

// Every owned piece of this rank: tensor, place, and its bytes in each section.
std::string pieces_of(const train::State &state) {
  std::string message;
  for (const train::Owned &piece : state.ownership.pieces()) {
    const std::int64_t head[3] = {piece.slot->order, piece.slot->first + piece.begin,
                                  piece.end - piece.begin};
    append(message, head, sizeof(head));
    const auto n = static_cast<std::size_t>(head[2]);
    append(message, state.value(piece).data(), 4 * n);
    if (state.bf16_moments()) {
      append(message, state.first.bf16.data() + piece.at, 2 * n);
      append(message, state.second.bf16.data() + piece.at, 2 * n);
    } else {
      append(message, state.first.f32.data() + piece.at, 4 * n);
      append(message, state.second.f32.data() + piece.at, 4 * n);
    }
    if (state.average.extent(0) > 0) append(message, state.average.data() + piece.at, 4 * n);
  }
  return message;
}

std::string hash_of_all(const train::Ranks &ranks, const train::State &state,
                        const arch::Dims &dims) {
  const auto messages = ranks.world().all_gather_text(pieces_of(state), {"state"});
  const auto registry = arch::registry(dims);
  const std::size_t moment = state.bf16_moments() ? 2 : 4;
  const std::size_t widths[4] = {4, moment, moment, 4};
  const int sections = state.average.extent(0) > 0 ? 4 : 3;
  std::vector<std::vector<std::string>> bytes(4, std::vector<std::string>(registry.size()));
  std::vector<Index> seen(registry.size(), 0);
  for (const std::string &message : messages)
    for (std::size_t at = 0; at < message.size();) {
      std::int64_t head[3];
      std::memcpy(head, message.data() + at, sizeof(head));
      at += sizeof(head);
      const auto t = static_cast<std::size_t>(head[0]), n = static_cast<std::size_t>(head[2]);
      seen[t] += head[2];
      for (int s = 0; s < sections; ++s) {
        std::string &to = bytes[static_cast<std::size_t>(s)][t];
        to.resize(static_cast<std::size_t>(registry[t].size()) * widths[s]);
        std::memcpy(to.data() + static_cast<std::size_t>(head[1]) * widths[s], message.data() + at,
                    n * widths[s]);
        at += n * widths[s];
      }
    }
  checkpoint::StateHash hash;
  for (std::size_t t = 0; t < registry.size(); ++t) {
    HADAL_CHECK(seen[t] == registry[t].size(), "{}: {} of {} elements are owned", registry[t].name,
                seen[t], registry[t].size());
    for (int s = 0; s < sections; ++s)
      if (registry[t].trained() || s == 0 || s == 3)
        hash.add(registry[t].name + "/" + std::to_string(s),
                 bytes[static_cast<std::size_t>(s)][t].data(),
                 bytes[static_cast<std::size_t>(s)][t].size());
  }
  return hash.hex();
}

template <class A>
void train_some(const train::Options &o, comm::Communicator &world, std::int64_t steps) {
  const train::Ranks ranks(o, world);
  const model::Layout layout(o.dims, ranks.share());
  train::State state(o, ranks, layout);
  const RandomSource source(o.batch.sequence, o.dims.vocabulary);
  train::Trainer<A> trainer(o, ranks, state, source);
  state.initialise(trainer.context(), 1);
  trainer.weights_changed();
  for (std::int64_t i = 0; i < steps; ++i) {
    const train::StepReport r = trainer.step();
    if (!ranks.first()) continue;
    std::string mtp, load;
    for (const double l : r.mtp) mtp += fmt::format(" {:a}", l);
    for (std::size_t e = 0; e < r.load_BE.size(); ++e) load += fmt::format(" {}", r.load_BE[e]);
    fmt::print("step {} loss {:a} mtp{} balance {:a} norm {:a} clipped {} load{}\n", i + 1, r.loss,
               mtp, r.balance, r.grad_norm, r.clipped, load);
  }
  // Nobody reads what others work on.
  HADAL_CHECK(source.drawn() * o.parallel.dp == state.counters.samples,
              "{} of {} samples were read by one of {} data-parallel ranks", source.drawn(),
              state.counters.samples, o.parallel.dp);
  const std::string hash = hash_of_all(ranks, state, o.dims);
  if (ranks.first()) fmt::print("state {}\n", hash);
}

} // namespace

int main(int count, char **arguments) {
  comm::Session session({.deadline = 60});
  int code = 0;
  char name[] = "trainer", quiet[] = "--kokkos-disable-warnings";
  char *words[] = {name, quiet, nullptr};
  int two = 2;
  Kokkos::initialize(two, words);
  try {
    deck::Deck deck = deck::Deck::read(arguments[1], {arguments + 3, arguments + count});
    const train::Options options = train::read_options(deck);
    if (options.precision.compute == train::Compute::bf16)
      train_some<numerics::bf16>(options, session.world(), std::stoll(arguments[2]));
    else
      train_some<float>(options, session.world(), std::stoll(arguments[2]));
  } catch (const std::exception &error) {
    fmt::print(stderr, "rank {}: {}\n", session.world().rank(), error.what());
    comm::abort_all(3);
  }
  Kokkos::finalize();
  session.finish();
  return code;
}
