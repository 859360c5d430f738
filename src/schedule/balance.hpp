// SPDX-License-Identifier: Apache-2.0
#pragma once
// Which layers each stage gets. Stages are runs of consecutive units: layers, and what else the caller counts as one. Costs are whole
// numbers (FLOPs), so that ties are ties on every machine.
#include <cstdint>
#include <string_view>
#include <vector>

namespace schedule {

// The number of units of each stage, at least one, first stage first. The most expensive stage is as cheap as can be; of such cuts the
// most even one (least sum of squares), of these the one whose earliest stages are the longest. Needs 1 <= stages <= costs.size().
std::vector<int> balance(const std::vector<std::int64_t> &costs, int stages);

// An explicit list from a deck: UserError E018 unless it has one number for each stage, none negative, and they sum to the layers.
void check_cut(const std::vector<int> &layers_of_stage, int layers, int stages,
               std::string_view where);

// The cost of each stage of a cut.
std::vector<std::int64_t> stage_costs(const std::vector<std::int64_t> &costs,
                                      const std::vector<int> &layers_of_stage);

} // namespace schedule
