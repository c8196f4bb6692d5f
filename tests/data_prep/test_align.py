"""The benchmark in two languages: an Arabic question stands beside its own English one, or it is named and left out."""

import csv
import json
from pathlib import Path

import pytest
import yaml

from data_prep.records import Reject
from data_prep.sources import mmmlu
from tests.conftest import ROOT, command

HEADER = ["", "Question", "A", "B", "C", "D", "Answer", "Subject"]


def samples() -> list[dict]:
    """Our own parallel questions with four options."""
    lines = (ROOT / "data_prep" / "samples" / "mcqa.jsonl").read_text(encoding="utf-8").splitlines()
    return [row for row in map(json.loads, lines) if len(row["en"]["options"]) == 4 and row["split"] == "train"]


class House:
    """A folder DATA with MMLU's English anatomy and an Arabic file in MMMLU's form, and a recipe that reads both."""

    def __init__(self, folder: Path, arabic: list[list[str]]) -> None:
        self.folder, self.asked = folder, samples()[:12]
        data = folder / "data"
        data.mkdir()
        with (data / "anatomy_test.csv").open("w", encoding="utf-8", newline="") as out:
            csv.writer(out).writerows([row["en"]["question"], *row["en"]["options"], row["answer"]] for row in self.asked)
        with (data / "mmlu_AR-XY.csv").open("w", encoding="utf-8", newline="") as out:
            csv.writer(out).writerows([HEADER, *arabic])
        sources = [{"reader": "mmlu", "file": "anatomy_test.csv", "benchmark": "anatomy"}, {"reader": "mmmlu", "file": "mmlu_AR-XY.csv"}]
        recipe = {"description": "two languages", "root": "DATA", "mcqa_answers": ["letter"], "sources": sources}
        (folder / "two.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")

    def build(self) -> dict:
        """The manifest, and the ids of the written Arabic questions under `ar`."""
        ran = command("data_prep.build", "--recipe", self.folder / "two.yaml", "--data", self.folder / "data", "--build", self.folder)
        assert ran.code == 0, ran.said
        out = self.folder / "data" / "two"
        manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
        lines = (out / "eval" / "anatomy_ar.jsonl").read_text(encoding="utf-8").splitlines()
        return manifest | {"ar": [json.loads(line)["id"] for line in lines], "said": ran.said}


def in_arabic(rows: list[dict]) -> list[list[str]]:
    """Rows as MMMLU has them, with another subject's between: numbers count within a subject."""
    found = []
    for number, row in enumerate(rows):
        found.append([str(number), row["ar"]["question"], *row["ar"]["options"], row["answer"], "anatomy"])
        found.append(["", "ما عاصمة النرويج؟", "أوسلو", "برغن", "تروندهايم", "بودو", "A", "geography"])
    return found


def test_a_file_in_order_gives_a_pair_for_each_question(tmp_path: Path) -> None:
    """Our samples are translations of one another: none is suspected, and both sides share their origins."""
    house = House(tmp_path, in_arabic(samples()[:12]))
    made = house.build()
    assert made["alignment"] == {"anatomy": {"en": 12, "ar": 12, "pairs": 12}}
    assert made["ar"] == [f"mmlu_anatomy:test:{number:04d}:ar" for number in range(1, 13)]
    assert made["rejected"] == {"other_subject": 12}
    assert "are pairs" not in made["said"]


def test_what_cannot_stand_in_a_pair_is_named_and_left_out(tmp_path: Path) -> None:
    """One fault of each kind among good rows: the good ones stay, each bad one is in rejected/ with the id of its English twin."""
    rows = in_arabic(samples()[:12])[::2]
    rows[1][6] = "ABCD"[("ABCD".index(rows[1][6]) + 1) % 4]  # another right answer
    rows[3][1] = rows[3][1].split()[0]  # cut after the first word
    rows[5][1:6] = rows[7][1:6]  # the text of another question, twice
    rows[5][6] = samples()[5]["answer"]
    house = House(tmp_path, rows[:-1])  # and one has no translation
    made = house.build()
    found = made["alignment"]["anatomy"]
    assert (found["en"], found["ar"]) == (12, 11) and found["pairs"] == len(made["ar"])
    assert f"anatomy: {found['pairs']} of 12 English and 11 Arabic questions are pairs" in made["said"]
    left = {int(name.split(":")[2]) for name in made["ar"]}
    assert left <= {1, 3, 5, 7, 9, 10, 11} and {1, 3, 5, 7, 9, 10, 11} <= left
    assert made["rejected"]["misaligned"] >= 1 and sum(made["rejected"].values()) == 4
    for path in (tmp_path / "data" / "two" / "rejected").glob("*.jsonl"):
        for line in path.read_text(encoding="utf-8").splitlines():
            reject = json.loads(line)
            assert f"{reject['content']['origin_id']}:en (anatomy_test.csv, row " in reject["message"] or path.stem == "repeated_text"


def test_a_shifted_file_is_not_taken_for_a_translation(tmp_path: Path) -> None:
    """One row lost at the top moves all others up by one: hardly a question may be left, or a benchmark of nonsense would be scored."""
    house = House(tmp_path, in_arabic(samples()[1:13]))
    ran = command("data_prep.build", "--recipe", house.folder / "two.yaml", "--data", house.folder / "data", "--build", house.folder)
    manifest = json.loads((house.folder / "data" / "two" / "manifest.json").read_text(encoding="utf-8"))
    assert ran.code == 0 and manifest["alignment"]["anatomy"]["pairs"] <= 2, manifest["alignment"]


@pytest.mark.parametrize(("name", "text", "words"), [("no columns", "a,b\n1,2\n", "lacks the columns"), ("latin", "é", "not CSV in UTF-8")])
def test_another_file_is_refused(tmp_path: Path, name: str, text: str, words: str) -> None:
    """By name, with what it lacks."""
    path = tmp_path / "mmlu_AR-XY.csv"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(Exception, match=words):
        [row for row in mmmlu.read(path) if not isinstance(row, Reject)]
