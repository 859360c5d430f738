// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the head of the main model is trained for. All but the first take what the caller knows of a row's target from the batch (Told).
//   cross_entropy  loss of the target (layers/head_loss)                                main = sum of the losses
//   policy         rewards of sampled answers (layers/policy)                           main = -sum of log-probabilities
//   distil         a teacher's most likely tokens and the target (layers/distil)        main = sum of the targets' losses
//   reward         a number for each answer, better before worse (layers/reward_head)   main = sum of the pairs' losses
// LossScales::main multiplies what is minimised, whichever it is. MTP modules keep their cross-entropy.
#include <string>
#include <vector>

#include "layers/distil/distil.hpp"
#include "layers/policy/policy.hpp"

namespace model {

enum class Goal { cross_entropy, policy, distil, reward };

struct Objective {
  Goal goal = Goal::cross_entropy;
  layers::policy::Options policy;
  layers::distil::Options distil;
  layers::Index teacher = 0; // ids told of each row
};

// What MicroLoss::extra holds, in order:
//   policy  objective, terms, ratio, clipped, kl, entropy, tokens, answers (layers::policy::Sum)
//   distil  objective (weight tau^2 kl + (1 - weight) ce), kl
//   reward  pairs, right (better above worse), margin, reward (of all answers)
std::vector<std::string> extra_names(Goal goal);

} // namespace model
