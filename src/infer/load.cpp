// SPDX-License-Identifier: Apache-2.0
#include "infer/load.hpp"

#include <type_traits>

#include "arch/options.hpp"
#include "deck/deck.hpp"

namespace infer {

using numerics::bf16;
using tensor::Context;
using tensor::Vec;

arch::Dims dims_of(const checkpoint::Reader &reader) {
  deck::Deck deck = deck::Deck::parse(reader.deck(), reader.directory().string() + ": deck");
  arch::Dims dims = arch::read_dims(deck);
  dims.mtp_depth = 0;
  return dims;
}

namespace {

template <class T> Vec<T> buffer(const char *label, tensor::Index n) {
  return Vec<T>(Kokkos::view_alloc(Kokkos::WithoutInitializing, std::string(label)), n);
}

// Compute copies and views, once the masters are filled.
template <class A> void finish(Context &ctx, LoadedWeights<A> &w) {
  if constexpr (std::is_same_v<A, float>)
    w.compute = w.master;
  else
    w.compute = buffer<A>("infer::compute", w.layout.size());
  model::refresh_compute(ctx, w.layout, Vec<const float>(w.master), w.compute);
  w.views = model::weights<A>(w.layout, w.master, w.compute);
  tensor::fence(ctx, "infer::load_weights"); // reason: start of a session
}

} // namespace

template <class A>
LoadedWeights<A> load_weights(Context &ctx, const checkpoint::Reader &reader,
                              const arch::Dims &dims) {
  return load_weights<A>(ctx, reader, dims, model::Share::whole(dims));
}

template <class A>
LoadedWeights<A> load_weights(Context &ctx, const checkpoint::Reader &reader,
                              const arch::Dims &dims, const model::Share &share) {
  LoadedWeights<A> w{model::Layout(dims, share), {}, {}, {}};
  w.master = buffer<float>("infer::master", w.layout.size());
  const auto host = Kokkos::create_mirror_view(w.master);
  std::vector<checkpoint::Item> items;
  for (const auto &slot : w.layout.slots()) {
    items.push_back(
        {slot.spec.name, slot.global_shape, checkpoint::Type::f32, host.data() + slot.offset});
    items.back().first = slot.first, items.back().count = slot.size;
  }
  reader.read("weights", items, false);
  Kokkos::deep_copy(ctx.exec, w.master, host);
  finish(ctx, w);
  return w;
}

template <class A> LoadedWeights<A> made_up_weights(Context &ctx, const arch::Dims &dims) {
  LoadedWeights<A> w{model::Layout(dims), {}, {}, {}};
  w.master = buffer<float>("infer::master", w.layout.size());
  const Vec<float> master = w.master;
  tensor::for_each(
      ctx, "infer::made_up_weights", w.layout.size(), KOKKOS_LAMBDA(const tensor::Index i) {
        master(i) = 0.06F * (static_cast<float>(i * 2654435761 % 1024) / 1024.0F - 0.5F);
      });
  finish(ctx, w);
  return w;
}

data::Tokenizer load_tokenizer(const checkpoint::Reader &reader) {
  const std::string file = (reader.directory() / "tokenizer.json").string();
  const auto text = reader.text_file("tokenizer.json");
  if (!text)
    throw base::UserError(base::Exit::checkpoint, "E263", file, "no such file",
                          "This checkpoint was written without a tokenizer. Put the tokenizer.json "
                          "of its data beside it.");
  return data::Tokenizer::from_json(*text, file);
}

template LoadedWeights<float> load_weights(Context &, const checkpoint::Reader &,
                                           const arch::Dims &);
template LoadedWeights<bf16> load_weights(Context &, const checkpoint::Reader &,
                                          const arch::Dims &);
template LoadedWeights<float> load_weights(Context &, const checkpoint::Reader &,
                                           const arch::Dims &, const model::Share &);
template LoadedWeights<bf16> load_weights(Context &, const checkpoint::Reader &, const arch::Dims &,
                                          const model::Share &);
template LoadedWeights<float> made_up_weights(Context &, const arch::Dims &);
template LoadedWeights<bf16> made_up_weights(Context &, const arch::Dims &);

} // namespace infer
