"""Axolotl plugin that lets the DeepSpeed engine run on a machine without a GPU: one process, gloo.

Axolotl asks for NCCL when WORLD_SIZE is 1, and there is no NCCL on a CPU. Opening the process group before Axolotl does settles the
backend. `use_cpu` or ACCELERATE_USE_CPU is no way out: with either the engine is silently not used at all (no `global_step*` folder in the checkpoint).
"""

import os
import socket

import deepspeed
from axolotl.integrations.base import BasePlugin

# one process that talks to nobody; axolotl_configs/train.py starts it with `--launcher python`
ALONE = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}


class CpuDeepSpeedPlugin(BasePlugin):
    """In a configuration: `plugins: [axolotl_configs.plugin.CpuDeepSpeedPlugin]`."""

    def register(self, cfg: dict) -> None:
        """Open a one-process gloo group, once; called by Axolotl before it validates the configuration."""
        if not cfg.get("deepspeed") or deepspeed.comm.is_initialized():
            return
        for name, value in ALONE.items():
            os.environ.setdefault(name, value)
        os.environ.setdefault("MASTER_PORT", str(_free_port()))
        deepspeed.comm.init_distributed("gloo")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
