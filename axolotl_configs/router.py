"""Axolotl plugin that every configuration uses: which experts serve Arabic and which English, in the run's own log.

In a configuration: `plugins: [axolotl_configs.router.RouterPlugin]`.

At each logging step one line goes to output_dir/log.jsonl: `step`, `epoch`, what transformers and Axolotl log (loss, learning_rate, grad_norm,
tokens/total, tokens/trainable, tokens/train_per_sec_per_gpu, memory), `seconds` since the run began, `router`: for each script the choices of
each expert in each layer since the last line (layers x experts, top-k choices a token), and `tokens/real`, the tokens since then without padding.
curves.py draws them.
"""

import json
import time
from pathlib import Path

import torch
import torch.distributed
from axolotl.integrations.base import BasePlugin
from transformers import PreTrainedTokenizerBase, Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.models.mixtral.modeling_mixtral import MixtralTopKRouter

from axolotl_configs.config import LOG, SCRIPTS
from axolotl_configs.guard import first
from data_prep.files import save

PADDING = len(SCRIPTS)  # a class of its own, which is not written


class RouterPlugin(BasePlugin):
    """Hangs the count and the log into Axolotl's trainer."""

    def add_callbacks_post_trainer(self, cfg: dict, trainer: Trainer) -> list[TrainerCallback]:
        """Axolotl calls this with the trainer that is about to run."""
        return [Log(Choices(trainer.model, scripts(trainer.processing_class)))]


def scripts(tokenizer: PreTrainedTokenizerBase) -> torch.Tensor:
    """The script of each token of a vocabulary, as an index into SCRIPTS, or PADDING.

    Mixtral's vocabulary has tokens for Arabic letters; what it spells in bytes counts as Arabic at a lead byte of U+0600 to U+07FF (0xD8 to
    0xDF), and as other at the bytes that follow, which do not tell. Digits, marks and control tokens are other: both languages use them.
    """
    table = torch.full((len(tokenizer),), SCRIPTS.index("other"))
    for token, place in tokenizer.get_vocab().items():
        if token.startswith("<0x") and token.endswith(">"):
            letters = "ا" if 0xD8 <= int(token[3:-1], 16) <= 0xDF else ""
        else:
            letters = "" if token in tokenizer.all_special_tokens else "".join(filter(str.isalpha, token))
        if letters:
            arabic = sum("\u0600" <= letter <= "\u06ff" or "\u0750" <= letter <= "\u077f" or "\ufb50" <= letter <= "\ufefc" for letter in letters)
            latin = sum(letter < "\u0250" for letter in letters)
            table[place] = SCRIPTS.index("arabic" if arabic == len(letters) else "latin" if latin == len(letters) else "other")
    table[tokenizer.pad_token_id] = PADDING
    return table


class Choices:
    """Sums up, on the model's device and without waiting for it, how often each expert of each layer was chosen for tokens of each script."""

    def __init__(self, model: torch.nn.Module, table: torch.Tensor) -> None:
        routers = [module for module in model.modules() if isinstance(module, MixtralTopKRouter)]  # also below PEFT's wrapper of the parameter
        self.experts, self.top_k = routers[0].num_experts, routers[0].top_k
        self.table = table
        self.of_tokens: torch.Tensor | None = None
        self.counts: torch.Tensor | None = None  # layers x (scripts and padding) x experts
        self.layers = len(routers)
        model.register_forward_pre_hook(self._note_tokens, with_kwargs=True)
        for layer, router in enumerate(routers):
            router.register_forward_hook(lambda module, args, output, layer=layer: self._note_choices(layer, output[-1]))

    def _note_tokens(self, module: torch.nn.Module, args: tuple, kwargs: dict) -> None:
        ids = kwargs.get("input_ids")
        self.of_tokens = None
        if module.training and ids is not None:
            self.table = self.table.to(ids.device)
            self.of_tokens = self.table[ids.reshape(-1)]

    def _note_choices(self, layer: int, chosen: torch.Tensor) -> None:
        # with gradient checkpointing each layer runs again inside the backward pass: the same choices, which count once
        if self.of_tokens is None or torch._C._current_graph_task_id() != -1:
            return
        if self.counts is None:
            self.counts = torch.zeros(self.layers, (PADDING + 1) * self.experts, dtype=torch.int64, device=chosen.device)
        place = self.of_tokens[:, None] * self.experts + chosen  # tokens x top-k
        self.counts[layer].scatter_add_(0, place.reshape(-1), torch.ones_like(place).reshape(-1))

    def take(self) -> dict[str, list[list[int]]]:
        """{script: layers x experts} of all processes since the last call."""
        if self.counts is None:
            return {}
        if torch.distributed.is_initialized():
            torch.distributed.all_reduce(self.counts)
        table = self.counts.view(self.layers, PADDING + 1, self.experts).tolist()
        self.counts = None
        return {script: [layer[place] for layer in table] for place, script in enumerate(SCRIPTS)}


class Log(TrainerCallback):
    """Writes the run's own log, one JSON object a line; a resumed run goes on after the checkpoint's step."""

    def __init__(self, choices: Choices) -> None:
        self.choices = choices
        self.began = time.monotonic()

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object) -> None:
        """Lines of steps that are trained again now are taken out."""
        if not first():
            return
        path = Path(args.output_dir) / LOG
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.is_file() else []
        # a process that was killed while it wrote leaves half a line, without its end
        kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= state.global_step]
        save(path, "".join(kept).encode())

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: dict | None = None, **kwargs: object) -> None:
        """transformers calls this on every process; validation and the closing summary come without router counts."""
        row = {"step": state.global_step, "epoch": state.epoch, "seconds": round(time.monotonic() - self.began, 2), **(logs or {})}
        if "loss" in row:
            row["router"] = self.choices.take()
            row["tokens/real"] = sum(map(sum, (script[0] for script in row["router"].values()))) // self.choices.top_k
        if first():
            with (Path(args.output_dir) / LOG).open("a", encoding="utf-8") as out:
                out.write(json.dumps(row) + "\n")
