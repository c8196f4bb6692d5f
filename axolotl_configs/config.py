"""Read one of the configurations as Axolotl will: paths below build/ moved to another build folder, single keys overridden."""

from pathlib import Path

import yaml

from data_prep.records import BadInput

PROJECT = Path(__file__).parent.parent


class ConfigError(BadInput):
    """A configuration that cannot be used, or a run of it that failed; commands print it and exit with 2."""


def load(path: Path, build: Path = Path("build"), overrides: list[str] = ()) -> dict:
    """The configuration in `path` as a dictionary.

    Every text that opens with `build/` opens with `build` instead; `overrides` are `key=value` with a YAML value.
    ConfigError names the file and what is wrong with it.
    """
    if not path.is_file():
        known = ", ".join(str(found.relative_to(PROJECT)) for found in sorted(Path(__file__).parent.glob("*.yaml")))
        raise ConfigError(f"{path} is missing: CONFIG names a YAML file; there are {known}")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 ({error}); save it in that encoding") from error
    try:
        config = yaml.safe_load(text)
        settings = dict(override.split("=", 1) for override in overrides)
        config |= {key: yaml.safe_load(value) for key, value in settings.items()}
    except (yaml.YAMLError, TypeError) as error:
        raise ConfigError(f"{path}: not a YAML mapping ({error})") from error
    except ValueError as error:
        raise ConfigError(f"overrides are KEY=VALUE, not {' '.join(overrides)!r}") from error
    return _moved(config, build)


def _moved(value: object, build: Path) -> object:
    if isinstance(value, dict):
        return {key: _moved(item, build) for key, item in value.items()}
    if isinstance(value, list):
        return [_moved(item, build) for item in value]
    if isinstance(value, str) and value.startswith("build/"):
        return str(build / value.removeprefix("build/"))
    return value


def model_folder(path: Path, build: Path) -> Path:
    """Where everything of a configuration goes: build/models/<name>, with base?, run, adapter and merged below."""
    return build / "models" / path.stem
