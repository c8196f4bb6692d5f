"""Axolotl plugin for a machine without a GPU: the DeepSpeed engine in one process, and logits only where there is a label.

In a configuration: `plugins: [axolotl_configs.plugin.CpuPlugin]`.
"""

import os
import socket

import deepspeed
import torch
from axolotl.integrations.base import BasePlugin
from peft import PeftModel
from transformers import PreTrainedModel
from transformers.loss.loss_utils import fixed_cross_entropy

# one process that talks to nobody; axolotl_configs/train.py starts it with `--launcher python`
ALONE = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}


class CpuPlugin(BasePlugin):
    """Two things that a CPU run needs and Axolotl does not do."""

    def register(self, cfg: dict) -> None:
        """Open a one-process gloo group, once; Axolotl calls this before it validates the configuration.

        Axolotl asks for NCCL when WORLD_SIZE is 1, and there is no NCCL on a CPU: opening the group first settles the backend. `use_cpu`
        or ACCELERATE_USE_CPU is no way out: with either the engine is silently not used at all (no `global_step*` in the checkpoint).
        """
        if not cfg.get("deepspeed") or deepspeed.comm.is_initialized():
            return
        for name, value in ALONE.items():
            os.environ.setdefault(name, value)
        os.environ.setdefault("MASTER_PORT", str(_free_port()))
        deepspeed.comm.init_distributed("gloo")

    def post_model_load(self, cfg: dict, model: torch.nn.Module) -> None:
        """Axolotl calls this with the model that will train, adapter included."""
        labelled_logits(model)


def labelled_logits(model: PreTrainedModel | PeftModel) -> None:
    """Make a causal LM compute logits only at positions whose next token has a label; loss and gradients stay what they were.

    Loss is on the answers, 2 to 45% of the tokens of a row, and on a tiny model the 32,000 logits are most of a step:
    the steps of tiny.yaml fall from 1.08 to 0.59 s on 2 cores.
    Calls without labels (validation by generation, scoring) are untouched.
    """
    place: dict[str, torch.Tensor] = {}
    causal_lm = model.get_base_model() if isinstance(model, PeftModel) else model
    stock_loss = causal_lm.loss_function

    def note_labels(module: torch.nn.Module, args: tuple, kwargs: dict) -> None:
        labels = kwargs.get("labels")
        place.clear()
        if labels is not None:
            place["mask"] = labels[:, 1:] != -100

    def keep_labelled(module: torch.nn.Module, args: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        if "mask" not in place:
            return args
        return (args[0][:, :-1][place["mask"]],)  # B x T x H -> N x H

    def loss(logits: torch.Tensor, labels: torch.Tensor, vocab_size: int, num_items_in_batch: torch.Tensor | None = None, **kwargs: object):
        if "mask" not in place:
            return stock_loss(logits, labels, vocab_size, num_items_in_batch=num_items_in_batch, **kwargs)
        return fixed_cross_entropy(logits.float(), labels[:, 1:][place["mask"]], num_items_in_batch)

    # on the outermost module: PEFT calls the inner one's `forward` directly, past its hooks
    model.register_forward_pre_hook(note_labels, with_kwargs=True)
    causal_lm.get_output_embeddings().register_forward_pre_hook(keep_labelled)
    causal_lm.loss_function = loss


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
