// SPDX-License-Identifier: Apache-2.0
// Which of the saved activations is not finite, once a loss was not.
#include "model/finite.hpp"
#include "model/stage.hpp"
#include "model/tape.hpp"

namespace model {

namespace {

template <class A>
void look_at_block(FiniteScan &scan, const std::string &layer, const BlockSaved<A> &b,
                   const Mat<A> &output) {
  scan.look(layer + ".attention_norm", "h1", b.h1_TD);
  scan.look(layer + ".mla", "cq", b.mla.cq_TQ), scan.look(layer + ".mla", "q", b.mla.q_THM);
  scan.look(layer + ".mla", "c", b.mla.c_TC), scan.look(layer + ".mla", "k_rope", b.mla.k_rope_TR);
  scan.look(layer + ".mla", "kv", b.mla.kv_THX), scan.look(layer + ".mla", "o", b.mla.o_THV);
  scan.look(layer, "r", b.r_TD), scan.look(layer + ".ffn_norm", "h2", b.h2_TD);
  scan.look(layer + ".ffn", "gate", b.ffn.g_TF), scan.look(layer + ".ffn", "up", b.ffn.u_TF);
  scan.look(layer + ".router", "scores", b.router.scores_TE),
      scan.look(layer + ".router", "weights", b.router.weight_TK);
  scan.look(layer + ".experts", "gate", b.experts.g_AF),
      scan.look(layer + ".experts", "up", b.experts.u_AF);
  scan.look(layer + ".shared", "gate", b.shared.g_TF),
      scan.look(layer + ".shared", "up", b.shared.u_TF);
  scan.look(layer, "output", output);
}

} // namespace

// In the order of the forward pass.
template <class A> std::string Stage<A>::find_bad(Context &ctx, const Tape<A> &tape) const {
  FiniteScan scan(ctx);
  const auto main = static_cast<std::size_t>(part_.last - part_.first);
  scan.look(part_.embedding ? "embedding" : "stage", "x", tape.x_TD[0]);
  for (std::size_t i = 0; i < main && !scan.found(); ++i)
    look_at_block(scan, "layers." + std::to_string(layer_of(i)), tape.blocks[i], tape.x_TD[i + 1]);
  scan.look("final_norm", "n", tape.n_TD);
  scan.look("head", "log-sum-exp of the logits", tape.lse_T);
  scan.look("reward_head", "rewards", tape.r_P);
  scan.look("policy", "coefficients of the answers' tokens", tape.scale_T);
  scan.look("distil", "divergence from the teacher", tape.kl_T);
  for (std::size_t k = 0; k < tape.mtp.size() && !scan.found(); ++k) {
    const auto &m = tape.mtp[k];
    const std::string layer = "layers." + std::to_string(layer_of(main + k));
    scan.look(layer + ".mtp", "normed embedding and hidden", m.input.z_TZ),
        scan.look(layer + ".mtp", "input", m.z_UD);
    look_at_block(scan, layer, tape.blocks[main + k], m.y_UD);
    scan.look(layer + ".mtp", "head norm", m.n_UD),
        scan.look(layer + ".mtp", "log-sum-exp of the logits", m.lse_U);
  }
  return scan.where();
}

template std::string Stage<float>::find_bad(Context &, const Tape<float> &) const;
template std::string Stage<bf16>::find_bad(Context &, const Tape<bf16> &) const;

} // namespace model
