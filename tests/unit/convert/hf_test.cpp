// SPDX-License-Identifier: Apache-2.0
// Models go out to Hugging Face directories and come back.
#include "convert/from_hf.hpp"
#include "convert/to_hf.hpp"

#include "convert/formats.hpp"
#include "tests/unit/convert/model.hpp"

namespace {

using namespace converted;
using checkpoint::Reader;
using convert::HfType;

std::vector<std::pair<std::string, arch::Dims>> variants() {
  std::vector<std::pair<std::string, arch::Dims>> all = {{"v3", dims()}};
  const auto add = [&](const char *name, const std::function<void(arch::Dims &)> &change) {
    arch::Dims d = dims();
    change(d);
    all.emplace_back(name, d);
  };
  add("no query compression", [](auto &d) { d.q_rank = 0; });
  add("dense alone", [](auto &d) { d.dense_layers = 2, d.mtp_depth = 0; });
  add("no dense layer, no shared expert", [](auto &d) { d.dense_layers = 0, d.shared = 0; });
  add("two MTP modules, two shared experts, before the norm",
      [](auto &d) { d.mtp_depth = 2, d.shared = 2, d.mtp_hidden = arch::MtpHidden::pre_norm; });
  add("yarn", [](auto &d) {
    d.yarn.factor = 40, d.yarn.original = 32, d.yarn.mscale_all_dim = 0.707, d.rope_theta = 12345.5;
  });
  add("v2", [](auto &d) {
    d.score = arch::Score::softmax, d.group_score = arch::GroupScore::maximum;
    d.router_bias = false, d.normalise = false, d.route_scale = 16, d.mtp_depth = 0;
  });
  add("one group", [](auto &d) { d.groups = d.chosen_groups = 1; });
  return all;
}

TEST(HuggingFace, WhatGoesOutComesBackBitForBit) {
  for (const auto &[name, d] : variants()) {
    SCOPED_TRACE(name);
    Scratch scratch;
    checkpoint_of(scratch / "run", d);
    convert::to_hf({scratch / "run", scratch / "hf", HfType::f32, 200'000, "weights"});
    convert::from_hf({scratch / "hf", scratch / "back", false});
    const Reader reader = Reader::open(scratch / "back");
    deck::Deck deck = deck::Deck::parse(reader.deck(), "deck");
    EXPECT_EQ(arch::deck_text(arch::read_dims(deck)), arch::deck_text(d));
    for (const auto &spec : arch::registry(d)) {
      const auto values = tensor_of(reader, "weights", spec.name);
      ASSERT_EQ(values.size(), static_cast<std::size_t>(spec.size()));
      for (std::size_t i = 0; i < values.size(); ++i)
        ASSERT_EQ(values[i], value(spec.name, i)) << spec.name << " " << i;
    }
  }
}

void expect_same_folders(const fs::path &a, const fs::path &b) {
  std::size_t files = 0;
  for (const auto &entry : fs::directory_iterator(a)) {
    EXPECT_EQ(read(entry.path()), read(b / entry.path().filename())) << entry.path().filename();
    ++files;
  }
  EXPECT_EQ(files, static_cast<std::size_t>(std::distance(fs::directory_iterator(b), {})));
}

TEST(HuggingFace, ADirectoryThatCameInGoesOutTheSame) {
  for (const HfType type : {HfType::f32, HfType::bf16, HfType::fp8}) {
    Scratch scratch;
    checkpoint_of(scratch / "run", dims());
    convert::to_hf({scratch / "run", scratch / "a", type, 100'000, "weights"});
    convert::from_hf({scratch / "a", scratch / "in", false});
    convert::to_hf({scratch / "in", scratch / "b", type, 100'000, "weights"});
    expect_same_folders(scratch / "a", scratch / "b");
  }
}

TEST(HuggingFace, ForeignFp8FactorsSurvive) {
  Scratch scratch;
  checkpoint_of(scratch / "run", dims());
  convert::to_hf({scratch / "run", scratch / "a", HfType::fp8, 1 << 30, "weights"});
  Loose loose = Loose::open(scratch / "a" / "model.safetensors");
  std::size_t changed = 0;
  for (auto &t : loose.tensors) // another recipe's factors: the codes stay as they are
    if (t.entry.name.ends_with("_scale_inv")) {
      for (std::size_t i = 0; i < t.entry.size(); ++i) {
        float factor;
        std::memcpy(&factor, t.bytes.data() + 4 * i, 4);
        factor *= 1.37F + 0.01F * static_cast<float>(i);
        std::memcpy(t.bytes.data() + 4 * i, &factor, 4);
      }
      ++changed;
    }
  EXPECT_GT(changed, 20U);
  loose.save(scratch / "a" / "model.safetensors");
  convert::from_hf({scratch / "a", scratch / "in", false});
  convert::to_hf({scratch / "in", scratch / "b", HfType::fp8, 1 << 30, "weights"});
  expect_same_folders(scratch / "a", scratch / "b");
}

TEST(HuggingFace, IndexAndShardsAreAsPublished) {
  Scratch scratch;
  checkpoint_of(scratch / "run", dims());
  convert::to_hf({scratch / "run", scratch / "hf", HfType::bf16, 50'000, "weights"});
  const auto index = nlohmann::json::parse(read(scratch / "hf" / "model.safetensors.index.json"));
  std::uint64_t total = 0;
  std::size_t tensors = 0;
  std::set<std::string> files;
  for (const auto &[name, file] : index.at("weight_map").items()) files.insert(file);
  for (const std::string &file : files) {
    const auto path = scratch / "hf" / file;
    const std::string bytes = read(path);
    const st::Header header = st::parse_header(bytes, bytes.size(), file);
    EXPECT_EQ(header.metadata, (std::map<std::string, std::string>{{"format", "pt"}}));
    EXPECT_EQ(header.data_begin % 8, 0U);
    for (const auto &e : header.entries) {
      EXPECT_EQ(index.at("weight_map").at(e.name), file);
      total += e.bytes(), ++tensors;
      EXPECT_EQ(e.dtype_name, e.name.ends_with("correction_bias") ? "F32" : "BF16") << e.name;
    }
    EXPECT_TRUE(header.entries.size() == 1 || bytes.size() - header.data_begin <= 50'000U) << file;
  }
  EXPECT_EQ(tensors, index.at("weight_map").size());
  EXPECT_EQ(total, index.at("metadata").at("total_size"));
  EXPECT_TRUE(files.contains(fmt::format("model-00001-of-{:05}.safetensors", files.size())));
}

class Changed : public ::testing::Test {
protected:
  void SetUp() override {
    checkpoint_of(scratch / "run", dims());
    convert::to_hf({scratch / "run", scratch / "hf", HfType::f32, 1 << 30, "weights"});
  }
  fs::path file() const { return scratch / "hf" / "model.safetensors"; }
  void import(bool without_mtp = false) const {
    convert::from_hf({scratch / "hf", scratch / "in", without_mtp});
  }
  Scratch scratch;
};

TEST_F(Changed, CopiesOfEmbeddingAndHeadAreOneTensorHereOrKeptApart) {
  import();
  EXPECT_FALSE(Reader::open(scratch / "in").has("mtp_copies")); // equal: nothing to keep
  Loose loose = Loose::open(file());
  loose.at("model.layers.2.embed_tokens.weight").bytes[2] ^= 1;
  loose.save(file());
  fs::remove_all(scratch / "in");
  ::testing::internal::CaptureStderr();
  import();
  const std::string said = ::testing::internal::GetCapturedStderr();
  EXPECT_NE(said.find("differs from model.embed_tokens.weight"), std::string::npos) << said;
  const Reader reader = Reader::open(scratch / "in");
  EXPECT_EQ(reader.describe("mtp_copies").size(), 1U);
  EXPECT_EQ(tensor_of(reader, "weights", "embedding")[0], value("embedding", 0));
  EXPECT_NE(tensor_of(reader, "mtp_copies", "layers.2.mtp.embedding"),
            tensor_of(reader, "weights", "embedding"));
  convert::to_hf({scratch / "in", scratch / "out", HfType::f32, 1 << 30, "weights"});
  EXPECT_EQ(read(scratch / "out" / "model.safetensors"), read(file()));
}

TEST_F(Changed, MtpModulesAreNeverLostSilently) {
  Loose loose = Loose::open(file());
  loose.drop([](const std::string &name) { return name.starts_with("model.layers.2."); });
  loose.save(file());
  std::string text;
  EXPECT_EQ(fault([&] { import(); }, &text), "E143");
  EXPECT_NE(text.find("model.layers.2.enorm.weight: missing"), std::string::npos) << text;
  EXPECT_NE(text.find("--without-mtp"), std::string::npos) << text;
  EXPECT_FALSE(fs::exists(scratch / "in"));
  import(true);
  EXPECT_EQ(Reader::open(scratch / "in").describe("weights").size(), arch::registry([] {
                                                                       auto d = dims();
                                                                       d.mtp_depth = 0;
                                                                       return d;
                                                                     }())
                                                                         .size());
}

TEST_F(Changed, ModulesThatTheConfigDoesNotMentionAreNotPassedOver) {
  std::string config = read(scratch / "hf" / "config.json");
  const std::string key = "\"num_nextn_predict_layers\": 1";
  config.replace(config.find(key), key.size(), "\"num_nextn_predict_layers\": 0");
  write(scratch / "hf" / "config.json", config);
  std::string text;
  EXPECT_EQ(fault([&] { import(); }, &text), "E143");
  EXPECT_NE(text.find("\"model.layers.2.eh_proj.weight\": not a tensor of this model"),
            std::string::npos)
      << text;
  import(true);
  EXPECT_TRUE(fs::exists(scratch / "in"));
}

TEST_F(Changed, MissingUnexpectedAndMisshapenTensorsAreListedTogether) {
  Loose loose = Loose::open(file());
  loose.drop([](const std::string &name) { return name == "model.norm.weight"; });
  loose.at("model.layers.0.mlp.up_proj.weight").entry.shape = {136, 144};
  loose.at("lm_head.weight").entry.name = "head.weight";
  loose.save(file());
  std::string text;
  EXPECT_EQ(fault([&] { import(); }, &text), "E143");
  for (const char *line : {"model.norm.weight: missing",
                           "model.layers.0.mlp.up_proj.weight: [136, 144], expected [144, 136]",
                           "lm_head.weight: missing", "\"head.weight\": not a tensor"})
    EXPECT_NE(text.find(line), std::string::npos) << line << "\n" << text;
}

TEST_F(Changed, BuffersWithoutMeaningArePassedOver) {
  Loose loose = Loose::open(file());
  Loose::Tensor buffer;
  buffer.entry.name = "model.layers.0.self_attn.rotary_emb.inv_freq";
  buffer.entry.shape = {2}, buffer.bytes = std::string(8, 'x');
  loose.tensors.push_back(buffer);
  loose.save(file());
  import();
}

TEST_F(Changed, HalfPrecisionIsReadExactly) {
  Loose loose = Loose::open(file());
  auto &tensor = loose.at("model.layers.0.self_attn.q_a_proj.weight");
  const std::size_t n = tensor.entry.size();
  tensor.entry.dtype = st::Dtype::f16, tensor.entry.dtype_name = "F16";
  tensor.bytes.resize(2 * n);
  for (std::size_t i = 0; i < n; ++i) {
    const auto code = static_cast<std::uint16_t>((i * 37) % 0x7c00);
    std::memcpy(tensor.bytes.data() + 2 * i, &code, 2);
  }
  loose.save(file());
  import();
  const auto values = tensor_of(Reader::open(scratch / "in"), "weights", "layers.0.mla.w_dq");
  for (std::size_t i = 0; i < n; ++i)
    ASSERT_EQ(values[i], convert::from_f16(static_cast<std::uint16_t>((i * 37) % 0x7c00)));
}

TEST_F(Changed, NothingIsReplaced) {
  fs::create_directories(scratch / "in");
  write(scratch / "in" / "mine", "precious");
  EXPECT_EQ(fault([&] { import(); }), "E147");
  EXPECT_EQ(fault([&] {
              convert::to_hf({scratch / "run", scratch / "in", HfType::f32, 1 << 30, "weights"});
            }),
            "E147");
  EXPECT_EQ(read(scratch / "in" / "mine"), "precious");
}

TEST_F(Changed, TheAverageIsExportedOnRequestOnly) {
  EXPECT_EQ(fault([&] {
              convert::to_hf({scratch / "run", scratch / "x", HfType::f32, 1 << 30, "average"});
            }),
            "E213");
  EXPECT_FALSE(fs::exists(scratch / "x"));
}

TEST(HuggingFace, ModelsThatNoConfigSaysAreRefusedBeforeAnythingIsWritten) {
  const auto refused = [](const std::function<void(arch::Dims &)> &change) {
    arch::Dims d = dims();
    d.experts = 8, d.groups = 2, d.mtp_depth = 0;
    change(d);
    Scratch scratch;
    checkpoint_of(scratch / "run", d);
    const std::string number = fault([&] {
      convert::to_hf({scratch / "run", scratch / "hf", HfType::f32, 1 << 30, "weights"});
    });
    EXPECT_EQ(fs::exists(scratch / "hf"), number.empty());
    return number;
  };
  using arch::GroupScore, arch::Score;
  EXPECT_EQ(refused([](auto &) {}), "");
  EXPECT_EQ(refused([](auto &d) { d.norm_eps = 1e-5; }), "E145");
  EXPECT_EQ(refused([](auto &d) { d.group_score = GroupScore::maximum; }), "E145");
  EXPECT_EQ(refused([](auto &d) { d.score = Score::softmax; }), "E145");
  EXPECT_EQ(refused([](auto &d) {
              d.score = Score::softmax, d.group_score = GroupScore::maximum;
              d.router_bias = false, d.normalise = true, d.route_scale = 2;
            }),
            "E145");
}

} // namespace
