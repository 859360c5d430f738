// SPDX-License-Identifier: Apache-2.0
#pragma once
// The bodies of Route, and what they share.
#include "layers/dispatch/journey.hpp"
#include "layers/dispatch/rows.hpp"

namespace layers::dispatch {

template <class A>
std::unique_ptr<Route<A>> make_direct(const Group &group, const arch::Dims &dims, const Plan &plan,
                                      tensor::Arena &keep);
template <class A>
std::unique_ptr<Route<A>> make_two_hop(const Group &group, const arch::Dims &dims, const Plan &plan,
                                       tensor::Arena &keep);
template <class A>
std::unique_ptr<Route<A>> make_reference(const Group &group, const arch::Dims &dims,
                                         const Plan &plan, tensor::Arena &keep);
// A plan whose tokens are the rows themselves. counts: rows of each of the experts here.
Source make_source(Context &ctx, tensor::Arena &keep, const std::int32_t *counts, Index experts,
                   Index first);
// The sources of all ranks one after the other (counts: experts of rank 0, of rank 1, ...), with room for the routing weights.
std::vector<Source> make_sources(Context &ctx, tensor::Arena &keep,
                                 const std::vector<std::int32_t> &counts, Index experts,
                                 Mat<float> &weight_B1);

} // namespace layers::dispatch
