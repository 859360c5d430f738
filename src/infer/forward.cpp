// SPDX-License-Identifier: Apache-2.0
#include "infer/forward.hpp"

#include <algorithm>
#include <optional>

#include "layers/embedding/embedding.hpp"
#include "layers/head_loss/head_loss.hpp"

namespace infer {

using tensor::Context;
using tensor::Mat;
using tensor::Vec;

namespace {

// Nothing is kept for a reverse pass.
arch::Recompute keep_little() {
  arch::Recompute again;
  again.up_projections = again.swiglu = again.arrivals = true;
  return again;
}

// Every rank of an expert group takes room for what all of them may send.
layers::dispatch::Group with_most(layers::dispatch::Group group, const Limits &limits) {
  group.most_tokens = limits.rows;
  return group;
}

// What others' rows take while their experts are at work.
template <class A>
std::size_t visitor_bytes(const layers::dispatch::Group &group, const arch::Dims &dims) {
  tensor::Arena arena = tensor::Arena::counting("infer::visitors");
  const Index ep = group.ep->size(),
              rows = layers::dispatch::most_rows(dims, ep, group.most_tokens);
  layers::dispatch::count_kept<A>(group, dims, group.most_tokens, arena);
  for (Index array = 0; array < 2 * ep; ++array) // g and u of each source
    arena.mat<A>(rows / ep, dims.expert_hidden);
  return arena.used();
}

Index tables(const Limits &limits) { return limits.pieces * pages_for(limits.sequence); }

// Rows of x that are wanted, one after the other.
template <class A>
void pick(Context &ctx, const Vec<const Index> row_R, const Mat<const A> x_TD, const Mat<A> x_RD) {
  const Index width = x_RD.extent(1);
  tensor::for_rows(
      ctx, "infer::pick", x_RD.extent(0), KOKKOS_LAMBDA(const tensor::Row &row, const Index r) {
        const A *from = &x_TD(row_R(r), 0);
        A *to = &x_RD(r, 0);
        tensor::row_for(row, width, [=](const Index d) { numerics::copy_element(from[d], to[d]); });
      });
}

} // namespace

template <class A>
Forward<A>::Forward(const arch::Dims &dims, model::Weights<A> weights, Limits limits)
    : Forward(dims, std::move(weights), limits, model::Part::whole(dims)) {}

template <class A>
Forward<A>::Forward(const arch::Dims &dims, model::Weights<A> weights, Limits limits,
                    model::Part part, const layers::dispatch::Group &experts)
    : dims_(dims), weights_(std::move(weights)), limits_(limits), part_(part),
      experts_(with_most(experts, limits)), rope_(layers::rope::make_table(dims, limits.sequence)),
      cache_(dims, part.last - part.first, limits.pages, limits.keeps_kv),
      token_("infer::token", limits.rows), position_("infer::position", limits.rows),
      slot_("infer::slot", limits.rows), table_("infer::table", limits.rows),
      page_("infer::page", tables(limits)), place_("infer::place", tables(limits)),
      listed_("infer::listed", limits.pages), wanted_("infer::wanted", limits.rows),
      piece_("infer::piece", limits.pieces), start_("infer::start", 2),
      place_of_page_(static_cast<std::size_t>(limits.pages), -1), balance_("infer::balance", 1),
      logits_host_("infer::logits_host", part.head ? limits.logits : 0, dims.vocabulary),
      lse_host_("infer::lse_host", limits.logits) {}

// Tokens, positions and places of a piece's rows.
template <class A> void Forward<A>::lay(const Laid &laid) {
  const Piece &piece = *laid.piece;
  const auto rows = static_cast<Index>(piece.tokens.size()), last = piece.position + rows;
  HADAL_CHECK(rows > 0 && last <= limits_.sequence &&
                  static_cast<Index>(piece.pages.size()) >= pages_for(last) && piece.wanted <= rows,
              "{} rows behind {} of a sequence of {} at most, {} pages, {} wanted", rows,
              piece.position, limits_.sequence, piece.pages.size(), piece.wanted);
  std::copy_n(piece.pages.begin(), pages_for(last), page_.host.data() + laid.table);
  for (Index i = 0; i < rows; ++i) {
    const Index t = laid.row + i, position = piece.position + i;
    token_.host(t) = piece.tokens[static_cast<std::size_t>(i)];
    position_.host(t) = static_cast<std::int32_t>(position);
    slot_.host(t) =
        piece.pages[static_cast<std::size_t>(position / kPage)] * kPage + position % kPage;
    table_.host(t) = laid.table;
  }
}

// The pages of exact pieces, each once, block by block; and the place of each table entry in that list.
template <class A> Index Forward<A>::list_pages(const std::vector<Laid> &exact) {
  Index count = 0, blocks = 0;
  const auto blocks_of = [](const Laid &l) {
    return pages_for(l.piece->position + static_cast<Index>(l.piece->tokens.size()));
  };
  for (const Laid &l : exact) blocks = std::max(blocks, blocks_of(l));
  for (Index b = 0; b < blocks; ++b) {
    for (const Laid &l : exact) {
      if (b >= blocks_of(l)) continue;
      const Index page = page_.host(l.table + b);
      Index &place = place_of_page_[static_cast<std::size_t>(page)];
      if (place < 0) listed_.host(count) = page, place = count++;
      place_.host(l.table + b) = place;
    }
  }
  for (Index u = 0; u < count; ++u) place_of_page_[static_cast<std::size_t>(listed_.host(u))] = -1;
  return count;
}

template <class A> model::Stream Forward<A>::load(Context &ctx, std::span<const Piece> pieces) {
  std::vector<Laid> laid; // exact pieces first
  for (const Piece &piece : pieces)
    if (piece.exact) laid.push_back({&piece, 0, 0});
  const auto exact_pieces = static_cast<Index>(laid.size());
  for (const Piece &piece : pieces)
    if (!piece.exact) laid.push_back({&piece, 0, 0});
  Index rows = 0, entries = 0, exact = 0, next = 0;
  for (Laid &l : laid) {
    const auto count = static_cast<Index>(l.piece->tokens.size());
    l.row = rows, l.table = entries;
    HADAL_CHECK(rows + count <= limits_.rows && next < limits_.pieces,
                "{} rows and {} pieces in a step of {} and {}", rows + count, next + 1,
                limits_.rows, limits_.pieces);
    lay(l);
    piece_.host(next++) = {l.row, count, l.piece->position, l.table};
    rows += count, entries += pages_for(l.piece->position + count);
    if (l.piece->exact) exact = rows;
  }
  wanted_count_ = 0;
  for (const Piece &piece : pieces) {
    const auto of =
        std::find_if(laid.begin(), laid.end(), [&](const Laid &l) { return l.piece == &piece; });
    const Index end = of->row + static_cast<Index>(piece.tokens.size());
    for (Index t = end - piece.wanted; t < end; ++t) wanted_.host(wanted_count_++) = t;
  }
  const Index listed =
      list_pages({laid.begin(), laid.begin() + static_cast<std::ptrdiff_t>(exact_pieces)});
  rows_ = {position_.send(ctx, rows),
           slot_.send(ctx, rows),
           page_.send(ctx, entries),
           table_.send(ctx, rows),
           exact,
           piece_.send(ctx, exact_pieces),
           listed_.send(ctx, listed),
           place_.send(ctx, entries)};
  model::Stream stream;
  stream.samples = 1, stream.rows = rows;
  stream.token_T = token_.send(ctx, rows);
  start_.host(0) = 0, start_.host(1) = rows;
  stream.segments = {start_.send(ctx, 2), start_.host, rows_.position_T};
  return stream;
}

template <class A>
void Forward<A>::block(Context &ctx, Index layer, const model::Stream &stream, Mat<const A> x_TD,
                       Mat<A> y_TD) {
  using namespace layers;
  const tensor::Arena::Scope scope(ctx.arena);
  const auto &w = weights_.blocks[static_cast<std::size_t>(layer)];
  const model::BlockEnv env{dims_, keep_little(), rope_, layer, experts_};
  std::optional<tensor::Arena> visitors; // outlives what lies in it
  const model::BlockSaved<A> saved = model::block::allocate<A>(ctx.arena, env, stream);
  if (saved.visitors) {
    visitors.emplace("infer::visitors", ctx.arena, visitor_bytes<A>(experts_, dims_));
    saved.visitors->keep = &*visitors;
  }
  const Mat<A> a_TD = ctx.arena.template mat<A>(x_TD.extent(0), x_TD.extent(1));
  if (stream.rows > 0) {
    rms_norm::forward(ctx, x_TD, w.attention_norm_D, static_cast<float>(dims_.norm_eps),
                      saved.h1_TD, saved.norm1);
    mla::decode(ctx, dims_, w.mla, rope_, rows_, Mat<const A>(saved.h1_TD),
                cache_.layer(layer - part_.first), saved.mla, a_TD);
  }
  model::Balance uncounted;
  uncounted.balance_S = balance_;
  model::block::after_attention(ctx, env, w, stream, x_TD, Mat<const A>(a_TD), uncounted, saved,
                                y_TD);
}

template <class A>
void Forward<A>::head(Context &ctx, const Mat<const A> x_TD, const TakeLogits &take) {
  using namespace layers;
  const Vec<const Index> wanted = wanted_.send(ctx, wanted_count_);
  for (Index first = 0; first < wanted_count_; first += limits_.logits) {
    const tensor::Arena::Scope scope(ctx.arena);
    const Index count = std::min(limits_.logits, wanted_count_ - first), W = dims_.vocabulary;
    const Mat<A> x_RD = ctx.arena.template mat<A>(count, dims_.model),
                 n_RD = ctx.arena.template mat<A>(count, dims_.model);
    const Mat<float> logit_RW = ctx.arena.mat<float>(count, W);
    const Vec<float> lse_R = ctx.arena.vec<float>(count);
    pick<A>(ctx, Vec<const Index>(wanted.data() + first, count), x_TD, x_RD);
    rms_norm::forward(ctx, Mat<const A>(x_RD), weights_.final_norm_D,
                      static_cast<float>(dims_.norm_eps), n_RD,
                      rms_norm::allocate(ctx.arena, count));
    numerics::linear<A, float>(ctx, "infer::head", Mat<const A>(n_RD), weights_.head_WD, logit_RW);
    head_loss::log_sum_exp(ctx, logit_RW, lse_R);
    using HostMat = Kokkos::View<float **, Kokkos::LayoutRight, Kokkos::HostSpace>;
    const HostMat logit_host(logits_host_.data(), count, W);
    Kokkos::deep_copy(ctx.exec, logit_host, logit_RW);
    Kokkos::deep_copy(ctx.exec, Kokkos::View<float *, Kokkos::HostSpace>(lse_host_.data(), count),
                      lse_R);
    tensor::fence(ctx, "infer::head"); // reason: the host draws from the logits
    take({first, logit_host, {lse_host_.data(), static_cast<std::size_t>(count)}});
  }
}

template <class A>
void Forward<A>::run(Context &ctx, std::span<const Piece> pieces, const TakeLogits &take,
                     Mat<A> x_TD, Mat<A> y_TD) {
  const tensor::Arena::Scope scope(ctx.arena);
  const model::Stream stream = load(ctx, pieces);
  Mat<A> x = ctx.arena.template mat<A>(stream.rows, dims_.model),
         y = ctx.arena.template mat<A>(stream.rows, dims_.model);
  const bool rows = stream.rows > 0;
  if (part_.embedding)
    layers::embedding::forward(ctx, stream.token_T, weights_.embedding_WD, x);
  else if (rows)
    Kokkos::deep_copy(ctx.exec, x, x_TD);
  for (Index layer = part_.first; layer < part_.last; ++layer) {
    if (!rows && (dims_.is_dense(layer) || !experts_.ep)) continue;
    block(ctx, layer, stream, Mat<const A>(x), y);
    std::swap(x, y);
  }
  if (part_.head)
    head(ctx, x, take);
  else if (rows)
    Kokkos::deep_copy(ctx.exec, y_TD, x);
  tensor::fence(ctx, "infer::forward"); // reason: the host writes the next rows
}

namespace {

// Scratch of the second half of a block.
template <class A>
void count_feed_forward(tensor::Arena &arena, const arch::Dims &dims, const Index T,
                        const Index layer, const layers::dispatch::Group &experts) {
  const Index D = dims.model, K = dims.chosen;
  arena.mat<A>(T, D); // m
  if (dims.is_dense(layer)) {
    arena.mat<A>(T, dims.dense_hidden);
    return;
  }
  const Index rows = experts.ep ? layers::dispatch::most_rows(dims, experts.ep->size(), T) : T * K;
  for (int array = 0; array < 2; ++array) arena.mat<A>(rows, D); // arrivals and their outputs
  arena.mat<A>(rows, dims.expert_hidden);
  for (int flight = 0; experts.ep && flight < 2; ++flight)
    layers::dispatch::count_flight<A>(experts, dims, T, arena);
  arena.mat<A>(T, D), arena.mat<A>(T, dims.shared * dims.expert_hidden); // shared experts
  arena.mat<std::int64_t>(T + 256, std::max(K, dims.experts));           // the plan's counts
}

} // namespace

template <class A>
std::size_t Forward<A>::arena_bytes(const arch::Dims &dims, const Limits &limits,
                                    const layers::dispatch::Group &group) {
  const layers::dispatch::Group experts = with_most(group, limits);
  tensor::Arena arena = tensor::Arena::counting("infer::forward");
  const Index T = limits.rows, D = dims.model;
  model::Stream stream;
  stream.samples = 1, stream.rows = T;
  std::size_t most = 0;
  for (const Index layer : {Index{0}, dims.layers - 1}) {
    const tensor::Arena::Scope scope(arena);
    model::block::allocate<A>(arena, model::BlockEnv{dims, keep_little(), {}, layer, experts},
                              stream);
    if (experts.ep && !dims.is_dense(layer))
      arena.vec<char>(static_cast<Index>(visitor_bytes<A>(experts, dims)));
    arena.mat<A>(T, D); // a
    const std::size_t before = arena.used();
    count_feed_forward<A>(arena, dims, T, layer, experts);
    most =
        std::max({most, arena.used(),
                  before + layers::mla::decode_bytes<A>(dims, T, limits.pages, limits.keeps_kv)});
  }
  const Index R = std::min(limits.logits, limits.rows);
  arena.mat<A>(R, D), arena.mat<A>(R, D), arena.mat<float>(R, dims.vocabulary);
  arena.vec<float>(R), arena.vec<float>(R);
  const std::size_t turns = 2 * tensor::Arena::padded(static_cast<std::size_t>(T * D) * sizeof(A));
  return turns + std::max(most, arena.used());
}

template class Forward<float>;
template class Forward<numerics::bf16>;

} // namespace infer
