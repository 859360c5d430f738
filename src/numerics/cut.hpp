// SPDX-License-Identifier: Apache-2.0
#pragma once
// How a product is cut into tiles. The cut is a function of the shape alone: neither the number of threads nor the machine has
// a say, so the bits cannot depend on them. Sizes come from measurements (docs/numerics.md).
//   rows  (linear, backward_input)  tiles of `height` rows; the rest in one or two pieces that are not thin
//   panel (backward_weight)         panels of rows of dw; a panel walks all tokens in chunks of kChunk, in order
#include <algorithm>

#include "tensor/types.hpp"

namespace numerics {

using tensor::Index;

struct Piece {
  Index begin, size;
};

inline constexpr Index kGrain = 64;    // borders lie on multiples of this, where the shape allows
inline constexpr Index kRowTile = 512; // rows of a tile, at most (grouped: kGroupTile)
inline constexpr Index kGroupTile = 256;
inline constexpr Index kPanel = 256; // rows of dw in a panel, at most (grouped: kGroupPanel)
inline constexpr Index kGroupPanel = 1024;
inline constexpr Index kChunk = 512; // tokens that one product of backward_weight sums

constexpr Index round_up(Index n, Index grain) { return (n + grain - 1) / grain * grain; }

// Tiles of `height` (a multiple of kGrain), then the rest. A rest of more than 2 kGrain that is no multiple of kGrain becomes two
// pieces, so that only sizes below 2 kGrain are arbitrary: the number of different shapes, each of which is compiled once, stays
// small however the router loads the experts. No piece is smaller than kGrain unless the whole is.
class RowCut {
public:
  constexpr RowCut(Index rows, Index height) : rows_(rows), height_(height) {
    whole_ = rows < kGrain ? 0 : (rows - kGrain) / height;
    rest_ = rows - whole_ * height;
    first_ = rest_ < 2 * kGrain || rest_ % kGrain == 0 ? rest_ : rest_ / kGrain * kGrain - kGrain;
  }
  constexpr Index count() const { return rows_ == 0 ? 0 : whole_ + (first_ < rest_ ? 2 : 1); }
  constexpr Piece operator[](Index i) const {
    if (i < whole_) return {i * height_, height_};
    const Index begin = whole_ * height_;
    return i == whole_ ? Piece{begin, first_} : Piece{begin + first_, rest_ - first_};
  }

private:
  Index rows_, height_, whole_ = 0, rest_ = 0, first_ = 0;
};

// Eight tiles where that leaves them tall enough to be fast.
constexpr RowCut cut_rows(Index rows) {
  return {rows, std::clamp(round_up(rows / 8, kGrain), 2 * kGrain, kRowTile)};
}
constexpr RowCut cut_group_rows(Index rows) { return {rows, kGroupTile}; }

// Panels of dw: even heights, multiples of kGrain but for the last.
class PanelCut {
public:
  constexpr PanelCut(Index rows, Index height) : rows_(rows), height_(height) {}
  constexpr Index count() const { return (rows_ + height_ - 1) / height_; }
  constexpr Piece operator[](Index i) const {
    return {i * height_, std::min(height_, rows_ - i * height_)};
  }

private:
  Index rows_, height_;
};
constexpr PanelCut cut_panels(Index rows) {
  return {rows, std::clamp(round_up(rows / 4, kGrain), 2 * kGrain, kPanel)};
}
constexpr PanelCut cut_group_panels(Index rows) {
  return {rows, std::min(std::max<Index>(rows, 1), kGroupPanel)};
}

// The columns of a product of one row: each piece reads its own rows of w.
constexpr PanelCut cut_columns(Index columns) {
  return {columns, std::max(round_up(columns / 8, kGrain), 2 * kGrain)};
}

// The tokens of backward_weight: whole chunks, then one of a multiple of kGrain, then a tail of less than kGrain which is filled
// up with zeros to a multiple of `fill` (adding 0 * 0 changes no sum, except that -0 becomes +0).
struct Chunks {
  Index whole, rest, tail, tail_filled;
  constexpr Chunks(Index tokens, Index fill)
      : whole(tokens / kChunk), rest(tokens % kChunk / kGrain * kGrain), tail(tokens % kGrain),
        tail_filled(round_up(tail, fill)) {}
};

} // namespace numerics
