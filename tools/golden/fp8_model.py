# SPDX-License-Identifier: Apache-2.0
"""The golden "fp8": a checkpoint written as DeepSeek-V3 is published, and the numbers it stands for.

Projections are E4M3 with one FP32 multiplier per block of 128 x 128 (the dims leave ragged blocks at both edges), the rest is
BF16, the router bias FP32; one MTP module with its copies of embedding and head. golden.json holds the XXH3-128 of each
tensor's float32 numbers: float32(E4M3) * scale, rounded once.
"""
import json
import shutil

import torch
import xxhash
from safetensors.torch import save_file

import versions

BLOCK = 128
CONFIG = {
    "architectures": ["DeepseekV3ForCausalLM"], "attention_bias": False, "attention_dropout": 0.0, "bos_token_id": 0,
    "eos_token_id": 1, "first_k_dense_replace": 1, "hidden_act": "silu", "hidden_size": 160, "initializer_range": 0.02,
    "intermediate_size": 136, "kv_lora_rank": 128, "max_position_embeddings": 64, "model_type": "deepseek_v3",
    "moe_intermediate_size": 16, "moe_layer_freq": 1, "n_group": 2, "n_routed_experts": 4, "n_shared_experts": 1,
    "norm_topk_prob": True, "num_attention_heads": 3, "num_experts_per_tok": 2, "num_hidden_layers": 2,
    "num_key_value_heads": 3, "num_nextn_predict_layers": 1, "q_lora_rank": 64, "qk_nope_head_dim": 24,
    "qk_rope_head_dim": 8,
    "quantization_config": {"activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8",
                            "weight_block_size": [BLOCK, BLOCK]},
    "rms_norm_eps": 1e-06,
    "rope_scaling": {"beta_fast": 32, "beta_slow": 1, "factor": 4, "mscale": 1.0, "mscale_all_dim": 1.0,
                     "original_max_position_embeddings": 16, "type": "yarn"},
    "rope_theta": 10000, "routed_scaling_factor": 2.5, "scoring_func": "sigmoid", "tie_word_embeddings": False,
    "topk_group": 1, "topk_method": "noaux_tc", "torch_dtype": "bfloat16", "use_cache": True, "v_head_dim": 24,
    "vocab_size": 64,
}


def shapes():
    """(name, shape) of every tensor in the order of the layers; scales are added where they belong."""
    c = CONFIG
    width, heads, hidden = c["hidden_size"], c["num_attention_heads"], c["moe_intermediate_size"]
    q, kv, nope, rope, v = (c[k] for k in ("q_lora_rank", "kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim",
                                           "v_head_dim"))
    yield "model.embed_tokens.weight", (c["vocab_size"], width)
    for i in range(c["num_hidden_layers"] + c["num_nextn_predict_layers"]):
        layer = f"model.layers.{i}."
        if i >= c["num_hidden_layers"]:
            yield layer + "embed_tokens.weight", (c["vocab_size"], width)
            yield layer + "enorm.weight", (width,)
            yield layer + "hnorm.weight", (width,)
            yield layer + "eh_proj.weight", (width, 2 * width)
        yield layer + "input_layernorm.weight", (width,)
        attention = layer + "self_attn."
        yield attention + "q_a_proj.weight", (q, width)
        yield attention + "q_a_layernorm.weight", (q,)
        yield attention + "q_b_proj.weight", (heads * (nope + rope), q)
        yield attention + "kv_a_proj_with_mqa.weight", (kv + rope, width)
        yield attention + "kv_a_layernorm.weight", (kv,)
        yield attention + "kv_b_proj.weight", (heads * (nope + v), kv)
        yield attention + "o_proj.weight", (width, heads * v)
        yield layer + "post_attention_layernorm.weight", (width,)
        networks = {"mlp.": c["intermediate_size"]}
        if i >= c["first_k_dense_replace"]:
            yield layer + "mlp.gate.weight", (c["n_routed_experts"], width)
            yield layer + "mlp.gate.e_score_correction_bias", (c["n_routed_experts"],)
            networks = {f"mlp.experts.{e}.": hidden for e in range(c["n_routed_experts"])}
            networks["mlp.shared_experts."] = hidden * c["n_shared_experts"]
        for name, inner in networks.items():
            yield layer + name + "gate_proj.weight", (inner, width)
            yield layer + name + "up_proj.weight", (inner, width)
            yield layer + name + "down_proj.weight", (width, inner)
        if i >= c["num_hidden_layers"]:
            yield layer + "shared_head.norm.weight", (width,)
            yield layer + "shared_head.head.weight", (c["vocab_size"], width)
    yield "model.norm.weight", (width,)
    yield "lm_head.weight", (c["vocab_size"], width)


def is_fp8(name):
    return "_proj" in name and not name.endswith("eh_proj.weight")


def spread(scale, shape):
    """One multiplier per element."""
    rows = scale.repeat_interleave(BLOCK, 0)[: shape[0]]
    return rows.repeat_interleave(BLOCK, 1)[:, : shape[1]]


def quantise(weight):
    """Each block's largest number becomes 448; the padding of ragged blocks is zero and so without effect."""
    rows, columns = (-(-n // BLOCK) for n in weight.shape)
    padded = torch.zeros(rows * BLOCK, columns * BLOCK)
    padded[: weight.shape[0], : weight.shape[1]] = weight
    largest = padded.view(rows, BLOCK, columns, BLOCK).abs().amax(dim=(1, 3))
    scale = (largest / 448).clamp_min(1e-12)
    return (weight / spread(scale, weight.shape)).to(torch.float8_e4m3fn), scale


def digest(tensor):
    return xxhash.xxh3_128_hexdigest(tensor.contiguous().numpy().tobytes())


def make(folder):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    generator = torch.Generator().manual_seed(21)
    tensors, hashes, copies = {}, {}, {}
    for name, shape in shapes():
        value = torch.randn(shape, generator=generator)
        if name.endswith("embed_tokens.weight") or name.endswith("head.weight"):
            # The MTP module's copies are those of the main model.
            value = copies.setdefault(name.endswith("embed_tokens.weight"), value)
        if len(shape) == 1 and "bias" not in name:
            value = 1 + 0.2 * value
        elif len(shape) == 2:
            value = value * (1.3 / shape[-1] ** 0.5)
        if is_fp8(name):
            # Blocks of very different size, and numbers small enough to become subnormal in E4M3, or minus zero.
            value *= torch.exp2(spread(torch.randint(-6, 7, [-(-n // BLOCK) for n in shape], generator=generator),
                                       shape).float())
            value *= torch.where(torch.rand(shape, generator=generator) < 0.2, 2.0 ** -11, 1.0)
            q, scale = quantise(value)
            tensors[name], tensors[name + "_scale_inv"] = q, scale
            number = q.float() * spread(scale, shape)
        elif name.endswith("bias"):
            tensors[name] = number = 0.1 * value
        else:
            tensors[name] = value.bfloat16()
            number = tensors[name].float()
        hashes[name] = digest(number)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")
    golden = {"versions": versions.used("torch", "safetensors", "xxhash"), "xxh3_128_of_float32": hashes,
              "seed": 21}
    (folder / "golden.json").write_text(json.dumps(golden, indent=1) + "\n")
    q = torch.cat([t.view(torch.uint8).flatten() for t in tensors.values() if t.dtype == torch.float8_e4m3fn])
    print(f"fp8         tensors {len(tensors)} bytes {sum(f.stat().st_size for f in folder.iterdir())}"
          f" distinct E4M3 codes {len(q.unique())}")
