// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include <xxhash.h>

#include "base/hash.hpp"
#include "checkpoint/checkpoint.hpp"

namespace checkpoint {

struct StateHash::Impl {
  XXH3_state_t *state = XXH3_createState();
  ~Impl() { XXH3_freeState(state); }
};

StateHash::StateHash() : impl_(std::make_unique<Impl>()) { XXH3_128bits_reset(impl_->state); }
StateHash::~StateHash() = default;

void StateHash::add(const std::string &name, const void *data, std::size_t bytes) {
  constexpr std::size_t block_bytes = std::size_t{1} << 20;
  const auto *place = static_cast<const char *>(data);
  for (std::size_t block = 0; block * block_bytes < bytes || block == 0; ++block) {
    const std::size_t first = block * block_bytes, count = std::min(block_bytes, bytes - first);
    const base::Hash128 hash = base::hash128(place + first, count);
    const std::uint64_t words[3] = {block, hash.high, hash.low};
    XXH3_128bits_update(impl_->state, name.c_str(), name.size() + 1);
    XXH3_128bits_update(impl_->state, words, sizeof(words));
  }
}

std::string StateHash::hex() const {
  const XXH128_hash_t hash = XXH3_128bits_digest(impl_->state);
  return base::Hash128{hash.high64, hash.low64}.hex();
}

std::string state_hash(const std::vector<Section> &sections) {
  StateHash hash;
  for (const Section &section : sections) {
    for (const Item &item : section.items) hash.add(section.name + "/" + item.name, item.data, item.bytes());
    const std::string scalars = section.scalars.dump();
    hash.add(section.name, scalars.data(), scalars.size());
  }
  return hash.hex();
}

std::size_t bytes_of(Type type) {
  switch (type) {
  case Type::f32:
  case Type::i32: return 4;
  case Type::bf16: return 2;
  case Type::f64:
  case Type::i64: return 8;
  case Type::u8: return 1;
  }
  return 0;
}

std::size_t Item::size() const {
  std::size_t n = 1;
  for (const auto d : shape) n *= static_cast<std::size_t>(d);
  return n;
}

} // namespace checkpoint
