// SPDX-License-Identifier: Apache-2.0
// The order of an overlapped pair: that of the table, for passes of any length; and what is polled between kernels.
#include <gtest/gtest.h>

#include <string>

#include <fmt/format.h>

#include "layers/types.hpp"
#include "model/flights.hpp"
#include "model/pair.hpp"

namespace {

using model::Phase;
using model::Side;

const char *name(Phase phase) {
  switch (phase) {
  case Phase::open: return "open";
  case Phase::attention: return "attn";
  case Phase::mlp: return "mlp";
  case Phase::mlp_weight: return "mlpW";
  case Phase::attention_weight: return "attnW";
  case Phase::close: return "close";
  }
  return "";
}

using Words = std::vector<std::string>;

// Writes down what it is told.
class Scribe : public model::Walk {
public:
  Scribe(char side, int blocks, Words &list) : side_(side), blocks_(blocks), list_(list) {}
  int blocks() const override { return blocks_; }
  void start() override { list_.push_back(fmt::format("{} start", side_)); }
  void run(int block, Phase phase) override {
    list_.push_back(fmt::format("{}{} {}", side_, block, name(phase)));
  }
  void finish() override { list_.push_back(fmt::format("{} finish", side_)); }

private:
  char side_;
  int blocks_;
  Words &list_;
};

Words pair(int forward, int backward) {
  Words list;
  Scribe f('F', forward, list), b('B', backward, list);
  model::walk_pair(f, b);
  return list;
}
Words alone(Side side, int blocks) {
  Words list;
  Scribe walk(side == Side::forward ? 'F' : 'B', blocks, list);
  model::walk_alone(side, walk);
  return list;
}
Words of(char side, const Words &all) {
  Words list;
  for (const std::string &word : all)
    if (word[0] == side) list.push_back(word);
  return list;
}
std::size_t place(const Words &list, const std::string &word) {
  const auto it = std::find(list.begin(), list.end(), word);
  EXPECT_NE(it, list.end()) << word;
  return static_cast<std::size_t>(it - list.begin());
}

// DualPipe's published order of a pair of layers: attn(F), mlp(B), mlp(W), mlp(F), attn(B), attn(W).
TEST(Pair, ComputesInThePublishedOrder) {
  const Words list = pair(3, 3);
  Words computed;
  for (const std::string &word : list)
    if (word.find("open") == std::string::npos && word.find("close") == std::string::npos &&
        word.find("start") == std::string::npos && word.find("finish") == std::string::npos)
      computed.push_back(word);
  Words expected;
  for (int layer = 0; layer < 3; ++layer)
    for (const char *word : {"F{} attn", "B{} mlp", "B{} mlpW", "F{} mlp", "B{} attn", "B{} attnW"})
      expected.push_back(fmt::format(fmt::runtime(word), layer));
  EXPECT_EQ(computed, expected);
}

// Where a journey leaves and where it is waited for, and what the rank computes in between: combine(B) || attn(F), dispatch(F) || mlp(B),
// dispatch(B) || mlp(W) + mlp(F), combine(F) || attn(B); and combine(B) of the next layer || attn(W) + attn(F).
TEST(Pair, EveryJourneyHasSomethingToHideBehind) {
  const Words list = pair(3, 3);
  const auto between = [&](const std::string &from, const std::string &to) {
    return Words(list.begin() + static_cast<std::ptrdiff_t>(place(list, from)) + 1,
                 list.begin() + static_cast<std::ptrdiff_t>(place(list, to)));
  };
  EXPECT_EQ(between("B1 open", "B1 mlp"), (Words{"B0 attnW", "F0 close", "F1 attn"}));
  EXPECT_EQ(between("F1 attn", "F1 mlp"), (Words{"B1 mlp", "B1 mlpW"}));
  EXPECT_EQ(between("B1 mlp", "B1 attn"), (Words{"B1 mlpW", "F1 mlp"}));
  EXPECT_EQ(between("F1 mlp", "F1 close"), (Words{"B1 attn", "B2 open", "B1 attnW"}));
  // They leave one after the other: combine(B), dispatch(F), dispatch(B), combine(F).
  EXPECT_LT(place(list, "B1 open"), place(list, "F1 attn"));
  EXPECT_LT(place(list, "F1 attn"), place(list, "B1 mlp"));
  EXPECT_LT(place(list, "B1 mlp"), place(list, "F1 mlp"));
}

// Every phase once and, of each side alone, in the order that its data want: whatever the two lengths are.
TEST(Pair, EachSideDoesWhatItDoesAlone) {
  for (int forward = 0; forward <= 4; ++forward)
    for (int backward = 0; backward <= 4; ++backward) {
      SCOPED_TRACE(fmt::format("{} and {} blocks", forward, backward));
      const Words list = pair(forward, backward);
      EXPECT_EQ(of('F', list), alone(Side::forward, forward));
      Words b = of('B', list), in_order = alone(Side::backward, backward);
      // A block may open before the weight gradients of the one before are done, and only that.
      for (int block = 1; block < backward; ++block) {
        const auto open = place(b, fmt::format("B{} open", block)),
                   weight = place(b, fmt::format("B{} attnW", block - 1));
        if (open + 1 == weight) std::swap(b[open], b[weight]);
      }
      EXPECT_EQ(b, in_order);
    }
}

// What one side has more stands at the beginning of B (MTP modules) and at the end of F.
TEST(Pair, TheRestGoesAlone) {
  const Words b_longer = pair(1, 2), f_longer = pair(2, 1);
  EXPECT_LT(place(b_longer, "B0 attnW"), place(b_longer, "F start"));
  EXPECT_LT(place(b_longer, "F0 attn"), place(b_longer, "B1 mlp"));
  EXPECT_LT(place(f_longer, "F0 attn"), place(f_longer, "B0 mlp"));
  EXPECT_GT(place(f_longer, "F1 attn"), place(f_longer, "B0 attnW"));
}

// Lands when it has been polled so often.
class Slow : public layers::dispatch::Flight {
public:
  explicit Slow(int polls) : left_(polls) {}
  bool progress(tensor::Context &ctx) override {
    tensor::for_each( // what is done at a landing is a launch too, and does not poll again
        ctx, "model::test::landing", 1, KOKKOS_LAMBDA(const tensor::Index){});
    return --left_ <= 0;
  }
  void finish(tensor::Context &) override { left_ = 0, finished = true; }
  int left() const { return left_; }
  bool finished = false;

private:
  int left_;
};

TEST(Flights, ArePolledAfterEachLaunch) {
  tensor::Arena arena("test", 1 << 12);
  model::Flights flights;
  base::Trace trace;
  flights.set_trace(&trace);
  tensor::Context ctx{tensor::Exec(), arena};
  ctx.background = &flights;
  int beside = 0;
  flights.beside([&] { ++beside; });
  Slow two(2), many(1 << 30);
  flights.begin(ctx, two, {"two", 3, 1});
  flights.begin(ctx, many, {"many"});
  const auto launch = [&] {
    tensor::for_each(ctx, "model::test::work", 1, KOKKOS_LAMBDA(const tensor::Index){});
  };
  launch();
  EXPECT_EQ(two.left(), 1);
  launch();
  launch(); // it has landed
  EXPECT_EQ(two.left(), 0);
  EXPECT_EQ(beside, 3);
  flights.land(two);
  EXPECT_FALSE(two.finished);
  EXPECT_EQ(flights.hidden(model::Flights::Kind::experts).exposed, 0);
  flights.land(many); // nobody else would
  EXPECT_TRUE(many.finished);
  const auto hidden = flights.hidden(model::Flights::Kind::experts);
  EXPECT_GT(hidden.exposed, 0);
  EXPECT_GE(hidden.in_flight, hidden.exposed);
  EXPECT_NEAR(trace.hidden().in_flight, hidden.in_flight, 1e-3);
  EXPECT_NEAR(trace.hidden().exposed, hidden.exposed, 1e-3);
  EXPECT_EQ(flights.hidden(model::Flights::Kind::stages).in_flight, 0);
}

} // namespace
