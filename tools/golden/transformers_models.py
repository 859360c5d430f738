#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Goldens of tests/reference/hf: tiny random DeepseekV3ForCausalLM models, their logits, loss and gradients.

usage: transformers_models.py OUT            (OUT: tests/reference/hf; the cases are written anew)
Run with: pip install torch==2.15.0 transformers==5.23.0 safetensors==0.8.0 numpy==2.4.6 xxhash==4.1.0

Each case is a directory as save_pretrained writes it, with two files more:
  expected.safetensors  ids i32 [2,40], logits f32 [2,40,W], logits_bf16 (a bfloat16 run, as f32), logits_double (the same
                        equations in double, rounded to f32), loss f32 [1], grad.<name> per parameter under its name on disk
                        (experts one by one)
  golden.json           versions, the value of the group mask, the smallest margins of the choices
Tokens are drawn such that every choice of groups and experts has a margin, so rounding cannot turn it.
"""
import inspect
import json
import os
import pathlib
import shutil
import sys

import torch
import transformers
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import DeepseekV3Config, DeepseekV3ForCausalLM
from transformers.models.deepseek_v3 import modeling_deepseek_v3 as source

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import double_model  # noqa: E402
import fp8_model  # noqa: E402
import transformers_mtp  # noqa: E402
import versions  # noqa: E402

SAMPLES, LENGTH, ORIGINAL = 2, 40, 16
MARGIN = 0.03  # of biased scores: far above what rounding moves in f32, and nearly always in bf16

YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": ORIGINAL,
        "beta_fast": 32.0, "beta_slow": 1.0, "mscale": 1.0, "mscale_all_dim": 1.0, "rope_theta": 10000.0}
COMMON = dict(vocab_size=64, hidden_size=32, intermediate_size=40, moe_intermediate_size=12, num_hidden_layers=3,
              num_attention_heads=2, num_key_value_heads=2, kv_lora_rank=16, q_lora_rank=12, qk_rope_head_dim=8,
              qk_nope_head_dim=8, v_head_dim=12, n_routed_experts=8, num_experts_per_tok=3, n_group=4, topk_group=2,
              n_shared_experts=1, first_k_dense_replace=1, num_nextn_predict_layers=0, max_position_embeddings=64)
DEFAULT_ROPE = {"rope_type": "default", "rope_theta": 10000.0}

# bias: mean and spread of the router bias (buffers, so random like the weights); shard: MiB of a shard's limit.
CASES = {
    "plain": dict(config=dict(COMMON, q_lora_rank=None, n_group=1, topk_group=1, n_shared_experts=0, hidden_size=40,
                              first_k_dense_replace=0, rope_parameters=DEFAULT_ROPE, vocab_size=72,
                              moe_intermediate_size=8), bias=(0.0, 0.1), seed=11),
    "groups": dict(config=dict(COMMON, rope_parameters=DEFAULT_ROPE, num_attention_heads=3, num_key_value_heads=3,
                               routed_scaling_factor=1.5), bias=(0.0, 0.15), seed=12),
    "yarn": dict(config=dict(COMMON, first_k_dense_replace=2, n_shared_experts=2, rope_parameters=YARN,
                             num_attention_heads=4, num_key_value_heads=4, v_head_dim=8),
                 bias=(0.1, 0.1), seed=13, shard="60KB"),
    "yarn_ratio": dict(config=dict(COMMON, q_lora_rank=None, n_group=2, topk_group=1, num_experts_per_tok=2,
                                   norm_topk_prob=False,
                                   rope_parameters=dict(YARN, mscale_all_dim=0.707, rope_theta=100.0, beta_fast=2.0,
                                                        beta_slow=0.2, factor=3.0)),
                       bias=(0.0, 0.1), seed=14, old_rope=True),
    "negative": dict(config=dict(COMMON, first_k_dense_replace=0, n_shared_experts=2, moe_intermediate_size=8,
                                 rope_parameters=YARN, rms_norm_eps=1e-6), bias=(-1.3, 0.1), seed=15),
}


def mask_is_minus_infinity():
    """The published router hides the groups not chosen by -inf; versions of transformers before wrote 0.0."""
    return 'float("-inf")' in inspect.getsource(source.DeepseekV3TopkRouter.forward)


def patch_mask():
    """Chooses with -inf in a version that writes 0.0: masked_fill is told so while the router runs."""
    forward, fill = source.DeepseekV3TopkRouter.forward, torch.Tensor.masked_fill

    def patched(self, hidden):
        torch.Tensor.masked_fill = lambda t, mask, value: fill(t, mask, float("-inf") if value == 0.0 else value)
        try:
            return forward(self, hidden)
        finally:
            torch.Tensor.masked_fill = fill

    source.DeepseekV3TopkRouter.forward = patched


def random_model(case, seed):
    torch.manual_seed(seed)
    config = DeepseekV3Config(**case["config"], attn_implementation="eager", experts_implementation="eager")
    return randomise(DeepseekV3ForCausalLM(config).float().eval(), case["bias"])


def randomise(model, bias):
    """Every term matters: norms around 1, not 1; router biases; logits of order 1 to 5."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.numel() == 0:
                continue
            if p.dim() == 1:
                p.copy_(1 + 0.2 * torch.randn_like(p))
            elif "embed_tokens" in name:
                p.copy_(0.8 * torch.randn_like(p))
            else:
                p.copy_(1.3 / p.shape[-1] ** 0.5 * torch.randn_like(p))
        mean, spread = bias
        for name, b in model.named_buffers():
            if name.endswith("e_score_correction_bias"):
                b.copy_(mean + spread * torch.randn_like(b))
    return model


