// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the forward pass keeps and what the backward pass computes again. Data: the layers allocate from it, the planner reads it.

namespace arch {

struct Recompute {
  bool norms = false;          // outputs of every RMSNorm
  bool up_projections = false; // q and kv of latent attention
  bool swiglu = false;         // silu(g) u of every feed-forward network
  bool arrivals = true;        // gathered inputs of the routed experts
  template <class R> void keys(R &r) {
    r.key(norms, "norms", false,
          "compute outputs of RMSNorm again in the backward pass (the report's choice: true)");
    r.key(up_projections, "up_projections", false,
          "compute queries, keys and values again from the latents (the report's choice: true)");
    r.key(swiglu, "swiglu", false, "compute SwiGLU outputs again (the report's choice: true)");
    r.key(arrivals, "arrivals", true, "gather the inputs of the routed experts again");
  }
};

} // namespace arch
