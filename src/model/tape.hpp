// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the forward pass of a micro-batch leaves for its backward passes, and what B leaves for W where the two are apart.
#include <vector>

#include "model/block.hpp"

namespace model {

template <class A> struct Tape {
  std::vector<Mat<A>> x_TD;          // input of the first block, ..., output of the last
  std::vector<BlockSaved<A>> blocks; // of the main model, then of the MTP modules
  layers::rms_norm::Saved final_norm;
  Mat<A> n_TD, dn_TD;       // input of the head and its gradient
  Vec<float> lse_T, loss_T; // reward: the losses of pairs, no logits
  Vec<float> scale_T, entropy_T, kl_T, r_P, dr_P, margin_I; // of the objective
  Mat<double> sum_SX;
  Mat<double> balance_BS;
  struct Mtp {
    Mat<A> emb_UD, previous_UD, z_UD, y_UD, n_UD, dn_UD;
    Mat<A> dprevious_UD; // mtp.hidden = pre_norm: waits for the backward pass of what it came from
    layers::mtp::Saved<A> input;
    layers::rms_norm::Saved head_norm;
    Vec<float> lse_U, loss_U;
  };
  std::vector<Mtp> mtp;

  // From B to W, in the order of blocks and of mtp.
  struct BlockRest {
    BlockSaved<A> full;
    BlockDeltas<A> deltas;
    Mat<const A> dy_TD;
  };
  struct MtpRest {
    layers::mtp::Deltas<A> deltas;
    Mat<A> dz_UD, demb_UD;
  };
  std::vector<BlockRest> block_rest;
  std::vector<MtpRest> mtp_rest;
  Mat<A> dx0_TD; // gradient of the embedding's output
};

} // namespace model
