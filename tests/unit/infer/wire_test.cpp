// SPDX-License-Identifier: Apache-2.0
// What goes from rank to rank comes as it went.
#include <gtest/gtest.h>

#include "infer/wire.hpp"

namespace {

namespace wire = infer::wire;
using base::Exit, base::UserError;

TEST(Wire, ComesAsItWent) {
  wire::Writer to;
  to.number(7), to.list(std::vector<float>{1.5F, -0.0F}), to.text("a\0b"),
      to.list(std::vector<int>{});
  to.texts({"", "two"});
  wire::Reader from(to.bytes());
  std::vector<float> floats;
  std::vector<int> none = {1};
  std::string text;
  std::vector<std::string> texts;
  EXPECT_EQ(from.number<int>(), 7);
  from.list(floats), from.text(text), from.list(none), from.texts(texts);
  EXPECT_EQ(floats, (std::vector<float>{1.5F, -0.0F}));
  EXPECT_EQ(text, "a\0b");
  EXPECT_TRUE(none.empty());
  EXPECT_EQ(texts, (std::vector<std::string>{"", "two"}));
  EXPECT_TRUE(from.done());
}

TEST(Wire, FaultsKeepTheirWords) {
  const UserError faults[] = {
      {Exit::numbers, "E262", "generation", "the logit of token 3 is nan", "Take another one."},
      {Exit::data, "E261", "", "token 9", "Two lines\nof advice."},
      {Exit::deck, "E260", "prompt", "", "Shorten it."},
      {Exit::machine, "E270", "", "", "Only advice."}};
  for (const UserError &fault : faults) {
    wire::Writer to;
    wire::write(to, fault);
    wire::Reader from(to.bytes());
    const UserError told = wire::read_fault(from);
    EXPECT_STREQ(told.what(), fault.what());
    EXPECT_EQ(told.number(), fault.number());
    EXPECT_EQ(told.code(), fault.code());
  }
}

TEST(Wire, TooFewBytesAreAFault) {
  wire::Writer to;
  to.list(std::vector<int>{1, 2, 3});
  for (std::size_t bytes = 0; bytes < to.bytes().size(); ++bytes) {
    const std::string cut = to.bytes().substr(0, bytes);
    wire::Reader from(cut);
    std::vector<int> list;
    EXPECT_THROW(from.list(list), base::Fault) << bytes;
  }
}

} // namespace
