// SPDX-License-Identifier: Apache-2.0
#pragma once
// What is done to rows on their way: chosen by an index, rounded to the format of the journey, put in another order.
#include "layers/dispatch/dispatch.hpp"

namespace layers::dispatch {

template <class T> struct Type { using type = T; };

// f(Type<M>) with the type M in which rows of A leave for the experts: the narrower of A and the format.
template <class A, class F> void with_dispatch_type(Format format, const F &f) {
  if (std::is_same_v<A, float> && format == Format::bf16)
    f(Type<bf16>{});
  else
    f(Type<A>{});
}
// f(Type<C>) with the type C to which the sum of a group is rounded.
template <class A, class F> void with_combine_type(Format format, const F &f) {
  switch (format) {
  case Format::compute: return f(Type<A>{});
  case Format::bf16: return f(Type<bf16>{});
  case Format::f32: return f(Type<float>{});
  }
}

// to[i] = from[index[i]], through M.
template <class M, class From, class To>
void gather_rows(Context &ctx, const char *label, Vec<const std::int32_t> index,
                 Mat<const From> from_XD, Mat<To> to_ID);

// Values of the copies [T,K] in the order of the arrivals [A,1], and back.
void to_arrivals(Context &ctx, const Plan &plan, Mat<const float> value_TK, Mat<float> value_A1);
void from_arrivals(Context &ctx, const Plan &plan, Mat<const float> value_A1, Mat<float> value_TK);

} // namespace layers::dispatch