class Choices:
    """Listens to the routers: margins [rows] and chosen experts of the last run, the least chosen biased score."""

    def __init__(self, model):
        self.hooks = [m.register_forward_hook(self.listen) for m in model.modules()
                      if isinstance(m, source.DeepseekV3TopkRouter)]
        self.reset()

    def reset(self):
        self.margin, self.chosen, self.scores = [], [], []

    def close(self):
        for hook in self.hooks:
            hook.remove()

    def listen(self, gate, _, output):
        logits, _, chosen = output
        scores = logits.sigmoid() + gate.e_score_correction_bias
        rows = scores.shape[0]
        groups = scores.view(rows, gate.num_group, -1)
        margin = torch.full((rows,), float("inf"))
        if gate.topk_group < gate.num_group:
            sums = groups.topk(2, dim=-1)[0].sum(-1).sort(-1, descending=True)[0]
            margin = sums[:, gate.topk_group - 1] - sums[:, gate.topk_group]
        best = groups.topk(2, dim=-1)[0].sum(-1).topk(gate.topk_group, dim=-1)[1]
        seen = torch.full_like(groups, float("-inf")).scatter(
            1, best[..., None].expand(-1, -1, groups.shape[-1]),
            groups.gather(1, best[..., None].expand(-1, -1, groups.shape[-1]))).view(rows, -1)
        order = seen.sort(-1, descending=True)
        k = gate.top_k
        gap = order[0][:, k - 1] - order[0][:, k]
        expected = order[1][:, :k].sort(-1)[0]
        if not torch.equal(expected, chosen.sort(-1)[0]):
            raise SystemExit("the router did not choose the best experts of the best groups")
        self.margin.append(torch.minimum(margin, gap))
        self.chosen.append(expected)
        self.scores.append(scores.gather(1, chosen))


def draw_ids(model, generator, vocabulary):
    """Position by position: the model is causal, so a token's margins do not change what stands before it."""
    listener = Choices(model)
    ids = torch.zeros(SAMPLES, 0, dtype=torch.long)
    with torch.no_grad():
        for _ in range(LENGTH):
            column = []
            for s in range(SAMPLES):
                tries = torch.cat([ids[s].expand(vocabulary, -1), torch.arange(vocabulary)[:, None]], dim=1)
                listener.reset()
                model(tries)
                margins = torch.stack([m.view(vocabulary, -1)[:, -1] for m in listener.margin]).min(0)[0]
                good = (margins > MARGIN).nonzero()[:, 0]
                if len(good) < 8:
                    return None
                column.append(good[torch.randint(len(good), (1,), generator=generator)])
            ids = torch.cat([ids, torch.stack(column)], dim=1)
    listener.close()
    return ids


def on_disk(name, tensor):
    """Name and part of a tensor of the model in memory, as they lie on disk: experts one by one, gate and up apart."""
    if not name.endswith(("experts.gate_up_proj", "experts.down_proj")):
        return [(name, tensor)]
    stem, kind = name.rsplit(".", 1)
    parts = []
    for e in range(tensor.shape[0]):
        if kind == "down_proj":
            parts.append((f"{stem}.{e}.down_proj.weight", tensor[e]))
        else:
            half = tensor.shape[1] // 2
            parts.append((f"{stem}.{e}.gate_proj.weight", tensor[e, :half]))
            parts.append((f"{stem}.{e}.up_proj.weight", tensor[e, half:]))
    return parts


