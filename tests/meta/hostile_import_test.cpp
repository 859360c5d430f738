// SPDX-License-Identifier: Apache-2.0
// Damaged and hostile Hugging Face directories through `hadal convert from-hf`: exit code 5 or 6, the number, nothing left in --out.
// The sound directory is one that the program itself exported: FP8 blocks in shards with an index.
#include <random>

#include "tests/meta/hf_directory.hpp"
#include "tests/support/tiny_run.hpp"

namespace {

using namespace hf_directory;
using support::Outcome, support::TinyRun;

class hostile_import : public testing::Test {
protected:
  static TinyRun *tiny_;
  static int count_;

  static void SetUpTestSuite() {
    tiny_ = new TinyRun;
    ASSERT_EQ(tiny_->train("source", {"train.steps=1", "train.validate_every=0"}).code, 0);
    const Outcome out = support::run({support::hadal(), "convert", "to-hf", "source", "--out",
                                      "good", "--dtype", "fp8", "--shard-size", "200KB"},
                                     tiny_->folder());
    ASSERT_EQ(out.code, 0) << out.output;
    ASSERT_GT(Directory{tiny_->at("good")}.shards().size(), 2U);
  }
  static void TearDownTestSuite() { delete tiny_; }

  static Outcome import(const Directory &directory, const std::string &out) {
    return support::run(
        {support::hadal(), "convert", "from-hf", directory.path.string(), "--out", out},
        tiny_->folder());
  }
  static Directory copy() {
    const Directory made{tiny_->at("hostile" + std::to_string(count_++))};
    fs::copy(tiny_->at("good"), made.path, fs::copy_options::recursive);
    return made;
  }
  // A copy is spoilt and imported; said: what the message must hold beside the number.
  static void refused(int code, const std::string &number, const std::string &said,
                      const std::function<void(const Directory &)> &spoil) {
    const Directory directory = copy();
    SCOPED_TRACE(directory.path.filename().string() + ": " + number + " " + said);
    spoil(directory);
    const Outcome out = import(directory, "out");
    EXPECT_EQ(out.code, code) << out.output;
    EXPECT_NE(out.output.find("[" + number + "]"), std::string::npos) << out.output;
    EXPECT_NE(out.output.find(said), std::string::npos) << out.output;
    EXPECT_EQ(out.output.find("terminate called"), std::string::npos) << out.output;
    EXPECT_FALSE(fs::exists(tiny_->at("out")));
    fs::remove_all(tiny_->at("out"));
    fs::remove_all(directory.path);
  }
};
TinyRun *hostile_import::tiny_ = nullptr;
int hostile_import::count_ = 0;

constexpr const char *kMatrix = "kv_b_proj.weight", *kScale = "kv_b_proj.weight_scale_inv";

TEST_F(hostile_import, a_sound_directory_comes_in) {
  const Directory good = copy();
  EXPECT_EQ(import(good, "fine").code, 0);
  good.each([](Tensor &) { return true; }); // also when written by this test's own hand
  const Outcome out = import(good, "fine2");
  EXPECT_EQ(out.code, 0) << out.output;
  EXPECT_TRUE(fs::exists(tiny_->at("fine2")));
}

TEST_F(hostile_import, files_that_are_missing_or_cut) {
  refused(5, "E140", "model-00002", [](const Directory &d) { fs::remove(d.shards()[1]); });
  refused(5, "E140", "no index", [](const Directory &d) { fs::remove(d.index()); });
  refused(5, "E140", "config.json", [](const Directory &d) { fs::remove(d.path / "config.json"); });
  refused(5, "E140", "", [](const Directory &d) { fs::remove_all(d.path); });
  refused(5, "E140", "", [](const Directory &d) {
    const fs::path file = d.first();
    fs::remove(file);
    fs::create_directory(file);
  });
  refused(5, "E141", "of the data, the file has",
          [](const Directory &d) { fs::resize_file(d.first(), fs::file_size(d.first()) - 1); });
  refused(5, "E141", "the tensors end at byte",
          [](const Directory &d) { fs::resize_file(d.first(), fs::file_size(d.first()) + 1); });
  for (const int bytes : {0, 7, 8, 9, 100})
    refused(5, "E141", "", [&](const Directory &d) { fs::resize_file(d.first(), bytes); });
}

TEST_F(hostile_import, headers_that_lie) {
  const auto length = [](std::uint64_t told) {
    return [told](const Directory &d) {
      write(d.first(), length_field(told) + read(d.first()).substr(8));
    };
  };
  refused(5, "E141", "the format allows 100000000", length(~std::uint64_t{0}));
  refused(5, "E141", "the format allows 100000000", length(std::uint64_t{1} << 63));
  refused(5, "E141", "in a file of", length(99'999'999));
  refused(5, "E141", "no valid JSON", length(20));
  refused(5, "E141", "an empty header", length(0));
  const auto header = [](const char *field, const json &value) {
    return [=](const Directory &d) {
      d.edit_header([&](json h) {
        h.erase("__metadata__");
        h.begin().value()[field] = value;
        return h.dump();
      });
    };
  };
  refused(5, "E141", "dtype \"F33\"", header("dtype", "F33"));
  refused(5, "E141", "shape holds a negative number", header("shape", {-1}));
  refused(5, "E141", "more elements than can be counted",
          header("shape", {4294967296, 4294967296}));
  refused(5, "E141", "data_offsets", header("shape", {3, 5, 7}));
  refused(5, "E141", "hold 18446744073709551615",
          header("data_offsets", {0, 18446744073709551615U}));
}

TEST_F(hostile_import, headers_that_overlap_or_repeat) {
  const auto shifted = [](std::int64_t by) {
    return [by](const Directory &d) {
      d.edit_header([&](json h) {
        h.erase("__metadata__");
        auto last = h.begin();
        for (auto it = h.begin(); it != h.end(); ++it)
          if (it.value()["data_offsets"][1] > last.value()["data_offsets"][1]) last = it;
        for (auto &offset : last.value()["data_offsets"]) offset = offset.get<std::int64_t>() + by;
        return h.dump();
      });
      if (by > 0) fs::resize_file(d.first(), fs::file_size(d.first()) + 64);
    };
  };
  refused(5, "E141", "inside tensor", shifted(-1));
  refused(5, "E141", "belong to no tensor", shifted(64));
  refused(5, "E141", "stands twice", [](const Directory &d) {
    d.edit_header([](const json &h) {
      const std::string text = h.dump(), name = std::next(h.begin()).key();
      return text.substr(0, text.size() - 1) + ",\"" + name + "\":" + h[name].dump() + "}";
    });
  });
  refused(5, "E141", "no valid JSON", [](const Directory &d) {
    d.edit_header([](const json &h) { return "{\"\xff\xfe\":1," + h.dump().substr(1); });
  });
  refused(5, "E141", "is an array", [](const Directory &d) {
    d.edit_header([](const json &) { return "{\"a\":" + std::string(1'000'000, '['); });
  });
}

TEST_F(hostile_import, indices_that_lie) {
  const auto index = [](const std::function<void(json &)> &how) {
    return [how](const Directory &d) { d.edit_json("model.safetensors.index.json", how); };
  };
  refused(5, "E142", "no valid JSON", [](const Directory &d) { write(d.index(), "{"); });
  refused(5, "E142", "weight_map is missing", [](const Directory &d) { write(d.index(), "{}"); });
  refused(5, "E142", "stands twice", [](const Directory &d) {
    std::string text = read(d.index());
    const auto at = text.find('{', text.find("weight_map")) + 1;
    const json map = json::parse(text)["weight_map"];
    text.insert(at, "\"" + map.begin().key() + "\":\"x\",");
    write(d.index(), text);
  });
  refused(5, "E142", "no.such.tensor", index([](json &i) {
            i["weight_map"]["no.such.tensor"] = i["weight_map"].begin().value();
          }));
  refused(5, "E142", "the index does not name it",
          index([](json &i) { i["weight_map"].erase(i["weight_map"].begin().key()); }));
  refused(5, "E142", "the index says", index([](json &i) {
            auto &map = i["weight_map"];
            for (auto &file : map)
              if (file != map.begin().value()) {
                map.begin().value() = file;
                break;
              }
          }));
  for (const char *file : {"../config.json", "/etc/passwd", "..", "", "a/b"})
    refused(5, "E142", "the file of tensor",
            index([&](json &i) { i["weight_map"].begin().value() = file; }));
  refused(5, "E140", "nowhere.safetensors",
          index([](json &i) { i["weight_map"].begin().value() = "nowhere.safetensors"; }));
  refused(5, "E142", "total_size", index([](json &i) { i["metadata"]["total_size"] = 12345; }));
  refused(5, "E142", "too", [](const Directory &d) { // one tensor in two shards
    const Shard from = parse(read(d.shards()[0]));
    Shard to = parse(read(d.shards()[1]));
    to.push_back(from.front());
    write(d.shards()[1], to_file(to));
  });
  refused(5, "E142", "which of the two",
          [](const Directory &d) { fs::copy_file(d.first(), d.path / "model.safetensors"); });
}

TEST_F(hostile_import, tensors_of_another_model) {
  refused(5, "E143", "model.norm.weight: missing",
          [](const Directory &d) { d.drop("model.norm.weight"); });
  refused(5, "E143", "experts.7.up_proj.weight: missing", [](const Directory &d) {
    d.drop("experts.7.up_proj.weight");
    d.drop("experts.7.up_proj.weight_scale_inv");
  });
  refused(5, "E143", "model.surprise", [](const Directory &d) {
    d.each([](Tensor &) { return true; }, {{"model.surprise", "F32", {1}, "1234"}});
  });
  refused(5, "E143", "model.norm.weight: [32, 2], expected [64]", [](const Directory &d) {
    d.change("model.norm.weight", [](Tensor &t) { t.shape = {32, 2}; });
  });
  refused(5, "E143", "lm_head.weight: [64, 512], expected [512, 64]", [](const Directory &d) {
    d.change("lm_head.weight", [](Tensor &t) { std::swap(t.shape[0], t.shape[1]); });
  });
  refused(5, "E143", "of type I16", [](const Directory &d) {
    d.change("lm_head.weight", [](Tensor &t) { t.dtype = "I16"; });
  });
}

TEST_F(hostile_import, scales) {
  refused(5, "E144", kScale, [](const Directory &d) { d.drop(kScale); });
  refused(5, "E144", "one F32 factor is needed for each 128 x 128 block", [](const Directory &d) {
    d.change(kScale, [](Tensor &t) { t.shape = {1, 2}, t.bytes += t.bytes; });
  });
  refused(5, "E144", "is I32",
          [](const Directory &d) { d.change(kScale, [](Tensor &t) { t.dtype = "I32"; }); });
  for (const char *bytes : {"\xff\xff\xff\x7f", "\x01\x01\x80\xbf", "\x01\x01\x80\xff"})
    refused(5, "E144", "a factor is finite and not negative", [&](const Directory &d) {
      d.change(kScale, [&](Tensor &t) { std::memcpy(t.bytes.data(), bytes, 4); });
    });
  refused(5, "E144", "is a factor of no F8_E4M3 matrix", [](const Directory &d) {
    d.change(kMatrix, [](Tensor &t) { t.dtype = "BF16", t.bytes += t.bytes; });
  });
  refused(5, "E144", "no matrix", [](const Directory &d) {
    d.change(kMatrix, [](Tensor &t) { t.shape = {t.shape[0] * t.shape[1]}; });
  });
}

TEST_F(hostile_import, configs) {
  const auto config = [](const std::function<void(json &)> &how) {
    return [how](const Directory &d) { d.edit_json("config.json", how); };
  };
  refused(5, "E050", "", [](const Directory &d) { write(d.path / "config.json", "{\"a\":"); });
  refused(5, "E050", "", [](const Directory &d) { write(d.path / "config.json", "\xff\xfe"); });
  refused(5, "E050", "zero byte", [](const Directory &d) {
    write(d.path / "config.json", read(d.path / "config.json") + std::string(4, '\0'));
  });
  refused(5, "E050", "nested more than", [](const Directory &d) {
    write(d.path / "config.json", "{\"a\":" + std::string(1'000'000, '['));
  });
  refused(5, "E050", "twice", [](const Directory &d) {
    write(d.path / "config.json", "{\"vocab_size\": 4," + read(d.path / "config.json").substr(1));
  });
  refused(5, "E051", "llama", config([](json &c) { c["model_type"] = "llama"; }));
  refused(5, "E052", "hidden_size", config([](json &c) { c.erase("hidden_size"); }));
  refused(5, "E053", "hidden_size", config([](json &c) { c["hidden_size"] = "64"; }));
  refused(5, "E054", "num_hidden_layers", config([](json &c) { c["num_hidden_layers"] = -1; }));
  refused(5, "E055", "hidden_act", config([](json &c) { c["hidden_act"] = "gelu"; }));
  refused(5, "E143", "expected [512, 128]", config([](json &c) { c["hidden_size"] = 128; }));
  refused(5, "E143", "", config([](json &c) { c["num_hidden_layers"] = 2; }));
  refused(5, "E143", "", config([](json &c) { c["num_hidden_layers"] = 4; }));
  refused(5, "E143", "", config([](json &c) { c["n_routed_experts"] = 12; }));
}

TEST_F(hostile_import, tokenizers) {
  const auto text = [](const std::string &bytes) {
    return [bytes](const Directory &d) { write(d.path / "tokenizer.json", bytes); };
  };
  refused(6, "E101", "", text("{"));
  refused(6, "E101", "", text(""));
  refused(6, "E101", "", text("{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"a\": 1}}}"));
  refused(6, "E101", "deep", text(std::string(1'000'000, '[')));
  refused(6, "E101", "zero byte", [](const Directory &d) {
    write(d.path / "tokenizer.json", read(d.path / "tokenizer.json") + std::string(1, '\0'));
  });
  refused(6, "E101", "another model", [](const Directory &d) {
    d.edit_json("tokenizer.json", [](json &t) {
      json more = t["added_tokens"].back();
      more["id"] = 512, more["content"] = "<one too many>";
      t["added_tokens"].push_back(more);
    });
  });
}

// One byte changed somewhere: whatever it means now, it is taken in or refused in good order.
TEST_F(hostile_import, any_byte) {
  std::mt19937 random(7);
  const auto pick = [&](std::size_t n) { return static_cast<std::size_t>(random() % n); };
  const Directory directory = copy();
  const fs::path files[] = {directory.first(), directory.index(), directory.path / "config.json",
                            directory.path / "tokenizer.json"};
  int refusals = 0;
  for (int i = 0; i < 80; ++i) {
    const fs::path &file = files[i % 4];
    const std::string good = read(file);
    std::string bad = good;
    const std::size_t most = i % 4 == 0 ? 8 + header_of(good).size() : good.size();
    bad[pick(most)] = i % 8 < 4 ? static_cast<char>(pick(256)) : "0123456789\"[]{},:\\-"[pick(19)];
    write(file, bad);
    const Outcome out = import(directory, "out");
    EXPECT_TRUE(out.code == 0 || out.code == 5 || out.code == 6) << i << ": " << out.output;
    if (out.code != 0) {
      EXPECT_FALSE(fs::exists(tiny_->at("out"))) << i;
      EXPECT_NE(out.output.find("     [E"), std::string::npos) << out.output;
      ++refusals;
    }
    fs::remove_all(tiny_->at("out"));
    write(file, good);
  }
  EXPECT_GT(refusals, 20);
}

TEST_F(hostile_import, a_folder_that_is_not_empty_stays_as_it_is) {
  fs::create_directory(tiny_->at("full"));
  write(tiny_->at("full/mine"), "mine");
  const Outcome out = import(copy(), "full");
  EXPECT_EQ(out.code, 5) << out.output;
  EXPECT_NE(out.output.find("[E147]"), std::string::npos) << out.output;
  EXPECT_EQ(read(tiny_->at("full/mine")), "mine");
}

} // namespace
