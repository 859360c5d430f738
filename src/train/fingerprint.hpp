// SPDX-License-Identifier: Apache-2.0
#pragma once
// The fingerprint of a run: that of its model (arch/fingerprint.hpp) and what decides the loss that it trains on
// (docs/fingerprint.md).
#include "arch/fingerprint.hpp"
#include "checkpoint/checkpoint.hpp"
#include "train/options.hpp"

namespace train {

arch::Fingerprint fingerprint(const Options &options);
// What the weights alone mean, without what they are trained on: all that a phase which starts from them has to have in common.
arch::Fingerprint fingerprint_of_model(const checkpoint::Reader &reader);
// Every name that it may give; what run.accept_changes knows.
std::vector<std::string> fingerprint_names();

// The fingerprint stored in a checkpoint; of one without (written before there was one), what its resolved deck tells. Empty
// when that is missing too.
arch::Fingerprint fingerprint_of(const checkpoint::Reader &reader);
bool has_fingerprint(const checkpoint::Reader &reader);

} // namespace train
