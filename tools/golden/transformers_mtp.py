# SPDX-License-Identifier: Apache-2.0
"""The golden "mtp": a random model with one MTP module, computed by the MtpLayer that transformers 5.23 decodes speculatively with.

As there: the module sees the main model's last hidden states, taken behind the final norm, and the embedding of the next token;
embedding and head are the main model's. Loss: mean cross-entropy of the main model + LAMBDA * that of the module. Rows of the main
model: 39 of 40 tokens; of the module: 38, row i reading token i + 1 and held to token i + 2.
"""
import json
import shutil

import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional
from transformers.models.deepseek_v3 import modeling_deepseek_v3 as source

import versions

LAMBDA = 0.3
SEED = 31


class Joint(torch.nn.Module):
    """Main model and module as one; gives both logits. previous: what the module sees of the main model."""

    def __init__(self, model, module):
        super().__init__()
        self.model, self.module = model, module

    def forward(self, ids, previous="post_norm"):
        inner = self.model.model
        seen = []
        hook = inner.norm.register_forward_hook(lambda _, inputs, output: seen.append(
            output if previous == "post_norm" else inputs[0]))
        main = self.model(ids).logits
        hook.remove()
        if ids.shape[1] < 2:
            return main, None
        position = torch.arange(1, ids.shape[1])[None]
        embedding = inner.embed_tokens(ids[:, 1:])
        mask = source.create_causal_mask(config=self.model.config, inputs_embeds=embedding, attention_mask=None,
                                         past_key_values=None, position_ids=position)
        hidden = self.module(embedding, seen[0][:, :-1], position_embeddings=inner.rotary_emb(embedding, position),
                             attention_mask=mask, position_ids=position, past_key_values=None)
        return main, self.model.lm_head(hidden)


def disk_name(name, layers):
    """Names of the module as DeepSeek-V3 is published."""
    prefix = f"model.layers.{layers}."
    if name.startswith("mtp_block."):
        return prefix + name.removeprefix("mtp_block.")
    return prefix + name.replace("post_norm.", "shared_head.norm.")


def make(folder):
    import transformers_models as models  # it imports this file
    from transformers.modeling_layers import MtpLayer

    shutil.rmtree(folder, ignore_errors=True)
    config = dict(models.COMMON, rope_parameters=models.YARN, num_hidden_layers=2, num_nextn_predict_layers=1)
    model = models.random_model(dict(config=config, bias=(0.0, 0.1)), SEED)
    layers = model.config.num_hidden_layers
    module = models.randomise(MtpLayer(model.config, source.DeepseekV3DecoderLayer, source.DeepseekV3RMSNorm, layers).float(),
                              (0.0, 0.1))
    joint = Joint(model, module)
    ids = models.draw_ids(joint, torch.Generator().manual_seed(SEED), model.config.vocab_size)
    if ids is None:
        raise SystemExit("mtp: no tokens with the margin; take another SEED")

    listener = models.Choices(joint)
    joint(ids[:, :-1])
    listener.close()
    main, ahead = joint(ids[:, :-1])  # the last token is a target only
    # Row i of the module reads token i + 1; its target is token i + 2.
    losses = [functional.cross_entropy(logits.flatten(0, 1), ids[:, shift:].flatten())
              for logits, shift in ((main, 1), (ahead, 2))]
    (losses[0] + LAMBDA * losses[1]).backward()
    # Torch adds the rows' FP32 losses in FP32, which moved the mean by 9e-7: the losses compared are summed in double.
    losses = [functional.cross_entropy(logits.detach().double().flatten(0, 1), ids[:, shift:].flatten())
              for logits, shift in ((main, 1), (ahead, 2))]
    other = joint(ids[:, :-1], previous="pre_norm")[1]

    model.save_pretrained(folder)
    tensors = load_file(folder / "model.safetensors")
    expected = {"ids": ids.int(), "loss": torch.stack(losses).float(), "logits_mtp": ahead.detach()}
    named = list(model.named_parameters()) + [(disk_name(n, layers), p) for n, p in module.named_parameters()]
    for name, value in named:
        for (disk, weight), (_, grad) in zip(models.on_disk(name, value.detach()), models.on_disk(name, value.grad)):
            tensors.setdefault(disk, weight.contiguous())
            if not torch.equal(tensors[disk], weight):
                raise SystemExit(f"mtp: {disk} on disk is not the parameter it is taken for")
            expected[f"grad.{disk}"] = grad.contiguous()
    for name, value in module.named_buffers():
        tensors[disk_name(name, layers)] = value
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    save_file(expected, folder / "expected.safetensors")
    golden = {
        "versions": versions.used(), "seed": SEED, "lambda": LAMBDA, "module_sees": "post_norm",
        "smallest_margin": float(torch.stack([m.min() for m in listener.margin]).min()),
        "largest_difference_if_pre_norm": float((other - ahead).abs().max()),
    }
    (folder / "golden.json").write_text(json.dumps(golden, indent=2) + "\n")
    print(f"mtp         margin {golden['smallest_margin']:.4f} losses {losses[0].item():.4f} {losses[1].item():.4f} pre_norm differs by "
          f"{golden['largest_difference_if_pre_norm']:.2f} bytes {sum(f.stat().st_size for f in folder.iterdir())}")
