// SPDX-License-Identifier: Apache-2.0
#pragma once
// The sum over the copies of a token in two places: within a group at a rank of the group's node, over groups at home. Together they
// are combine() of dispatch.hpp, to the last bit.
#include "layers/dispatch/dispatch.hpp"

namespace layers::dispatch {

// unit_UD[unit_TK(t,k)] = C( sum of y_XD[place_TK(t,k)] over the copies k of the unit, in order, FP32 ). Copies with place -1 lie
// elsewhere; copies of a unit follow one another.
template <class C, class A>
void sum_units(Context &ctx, const char *label, Mat<const std::int32_t> place_TK,
               Mat<const std::int32_t> unit_TK, Mat<const A> y_XD, Mat<C> unit_UD);

// y_TD = sum over the units of a token, in order, [+ base_TD, last], FP32.
template <class C, class A>
void add_units(Context &ctx, const char *label, Mat<const std::int32_t> unit_TK,
               Mat<const C> unit_UD, Mat<const A> base_TD, Mat<A> y_TD);

} // namespace layers::dispatch
