"""Axolotl plugin for a machine without a GPU: the DeepSpeed engine over gloo, logits only where there is a label, attention within each packed row.

In a configuration: `plugins: [axolotl_configs.plugin.CpuPlugin]`; with packing also `multipack_real_batches: false` and `pad_to_sequence_len:
false`, which make a step one long line of whole rows without padding.
"""

import os
import signal
import socket
import sys

import deepspeed
import torch
from axolotl.integrations.base import BasePlugin
from peft import PeftModel
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.loss.loss_utils import fixed_cross_entropy
from transformers.masking_utils import sdpa_mask
from transformers.modeling_flash_attention_utils import prepare_fa_kwargs_from_position_ids

# one process that talks to nobody; axolotl_configs/train.py starts it with `--launcher python`
ALONE = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}


class CpuPlugin(BasePlugin):
    """What a CPU run needs and Axolotl does not do.

    Several processes (torchrun) run under the engine too, but accelerate takes a CPU for one process: it gives each of them the same rows, so
    they prove the path and save nothing. On GPUs it knows better.
    """

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
        # DeepSpeed compiles a part of its own here, under a lock file of torch's that only an orderly end removes: left behind, it would make every later
        # run on this machine wait for ever
        before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        try:
            deepspeed.comm.init_distributed("gloo")
        finally:
            signal.signal(signal.SIGTERM, before)
        # with several processes DeepSpeed gathers into slices of the parameters, and gloo's copy into them would be recorded for gradients
        backend = deepspeed.comm.comm.cdb
        backend.all_gather_function = torch.no_grad()(backend.all_gather_function)

    def load_datasets(self, cfg: dict, preprocess: bool = False) -> None:
        """Loads nothing; it is the last call before Axolotl settles where the model goes: with several processes on accelerator number LOCAL_RANK."""
        cfg["device_map"] = {"": "cpu"}

    def post_model_load(self, cfg: dict, model: torch.nn.Module) -> None:
        """Axolotl calls this with the model that will train, adapter included."""
        labelled_logits(model)
        if cfg.get("sample_packing"):
            attend_by_row(model)


def attend_by_row(model: PreTrainedModel | PeftModel) -> None:
    """Make a model attend within each packed row, one after the other; what is not packed goes through sdpa as before.

    transformers keeps packed rows apart too, with a mask of T x T of which most is empty. The borders are those that FlashAttention is given
    on a GPU, read off the positions.
    """
    AttentionInterface.register("sdpa_by_row", _attention_by_row)
    AttentionMaskInterface.register("sdpa_by_row", _mask_by_row)
    causal_lm = model.get_base_model() if isinstance(model, PeftModel) else model
    causal_lm.set_attn_implementation("sdpa_by_row")


def _attention_by_row(
    module: torch.nn.Module,
    query: torch.Tensor,  # B x heads x T x head size; fewer heads in key and value
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    position_ids: torch.Tensor | None = None,
    **kwargs: object,
) -> tuple[torch.Tensor, None]:
    if attention_mask is not None or position_ids is None or len(query) > 1 or query.shape[2] != key.shape[2]:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    (borders, _), _ = prepare_fa_kwargs_from_position_ids(position_ids)
    parts = zip(*(tensor.split(borders.diff().tolist(), dim=2) for tensor in (query, key, value)), strict=True)
    return torch.cat([sdpa_attention_forward(module, *part, None, **kwargs)[0] for part in parts], dim=1), None


def _mask_by_row(batch_size: int, q_length: int, kv_length: int, attention_mask: torch.Tensor | None = None, **kwargs: object) -> torch.Tensor | None:
    if attention_mask is None and batch_size == 1 and q_length == kv_length:
        return None
    return sdpa_mask(batch_size=batch_size, q_length=q_length, kv_length=kv_length, attention_mask=attention_mask, **kwargs)


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
