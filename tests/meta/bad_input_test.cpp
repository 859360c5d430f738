// SPDX-License-Identifier: Apache-2.0
// Malformed decks, data and checkpoints, each through the program: exit code, number, and no sign of a crash.
#include <gtest/gtest.h>

#include <fstream>

#include "tests/support/tiny_run.hpp"

namespace {

namespace fs = std::filesystem;
using support::Outcome, support::TinyRun;

TinyRun &tiny() {
  static TinyRun run;
  return run;
}

void expect(const Outcome &out, int code, const std::string &text) {
  EXPECT_FALSE(out.timed_out);
  EXPECT_EQ(out.code, code) << out.output;
  EXPECT_NE(out.output.find(text), std::string::npos) << "expected " << text << " in\n"
                                                      << out.output;
  EXPECT_EQ(out.output.find("terminate called"), std::string::npos) << out.output;
}

struct Bad {
  const char *from, *to; // replaced in the tiny deck ("" : appended)
  const char *number;
};

TEST(bad_input, decks) {
  const std::string good = support::read_text(tiny().at("tiny.toml"));
  const Bad cases[] = {
      {"micro_batch = 1", "micro_bach = 1", "did you mean"},
      {"[batch]", "[bacth]", "E005"},
      {"layers = 3", "layers = 3\nlayers = 4", "E003"},
      {"layers = 3", "layers = \"three\"", "E006"},
      {"layers = 3", "layers = 3.5", "E006"},
      {"layers = 3", "layers = -3", "E007"},
      {"layers = 3", "layers = 99999999999999999999", "E002"},
      {"init_std = 0.02", "init_std = nan", "E0"},
      {"peak = 3e-3", "peak = 3e3", "E007"},
      {"phase = \"pretrain\"", "phase = \"pretrian\"", "E008"},
      {"phase = \"pretrain\"", "phase = \"pretrain", "E002"},
      {"seed = 1", "seed = ", "E002"},
      {"experts = 8", "experts = 7", "E04"},
      {"chosen_groups = 2", "chosen_groups = 5", "E04"},
      {"chosen = 2", "chosen = 9", "E04"},
      {"rope_dim = 8", "rope_dim = 7", "E04"},
      {"dense_layers = 1", "dense_layers = 4", "E04"},
      {"depth = 1", "depth = 3", "E007"},
      {"global_batch = 16", "global_batch = 12", "E020"},
      {"global_batch = 16", "global_batch = 16\nstart = 3\nramp_tokens = 1000", "E021"},
      {"global_batch = 16", "global_batch = 16\nstart = 8", "E021"},
      {"[train]", "[parallel]\nshards = 6\n[train]", "E023"},
      {"[train]", "[parallel]\ndp = 4\nep = 3\n[train]", "E014"},
      {"[train]", "[parallel]\ndp = 3\n[train]", "E0"},
      {"[train]", "[parallel]\npp = 4\n[train]", "E024"},
      {"warmup_steps = 20", "warmup_steps = 20\ntail_tokens = 5", "E025"},
      {"warmup_steps = 20", "warmup_steps = 20\ncosine_tokens = 5\nfinal = 0.5", "E025"},
      {"steps = 200", "steps = 200\nspike_factor = 0.5", "E027"},
      {"sequence = 64", "sequence = 8\n", "E0"},
      {"[[data.source]]", "[[data.sauce]]", "E1"},
      {"name = \"hadal\"", "nam = \"hadal\"", "E0"},
      {"", "\n[nonsense]\na = 1\n", "E005"},
      {"", "\n\xff\xfe", "E002"},
  };
  for (const Bad &bad : cases) {
    std::string deck = good;
    const std::string from = bad.from;
    if (from.empty())
      deck += bad.to;
    else {
      const auto at = deck.find(from);
      ASSERT_NE(at, std::string::npos) << from;
      deck.replace(at, from.size(), bad.to);
    }
    SCOPED_TRACE(bad.to);
    support::write_text(tiny().at("bad.toml"), deck);
    const auto out =
        support::run({support::hadal(), "run", "bad.toml", "--check"}, tiny().folder());
    if (std::string(bad.to) == "sequence = 8\n" && out.code == 0) continue; // short, but allowed
    expect(out, 2, bad.number);
  }
}

TEST(bad_input, command_lines) {
  const auto in = tiny().folder();
  expect(support::run({support::hadal(), "rum", "tiny.toml"}, in), 2, "did you mean");
  expect(support::run({support::hadal(), "run", "nowhere.toml"}, in), 2, "E001");
  expect(support::run({support::hadal(), "run", "."}, in), 2, "E001");
  expect(support::run({support::hadal(), "run", "tiny.toml", "batch.micro_bach=2", "--check"}, in),
         2, "did you mean micro_batch");
  expect(support::run({support::hadal(), "run", "tiny.toml", "nonsense", "--check"}, in), 2,
         "E004");
  expect(support::run({support::hadal(), "run", "tiny.toml", "model.layers=\"x", "--check"}, in), 2,
         "E00");
  expect(support::run({support::hadal(), "run", "/dev/zero", "--check"}, in), 2, "E001");
}

TEST(bad_input, machine) {
  expect(tiny().train("ranks", {"parallel.dp=2"}), 3, "E077");
  expect(tiny().train("large", {"model.layers=1000", "model.dim=8192"}), 3, "E076");
  support::write_text(tiny().at("file"), "");
  expect(tiny().train("file/run"), 3, "E073");
}

TEST(bad_input, data) {
  ASSERT_EQ(tiny().built().code, 0) << tiny().built().output;
  const auto copy = [](const std::string &name) {
    fs::copy(tiny().at("checkpoints/data/tiny"), tiny().at(name), fs::copy_options::recursive);
    return tiny().at(name);
  };
  expect(tiny().train("d0", {"data.directory=empty_folder"}), 6, "E1");
  auto place = copy("no_manifest");
  fs::remove(place / "manifest.json");
  expect(tiny().train("d1", {"data.directory=no_manifest"}), 6, "E1");
  place = copy("bad_manifest");
  support::write_text(place / "manifest.json", "{");
  expect(tiny().train("d2", {"data.directory=bad_manifest"}), 6, "E1");
  place = copy("short_shard");
  for (const auto &entry : fs::recursive_directory_iterator(place))
    if (entry.is_regular_file() && entry.file_size() > 20000 && entry.path().extension() != ".json")
      fs::resize_file(entry.path(), 10000);
  expect(tiny().train("d3", {"data.directory=short_shard"}), 6, "E1");
  place = copy("flipped_shard");
  for (const auto &entry : fs::recursive_directory_iterator(place)) {
    if (!entry.is_regular_file() || entry.file_size() < 20000 ||
        entry.path().extension() == ".json")
      continue;
    std::fstream file(entry.path(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(15000);
    const char c = static_cast<char>(file.get() ^ 4);
    file.seekp(15000);
    file.put(c);
  }
  expect(tiny().train("d4", {"data.directory=flipped_shard"}), 6, "E1");
  expect(tiny().train("d5", {"model.vocabulary=300"}), 2, "E028");
  // More tokens in a sample than there is text (a tenth of it is left for training, however the text grows); a small model, so that
  // memory is not the first thing missing.
  const auto few = support::run(
      {support::hadal(), "data", "build", "tiny.toml", "data.directory=few", "data.validation=0.9"},
      tiny().folder());
  ASSERT_EQ(few.code, 0) << few.output;
  expect(tiny().train("d6", {"data.directory=few", "batch.sequence=1000000", "model.layers=1",
                             "mtp.depth=0", "model.dense_hidden=16", "model.dim=16",
                             "model.attention.heads=1"}),
         6, "E1");
  expect(support::run({support::hadal(), "data", "build", "tiny.toml",
                       "data.tokenizer=nowhere.json", "data.directory=x"},
                      tiny().folder()),
         6, "E100");
  support::write_text(tiny().at("broken.json"),
                      "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"a\": 1}}}");
  expect(support::run({support::hadal(), "data", "build", "tiny.toml", "data.tokenizer=broken.json",
                       "data.directory=x"},
                      tiny().folder()),
         6, "E101");
}

TEST(bad_input, checkpoints) {
  ASSERT_EQ(tiny().train("source", {"train.steps=2", "train.validate_every=0"}).code, 0);
  const fs::path good = tiny().at("source/checkpoints/step-00000002");
  int count = 0;
  const auto spoilt = [&](const auto &spoil) {
    const std::string name = "spoilt" + std::to_string(count++);
    const fs::path place = tiny().at(name);
    fs::copy(good, place, fs::copy_options::recursive);
    spoil(place);
    return tiny().train("restart" + name, {"--restart", name, "train.steps=3"});
  };
  const auto flip = [](const fs::path &file, std::streamoff at) {
    std::fstream f(file, std::ios::in | std::ios::out | std::ios::binary);
    f.seekg(at);
    const char c = static_cast<char>(f.get() ^ 16);
    f.seekp(at);
    f.put(c);
  };
  expect(spoilt([](const fs::path &p) { fs::remove(p / "DONE"); }), 5, "E210");
  expect(spoilt([](const fs::path &p) { fs::remove(p / "state.h5"); }), 5, "E211");
  expect(spoilt([](const fs::path &p) { fs::remove(p / "manifest.json"); }), 5, "E21");
  expect(spoilt([](const fs::path &p) { fs::resize_file(p / "state.h5", 5000); }), 5, "E211");
  expect(spoilt([](const fs::path &p) { fs::resize_file(p / "state.h5", 0); }), 5, "E211");
  expect(spoilt([&](const fs::path &p) { flip(p / "state.h5", 9); }), 5, "E211");
  expect(spoilt([&](const fs::path &p) { flip(p / "state.h5", 100000); }), 5, "E211");
  expect(spoilt([&](const fs::path &p) { flip(p / "manifest.json", 60); }), 5, "E211");
  expect(spoilt([](const fs::path &p) { support::write_text(p / "DONE", "nonsense"); }), 5, "E211");
  expect(tiny().train("other", {"--restart", "source", "train.steps=3", "model.layers=4"}), 5,
         "E213");
  expect(tiny().train("other2", {"--restart", "source", "train.steps=3", "model.dim=32"}), 5,
         "E213");
  expect(tiny().train("other3", {"run.init_from=nowhere"}), 5, "E210");
  expect(support::run({support::hadal(), "inspect", "nowhere"}, tiny().folder()), 5, "E210");
  expect(tiny().train("fine", {"--restart", "source", "train.steps=3"}), 0,
         "stopped: all steps done");
}

} // namespace
