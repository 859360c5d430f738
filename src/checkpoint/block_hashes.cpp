// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/block_hashes.hpp"

#include <algorithm>
#include <cstring>
#include <map>
#include <string_view>

namespace checkpoint {
namespace {

constexpr std::uint64_t kBlock = StateHash::kBlockBytes;

// A list is records: kind, length of the name, name, place, count, then count hashes or bytes.
enum : std::uint64_t { kRun = 1, kFragment = 2 };

void put(std::string &to, std::uint64_t number) {
  to.append(reinterpret_cast<const char *>(&number), sizeof(number));
}
void put_head(std::string &to, std::uint64_t kind, const std::string &name, std::uint64_t place,
              std::uint64_t count) {
  put(to, kind), put(to, name.size());
  to += name;
  put(to, place), put(to, count);
}

class List {
public:
  explicit List(std::string_view text) : text_(text) {}
  bool empty() const { return text_.empty(); }
  std::string_view take(std::uint64_t bytes) {
    HADAL_CHECK(bytes <= text_.size(), "a list of block hashes ends too early");
    const auto front = text_.substr(0, static_cast<std::size_t>(bytes));
    text_.remove_prefix(static_cast<std::size_t>(bytes));
    return front;
  }
  std::uint64_t number() {
    std::uint64_t value;
    std::memcpy(&value, take(sizeof(value)).data(), sizeof(value));
    return value;
  }

private:
  std::string_view text_;
};

struct OfTensor {
  std::vector<std::pair<std::uint64_t, base::Hash128>> blocks;
  std::vector<std::pair<std::uint64_t, std::string_view>> fragments;
};
using Tensors = std::map<std::string, OfTensor, std::less<>>;

void read_list(List list, Tensors &tensors) {
  while (!list.empty()) {
    const auto kind = list.number();
    HADAL_CHECK(kind == kRun || kind == kFragment, "a list of block hashes has a record {}", kind);
    OfTensor &tensor = tensors[std::string(list.take(list.number()))];
    const auto place = list.number(), count = list.number();
    if (kind == kFragment) {
      tensor.fragments.emplace_back(place, list.take(count));
      continue;
    }
    for (std::uint64_t i = 0; i < count; ++i) {
      const auto high = list.number(), low = list.number();
      tensor.blocks.push_back({place + i, {high, low}});
    }
  }
}

// Blocks whose bytes came in several lists.
void join_fragments(const std::string &name, std::uint64_t tensor_bytes, OfTensor &tensor) {
  std::ranges::sort(tensor.fragments, {}, [](const auto &f) { return f.first; });
  std::string bytes;
  for (std::size_t i = 0; i < tensor.fragments.size(); ++i) {
    const auto &[first, piece] = tensor.fragments[i];
    const std::uint64_t block = first / kBlock;
    if (bytes.empty())
      HADAL_CHECK(first % kBlock == 0, "{}: nobody has the bytes before {}", name, first);
    bytes += piece;
    const std::uint64_t end = std::min((block + 1) * kBlock, tensor_bytes),
                        next = i + 1 < tensor.fragments.size() ? tensor.fragments[i + 1].first
                                                               : tensor_bytes;
    if (first + piece.size() < end) {
      HADAL_CHECK(next == first + piece.size(), "{}: the bytes from {} are there {}", name,
                  first + piece.size(), next < first + piece.size() ? "twice" : "nowhere");
      continue;
    }
    HADAL_CHECK(first + piece.size() == end && next >= end,
                "{}: the bytes before {} are there twice", name, end);
    tensor.blocks.push_back({block, base::hash128(bytes)});
    bytes.clear();
  }
  HADAL_CHECK(bytes.empty(), "{}: nobody has the last bytes", name);
}

void fold_tensor(const std::string &name, std::uint64_t bytes, OfTensor *tensor, StateHash &hash) {
  if (bytes == 0) return hash.add_block(name, 0, nullptr, 0);
  HADAL_CHECK(tensor != nullptr, "nobody has {}", name);
  join_fragments(name, bytes, *tensor);
  std::ranges::sort(tensor->blocks, {}, [](const auto &b) { return b.first; });
  std::uint64_t block = 0;
  for (const auto &[number, sum] : tensor->blocks) {
    HADAL_CHECK(number == block, "{}: block {} is there {}", name, std::min(number, block),
                number < block ? "twice" : "nowhere");
    hash.add_sum(name, block++, sum);
  }
  HADAL_CHECK(block == (bytes + kBlock - 1) / kBlock, "{}: {} blocks of {} bytes", name, block,
              bytes);
}

} // namespace

void BlockHashes::add_sum(const std::string &name, std::uint64_t block, base::Hash128 sum) {
  if (runs_.empty() || runs_.back().name != name ||
      runs_.back().block + runs_.back().sums.size() != block)
    runs_.push_back({name, block, {}});
  runs_.back().sums.push_back(sum);
}

void BlockHashes::add(const std::string &name, std::uint64_t tensor_bytes, std::uint64_t first,
                      const void *data, std::size_t bytes) {
  HADAL_CHECK(first <= tensor_bytes && bytes <= tensor_bytes - first, "{}: bytes {} + {} of {}",
              name, first, bytes, tensor_bytes);
  const auto *from = static_cast<const char *>(data);
  while (bytes > 0) {
    const std::uint64_t block = first / kBlock, begin = block * kBlock,
                        end = std::min(begin + kBlock, tensor_bytes);
    const auto n = static_cast<std::size_t>(std::min<std::uint64_t>(bytes, end - first));
    if (n == end - begin) {
      add_sum(name, block, base::hash128(from, n));
    } else {
      const bool goes_on = !fragments_.empty() && fragments_.back().name == name &&
                           fragments_.back().first / kBlock == block &&
                           fragments_.back().first + fragments_.back().bytes.size() == first;
      if (!goes_on) fragments_.push_back({name, first, {}});
      Fragment &fragment = fragments_.back();
      fragment.bytes.append(from, n);
      if (fragment.bytes.size() == end - begin) {
        add_sum(name, block, base::hash128(fragment.bytes));
        fragments_.pop_back();
      }
    }
    first += n, from += n, bytes -= n;
  }
}

std::string BlockHashes::bytes() const {
  std::string out;
  for (const Run &run : runs_) {
    put_head(out, kRun, run.name, run.block, run.sums.size());
    for (const base::Hash128 &sum : run.sums) put(out, sum.high), put(out, sum.low);
  }
  for (const Fragment &fragment : fragments_) {
    put_head(out, kFragment, fragment.name, fragment.first, fragment.bytes.size());
    out += fragment.bytes;
  }
  return out;
}

std::string BlockHashes::of(const std::vector<Section> &sections) {
  BlockHashes hashes;
  for (const Section &section : sections)
    for (const Item &item : section.items)
      hashes.add(section.name + "/" + item.name, item.tensor_bytes(), item.first_byte(), item.data,
                 item.bytes());
  return hashes.bytes();
}

std::string fold(const std::vector<Section> &whole, const std::vector<std::string> &lists) {
  Tensors tensors;
  for (const std::string &list : lists) read_list(List(list), tensors);
  StateHash hash;
  for (const Section &section : whole) {
    for (const Item &item : section.items) {
      const std::string name = section.name + "/" + item.name;
      const auto found = tensors.find(name);
      fold_tensor(name, item.tensor_bytes(), found == tensors.end() ? nullptr : &found->second,
                  hash);
      if (found != tensors.end()) tensors.erase(found); // also gives back its memory
    }
    hash.add_scalars(section);
  }
  HADAL_CHECK(tensors.empty(), "{} is not among the tensors of the state", tensors.begin()->first);
  return hash.hex();
}

} // namespace checkpoint
