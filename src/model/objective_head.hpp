// SPDX-License-Identifier: Apache-2.0
#pragma once
// The head of the main model under an objective: from the normed hidden state n to losses and dn, with the gradients of head and reward
// head. The tape has n and dn; the rest is taken here.
#include "model/stage.hpp"

namespace model::objective {

// Losses, dn and the language head's gradient (its logits are not kept). scale: what the objective is multiplied by.
template <class A>
void forward(Context &ctx, tensor::Arena &keep, const Objective &objective, const Weights<A> &w,
             const Stream &stream, double scale, Mat<float> dhead_WD, Tape<A> &tape);
// The reward head's gradient, from what forward left.
template <class A>
void backward_weight(Context &ctx, const Objective &objective, const Stream &stream,
                     const Tape<A> &tape, Vec<float> dreward_D);
// Losses only, of what is judged on held-out samples: pairs of answers, or the targets.
template <class A>
void evaluate(Context &ctx, const Objective &objective, const Weights<A> &w, const Stream &stream,
              Mat<const A> n_TD, Tape<A> &tape);
// What forward takes of keep, at most, for T rows.
void count(tensor::Arena &keep, const Objective &objective, Index T);
// Fills main, extra and apart; waits for the device.
template <class A>
void read(Context &ctx, const Objective &objective, const Tape<A> &tape, MicroLoss &loss);

} // namespace model::objective
