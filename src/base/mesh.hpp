// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace base {

// The process mesh as plain numbers: sizes of the axes and this rank's place on them. ep divides
// dp; edp = dp / ep.
struct Mesh {
  int dp = 1, ep = 1, pp = 1;
  int dp_rank = 0, ep_rank = 0, pp_rank = 0;
  int size() const { return dp * pp; }
  int edp() const { return dp / ep; }
};

} // namespace base
