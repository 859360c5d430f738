// SPDX-License-Identifier: Apache-2.0
// A checkpoint as the trainer writes it comes back as a model that says the same.
#include <gtest/gtest.h>

#include <filesystem>
#include <unistd.h>

#include "arch/options.hpp"
#include "deck/deck.hpp"
#include "infer/load.hpp"
#include "tests/unit/infer/tiny.hpp"

namespace {

using namespace infer_test;
namespace fs = std::filesystem;

// A deck with an MTP module; other tables than the model's are not looked at.
constexpr const char *kDeck = R"(
[run]
phase = "pretrain"
[model]
vocabulary = 400
dim = 32
layers = 2
dense_layers = 1
dense_hidden = 40
expert_hidden = 24
[model.attention]
heads = 2
q_rank = 16
kv_rank = 24
nope_dim = 8
rope_dim = 4
value_dim = 8
[model.router]
experts = 4
chosen = 2
groups = 2
chosen_groups = 1
[mtp]
depth = 1
)";

class Folder {
public:
  Folder() : path_(fs::temp_directory_path() / ("hadal-infer-" + std::to_string(getpid()))) {
    fs::remove_all(path_), fs::create_directories(path_);
  }
  ~Folder() { fs::remove_all(path_); }
  const fs::path &path() const { return path_; }

private:
  fs::path path_;
};

data::Tokenizer some_tokenizer() {
  data::TokenizerTraining training;
  training.vocabulary = 340;
  data::TokenizerTrainer trainer(training);
  std::string text;
  for (std::uint64_t i = 0; i < 20000; ++i) {
    const auto r = base::random::bits(1, base::random::Purpose::test, 2, i);
    text += r % 5 == 0 ? ' ' : static_cast<char>('a' + (r >> 8) % 12);
  }
  trainer.add(text);
  return trainer.finish();
}

arch::Dims deck_dims(const std::string &text) {
  deck::Deck deck = deck::Deck::parse(text, "test");
  return arch::read_dims(deck);
}

void write(const fs::path &folder, const std::string &deck, const Model<float> &m,
           const std::string &tokenizer) {
  checkpoint::Section weights;
  weights.name = "weights";
  const auto host = Kokkos::create_mirror_view_and_copy(Kokkos::HostSpace{}, m.master);
  for (const auto &slot : m.layout.slots())
    weights.items.push_back(
        {slot.spec.name, slot.spec.shape, checkpoint::Type::f32, host.data() + slot.offset});
  checkpoint::Snapshot snapshot;
  snapshot.step = 12, snapshot.deck = deck, snapshot.tokenizer = tokenizer;
  snapshot.sections = {weights};
  checkpoint::Writer writer({folder / "checkpoints", 2, 0});
  writer.start(snapshot);
  writer.wait();
}

template <class A> Values speak(const checkpoint::Reader &reader, const Tokens &tokens) {
  const arch::Dims dims = infer::dims_of(reader);
  tensor::Arena arena("test", infer::Generator<A>::arena_bytes(dims, 16));
  tensor::Context ctx{tensor::Exec(), arena};
  const auto weights = infer::load_weights<A>(ctx, reader, dims);
  infer::Generator<A> generator(dims, weights.views, 16);
  const auto &logits = generator.append(ctx, tokens);
  return Values(logits.begin(), logits.end());
}

TEST(Load, ACheckpointSaysWhatTheModelSaid) {
  const Folder folder;
  const Model<float> m(deck_dims(kDeck));
  const Model<bf16> m16(deck_dims(kDeck));
  ASSERT_EQ(m.dims().mtp_depth, 1);
  const auto tokenizer = some_tokenizer();
  write(folder.path(), kDeck, m, tokenizer.to_json());
  const auto reader = checkpoint::Reader::open(folder.path());
  EXPECT_EQ(reader.step(), 12);
  const Tokens tokens = random_tokens(m.dims(), 16, 3);
  const auto dims = infer::dims_of(reader);
  EXPECT_EQ(dims.mtp_depth, 0);
  EXPECT_EQ(dims.kv_rank, 24);
  EXPECT_EQ(speak<float>(reader, tokens), Session<float>(m, 16).append(tokens)); // bit for bit
  EXPECT_EQ(speak<bf16>(reader, tokens), Session<bf16>(m16, 16).append(tokens));
  EXPECT_EQ(infer::load_tokenizer(reader).hash().hex(), tokenizer.hash().hex());
}

template <class F> std::string number_of(const F &f) {
  try {
    f();
  } catch (const base::UserError &error) {
    EXPECT_EQ(error.code(), base::Exit::checkpoint);
    return error.number();
  }
  return "none";
}

TEST(Load, WhatIsMissingIsNamed) {
  const Folder folder;
  const Model<float> m(deck_dims(kDeck));
  write(folder.path(), kDeck, m, "");
  const auto reader = checkpoint::Reader::open(folder.path());
  EXPECT_EQ(number_of([&] { infer::load_tokenizer(reader); }), "E263");
  arch::Dims other = infer::dims_of(reader);
  other.dense_hidden = 41;
  tensor::Arena arena("test", 1 << 20);
  tensor::Context ctx{tensor::Exec(), arena};
  EXPECT_EQ(number_of([&] { infer::load_weights<float>(ctx, reader, other); }), "E213");
}

} // namespace
