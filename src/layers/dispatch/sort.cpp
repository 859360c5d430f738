// SPDX-License-Identifier: Apache-2.0
#include "layers/dispatch/sort.hpp"

#include "base/error.hpp"

namespace layers::dispatch {
namespace {

constexpr Index kBlocks = 64; // blocks of tokens counted apart; the order does not depend on it

KOKKOS_INLINE_FUNCTION Index expert_of(std::int32_t expert) { return expert; }
KOKKOS_INLINE_FUNCTION Index expert_of(const Copy &copy) { return copy.expert; }

// -1: left out.
KOKKOS_INLINE_FUNCTION Index key_of(Index expert, const Keys &keys) {
  const Index above = expert - keys.first;
  return above >= 0 && above < keys.width * keys.count ? above / keys.width : -1;
}

// Where each block's copies for each key begin, counted from the key's first place; the keys' totals.
template <class X>
void count(Context &ctx, Mat<const X> choice_TK, const Keys &keys, Mat<std::int32_t> start_BE,
           Vec<Index> total_E) {
  const Index T = choice_TK.extent(0), K = choice_TK.extent(1), E = keys.count;
  const Index blocks = start_BE.extent(0), rows = (T + blocks - 1) / blocks;
  tensor::for_each(
      ctx, "layers::dispatch::sort::count", blocks, KOKKOS_LAMBDA(const Index b) {
        for (Index e = 0; e < E; ++e) start_BE(b, e) = 0;
        const Index end = (b + 1) * rows < T ? (b + 1) * rows : T;
        for (Index t = b * rows; t < end; ++t) {
          Index last = -1;
          for (Index k = 0; k < K; ++k) {
            const Index key = key_of(expert_of(choice_TK(t, k)), keys);
            if (key >= 0 && !(keys.once && key == last)) ++start_BE(b, key);
            last = key;
          }
        }
      });
  tensor::for_each(
      ctx, "layers::dispatch::sort::scan_blocks", E, KOKKOS_LAMBDA(const Index e) {
        std::int32_t sum = 0;
        for (Index b = 0; b < blocks; ++b) {
          const std::int32_t n = start_BE(b, e);
          start_BE(b, e) = sum;
          sum += n;
        }
        total_E(e) = sum;
      });
}

// offsets = running sum of the totals. One thread: there are at most some hundred keys.
void scan_keys(Context &ctx, Vec<const Index> total_E, Vec<Index> offsets) {
  const Index E = total_E.extent(0);
  tensor::for_each(
      ctx, "layers::dispatch::sort::scan_keys", 1, KOKKOS_LAMBDA(const Index) {
        Index sum = 0;
        for (Index e = 0; e < E; ++e) {
          offsets(e) = sum;
          sum += total_E(e);
        }
        offsets(E) = sum;
      });
}

// Each block walks its tokens in order: places of a key are in token order.
template <class X>
void place(Context &ctx, Mat<const X> choice_TK, const Keys &keys, Mat<std::int32_t> start_BE,
           const Sorted &sorted) {
  const Index T = choice_TK.extent(0), K = choice_TK.extent(1);
  const Index blocks = start_BE.extent(0), rows = (T + blocks - 1) / blocks;
  const auto token_A = sorted.token_A;
  const auto place_TK = sorted.place_TK;
  const auto offsets = sorted.offsets;
  const bool tokens = token_A.data() != nullptr, places = place_TK.data() != nullptr;
  tensor::for_each(
      ctx, "layers::dispatch::sort::place", blocks, KOKKOS_LAMBDA(const Index b) {
        const Index end = (b + 1) * rows < T ? (b + 1) * rows : T;
        for (Index t = b * rows; t < end; ++t) {
          Index last = -1;
          std::int32_t a = -1;
          for (Index k = 0; k < K; ++k) {
            const Index key = key_of(expert_of(choice_TK(t, k)), keys);
            if (key < 0) {
              a = -1;
            } else if (!(keys.once && key == last)) {
              a = static_cast<std::int32_t>(offsets(key)) + start_BE(b, key)++;
              if (tokens) token_A(a) = static_cast<std::int32_t>(t);
            }
            if (places) place_TK(t, k) = a;
            last = key;
          }
        }
      });
}

} // namespace

template <class X>
void sort(Context &ctx, Mat<const X> choice_TK, const Keys &keys, const Sorted &sorted) {
  HADAL_CHECK(choice_TK.size() < (1ULL << 31) && choice_TK.extent(1) <= 32, "{} x {} token copies",
              choice_TK.extent(0), choice_TK.extent(1));
  tensor::Arena::Scope scope(ctx.arena);
  const auto start_BE = ctx.arena.mat<std::int32_t>(kBlocks, keys.count);
  const auto total_E = ctx.arena.vec<Index>(keys.count);
  count(ctx, choice_TK, keys, start_BE, total_E);
  scan_keys(ctx, total_E, sorted.offsets);
  place(ctx, choice_TK, keys, start_BE, sorted);
}

std::size_t sort_scratch(Index keys) {
  auto arena = tensor::Arena::counting("layers::dispatch::sort");
  arena.mat<std::int32_t>(kBlocks, keys);
  arena.vec<Index>(keys);
  return arena.used();
}

template void sort(Context &, Mat<const std::int32_t>, const Keys &, const Sorted &);
template void sort(Context &, Mat<const Copy>, const Keys &, const Sorted &);

} // namespace layers::dispatch
