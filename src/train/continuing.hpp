// SPDX-License-Identifier: Apache-2.0
#pragma once
// A checkpoint that a run continues from, held against the run. All of it looks at the manifest alone: before weights are read.
#include <functional>
#include <optional>
#include <string>

#include <nlohmann/json.hpp>

#include "checkpoint/checkpoint.hpp"
#include "train/options.hpp"
#include "train/ranks.hpp"

namespace train {

// What a run continues from, if anything. restart: auto, none, or a checkpoint. Error E220, and those of opening.
std::optional<checkpoint::Reader> find_restart(const Options &options, const std::string &restart);
// A checkpoint that rank 0 finds and verifies, opened by all ranks.
std::optional<checkpoint::Reader>
together(comm::Communicator &world, const std::function<std::optional<checkpoint::Reader>()> &find);
std::optional<checkpoint::Reader>
together(const Ranks &ranks, const std::function<std::optional<checkpoint::Reader>()> &find);

// E221.
void require_same_tokenizer(const checkpoint::Reader &reader, const std::string &ours);
// Fingerprints: E222 with a table of what differs and is not in run.accept_changes; what is accepted is a warning.
void require_same_meaning(const checkpoint::Reader &reader, const Options &options);
// A restart goes on in the phase in which the checkpoint was written: E223.
void require_same_phase(const checkpoint::Reader &reader, Phase phase);
// Of a phase that takes the weights alone: the model's part of the fingerprints. Extension is there to change YaRN.
void require_same_model(const checkpoint::Reader &reader, const Options &options);

// All that the order of samples depends on beside the cursor; stored in a manifest's info.
nlohmann::json order_of_samples(const Options &options, const std::string &content_hash);
// A restart reads the same samples only where these are equal: what differs is said, not forbidden.
void tell_other_order(const checkpoint::Reader &reader, const nlohmann::json &order);

} // namespace train
