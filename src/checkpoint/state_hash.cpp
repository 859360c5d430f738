// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "base/hash.hpp"
#include "checkpoint/checkpoint.hpp"

namespace checkpoint {

struct StateHash::Impl {
  base::Digest128 digest;
};

StateHash::StateHash() : impl_(std::make_unique<Impl>()) {}
StateHash::~StateHash() = default;

void StateHash::add(const std::string &name, const void *data, std::size_t bytes) {
  const auto *place = static_cast<const char *>(data);
  for (std::size_t block = 0; block * kBlockBytes < bytes || block == 0; ++block) {
    const std::size_t first = block * kBlockBytes;
    add_block(name, block, place + first, std::min(kBlockBytes, bytes - first));
  }
}

void StateHash::add_block(const std::string &name, std::uint64_t block, const void *data,
                          std::size_t bytes) {
  add_sum(name, block, base::hash128(data, bytes));
}

void StateHash::add_sum(const std::string &name, std::uint64_t block, base::Hash128 sum) {
  const std::uint64_t words[3] = {block, sum.high, sum.low};
  impl_->digest.add(name.c_str(), name.size() + 1);
  impl_->digest.add(words, sizeof(words));
}

void StateHash::add_scalars(const Section &section) {
  const std::string scalars = section.scalars.dump();
  add(section.name, scalars.data(), scalars.size());
}

std::string StateHash::hex() const { return impl_->digest.value().hex(); }

std::string state_hash(const std::vector<Section> &sections) {
  StateHash hash;
  for (const Section &section : sections) {
    for (const Item &item : section.items) {
      HADAL_CHECK(item.whole(), "{}/{} is a piece: BlockHashes", section.name, item.name);
      hash.add(section.name + "/" + item.name, item.data, item.bytes());
    }
    hash.add_scalars(section);
  }
  return hash.hex();
}

} // namespace checkpoint
