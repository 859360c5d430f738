// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <optional>

#include "tensor/arena.hpp"

using tensor::Arena;

TEST(Arena, ScopesGiveBack) {
  Arena arena("test", 4096);
  const auto kept = arena.vec<float>(10);
  EXPECT_EQ(arena.used(), 256U);
  float *inner = nullptr;
  {
    Arena::Scope scope(arena);
    const auto m = arena.mat<float>(10, 20);
    inner = m.data();
    EXPECT_EQ(arena.used(), 256U + 1024U);
    {
      Arena::Scope deeper(arena);
      arena.cube<double>(2, 3, 4);
      EXPECT_EQ(arena.used(), 256U + 1024U + 256U);
    }
    EXPECT_EQ(arena.used(), 256U + 1024U);
  }
  EXPECT_EQ(arena.used(), 256U);
  EXPECT_EQ(arena.vec<char>(1).data(), reinterpret_cast<char *>(inner));
  EXPECT_EQ(arena.high_water(), 256U + 1024U + 256U);
}

TEST(Arena, ArraysAreAlignedAndApart) {
  Arena arena("test", 8192);
  const auto a = arena.vec<char>(1);
  const auto b = arena.vec<char>(257);
  const auto c = arena.vec<char>(1);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(b.data()) - reinterpret_cast<std::uintptr_t>(a.data()),
            256U);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(c.data()) - reinterpret_cast<std::uintptr_t>(b.data()),
            512U);
}

// Two parts may end in another order than they began; neither reaches into the other or beyond.
TEST(Arena, PartsAreArenasOfTheirOwn) {
  Arena whole("whole", 4096);
  const auto before = whole.vec<char>(10);
  {
    Arena::Scope scope(whole);
    Arena first("first", whole, 1000), second("second", whole, 1024); // 1000: rounded up
    EXPECT_EQ(whole.used(), 256U + 2048U);
    std::optional<Arena::Scope> of_first(first);
    const auto a = first.vec<char>(1024);
    Arena::Scope of_second(second);
    const auto b = second.vec<char>(1);
    EXPECT_EQ(a.data(), before.data() + 256);
    EXPECT_EQ(b.data(), a.data() + 1024);
    EXPECT_THROW(first.vec<char>(1), base::Fault);
    of_first.reset();
    EXPECT_EQ(first.used(), 0U);
    EXPECT_EQ(second.used(), 256U);
    EXPECT_THROW(Arena("third", whole, 2048), base::Fault);
  }
  EXPECT_EQ(whole.used(), 256U);
}

TEST(Arena, FullIsAFault) {
  Arena arena("small", 1000); // rounded up to 1024
  arena.vec<char>(700);       // takes 768
  EXPECT_EQ(arena.capacity(), 1024U);
  EXPECT_NO_THROW(arena.vec<char>(256));
  try {
    arena.vec<char>(1);
    FAIL() << "the arena is full";
  } catch (const base::Fault &fault) {
    const std::string text = fault.what();
    EXPECT_NE(text.find("small"), std::string::npos) << text;
    EXPECT_NE(text.find("256 bytes asked for"), std::string::npos) << text;
    EXPECT_NE(text.find("1024 of 1024"), std::string::npos) << text;
  }
  EXPECT_NO_THROW(arena.vec<char>(0));
  EXPECT_THROW(arena.vec<char>(-1), base::Fault);
}
