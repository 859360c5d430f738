// SPDX-License-Identifier: Apache-2.0
#pragma once
// Attention of new rows over keys that lie in pages, the training form (attention.hpp): the same equations, blocks and order of sums.
// A page holds kKeyBlock tokens, so that a page is one block of the walk. A row's bits are those of attention::forward on the host over
// its whole sequence, wherever the pages lie, however many rows come at once and whoever the neighbours are.
// Keys and values come expanded, for some of the pages at a time: the softmax is carried from round to round (Carried).
#include "layers/attention/attention.hpp"

namespace layers::attention {

// Consecutive new rows of one sequence.
struct Piece {
  Index row = 0, rows = 0; // the first among the queries, and how many
  Index position = 0;      // of the first in its sequence
  Index table =
      0; // entry table + b of the page tables stands for tokens b kKeyBlock .. of the sequence
};

template <class A> struct PagedInputs {
  Cube<const A> q_THM;      // rotated
  Vec<const Piece> piece_I; // on the host
  Vec<const Index> page_B,
      place_B;           // page tables: which page; its place in the list of those expanded
  Cube<const A> key_PJR; // rotated keys of every page [pages, kKeyBlock, R]
  Mat<const A> kv_SX;    // rows of the pages first .. first + count of the list, X = H (N+V)
  Index first, count;
  Index nope;
  float scale;
};

// The softmax of rows that have seen the pages in front of `first` only.
struct Carried {
  Mat<float> maximum_TH, total_TH;
  Cube<float> sum_THV;
};
Carried allocate_carried(tensor::Arena &arena, Index tokens, Index heads, Index value);

// The list must be in order of block numbers, so that every sequence meets its pages in order. begins: nothing has been seen yet;
// ends: o_THV is written, else `carried` (empty where one round does it all).
template <class A>
void paged(Context &ctx, const PagedInputs<A> &in, bool begins, bool ends, const Carried &carried,
           Cube<A> o_THV);

// Arena bytes that one round takes for itself.
std::size_t paged_bytes(Index tokens, Index head_dim, Index value);

} // namespace layers::attention
