# SPDX-License-Identifier: Apache-2.0
"""transformers' DeepseekV3ForCausalLM in double precision: its own source with every float32 in it replaced, so that its rounding
can be told from a difference of meaning."""
import inspect
import sys
import types

import torch
from transformers import modeling_rope_utils
from transformers.models.deepseek_v3 import modeling_deepseek_v3 as source


def doubled(module, name):
    text = inspect.getsource(module)
    for old, new in (("torch.float32", "torch.float64"), (".float()", ".double()"), ("torch.float)", "torch.float64)")):
        text = text.replace(old, new)
    copy = types.ModuleType(name)
    copy.__package__, copy.__file__ = module.__package__, module.__file__
    sys.modules[name] = copy
    exec(compile(text, name, "exec"), copy.__dict__)
    return copy


def load(folder):
    rope = doubled(modeling_rope_utils, "transformers.modeling_rope_utils_double")
    model_source = doubled(source, "transformers.models.deepseek_v3.modeling_deepseek_v3_double")
    model_source.ROPE_INIT_FUNCTIONS = rope.ROPE_INIT_FUNCTIONS
    model = model_source.DeepseekV3ForCausalLM.from_pretrained(
        folder, dtype=torch.float64, attn_implementation="eager", experts_implementation="eager").eval()
    rotary = model.model.rotary_emb
    if rotary.rope_type == "default":
        rotary.inv_freq, _ = rotary.compute_default_rope_parameters(model.config)
    else:
        rotary.inv_freq, _ = rope.ROPE_INIT_FUNCTIONS[rotary.rope_type](model.config)
    if rotary.inv_freq.dtype != torch.float64 or model.lm_head.weight.dtype != torch.float64:
        raise SystemExit("the model is not in double precision")
    return model
