"""Run Axolotl on one of the configurations: check it, fit the rows, train or go on after a break, keep the adapter.

    python -m axolotl_configs.train axolotl_configs/tiny.yaml
    python -m axolotl_configs.train axolotl_configs/tiny.yaml --set max_steps=20 --build /tmp/try

Writes BUILD/models/NAME/: rows/ (what fits), config.yaml (what Axolotl was given), run.json (what the run was begun with), run/ (checkpoints and
log.jsonl), adapter/ (appears when training has ended well). The same command after a break, whatever broke it, goes on from the last whole
checkpoint; after the end it does nothing. Another configuration or other rows are refused: --fresh begins again and removes the old run.
On several machines the three steps are started one by one (docs/TRAINING.md): `--step prepare` on one, `--step run` on all, `--step keep` on one.
"""

import fcntl
import json
import os
import shlex
import shutil
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from axolotl_configs import check, checkpoints
from axolotl_configs import config as configs
from axolotl_configs.launch import axolotl
from data_prep.files import BadInput, json_text, read_json, save, sha256, written_aside

STEPS = ("prepare", "run", "keep")
TRACKERS = ("wandb", "tensorboard", "trackio")
# what may change between a run's beginning and its going on: how often it speaks, where it is shown, how many checkpoints stay
HARMLESS = {"logging_steps", "save_total_limit", "save_steps", "eval_steps", "use_wandb", "use_tensorboard", "use_trackio"}
HARMLESS |= {"wandb_mode", "wandb_project", "wandb_name", "trackio_project_name", "trackio_run_name", "use_ray", "ray_num_workers", "resources_per_worker"}


def begun_with(settings: dict) -> dict:
    """What makes a run this run: every key of the configuration but the harmless ones, the rows' checksums, the base's configuration."""
    entries = [entry for key in ("datasets", "test_datasets") for entry in settings.get(key) or []]
    base = Path(settings["base_model"]) / "config.json"
    return {
        "config": json.loads(json.dumps({key: value for key, value in settings.items() if key not in HARMLESS})),
        "rows": {Path(entry["path"]).name: sha256(Path(entry["path"])) for entry in entries},
        "base": sha256(base) if base.is_file() else settings["base_model"],
    }


def tracked(settings: dict, where: str) -> dict:
    """The settings with the trackers of TRACK (names with commas) switched on; none by default: nothing leaves the machine unasked."""
    names = [name for name in where.split(",") if name]
    if unknown := set(names) - set(TRACKERS):
        raise configs.ConfigError(f"TRACK={where}: {', '.join(sorted(unknown))} is no tracker; there are {', '.join(TRACKERS)}")
    return settings | {f"use_{name}": True for name in names} | ({"wandb_project": os.environ.get("WANDB_PROJECT", "bimedix")} if "wandb" in names else {})


def differences(then: dict, now: dict) -> list[str]:
    """In words, what differs between two results of `begun_with`."""
    keys = sorted(then.get("config", {}).keys() | now["config"].keys())
    found = [
        f"{key} {then.get('config', {}).get(key)!r}, now {now['config'].get(key)!r}"
        for key in keys
        if then.get("config", {}).get(key) != now["config"].get(key)
    ]
    found += [f"other rows in {name}" for name in sorted(now["rows"]) if then.get("rows", {}).get(name) != now["rows"][name]]
    return found + ["another base model"] * (then.get("base") != now["base"])


def prepare(settings: dict, folder: Path) -> dict:
    """Make sure that base and rows are there, and the rows fit; returns the settings that name them. Refuses when a local file is missing."""
    base = settings["base_model"]
    for dataset in settings.get("datasets", []) + settings.get("test_datasets", []):
        path = Path(dataset["path"])
        if dataset.get("ds_type") == "json" and not path.is_file():
            recipe = path.parent.name
            known = (configs.PROJECT / "data_prep" / "recipes" / f"{recipe}.yaml").is_file()
            fix = f"`make data RECIPE={recipe}` writes it" if known else "no recipe of ours writes it yet; put your own rows there (docs/DATA.md, Training row)"
            raise configs.ConfigError(f"{path} is missing: {fix}")
    if Path(base) == folder / "base" and not (folder / "base" / "config.json").is_file():
        from axolotl_configs import tiny_base

        print(f"{base}: {tiny_base.build(Path(base)):,} parameters")
    from axolotl_configs import fit  # transformers: only when there is something to do

    return fit.fit(settings, folder)


