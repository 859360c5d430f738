// SPDX-License-Identifier: Apache-2.0
// A checkpoint as DeepSeek-V3 is published (E4M3 blocks with ragged edges, BF16, FP32, one MTP module): what is imported equals
// float32(E4M3) * scale bit for bit.
#include <cstdio>

#include "arch/options.hpp"
#include "base/hash.hpp"
#include "deck/deck.hpp"
#include "tests/parity/golden.hpp"

namespace {

using namespace parity;

TEST(Fp8, dequantised_bit_for_bit) {
  const auto reader = imported("fp8");
  deck::Deck deck = deck::Deck::parse(reader.deck(), "deck of the import");
  const arch::Dims dims = arch::read_dims(deck);
  EXPECT_EQ(dims.mtp_depth, 1);
  const auto golden = golden_json("fp8");
  const auto &hashes = golden.at("xxh3_128_of_float32");

  const auto registry = arch::registry(dims);
  std::map<std::string, std::vector<float>> read;
  std::size_t compared = 0;
  for (const auto &[name, place] : places(registry)) {
    auto &whole = read[place.spec->name];
    if (whole.empty()) {
      whole.resize(static_cast<std::size_t>(place.spec->size()));
      checkpoint::Item item;
      item.name = place.spec->name, item.shape = place.spec->shape, item.data = whole.data();
      reader.read("weights", {item}, false);
    }
    ASSERT_TRUE(hashes.contains(name)) << name;
    EXPECT_EQ(base::hash128(whole.data() + place.first, 4 * place.count).hex(),
              hashes.at(name).get<std::string>())
        << name;
    ++compared;
  }
  // The two left over are the MTP module's copies of embedding and head: equal to the main model's, and so not kept.
  EXPECT_EQ(compared + 2, hashes.size());
  EXPECT_EQ(hashes.at("model.layers.2.embed_tokens.weight"),
            hashes.at("model.embed_tokens.weight"));
  EXPECT_EQ(hashes.at("model.layers.2.shared_head.head.weight"), hashes.at("lm_head.weight"));
  std::printf("| fp8 | %zu tensors equal |\n", compared);
}

} // namespace
