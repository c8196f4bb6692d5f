"""The model card says what a reader needs and runs as it stands; nothing is published that is not verified, or that tells of a machine."""

import os
import re
import shutil
from pathlib import Path

import pytest
import yaml

from tests.conftest import Trained, command, here


@pytest.fixture
def folder(trained: Trained, tmp_path: Path) -> Path:
    """A trained and merged model of its own."""
    shutil.copytree(trained.adapter.parent, tmp_path / "models" / "tiny")
    (tmp_path / "eval" / "tiny").mkdir(parents=True)
    report = (
        "# Evaluation\n\n| system | read from |\n| --- | --- |\n| tiny | `/home/me/tiny` |\n\n## English\n\n| system | AVG |\n| --- | --- |\n"
        "| tiny | 25.0 ± 1.0 [23.0, 27.0] |\n\n<details><summary>Command and versions</summary>\n\n- `/home/me/run`\n\n</details>\n\n"
        "![Accuracy](figures/accuracies.svg)\n\n## English against Arabic\n\n- at length\n"
    )
    (tmp_path / "eval" / "tiny" / "report.md").write_text(report, encoding="utf-8")
    return tmp_path / "models" / "tiny"


def test_the_card_and_its_snippet(trained: Trained, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    """Front matter, notices in both languages, hyper-parameters, rows, scores, figures; the code in it gives an answer."""
    assert here("axolotl_configs.curves", folder).code == 0
    ran = here("axolotl_configs.card", folder)
    assert ran.code == 0, ran.said
    text = (folder / "merged" / "README.md").read_text(encoding="utf-8")
    front = yaml.safe_load(text.split("---")[1])
    assert front["language"] == ["en", "ar"] and front["license"] == "other" and front["library_name"] == "transformers"
    for words in (
        "not for clinical use",
        "للأغراض البحثية فقط",
        "<s>[INST] question [/INST]",
        "| `lora_r` | `16` |",
        "25.0 ± 1.0",
        "174 rows",
        "figures/router.png",
    ):
        assert words in text, words
    assert str(folder) not in text and str(trained.build) not in text
    assert "/home/me" not in text and "accuracies.svg" not in text and "at length" not in text
    assert (folder / "merged" / "figures" / "router.png").is_file()
    snippet = re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]
    monkeypatch.chdir(folder / "merged")
    exec(compile(snippet.replace("max_new_tokens=256", "max_new_tokens=4"), "card", "exec"), {})  # noqa: S102 (the card's own code)
    assert capsys.readouterr().out.strip() is not None


def test_a_dry_run_lists_and_uploads_nothing(folder: Path) -> None:
    """Both repositories, every file with size and checksum, the command that would upload."""
    ran = command("axolotl_configs.publish", folder / "merged", "--repo", "somebody/tiny")
    assert ran.code == 0, ran.said
    for words in ("verified: the merged model is base + adapter", "somebody/tiny on the Hugging Face Hub", "somebody/tiny-adapter on", "nothing was uploaded"):
        assert words in ran.said, words
    assert re.search(r"[\d,]+ bytes  [0-9a-f]{16}  model\.safetensors", ran.said) and "adapter_model.safetensors" in ran.said
    assert '"base"' in (folder / "publish-adapter" / "adapter_config.json").read_text()


def test_what_must_not_be_published(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No token, no owner, a merge of another adapter, a folder that was not trained here: one line each, nothing sent."""
    monkeypatch.delenv("HF_TOKEN", raising=False)
    merged = folder / "merged"
    for arguments, words in (
        ([merged, "--repo", "somebody/tiny", "--upload"], "there is no token: set HF_TOKEN"),
        ([merged, "--repo", "tiny"], "write owner/name"),
        ([merged, "--repo", "your-name/tiny", "--upload"], "put your own name in place of your-name"),
        ([folder / "adapter", "--repo", "somebody/tiny"], "name the folder `merged` of a model that was trained here"),
    ):
        ran = here("axolotl_configs.publish", *arguments)
        assert ran.code == 2 and words in ran.said and "Traceback" not in ran.said, ran.said
    told = (merged / "merge.json").read_text()
    (merged / "merge.json").write_text(re.sub(r'"adapter_sha256": "\w+"', '"adapter_sha256": "0"', told))
    ran = here("axolotl_configs.publish", merged, "--repo", "somebody/tiny")
    assert ran.code == 2 and "another adapter than" in ran.said, ran.said
    assert "HF_TOKEN" not in os.environ
