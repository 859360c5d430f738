// SPDX-License-Identifier: Apache-2.0
#include "infer/generator.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "layers/attention/absorbed.hpp"
#include "layers/embedding/embedding.hpp"
#include "layers/mla/decode.hpp"

namespace infer {

using layers::mla::Cache;
using tensor::Context;
using tensor::Cube;
using tensor::Index;
using tensor::Mat;
using tensor::Vec;

namespace {

template <class View> View uninitialised(const char *label, Index n, Index m, Index k) {
  return View(Kokkos::view_alloc(Kokkos::WithoutInitializing, std::string(label)), n, m, k);
}

} // namespace

template <class A> struct Generator<A>::Impl {
  arch::Dims dims;
  model::Weights<A> weights;
  Index capacity, rows; // of the cache, of one piece
  Index length = 0;
  layers::rope::Table rope;
  Cube<A> latent_LJC, key_LJR;
  Vec<std::int32_t> token_T, position_J;
  Vec<Index> start;
  Kokkos::View<std::int32_t *, Kokkos::HostSpace> token_host;
  Kokkos::View<Index *, Kokkos::HostSpace> start_host;
  Vec<double> balance; // the router's by-product, not used
  Vec<float> logits_W;
  Kokkos::View<float *, Kokkos::HostSpace> logits_host;
  std::vector<float> logits;

  Impl(const arch::Dims &d, model::Weights<A> w, Index room, Index piece_rows)
      : dims(d), weights(std::move(w)), capacity(room), rows(std::min(room, piece_rows)),
        rope(layers::rope::make_table(d, room)),
        latent_LJC(uninitialised<Cube<A>>("infer::latent_LJC", d.layers, room, d.kv_rank)),
        key_LJR(uninitialised<Cube<A>>("infer::key_LJR", d.layers, room, d.rope)),
        token_T("infer::token_T", rows), position_J("infer::position_J", room),
        start("infer::start", 2), token_host("infer::token_host", rows),
        start_host("infer::start_host", 2), balance("infer::balance", 1),
        logits_W("infer::logits_W", d.vocabulary), logits_host("infer::logits_host", d.vocabulary),
        logits(static_cast<std::size_t>(d.vocabulary)) {
    const auto position = Kokkos::create_mirror_view(position_J);
    for (Index j = 0; j < capacity; ++j) position(j) = static_cast<std::int32_t>(j);
    Kokkos::deep_copy(position_J, position);
  }

  Cache<A> cache(Index layer) const {
    return {Mat<A>(&latent_LJC(layer, 0, 0), capacity, dims.kv_rank),
            Mat<A>(&key_LJR(layer, 0, 0), capacity, dims.rope)};
  }
  void check(const std::vector<data::Token> &tokens) const;
  model::Stream load(Context &ctx, const data::Token *tokens, Index count);
  void block(Context &ctx, Index layer, const model::Stream &stream, Mat<const A> x_TD,
             Mat<A> y_TD);
  void piece(Context &ctx, const data::Token *tokens, Index count, bool last);
};

template <class A> void Generator<A>::Impl::check(const std::vector<data::Token> &tokens) const {
  HADAL_CHECK(!tokens.empty(), "no tokens behind {}", length);
  if (static_cast<Index>(tokens.size()) > capacity - length)
    throw base::UserError(
        base::Exit::deck, "E260", "generation",
        fmt::format("{} tokens", static_cast<std::size_t>(length) + tokens.size()),
        fmt::format("The cache was made for {} tokens. Shorten the prompt or ask for fewer tokens.",
                    capacity));
  for (const data::Token token : tokens)
    if (token < 0 || token >= dims.vocabulary)
      throw base::UserError(
          base::Exit::data, "E261", "generation", fmt::format("token {}", token),
          fmt::format("The model has the tokens 0 to {}. Its own tokenizer must be used.",
                      dims.vocabulary - 1));
}

// The next tokens as one segment, on the device.
template <class A>
model::Stream Generator<A>::Impl::load(Context &ctx, const data::Token *tokens, Index count) {
  std::copy(tokens, tokens + count, token_host.data());
  Kokkos::deep_copy(ctx.exec, token_T, token_host);
  start_host(0) = 0, start_host(1) = count;
  Kokkos::deep_copy(ctx.exec, start, start_host);
  model::Stream stream;
  stream.samples = 1, stream.rows = count;
  stream.token_T = Vec<const std::int32_t>(token_T.data(), count);
  stream.segments = {start, start_host, Vec<const std::int32_t>(position_J.data() + length, count)};
  return stream;
}

template <class A>
void Generator<A>::Impl::block(Context &ctx, Index layer, const model::Stream &stream,
                               Mat<const A> x_TD, Mat<A> y_TD) {
  using namespace layers;
  const tensor::Arena::Scope scope(ctx.arena);
  const auto &w = weights.blocks[static_cast<std::size_t>(layer)];
  const model::BlockEnv env{dims, {}, rope, layer};
  const model::BlockSaved<A> saved = model::block::allocate<A>(ctx.arena, env, stream);
  const auto cached = mla::in_cache(saved.mla, cache(layer), length);
  const Mat<A> a_TD = ctx.arena.template mat<A>(x_TD.extent(0), x_TD.extent(1));
  rms_norm::forward(ctx, x_TD, w.attention_norm_D, static_cast<float>(dims.norm_eps), saved.h1_TD,
                    saved.norm1);
  if (length == 0)
    mla::forward(ctx, dims, w.mla, rope, stream.segments, Mat<const A>(saved.h1_TD), cached, a_TD);
  else
    mla::decode(ctx, dims, w.mla, rope, stream.segments.position_T, Mat<const A>(saved.h1_TD),
                cache(layer), cached, a_TD);
  model::Balance uncounted;
  uncounted.balance_S = balance;
  model::block::after_attention(ctx, env, w, stream, x_TD, Mat<const A>(a_TD), uncounted, saved,
                                y_TD);
}

// Logits of the last row are made where asked for.
template <class A>
void Generator<A>::Impl::piece(Context &ctx, const data::Token *tokens, Index count, bool last) {
  using namespace layers;
  const tensor::Arena::Scope scope(ctx.arena);
  const model::Stream stream = load(ctx, tokens, count);
  Mat<A> x = ctx.arena.template mat<A>(count, dims.model),
         y = ctx.arena.template mat<A>(count, dims.model);
  embedding::forward(ctx, stream.token_T, weights.embedding_WD, x);
  for (Index layer = 0; layer < dims.layers; ++layer) {
    block(ctx, layer, stream, Mat<const A>(x), y);
    std::swap(x, y);
  }
  length += count;
  if (last) {
    const Mat<const A> x_1D(&x(count - 1, 0), 1, dims.model);
    const Mat<A> n_1D = ctx.arena.template mat<A>(1, dims.model);
    rms_norm::forward(ctx, x_1D, weights.final_norm_D, static_cast<float>(dims.norm_eps), n_1D,
                      rms_norm::allocate(ctx.arena, 1));
    numerics::linear<A, float>(ctx, "infer::head", Mat<const A>(n_1D), weights.head_WD,
                               Mat<float>(logits_W.data(), 1, dims.vocabulary));
    Kokkos::deep_copy(ctx.exec, logits_host, logits_W);
  }
  tensor::fence(ctx,
                "infer::append"); // reason: the host reads the logits and writes the next tokens
}

template <class A>
Generator<A>::Generator(const arch::Dims &dims, model::Weights<A> weights, Index capacity,
                        Index rows)
    : impl_(std::make_unique<Impl>(dims, std::move(weights), capacity, rows)) {}
template <class A> Generator<A>::~Generator() = default;

template <class A>
const std::vector<float> &Generator<A>::append(Context &ctx,
                                               const std::vector<data::Token> &tokens) {
  impl_->check(tokens);
  const auto count = static_cast<Index>(tokens.size());
  for (Index begin = 0; begin < count; begin += impl_->rows) {
    const Index piece = std::min(impl_->rows, count - begin);
    impl_->piece(ctx, tokens.data() + begin, piece, begin + piece == count);
  }
  std::copy_n(impl_->logits_host.data(), impl_->logits.size(), impl_->logits.begin());
  return impl_->logits;
}

template <class A> void Generator<A>::reset() { impl_->length = 0; }
template <class A> Index Generator<A>::length() const { return impl_->length; }
template <class A> Index Generator<A>::capacity() const { return impl_->capacity; }
template <class A> std::size_t Generator<A>::cache_bytes() const {
  return (impl_->latent_LJC.size() + impl_->key_LJR.size()) * sizeof(A);
}

template <class A>
std::size_t Generator<A>::arena_bytes(const arch::Dims &dims, Index capacity, Index rows) {
  tensor::Arena arena = tensor::Arena::counting("infer::generator");
  const Index T = std::min(capacity, rows), D = dims.model, K = dims.chosen;
  for (int array = 0; array < 4; ++array) arena.template mat<A>(T, D); // x, y, a, m
  model::Stream stream;
  stream.samples = 1, stream.rows = T;
  std::size_t most = 0;
  for (const Index layer : {Index{0}, dims.layers - 1}) {
    const tensor::Arena::Scope scope(arena);
    const std::size_t before = arena.used();
    model::block::allocate<A>(arena, model::BlockEnv{dims, {}, {}, layer}, stream);
    if (!dims.is_dense(layer)) {
      for (int array = 0; array < 2; ++array)
        arena.template mat<A>(T * K, D); // arrivals and their outputs
      arena.template mat<A>(T * K, dims.expert_hidden),
          arena.template mat<float>(T, D); // SwiGLU, the router's input
      arena.template mat<A>(T, D),
          arena.template mat<std::int64_t>(
              T + 256, std::max(K, dims.experts)); // shared experts, the plan's counts
    }
    most = std::max(most, arena.used() - before);
  }
  const std::size_t attention =
      std::max(layers::attention::scratch_bytes(T, T, dims.heads, dims.nope, dims.rope, dims.value),
               layers::attention::absorbed_bytes(T, dims.heads, dims.kv_rank));
  return arena.used() + most + attention + (std::size_t{1} << 20);
}

template class Generator<float>;
template class Generator<numerics::bf16>;

} // namespace infer