def begin(settings: dict, folder: Path, data: Path, fresh: bool) -> bool:
    """Settle whether this is a new run, one to go on with, or one that has ended (then False); a new one is preprocessed.

    `data` is the folder of the data set, where eval/run.py looks for the questions that belong to it.
    """
    run, record, now = Path(settings["output_dir"]), folder / "run.json", begun_with(settings)
    if fresh:
        for old in (run, folder / "adapter"):
            shutil.rmtree(old, ignore_errors=True)
        record.unlink(missing_ok=True)
    if run.exists() and not record.exists():
        raise configs.ConfigError(f"{run} was begun by something else (no {record.name} beside it): move it away, or begin again with TRAIN_ARGS=--fresh")
    if record.exists():
        then = read_json(record)
        if changed := differences(then["begun_with"], now):
            raise configs.ConfigError(
                f"{run} was begun with {'; '.join(changed)}: train it under another configuration's name, or remove it and begin again with TRAIN_ARGS=--fresh"
            )
        if then["finished"] and (folder / "adapter" / "adapter_model.safetensors").is_file():
            return False
    for checkpoint in checkpoints.all_of(run):
        if fault := checkpoints.fault(checkpoint):
            print(f"{checkpoint} {fault}: removed, it cannot be gone on with")
            shutil.rmtree(checkpoint)
    resolved = folder / "config.yaml"
    resolved.write_text(yaml.safe_dump(settings, sort_keys=False, allow_unicode=True), encoding="utf-8")
    if not (record.exists() and checkpoints.last_whole(run)):
        for old in (run, Path(settings["dataset_prepared_path"])):
            shutil.rmtree(old, ignore_errors=True)
        axolotl(["axolotl", "preprocess", str(resolved)], folder / "preprocess.log")
        save(record, json_text({"begun_with": now, "data": str(data), "finished": False}).encode())
    return True


def run_axolotl(settings: dict, folder: Path, torchrun: str | None, ray: int | None, log: str = "train.log") -> None:
    """Train until the end, from the last whole checkpoint where there is one; what is said goes to `log` in the folder."""
    run, resolved = Path(settings["output_dir"]), folder / "config.yaml"
    line = ["axolotl", "train", str(resolved)]
    if whole := checkpoints.last_whole(run):
        print(f"going on from {whole}, step {checkpoints.step(whole)}")
        line.append(f"--resume-from-checkpoint={whole}")
    if ray:
        line += ["--use-ray", f"--ray-num-workers={ray}"]
    elif torchrun is not None:
        line += ["--launcher", "torchrun", "--", *shlex.split(torchrun)]
    else:
        import torch

        # without a GPU one process is started directly: plugin.py opens its process group
        line += ["--launcher", "accelerate" if torch.cuda.is_available() else "python"]
    axolotl(line, folder / log, watched=not ray)


def keep(settings: dict, folder: Path) -> Path:
    """Copy adapter and tokenizer out of the run folder, once the last step's checkpoint is whole; the copy appears when it is whole."""
    run = Path(settings["output_dir"])
    files = [file for file in run.iterdir() if file.is_file() and file.name not in ("debug.log", "log.jsonl")] if run.is_dir() else []
    if not any(file.name == "adapter_model.safetensors" for file in files):
        raise configs.ConfigError(f"{run} holds no adapter_model.safetensors after training")
    last = checkpoints.last_whole(run)
    if settings.get("deepspeed") and not (last and list(last.glob("global_step*"))):
        raise configs.ConfigError(f"{run} holds no whole checkpoint of the DeepSpeed engine (global_step*): training went past it")
    with written_aside(folder / "adapter") as aside:
        for file in files:
            shutil.copy(file, aside)
    record = folder / "run.json"
    save(record, json_text(read_json(record) | {"finished": True}).encode())
    return folder / "adapter"


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Nobody else trains in this folder meanwhile; the processes that are started hold on to the lock too, so it outlives this one if they do."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "train.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise configs.ConfigError(f"{folder}: another run is training here; wait for its end, or end it") from error
        os.set_inheritable(lock.fileno(), True)
        yield


def train(
    path: Path, build: Path, overrides: list[str], fresh: bool = False, steps: tuple[str, ...] = STEPS, torchrun: str | None = None, ray: int | None = None
) -> bool:
    """Take `steps` of training configuration `path`; False when there was nothing to do. ConfigError says what is wrong, and what to do."""
    settings = tracked(configs.load(path, build, overrides), os.environ.get("TRACK", ""))
    if faults := check.faults(settings, path):
        raise configs.ConfigError("\n".join(faults))
    folder = configs.model_folder(path, build)
    if steps == ("run",):  # on many machines at once: they share the folder, and torchrun's rendezvous
        run_axolotl(settings, folder, torchrun, ray, f"train-{socket.gethostname()}.log")
        return True
    with alone(folder):
        data = Path(settings["datasets"][0]["path"]).parent
        settings = prepare(settings, folder)
        if "prepare" in steps and not begin(settings, folder, data, fresh):
            return False
        if "run" in steps:
            run_axolotl(settings, folder, torchrun, ray)
        if "keep" in steps:
            keep(settings, folder)
    return True


def main() -> None:
    parser = configs.parser(__doc__)
    parser.add_argument("--fresh", action="store_true", help="begin again: remove the run of before, its checkpoints and its adapter")
    parser.add_argument("--step", choices=STEPS, help="take this step alone, on several machines (default: all three)")
    parser.add_argument(
        "--torchrun", metavar="ARGS", help="start with torchrun and these arguments, e.g. '--nnodes 2 --nproc_per_node 8 --rdzv_endpoint HOST:29400'"
    )
    parser.add_argument("--ray", type=int, metavar="WORKERS", help="start so many workers through Ray Train")
    args = parser.parse_args()
    try:
        trained = train(args.config, args.build, args.overrides, args.fresh, (args.step,) if args.step else STEPS, args.torchrun, args.ray)
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    folder = configs.model_folder(args.config, args.build)
    if not trained:
        print(f"{folder / 'adapter'}: trained before with the same configuration and rows; --fresh trains again")
    elif args.step in (None, "keep"):
        print(f"{folder / 'adapter'}: trained with {args.config}")


if __name__ == "__main__":
    main()
