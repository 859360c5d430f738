// SPDX-License-Identifier: Apache-2.0
#pragma once
// Passes over the blocks of a stage, told in phases, and the order in which a forward and a backward pass of two micro-batches take
// turns in an overlapped pair: while the token copies of one travel between the ranks of the expert group, the other computes. The
// order is the published one of DualPipe.
#include <array>
#include <span>

namespace model {

enum class Phase { open, attention, mlp, mlp_weight, attention_weight, close };
enum class Side { forward, backward };

// One pass. Blocks are counted in its own direction: block 0 is the first that it comes to.
class Walk {
public:
  virtual ~Walk() = default;
  virtual int blocks() const = 0;
  virtual void start() = 0; // up to the first block
  virtual void run(int block, Phase phase) = 0;
  virtual void finish() = 0; // behind the last
};

// One turn. lag: which block, counted back from the one whose turn it is.
struct Turn {
  Side side;
  Phase phase;
  int lag;
};
// A journey leaves at the end of the phase named first and is waited for at the beginning of the phase named last:
//   combine(B)    open (B)      .. mlp (B)         meanwhile attention_weight (B) of the block before, attention (F)
//   dispatch(F)   attention (F) .. mlp (F)         meanwhile mlp (B), mlp_weight (B)
//   dispatch(B)   mlp (B)       .. attention (B)   meanwhile mlp_weight (B), mlp (F)
//   combine(F)    mlp (F)       .. close (F)       meanwhile attention (B), attention_weight (B)
inline constexpr std::array<Turn, 8> kPair = {{
    {Side::backward, Phase::open, 0},
    {Side::backward, Phase::attention_weight, 1},
    {Side::forward, Phase::close, 1},
    {Side::forward, Phase::attention, 0},
    {Side::backward, Phase::mlp, 0},
    {Side::backward, Phase::mlp_weight, 0},
    {Side::forward, Phase::mlp, 0},
    {Side::backward, Phase::attention, 0},
}};
// Alone.
inline constexpr std::array<Phase, 3> kForward = {Phase::attention, Phase::mlp, Phase::close};
inline constexpr std::array<Phase, 5> kBackward = {Phase::open, Phase::mlp, Phase::mlp_weight,
                                                   Phase::attention, Phase::attention_weight};

void walk_alone(Side side, Walk &walk);
// The last blocks of the backward pass take turns with the first of the forward pass; what is longer goes its first (B: MTP modules) or
// last (F) blocks alone.
void walk_pair(Walk &forward, Walk &backward);

} // namespace model
