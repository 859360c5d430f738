// SPDX-License-Identifier: Apache-2.0
#pragma once
// Counts derived from the registry: parameters, arithmetic, bytes.
//
// Parameters. "main" is the model without its MTP modules; "mtp" is what the modules own beside it (they share embedding
// and head). "Activated" is what one token uses: K of E routed experts, all else whole.
//
// FLOPs a token, forward and backward, one formula for every model:
//   (1) weights: 6 x (activated matrix weights); norms, router biases and the input embedding (a look-up) left out
//   (2) core:    6 x H (N + R + V) x span x layers;  span = T for full attention, T / 2 for causal
//       (scores and weighted values are 2 x span x H (N + R + V) forward, and twice that backward)
//   (3) an MTP module adds its layer, its projection, its attention core and one more use of the head.
// Recomputation is not counted: it is the program's choice, not the model's work.
#include <array>
#include <string>
#include <vector>

#include "arch/dims.hpp"
#include "arch/registry.hpp"

namespace arch {

// Larger models are refused (E047), so that no count leaves 64 bits.
inline constexpr double kMostParameters = 1e15;
double estimated_parameters(const Dims &dims);

struct RoomCount {
  std::string room;
  Index main = 0, mtp = 0;               // parameters
  Index main_active = 0, mtp_active = 0; // of these, used by one token
};

struct Counts {
  std::vector<RoomCount> rooms;          // in the order of the forward pass, empty ones left out
  Index main = 0;                        // router biases included
  Index mtp = 0;                         // MTP modules without the shared embedding and head
  Index activated = 0;                   // main model, embedding (as a whole) and head included
  Index activated_without_embedding = 0; // the convention of the published "37B", "21B", "2.4B"
  Index mtp_activated = 0;               // MTP modules, each with embedding and head
  Index in_files =
      0; // Hugging Face files: each MTP module has its own copies of embedding and head
};
Counts count_parameters(const Dims &dims);

enum class Attention { causal, full };

struct Flops {
  struct Part {
    std::string name; // room, "attention core", or the same with the prefix "mtp "
    Index flops = 0;
  };
  std::vector<Part> parts;
  Index main = 0, mtp = 0;
  Index total() const { return main + mtp; }
};
// One token of a sequence of the given length, forward and backward.
Flops flops_per_token(const Dims &dims, Index sequence, Attention attention);
// Matrix weights of the main model that one token multiplies with.
Index active_matrix_weights(const Dims &dims);

// Latent cache of one token: normalised latent and rotated key of every layer of the main model.
Index cache_bytes_per_token(const Dims &dims, Index bytes_per_number);

// Bytes of one number of each kind of state; 0: not kept.
struct StateFormat {
  Index master = 4, gradient = 4; // FP32 always
  Index moment = 4;               // each of AdamW's two: 4 (f32) or 2 (bf16)
  Index compute =
      0; // copy of the matrices in the compute dtype: 2 (bf16), 0 (f32 uses the masters)
  Index average = 0; // exponential average of the weights, on the host: 4
};
struct StateBytes {
  Index masters = 0, gradients = 0, moments = 0, compute_copies = 0, averages = 0;
  Index total() const { return masters + gradients + moments + compute_copies + averages; }
};
// Of the whole model, MTP modules included; router biases have neither gradient nor moments.
StateBytes state_bytes(const Dims &dims, const StateFormat &format);

} // namespace arch
