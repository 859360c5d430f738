// SPDX-License-Identifier: Apache-2.0
#include "infer/generator.hpp"

#include <algorithm>
#include <numeric>

#include <fmt/format.h>

#include "infer/forward.hpp"

namespace infer {

using tensor::Context;
using tensor::Index;

namespace {

Limits limits_of(const Index capacity, const Index rows) {
  return {std::min(capacity, rows), 1, capacity, pages_for(capacity), false, 1};
}

} // namespace

// Its page table is 0, 1, 2, ...
template <class A> struct Generator<A>::Impl {
  arch::Dims dims;
  Attention attention;
  Index capacity, length = 0;
  Forward<A> forward;
  std::vector<Index> pages;
  std::vector<float> logits;

  Impl(const arch::Dims &d, model::Weights<A> w, Index room, Index rows, Attention kind)
      : dims(d), attention(kind), capacity(room), forward(d, std::move(w), limits_of(room, rows)),
        pages(static_cast<std::size_t>(pages_for(room))),
        logits(static_cast<std::size_t>(d.vocabulary)) {
    std::iota(pages.begin(), pages.end(), Index{0});
  }
  void check(const std::vector<data::Token> &tokens) const;
};

template <class A> void Generator<A>::Impl::check(const std::vector<data::Token> &tokens) const {
  HADAL_CHECK(!tokens.empty(), "no tokens behind {}", length);
  if (static_cast<Index>(tokens.size()) > capacity - length)
    throw base::UserError(
        base::Exit::deck, "E260", "generation",
        fmt::format("{} tokens", static_cast<std::size_t>(length) + tokens.size()),
        fmt::format("The cache was made for {} tokens. Shorten the prompt or ask for fewer tokens.",
                    capacity));
  check_tokens(tokens, dims.vocabulary, "generation");
}

void check_tokens(std::span<const data::Token> tokens, const Index vocabulary, const char *where) {
  for (const data::Token token : tokens)
    if (token < 0 || token >= vocabulary)
      throw base::UserError(
          base::Exit::data, "E261", where, fmt::format("token {}", token),
          fmt::format("The model has the tokens 0 to {}. Its own tokenizer must be used.",
                      vocabulary - 1));
}

template <class A>
Generator<A>::Generator(const arch::Dims &dims, model::Weights<A> weights, Index capacity,
                        Index rows, Attention attention)
    : impl_(std::make_unique<Impl>(dims, std::move(weights), capacity, rows, attention)) {}
template <class A> Generator<A>::~Generator() = default;

template <class A>
const std::vector<float> &Generator<A>::append(Context &ctx,
                                               const std::vector<data::Token> &tokens) {
  Impl &g = *impl_;
  g.check(tokens);
  const Index rows = g.forward.limits().rows;
  for (std::span<const data::Token> left = tokens; !left.empty();) {
    const auto count = std::min(left.size(), static_cast<std::size_t>(rows));
    const bool exact = g.attention == Attention::exact || g.length == 0;
    const Piece piece{left.first(count), g.length, g.pages, exact, count == left.size() ? 1 : 0};
    g.forward.run(ctx, {&piece, 1}, [&](const Logits &l) {
      std::copy_n(l.logit_RW.data(), g.logits.size(), g.logits.begin());
    });
    g.length += static_cast<Index>(count), left = left.subspan(count);
  }
  return g.logits;
}

template <class A> void Generator<A>::reset() { impl_->length = 0; }
template <class A> Index Generator<A>::length() const { return impl_->length; }
template <class A> Index Generator<A>::capacity() const { return impl_->capacity; }
template <class A> std::size_t Generator<A>::cache_bytes() const {
  return impl_->forward.cache().bytes();
}

template <class A>
std::size_t Generator<A>::arena_bytes(const arch::Dims &dims, Index capacity, Index rows) {
  return Forward<A>::arena_bytes(dims, limits_of(capacity, rows));
}

template class Generator<float>;
template class Generator<numerics::bf16>;

} // namespace infer
