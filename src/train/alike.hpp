// SPDX-License-Identifier: Apache-2.0
#pragma once
// Ranks that would not train the same: another deck, program or data on one of them.
#include <string>

#include "comm/communicator.hpp"

namespace train {

// Before anything else that ranks do together: how long they wait for each other from here on; all have the same deck (TOML) and program.
// The message names the ranks and the first line that differs (E090); all ranks throw the same.
void meet(comm::Communicator &world, double deadline, const std::string &deck);
// The same texts and the same tokenizer on all ranks, by their hashes.
void require_same_data(comm::Communicator &world, const std::string &content,
                       const std::string &tokenizer);

} // namespace train
