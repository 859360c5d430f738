// SPDX-License-Identifier: Apache-2.0
// Tensors that are produced in pieces lie in the file as if they had been in memory; small files travel along, sealed.
#include "tests/unit/checkpoint/sample.hpp"

namespace {

using namespace sample;

// The same snapshot with every tensor produced; notes the order and the size of the pieces.
struct Produced {
  State state;
  std::vector<std::string> asked;
  std::size_t largest = 0;

  Snapshot snapshot(std::int64_t step) {
    Snapshot s = state.snapshot(step);
    s.state_hash.clear();
    for (Section &section : s.sections)
      for (Item &item : section.items) {
        const auto *from = static_cast<const char *>(item.data);
        item.data = nullptr;
        item.produce = [this, from, name = section.name + "/" + item.name](
                           std::uint64_t first, std::size_t bytes, void *to) {
          asked.push_back(name + "@" + std::to_string(first));
          largest = std::max(largest, bytes);
          std::memcpy(to, from + first, bytes);
        };
      }
    return s;
  }
};

TEST(Stream, ProducedTensorsAreThoseOfMemory) {
  Scratch scratch;
  State state;
  state.moments.assign(5'000'000, 0.5F); // 20 MB: two pieces
  for (std::size_t i = 0; i < state.moments.size(); ++i)
    state.moments[i] = static_cast<float>(i % 1009);
  Produced produced;
  produced.state.moments = state.moments;
  const auto widen = [](Snapshot s) {
    for (Section &section : s.sections)
      if (section.name == "moments") section.items[0].shape = {5000, 1000};
    return s;
  };
  const auto write = [&](const char *name, Snapshot s) {
    Writer writer({scratch.path() / name, 5, 0});
    writer.start(std::move(s));
    writer.wait();
    return Reader::open(scratch.path() / name);
  };
  Snapshot whole = widen(state.snapshot(3));
  whole.state_hash = checkpoint::state_hash(whole.sections);
  const Reader a = write("memory", whole), b = write("pieces", widen(produced.snapshot(3)));
  EXPECT_EQ(b.state_hash(), a.state_hash());
  EXPECT_EQ(b.compute_state_hash(), a.state_hash());
  EXPECT_EQ(b.verify(), "");
  for (const auto &name : a.section_names()) {
    const auto &left = a.manifest().at("sections"), &right = b.manifest().at("sections");
    for (std::size_t s = 0; s < left.size(); ++s)
      for (std::size_t t = 0; t < left[s].at("tensors").size(); ++t)
        EXPECT_EQ(left[s]["tensors"][t].at("xxh3_128"), right[s]["tensors"][t].at("xxh3_128"))
            << name;
  }
  EXPECT_EQ(produced.largest, std::size_t{16} << 20);
  EXPECT_EQ(produced.asked.back(), "moments/layers.0.w@16777216");
}

TEST(Stream, WhatTheProducerThrowsEndsTheWritingAndLeavesNothing) {
  Scratch scratch;
  Produced produced;
  Snapshot s = produced.snapshot(3);
  s.sections[1].items[0].produce = [](std::uint64_t, std::size_t, void *) {
    throw base::UserError(base::Exit::checkpoint, "E141", "shard", "ends too early", "");
  };
  Writer writer({scratch.path() / "out", 5, 0});
  writer.start(std::move(s));
  EXPECT_EQ(fault([&] { writer.wait(); }), "E141");
  EXPECT_TRUE(names(scratch.path() / "out").empty());
}

TEST(Stream, CompanionsTravelAndAreSealed) {
  Scratch scratch;
  State state;
  Snapshot s = state.snapshot(4);
  s.companions = {{"tokenizer_config.json", "{}\n"}, {"chat_template.jinja", "{{ x }}"}};
  Writer writer({scratch.path(), 5, 0});
  writer.start(s);
  writer.wait();
  const Reader reader = Reader::open(scratch.path());
  EXPECT_EQ(reader.companions(), s.companions);
  EXPECT_EQ(reader.text_file("tokenizer.json"), s.tokenizer);
  EXPECT_EQ(reader.text_file("generation_config.json"), std::nullopt);
  sample::write(reader.directory() / "chat_template.jinja", "{{ y }}");
  EXPECT_EQ(fault([&] { reader.text_file("chat_template.jinja"); }), "E211");
  fs::remove(reader.directory() / "tokenizer_config.json");
  EXPECT_EQ(fault([&] { reader.text_file("tokenizer_config.json"); }), "E211");
}

} // namespace
