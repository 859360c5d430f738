// SPDX-License-Identifier: Apache-2.0
#pragma once
// Small checkpoints whose every number is known, exported to GGUF.
#include <gtest/gtest.h>

#include "arch/options.hpp"
#include "arch/registry.hpp"
#include "convert/to_gguf.hpp"
#include "data/tokenizer.hpp"
#include "deck/deck.hpp"
#include "tests/unit/checkpoint/sample.hpp"
#include "tests/unit/convert/gguf_reader.hpp"

namespace gguf_sample {

namespace fs = std::filesystem;
using convert::GgufType;
using Texts = std::vector<std::string>;

inline constexpr const char *kAttention =
    "[model.attention]\nheads = 2\nq_rank = 12\nkv_rank = 32\n"
    "nope_dim = 32\nrope_dim = 4\nvalue_dim = 6\n";
inline constexpr const char *kRouter = "[model.router]\nexperts = 8\nchosen = 3\ngroups = 4\n"
                                       "chosen_groups = 2\nscale = 2.25\n";

inline std::string model(int layers, int dense, int shared) {
  return fmt::format("[model]\nvocabulary = 310\ndim = 32\nlayers = {}\ndense_layers = {}\n"
                     "dense_hidden = 64\nexpert_hidden = 20\nshared_experts = {}\n"
                     "norm_eps = 2e-6\n",
                     layers, dense, shared);
}
inline std::string usual() { return model(3, 1, 2) + kAttention + kRouter; }

inline arch::Dims dims_of(const std::string &text) {
  deck::Deck deck = deck::Deck::parse(text, "deck");
  return arch::read_dims(deck);
}

inline const std::string &tokenizer_json() {
  static const std::string text = [] {
    data::TokenizerTrainer trainer({300, 2, {}});
    for (int i = 0; i < 40; ++i)
      trainer.add(
          "many different words stand in this sentence about ships, weather and harbours\n");
    return trainer.finish().to_json();
  }();
  return text;
}

// A number for element i of a tensor: no two near each other are the same.
inline float weight(const std::string &name, std::uint64_t i) {
  std::uint64_t h = base::hash128(name).low ^ (i + 1) * 0x9E3779B97F4A7C15ULL;
  h = (h ^ h >> 29) * 0xBF58476D1CE4E5B9ULL;
  return static_cast<float>(h >> 40) * 0x1p-24F - 0.5F;
}

struct Sample {
  sample::Scratch folder;
  fs::path checkpoint, out = folder / "small.gguf";

  explicit Sample(const std::string &deck, const std::string &tokenizer = tokenizer_json(),
                  const std::vector<std::pair<std::string, std::string>> &companions = {},
                  float spoiled = 0) {
    const auto registry = arch::registry(dims_of(deck));
    std::vector<std::vector<float>> memory;
    checkpoint::Snapshot snapshot;
    snapshot.deck = deck;
    snapshot.tokenizer = tokenizer;
    snapshot.companions = companions;
    snapshot.sections = {{"weights", {}}};
    for (const auto &spec : registry) {
      auto &numbers = memory.emplace_back(static_cast<std::size_t>(spec.size()));
      for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] = weight(spec.name, i);
      if (spoiled != 0 && spec.name == "head") numbers[40] = spoiled;
      snapshot.sections[0].items.push_back(
          {spec.name, spec.shape, checkpoint::Type::f32, numbers.data(), nullptr});
    }
    checkpoint::Writer writer({folder / "run", 1});
    writer.start(std::move(snapshot));
    writer.wait();
    checkpoint = folder / "run";
  }

  gguf_reader::File exported(GgufType type) {
    fs::remove(out);
    convert::to_gguf({checkpoint, out, type});
    return gguf_reader::read(sample::read(out));
  }
  // Number and text of the error.
  std::string refused(GgufType type, std::string *text = nullptr) const {
    try {
      convert::to_gguf({checkpoint, out, type});
    } catch (const base::UserError &error) {
      if (text) *text = error.what();
      return error.number();
    }
    return "";
  }
};

} // namespace gguf_sample
