"""Read one of the configurations as Axolotl will: shared parts put in, paths below build/ moved to another build folder, single keys overridden.

Three things are ours and never reach Axolotl: `extends` (parts that the file stands on), `dataset_form` (what all entries of `datasets` and
`test_datasets` have in common) and `{name}` in a path (the configuration's name). `python -m axolotl_configs.check --show FILE` prints the result.
"""

import argparse
from pathlib import Path

import yaml

from data_prep.records import BadInput

PROJECT = Path(__file__).parent.parent
LOG = "log.jsonl"  # in a run's folder: what RouterPlugin writes and curves.py reads
SCRIPTS = ("arabic", "latin", "other")  # of a token, as the log counts them


class ConfigError(BadInput):
    """A configuration that cannot be used, or a run of it that failed; commands print it and exit with 2."""


def parser(description: str) -> argparse.ArgumentParser:
    """A command line that names a configuration, a build folder and single keys to override, as train, fit and plan have it."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("config", type=Path, help="a configuration of axolotl_configs/")
    made.add_argument("--build", type=Path, default=Path("build"), help="folder of all outputs (%(default)s)")
    made.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE", help="override one key, any number of times")
    return made


def load(path: Path, build: Path = Path("build"), overrides: list[str] = ()) -> dict:
    """The configuration in `path` as a dictionary, as Axolotl is given it.

    Every text that opens with `build/` opens with `build` instead; `overrides` are `key=value` with a YAML value.
    ConfigError names the file and what is wrong with it.
    """
    if not path.is_file():
        known = ", ".join(str(found.relative_to(PROJECT)) for found in sorted(Path(__file__).parent.glob("*.yaml")))
        raise ConfigError(f"{path} is missing: CONFIG names a YAML file; there are {known}")
    config = _with_parts(path, ())
    try:
        settings = dict(override.split("=", 1) for override in overrides)
    except ValueError as error:
        raise ConfigError(f"overrides are KEY=VALUE, not {' '.join(overrides)!r}") from error
    try:
        config |= {key: yaml.safe_load(value) for key, value in settings.items()}
    except yaml.YAMLError as error:
        raise ConfigError(f"{' '.join(overrides)}: not a YAML value ({error})") from error
    form = config.pop("dataset_form", {})
    for key in ("datasets", "test_datasets"):
        if isinstance(config.get(key), list):  # what is no list of mappings is left for check.py to name
            config[key] = [form | entry if isinstance(entry, dict) else entry for entry in config[key]]
    return _moved(config, build, path.stem)


def _with_parts(path: Path, above: tuple[Path, ...]) -> dict:
    """The mapping in `path` on top of the parts that its `extends` names, one file or a list; in a list the later part wins."""
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{above[-1] if above else path}: extends {path.name}, which cannot be read ({error.strerror}); name a file beside it") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 ({error}); save it in that encoding") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not a YAML mapping ({error})") from error
    if not isinstance(config, dict):
        raise ConfigError(f"{path}: not a YAML mapping (it holds {type(config).__name__})")
    parts = config.pop("extends", [])
    parts = [parts] if isinstance(parts, str) else parts
    if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
        raise ConfigError(f"{path}: extends is a file or a list of files, not {parts!r}")
    merged: dict = {}
    for part in (path.parent / part for part in parts):
        if part.resolve() in (*(file.resolve() for file in above), path.resolve()):
            raise ConfigError(f"{path}: extends {part.name}, which extends {path.name} in turn; take one of the two out")
        merged |= _with_parts(part, (*above, path))
    return merged | config


def _moved(value: object, build: Path, name: str) -> object:
    if isinstance(value, dict):
        return {key: _moved(item, build, name) for key, item in value.items()}
    if isinstance(value, list):
        return [_moved(item, build, name) for item in value]
    if isinstance(value, str) and value.startswith("build/"):
        return str(build / value.removeprefix("build/").replace("{name}", name))
    return value


def model_folder(path: Path, build: Path) -> Path:
    """Where everything of a configuration goes: build/models/<name>, with base?, rows, prepared, run, adapter and merged below."""
    return build / "models" / path.stem
