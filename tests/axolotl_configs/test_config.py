"""Reading a configuration: outputs move with --build, overrides are YAML, and what cannot be read says what to do."""

from pathlib import Path

import pytest

from axolotl_configs import config as configs
from tests.conftest import TINY


def test_every_path_below_build_moves(tmp_path: Path) -> None:
    """One path left behind would write into, or train from, the build folder of another run."""
    moved = configs.load(TINY, tmp_path / "elsewhere")
    assert moved["base_model"] == str(tmp_path / "elsewhere" / "models" / "tiny" / "base")
    assert moved["datasets"][0]["path"] == str(tmp_path / "elsewhere" / "data" / "tiny" / "train.jsonl")
    assert moved["output_dir"] == str(tmp_path / "elsewhere" / "models" / "tiny" / "run")
    assert moved["dataset_prepared_path"] == str(tmp_path / "elsewhere" / "models" / "tiny" / "prepared")
    assert "'build/" not in str(moved)


def test_only_leading_build_moves(tmp_path: Path) -> None:
    """A Hub id, a project file or a text with `build/` inside is no output folder."""
    path = tmp_path / "any.yaml"
    path.write_text("a: mistralai/Mixtral-8x7B-v0.1\nb: rebuild/x\nc: see build/x\nd: build\ne: {f: [build/x, 1, null]}\n")
    assert configs.load(path, Path("out")) == {
        "a": "mistralai/Mixtral-8x7B-v0.1",
        "b": "rebuild/x",
        "c": "see build/x",
        "d": "build",
        "e": {"f": ["out/x", 1, None]},
    }


def test_default_build_changes_nothing() -> None:
    """Without --build Axolotl gets the file's own paths."""
    assert configs.load(TINY)["output_dir"] == "build/models/tiny/run"


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("max_steps=6", "max_steps", 6),
        ("learning_rate=1.0e-4", "learning_rate", 1e-4),
        ("group_by_length=false", "group_by_length", False),
        ("special_tokens={pad_token: '<unk>'}", "special_tokens", {"pad_token": "<unk>"}),
        ("wandb_name=a=b", "wandb_name", "a=b"),
        ("max_steps=", "max_steps", None),
        ("output_dir=build/models/other", "output_dir", "moved/models/other"),
    ],
)
def test_overrides_are_yaml(override: str, key: str, value: object) -> None:
    """`--set max_steps=6` is a number, not a text, and an overridden path moves as the file's own would."""
    assert configs.load(TINY, Path("moved"), [override])[key] == value


def test_the_last_override_of_a_key_wins() -> None:
    """As with other commands' options."""
    assert configs.load(TINY, overrides=["max_steps=6", "seed=7", "max_steps=9"]) == configs.load(TINY) | {"max_steps": 9, "seed": 7}


def test_missing_file_lists_what_there_is() -> None:
    """A misspelt CONFIG is the first thing that goes wrong."""
    with pytest.raises(configs.ConfigError, match=r"tini\.yaml is missing: CONFIG names a YAML file; there are .*axolotl_configs/tiny\.yaml") as error:
        configs.load(TINY.with_name("tini.yaml"))
    for path in TINY.parent.glob("*.yaml"):
        assert f"axolotl_configs/{path.name}" in str(error.value)
    with pytest.raises(configs.ConfigError, match="is missing"):
        configs.load(TINY.parent)  # a folder


@pytest.mark.parametrize("text", ["", "- a\n", "just words\n", "3\n", "a: [1\n", "a: b: c\n", "\tx: 1\n"])
def test_what_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    """Empty, a list, a text, broken YAML: the file is named."""
    path = tmp_path / "any.yaml"
    path.write_text(text)
    with pytest.raises(configs.ConfigError, match=r"any\.yaml: not a YAML mapping"):
        configs.load(path)


def test_a_file_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    """A file in another encoding is the file's fault, not that of the overrides."""
    path = tmp_path / "any.yaml"
    path.write_bytes("base_model: caf\xe9\n".encode("latin-1"))
    with pytest.raises(configs.ConfigError, match=r"any\.yaml"):
        configs.load(path)


@pytest.mark.parametrize("override", ["max_steps", "", "max_steps:6"])
def test_override_without_equals_is_refused(override: str) -> None:
    """`--set max_steps 6` must not train 700 steps instead."""
    with pytest.raises(configs.ConfigError, match="overrides are KEY=VALUE, not '.*'"):
        configs.load(TINY, overrides=[override])


def test_override_with_broken_yaml_is_refused() -> None:
    """A bracket left open in a value is named with its reason."""
    with pytest.raises(configs.ConfigError, match="YAML"):
        configs.load(TINY, overrides=["lora_target_modules=[q_proj"])


def test_each_configuration_has_a_folder_of_its_own() -> None:
    """Where everything of a configuration goes follows from its file name, and each file says the same of itself."""
    for path in TINY.parent.glob("*.yaml"):
        folder = configs.model_folder(path, Path("build"))
        assert folder == Path("build/models") / path.stem
        assert configs.load(path)["output_dir"] == str(folder / "run")


def test_parts_are_put_in_and_the_files_own_values_win(tmp_path: Path) -> None:
    """Of several parts the later one wins, of a part and the file that names it the file; nothing of it is left for Axolotl."""
    (tmp_path / "one.yaml").write_text("a: 1\nb: 1\nc: 1\nd: {x: 1}\n")
    (tmp_path / "two.yaml").write_text("extends: one.yaml\nb: 2\nd: {y: 2}\n")
    (tmp_path / "three.yaml").write_text("c: 3\n")
    (tmp_path / "any.yaml").write_text("extends: [two.yaml, three.yaml]\na: 4\nout: build/models/{name}/run\n")
    assert configs.load(tmp_path / "any.yaml") == {"a": 4, "b": 2, "c": 3, "d": {"y": 2}, "out": "build/models/any/run"}


def test_what_all_data_sets_share_is_said_once(tmp_path: Path) -> None:
    """Each entry has the common keys and its own; an entry's own win."""
    (tmp_path / "any.yaml").write_text("dataset_form: {type: chat_template, ds_type: json}\ndatasets: [{path: a}, {path: b, ds_type: parquet}]\n")
    assert configs.load(tmp_path / "any.yaml") == {
        "datasets": [{"type": "chat_template", "ds_type": "json", "path": "a"}, {"type": "chat_template", "ds_type": "parquet", "path": "b"}]
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("extends: nowhere.yaml\n", "extends nowhere.yaml, which cannot be read"),
        ("extends: any.yaml\n", "extends any.yaml, which extends any.yaml in turn"),
        ("extends: back.yaml\n", "extends any.yaml, which extends back.yaml in turn"),
        ("extends: {a: 1}\n", "extends is a file or a list of files"),
        ("extends: list.yaml\n", r"list.yaml: not a YAML mapping"),
    ],
)
def test_parts_that_cannot_be_put_in_are_named(tmp_path: Path, text: str, words: str) -> None:
    """A part that is not there, one that comes back to itself, and what is no part at all."""
    (tmp_path / "any.yaml").write_text(text)
    (tmp_path / "back.yaml").write_text("extends: any.yaml\n")
    (tmp_path / "list.yaml").write_text("- a\n")
    with pytest.raises(configs.ConfigError, match=words):
        configs.load(tmp_path / "any.yaml")