def files_tensors(folder):
    tensors = {}
    for file in sorted(folder.glob("model*.safetensors")):
        with safe_open(file, "pt") as f:
            tensors.update({name: f.get_tensor(name) for name in f.keys()})
    return tensors


def write_old_rope(folder):
    """config.json as transformers 4 wrote it: rope_theta and rope_scaling with "type"."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope.pop("rope_theta")
    rope["type"] = rope.pop("rope_type")
    config["rope_scaling"] = rope
    config["torch_dtype"] = config.pop("dtype")
    for key in ("head_dim", "qk_head_dim", "transformers_version", "rope_interleave"):
        config.pop(key, None)
    config.update(scoring_func="sigmoid", topk_method="noaux_tc", moe_layer_freq=1)
    path.write_text(json.dumps(config, indent=2) + "\n")


def load(folder, dtype=torch.float32):
    return DeepseekV3ForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="eager",
                                                 experts_implementation="eager").eval()


def run_bf16(folder, ids):
    model = load(folder, torch.bfloat16)
    listener = Choices(model)
    with torch.no_grad():
        logits = model(ids).logits.float()
    return logits, listener


def make(name, case, out):
    folder = out / name
    shutil.rmtree(folder, ignore_errors=True)
    seed = case["seed"]
    while True:
        model = random_model(case, seed)
        ids = draw_ids(model, torch.Generator().manual_seed(seed), model.config.vocab_size)
        if ids is not None:
            break
        seed += 100
    model.save_pretrained(folder, **({"max_shard_size": case["shard"]} if "shard" in case else {}))
    if case.get("old_rope"):
        write_old_rope(folder)

    model = load(folder)
    listener = Choices(model)
    result = model(ids, labels=ids)
    result.loss.backward()
    logits = result.logits.detach()
    again = random_model(case, seed)(ids).logits
    if not torch.equal(again, logits):
        raise SystemExit(f"{name}: from_pretrained gives other logits than the model that was saved")

    stored = files_tensors(folder)
    expected = {"ids": ids.int(), "logits": logits, "loss": result.loss.detach().view(1)}
    for parameter, value in model.named_parameters():
        gradient = torch.zeros_like(value) if value.grad is None else value.grad
        for (disk, weight), (_, grad) in zip(on_disk(parameter, value.detach()), on_disk(parameter, gradient)):
            if not torch.equal(stored[disk], weight):
                raise SystemExit(f"{name}: {disk} on disk is not the parameter it is taken for")
            if weight.numel():
                expected[f"grad.{disk}"] = grad.contiguous()
    expected["logits_bf16"], bf16 = run_bf16(folder, ids)
    same = all(torch.equal(a, b) for a, b in zip(bf16.chosen, listener.chosen))
    with torch.no_grad():
        exact = double_model.load(folder)(ids).logits
    expected["logits_double"] = exact.float()
    save_file(expected, folder / "expected.safetensors")

    scores = torch.cat(listener.scores).detach()
    difference = (expected["logits_bf16"] - logits).norm() / logits.norm()
    golden = {
        "versions": versions.used(),
        "seed": seed,
        "group_mask": "-inf" if case["config"]["n_group"] > 1 else "none",
        "group_mask_of_this_transformers": "-inf" if MASK else "0.0, run with -inf in its place",
        "smallest_margin": float(torch.stack(listener.margin).detach().min()),
        "chosen_biased_scores": [float(scores.min()), float(scores.max())],
        "largest_logit": float(logits.abs().max()),
        "difference_from_double": float((logits - exact).abs().max()),
        "bf16_relative_norm": float(difference),
        "bf16_chooses_the_same_experts": same,
        "parameters": sum(p.numel() for p in model.parameters()),
    }
    (folder / "golden.json").write_text(json.dumps(golden, indent=2) + "\n")
    print(f"{name:11} seed {seed} margin {golden['smallest_margin']:.4f} scores {scores.min():.2f}..{scores.max():.2f}"
          f" |logit| {golden['largest_logit']:.2f} loss {result.loss.item():.4f} bf16 {difference:.2e} same choice {same}"
          f" parameters {golden['parameters']} bytes {sum(f.stat().st_size for f in folder.iterdir())}")


def main():
    global MASK
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    MASK = mask_is_minus_infinity()
    if not MASK:
        patch_mask()
    for name, case in CASES.items():
        make(name, case, out)
    fp8_model.make(out / "fp8")
    transformers_mtp.make(out / "mtp")
    for file in out.glob("*/*"):
        os.chmod(file, 0o644)


if __name__ == "__main__":
    main()
