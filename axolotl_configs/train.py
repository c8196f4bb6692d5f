"""Run Axolotl on one of the configurations: check it, build the tiny base where one is named, preprocess, train, keep the adapter.

    python -m axolotl_configs.train axolotl_configs/tiny.yaml
    python -m axolotl_configs.train axolotl_configs/tiny.yaml --set max_steps=20 --build /tmp/try

Writes BUILD/models/NAME/: config.yaml (what Axolotl was given), run/ (checkpoints), adapter/ (appears when training has ended well).
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import torch
import yaml

from axolotl_configs import check, tiny_base
from axolotl_configs import config as configs
from data_prep.files import BadInput, written_aside

# glibc gives freed blocks of over 32 MiB back to the kernel and asks for them anew at every step: the logits of one step of tiny.yaml
# are such blocks, and faulting their pages in took 40% of the CPU time (sys 5.6 of 13.5 min). Keeping them costs nothing.
KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "-1", "MALLOC_TOP_PAD_": str(2**28)}


def environment() -> dict[str, str]:
    """For Axolotl's processes: this environment's `bin` on PATH (it starts `accelerate` by name), the project on PYTHONPATH (plugin.py)."""
    settings = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(configs.PROJECT), os.environ.get("PYTHONPATH")])),
        "AXOLOTL_DO_NOT_TRACK": "1",  # no telemetry
        "TOKENIZERS_PARALLELISM": "false",
    }
    if not torch.cuda.is_available():
        settings |= KEEP_MEMORY | {"DS_ACCELERATOR": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    return settings


def axolotl(command: list[str], log: Path) -> None:
    """Run one Axolotl command, its output to the terminal and to `log`; ConfigError when it fails."""
    with log.open("wb") as copy:
        process = subprocess.Popen(command, cwd=configs.PROJECT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        while chunk := process.stdout.read1():
            copy.write(chunk)
            sys.stdout.buffer.write(chunk)
            sys.stdout.flush()
    if process.wait():
        raise configs.ConfigError(f"`{' '.join(command)}` ended with status {process.returncode}: the end of {log} says why")


def prepare(settings: dict, folder: Path) -> None:
    """Make sure that base and data are there: build the tiny base, refuse when a local file is missing."""
    base = settings["base_model"]
    if Path(base) == folder / "base" and not (folder / "base" / "config.json").is_file():
        print(f"{base}: {tiny_base.build(Path(base)):,} parameters")
    for dataset in settings.get("datasets", []) + settings.get("test_datasets", []):
        path = Path(dataset["path"])
        if dataset.get("ds_type") == "json" and not path.is_file():
            recipe = path.parent.name
            known = (configs.PROJECT / "data_prep" / "recipes" / f"{recipe}.yaml").is_file()
            fix = f"`make data RECIPE={recipe}` writes it" if known else "no recipe of ours writes it yet; put your own rows there (docs/DATA.md, Training row)"
            raise configs.ConfigError(f"{path} is missing: {fix}")


def train(path: Path, build: Path, overrides: list[str]) -> Path:
    """Train configuration `path`; returns the folder of the adapter."""
    settings = configs.load(path, build, overrides)
    faults = check.faults(settings, path)
    if faults:
        raise configs.ConfigError("\n".join(faults))
    folder = configs.model_folder(path, build)
    folder.mkdir(parents=True, exist_ok=True)
    prepare(settings, folder)
    run = Path(settings["output_dir"])
    shutil.rmtree(run, ignore_errors=True)
    resolved = folder / "config.yaml"
    resolved.write_text(yaml.safe_dump(settings, sort_keys=False, allow_unicode=True), encoding="utf-8")
    axolotl(["axolotl", "preprocess", str(resolved)], folder / "preprocess.log")
    # without a GPU one process is started directly: plugin.py opens its process group
    launcher = ["--launcher", "accelerate" if torch.cuda.is_available() else "python"]
    axolotl(["axolotl", "train", str(resolved), *launcher], folder / "train.log")
    if settings.get("deepspeed") and not list(run.glob("checkpoint-*/global_step*")):
        raise configs.ConfigError(f"{run} holds no checkpoint of the DeepSpeed engine (global_step*): training went past it")
    return keep_adapter(run, folder / "adapter")


def keep_adapter(run: Path, adapter: Path) -> Path:
    """Copy adapter and tokenizer out of the run folder; the copy appears when it is whole."""
    files = [file for file in run.iterdir() if file.is_file() and file.name != "debug.log"]
    if not any(file.name == "adapter_model.safetensors" for file in files):
        raise configs.ConfigError(f"{run} holds no adapter_model.safetensors after training")
    with written_aside(adapter) as aside:
        for file in files:
            shutil.copy(file, aside)
    return adapter


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, help="a configuration of axolotl_configs/")
    parser.add_argument("--build", type=Path, default=Path("build"), help="folder of all outputs (%(default)s)")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE", help="override one key, any number of times")
    args = parser.parse_args()
    try:
        adapter = train(args.config, args.build, args.overrides)
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    print(f"{adapter}: trained with {args.config}")


if __name__ == "__main__":
    main()
