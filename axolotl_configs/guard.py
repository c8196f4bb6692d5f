"""Axolotl plugin that every configuration uses: equal runs are equal, a loss that is no number ends training, whole checkpoints are marked.

In a configuration: `plugins: [axolotl_configs.guard.GuardPlugin]`.
"""

import inspect
import os
import sys
import threading
import time
from pathlib import Path

import torch
import torch.distributed
from axolotl.integrations.base import BasePlugin
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments, set_seed

from axolotl_configs import checkpoints
from axolotl_configs.launch import PARENT

STOPPED = "stopped: "  # opens the line that train.py looks for in the log of a run that failed
STATUS = 3


class GuardPlugin(BasePlugin):
    """Hangs the two guards into Axolotl's trainer, and ends the process when `train.py` is gone, even by SIGKILL: it would train unseen."""

    def register(self, cfg: dict) -> None:
        """Axolotl calls this before it validates the configuration."""
        if parent := os.environ.get(PARENT):
            threading.Thread(target=_end_with, args=(int(parent),), name="parent's end", daemon=True).start()
        if cfg.get("use_trackio"):
            _without_what_trackio_does_not_know()

    def pre_lora_load(self, cfg: dict, model: torch.nn.Module) -> None:
        """Axolotl sets the seed after the adapter is made: without this its first values, and so the whole run, would differ from run to run."""
        set_seed(cfg["seed"])

    def add_callbacks_post_trainer(self, cfg: dict, trainer: Trainer) -> list[TrainerCallback]:
        """Axolotl calls this with the trainer that is about to run."""
        if cfg.get("sample_packing") and trainer.model.config.use_cache:
            # transformers looks for the borders of packed rows only where there is no cache: every row would see those before it
            raise ValueError("use_cache is on, with which packed rows are not kept apart; Axolotl should have turned it off")
        return [NoNumber(trainer.model), Mark()]


def _without_what_trackio_does_not_know() -> None:
    """Axolotl 0.19 pins trackio 0.19, whose `init` lacks the `bucket_id` that transformers 5.16 gives it. What is None is left out, anything else fails."""
    import trackio

    init, known = trackio.init, inspect.signature(trackio.init).parameters
    trackio.init = lambda **given: init(**{name: value for name, value in given.items() if name in known or value is not None})


def _end_with(parent: int) -> None:
    while Path(f"/proc/{parent}").exists():
        time.sleep(0.5)
    os._exit(STATUS)


def first() -> bool:
    """Whether this is the process that writes for all. transformers' own word for it takes every process on a CPU for the first."""
    return not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0


class NoNumber(TrainerCallback):
    """Ends the run, with a line that says where, when the loss of any batch since the last look was NaN or infinite.

    transformers leaves such losses out of the ones it logs (`logging_nan_inf_filter`), so a run of days can go on with dead weights. The losses
    are looked at as they leave the model and summed up on its device: asking the GPU at every step would make it wait.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        self.bad: torch.Tensor | None = None
        self.last_good = 0
        model.register_forward_hook(self._note)

    def _note(self, module: torch.nn.Module, args: tuple, output: object) -> None:
        loss = getattr(output, "loss", None)
        if loss is not None and module.training:
            bad = (~torch.isfinite(loss.detach())).sum()
            self.bad = bad if self.bad is None else self.bad + bad

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object) -> None:
        """At every logging step, and before anything is saved."""
        every = max(1, int(state.logging_steps))
        if self.bad is None or not (state.global_step % every == 0 or control.should_save or state.global_step >= state.max_steps):
            return
        if not int(self.bad):
            self.last_good, self.bad = state.global_step, None
            return
        whole = checkpoints.last_whole(Path(args.output_dir))
        kept = f"the last whole checkpoint is {whole}" if whole else "there is no checkpoint yet"
        print(
            f"\n{STOPPED}the loss was no number in {int(self.bad)} batches between the steps {self.last_good} and {state.global_step}; {kept}. "
            "Try a lower learning_rate, a longer warm-up or a smaller max_grad_norm, and look at the rows; then begin again with --fresh",
            file=sys.stderr,
            flush=True,
        )
        sys.exit(STATUS)


class Mark(TrainerCallback):
    """Marks a checkpoint once all processes have written their parts of it."""

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object) -> None:
        """transformers calls this on every process, after optimiser, engine and random states are written."""
        if torch.distributed.is_initialized():
            torch.distributed.barrier()
        if first():
            checkpoints.mark(Path(args.output_dir) / f"checkpoint-{state.global_step}")
