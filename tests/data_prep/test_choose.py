"""Which rows go to the language-model steps: those of the built data set and no others; and how the next build finds what the steps made."""

import json
import os
import random
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from data_prep import choose, generate, registry
from data_prep.records import BadInput, Reject
from data_prep.sources import medmcqa, records
from tests.conftest import ROOT, Ran, command
from tests.data_prep.conftest import Built, run_build, write_recipe

WORDS = [
    "fever",
    "cough",
    "rash",
    "liver",
    "kidney",
    "ulcer",
    "anaemia",
    "dose",
    "tremor",
    "plasma",
    "artery",
    "biopsy",
    "nausea",
    "oedema",
    "thyroid",
    "marrow",
]
COPIES = {"copy-4": 4, "copy-9": 9}  # id -> the question that it repeats
LEAK, TWICE = "leak-0", "q11"


def question(name: str, number: int) -> dict:
    """A question as MedMCQA's owner publishes it, unlike all others; every third has an explanation, one has white space around it."""
    chance = random.Random(number)
    asked = f"{' '.join(chance.sample(WORDS, 10))} in patient {number}?"
    options = {key: f"{key} {' '.join(chance.sample(WORDS, 2))}" for key in medmcqa.OPTION_KEYS}
    said = f"Because of {' '.join(chance.sample(WORDS, 3))}." if number % 3 == 0 else None
    return {"id": name, "question": f"  {asked} " if number == 5 else asked, **options, "cop": 1 + number % 4, "exp": said}


def write_lines(path: Path, rows: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def chosen(build: Path, *options: object, recipe: object, data: Path | None = None) -> Ran:
    return command("data_prep.choose", "--recipe", recipe, "--build", build, *(["--data", data] if data else []), *options)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """40 training questions, 3 copies and a leak among them, 6 test questions; built with two rows a question, copies of rows, and held-out ones."""
    folder = tmp_path_factory.mktemp("house")
    train = [question(f"q{number}", number) for number in range(40)]
    train[20:20] = [question(name, number) for name, number in COPIES.items()] + [question(LEAK, 100), question(TWICE, 77)]
    write_lines(folder / "data" / "medmcqa" / "train.json", train)
    write_lines(folder / "data" / "medmcqa" / "dev.json", [question(f"t{number}", 100 + number) for number in range(6)])
    mix = {"groups": [{"kind": "mcqa", "lang": "en", "rows": 75, "upsample": 3}, {"lang": "ar", "rows": 100}, {"kind": "chat", "rows": 9}]}
    sources = [{"from": name} for name in ("medmcqa_validation", "medmcqa_train", "medmcqa_ar", "chats_en")]
    more = {"mcqa_answers": ["letter", "explained"], "deduplicate": {}, "hold_out": 0.2, "mix": mix, "seed": 5}
    recipe = write_recipe(folder / "ours.yaml", *sources, **more)
    built = run_build(folder / "build", recipe, folder / "data")
    assert built.code == 0, built.said
    ran = chosen(folder / "build", recipe=recipe, data=folder / "data")
    assert ran.code == 0, ran.said
    return SimpleNamespace(folder=folder, recipe=recipe, data=folder / "data", build=folder / "build", built=built, said=ran.said)


def test_what_was_used_is_chosen(house: SimpleNamespace) -> None:
    """Every record of the training and validation rows once, whatever their rows are called; in the order of the source; no leak and no copy."""
    train, held = ({row["origin_id"] for row in house.built.rows(f"{split}.jsonl")} for split in ("train", "validation"))
    names = [row["id"] for row in house.built.rows("train.jsonl")]
    assert {name.split(":", 4)[-1] for name in names} >= {"letter", "explained", "letter:copy2"} and train and held  # the ids that had to be seen through
    path = house.build / "generate" / "ours" / "medmcqa_ar.jsonl"
    rows = lines(path)
    assert {row["origin_id"] for row in rows} == train | held and len(rows) == len(train | held)
    gone = {f"medmcqa:train:{name}" for name in (*COPIES, LEAK)}
    assert not gone & {row["origin_id"] for row in rows}
    source = list(medmcqa.read(house.data / "medmcqa" / "train.json"))
    order = {record.origin_id: place for place, record in reversed(list(enumerate(source)))}
    assert [order[row["origin_id"]] for row in rows] == sorted(order[row["origin_id"]] for row in rows)
    read = {record.id: record for record in records.read(path)}
    assert not any(isinstance(record, Reject) for record in read.values()) and len(read) == len(rows)
    assert read[f"medmcqa:train:{TWICE}:en"].question == question(TWICE, 11)["question"]  # of two rows with one id the first is used, here as in the build
    assert read["medmcqa:train:q5:en"].question == question("q5", 5)["question"].strip()
    assert all(read[record.id].explanation == record.explanation for record in source if record.origin_id in train | held and TWICE not in record.id)
    assert f"{path}: {len(train)} of {len(train)} training rows, {len(held)} validation rows; sha256 " in house.said
    assert lines(path.with_name("chats_en.jsonl")) == rows  # made from the same questions
    account = json.loads(path.with_name("medmcqa_ar.manifest.json").read_text(encoding="utf-8"))
    assert (account["rows"], account["had"]) == (len(rows), len(train))
    assert account["built"]["train.jsonl"] == house.built.manifest["outputs"]["train.jsonl"]["sha256"]


def test_the_benchmark_is_chosen_whole(house: SimpleNamespace) -> None:
    rows = lines(house.build / "generate" / "ours" / "benchmark_ar.jsonl")
    assert [(row["id"], row["split"]) for row in rows] == [(f"medmcqa:test:t{number}:en", "test") for number in range(6)]
    assert [row["question"] for row in rows] == [question("t", 100 + number)["question"] for number in range(6)]


def test_nothing_is_touched_that_is_as_it_should_be(house: SimpleNamespace) -> None:
    """A step that is at work on a file keeps it; one that somebody changed is written again."""
    paths = {name: house.build / "generate" / "ours" / f"{name}.jsonl" for name in ("medmcqa_ar", "chats_en", "benchmark_ar")}
    before = {name: (path.read_bytes(), path.stat().st_mtime_ns) for name, path in paths.items()}
    paths["chats_en"].write_text("{}\n", encoding="utf-8")
    ran = chosen(house.build, "--only", "chats_en,medmcqa_ar", recipe=house.recipe, data=house.data)
    assert ran.code == 0 and "benchmark_ar" not in ran.said, ran.said
    assert {name: path.read_bytes() for name, path in paths.items()} == {name: content for name, (content, _) in before.items()}
    assert [paths[name].stat().st_mtime_ns == before[name][1] for name in ("medmcqa_ar", "benchmark_ar", "chats_en")] == [True, True, False]
    assert not [path for path in paths["chats_en"].parent.iterdir() if path.name.startswith(".")]


def test_too_many_rows_are_drawn(house: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as the registry expects, the same in every run, in their order; of more rows the first ones stay. Held-out rows come in the same share."""

    def few(most: int) -> tuple[list[str], list[str]]:
        rows = yaml.safe_load(registry.FILE.read_text(encoding="utf-8"))
        rows["medmcqa_ar"]["expected"] = most
        (tmp_path / "registry.yaml").write_text(yaml.safe_dump(rows), encoding="utf-8")
        with monkeypatch.context() as patch:
            patch.setattr(registry, "FILE", tmp_path / "registry.yaml")
            patch.setattr(registry, "entries", cache(registry.entries.__wrapped__))
            (path,) = choose.choose(str(house.recipe), house.data, tmp_path / "build", only=["medmcqa_ar"]).values()
        names = [row["origin_id"] for row in lines(path)]
        assert names == [name for name in whole if name in names]
        return [name for name in names if name in train], [name for name in names if name not in train]

    shutil.copytree(house.built.out, tmp_path / "build" / "data" / "ours")
    whole = [row["origin_id"] for row in lines(house.build / "generate" / "ours" / "chats_en.jsonl")]
    train = {row["origin_id"] for row in house.built.rows("train.jsonl")}
    (eight, held), (sixteen, more), (again, _) = few(8), few(16), few(8)
    assert (len(eight), len(sixteen)) == (8, 16) and eight == again and set(eight) < set(sixteen)
    assert eight != [name for name in whole if name in train][:8]
    assert set(held) <= set(more) < set(whole) - train


def test_the_next_build_finds_what_was_made(house: SimpleNamespace, tmp_path: Path) -> None:
    """Below BUILD/generated; the rows say how they were made, which is passed over. Then the same rows are chosen again, and none that a model made."""
    before = {path.name: path.read_bytes() for path in (house.build / "generate" / "ours").glob("*.jsonl")}
    made = [
        row | {"id": row["id"].replace(":en", ":ar"), "lang": "ar", "question": f"سؤال {number} عن {row['question']}", "made": {"by": "a model", "score": 90}}
        for number, row in enumerate(lines(house.build / "generate" / "ours" / "medmcqa_ar.jsonl"))
    ]
    made[0]["made"], made[1]["made"] = None, "by hand"
    write_lines(tmp_path / "build" / "generated" / "medmcqa_ar.jsonl", made)
    built = run_build(tmp_path / "build", house.recipe, house.data)
    assert built.code == 0 and "missing: medmcqa_ar" not in built.said, built.said
    assert "missing: chats_en: " in built.said and "ONLY=chats_en" in built.said
    assert "its place is DATA/generated/chats_en.jsonl (133,134 rows), or BUILD/generated/chats_en.jsonl" in built.said
    entry = next(entry for entry in built.manifest["inputs"] if entry["source"] == "medmcqa_ar")
    assert entry["file"] == "generated/medmcqa_ar.jsonl" and entry["read"] == len(made) and entry["rejected"] == {"invalid_made": 2}
    assert ["must be an object" in reject["message"] for reject in built.rows("rejected/invalid_made.jsonl")] == [True, True]
    arabic = [row for split in ("train", "validation") for row in built.rows(f"{split}.jsonl") if row["lang"] == "ar"]
    assert {row["origin_id"] for row in arabic} == {row["origin_id"] for row in made[2:]} and "a model" not in json.dumps(arabic)
    assert any(row["lang"] == "ar" for row in built.rows("validation.jsonl"))  # held-out questions have translations to validate with
    ran = chosen(tmp_path / "build", recipe=house.recipe, data=house.data)
    assert ran.code == 0, ran.said
    assert {path.name: path.read_bytes() for path in (tmp_path / "build" / "generate" / "ours").glob("*.jsonl")} == before


def test_a_recipe_without_generated_sources(tiny: Built) -> None:
    """Its English rows become one translation, its questions chats in both languages; what is Arabic already is not chosen."""
    build = tiny.out.parents[1]
    ran = chosen(build, recipe="tiny")
    assert ran.code == 0, ran.said
    rows = {path.stem: lines(path) for path in (build / "generate" / "tiny").glob("*.jsonl")}
    english = [row["id"] for split in ("train", "validation") for row in tiny.rows(f"{split}.jsonl") if row["lang"] == "en"]
    assert sorted(rows) == ["tiny_ar", "tiny_benchmark_ar", "tiny_chats_ar", "tiny_chats_en"]
    assert sorted(row["id"] for row in rows["tiny_ar"]) == sorted(english) and {row["kind"] for row in rows["tiny_ar"]} == {"mcqa", "qa", "chat"}
    assert rows["tiny_chats_en"] == rows["tiny_chats_ar"] == [row for row in rows["tiny_ar"] if row["kind"] == "mcqa"]
    assert len(rows["tiny_benchmark_ar"]) == 36 and {row["split"] for row in rows["tiny_benchmark_ar"]} == {"test"}


BAD = {
    # name: (what to do to a copy of the house, options, words of the message)
    "not built": (lambda at: at.built.out.rename(at.folder / "away"), [], "make data RECIPE=ours"),
    "another recipe": (lambda at: at.recipe.write_text(at.recipe.read_text().replace("seed: 5", "seed: 4")), [], "before the recipe was changed"),
    "another file": (lambda at: write_lines(at.data / "medmcqa" / "train.json", [question("q1", 1)]), [], "train.json: it is not the file that"),
    "a file gone": (lambda at: (at.data / "medmcqa" / "train.json").unlink(), [], "built from medmcqa/train.json, which is not there now"),
    "a name that is none": (lambda at: None, ["--only", "medmcqa"], "nothing is called 'medmcqa' here: choose from medmcqa_ar, chats_en, benchmark_ar"),
    "the other step": (lambda at: None, ["--only", "chats_en", "--step", "translate"], "make chats ONLY=chats_en"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_chosen_is_told(house: SimpleNamespace, tmp_path: Path, name: str) -> None:
    """In one line with what to run, and nothing is written."""
    spoil, options, words = BAD[name]
    shutil.copytree(house.folder, tmp_path / "house")
    at = SimpleNamespace(folder=tmp_path / "house", recipe=tmp_path / "house" / "ours.yaml", data=tmp_path / "house" / "data")
    at.built = Built(0, "", at.folder / "build" / "data" / "ours")
    before = {path.name: path.read_bytes() for path in (at.folder / "build" / "generate" / "ours").iterdir()}
    spoil(at)
    ran = chosen(at.folder / "build", *options, recipe=at.recipe, data=at.data)
    assert ran.code == 2 and words in ran.said and "Traceback" not in ran.said, ran.said
    assert {path.name: path.read_bytes() for path in (at.folder / "build" / "generate" / "ours").iterdir()} == before


def test_a_step_that_stops_early_stops_the_rest(tiny: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each file goes through the step with the user's options; after exit status 3 none is begun, and make sees the 3."""
    begun: list[list[str]] = []
    for step in ("translate", "chats"):
        monkeypatch.setitem(sys.modules, f"data_prep.{step}", SimpleNamespace(main=lambda options: begun.append(options) or (3 if len(begun) == 3 else 0)))
    build = str(tiny.out.parents[1])
    codes = []
    for step in ("translate", "chats"):
        monkeypatch.setattr(sys, "argv", ["generate", step, "--recipe", "tiny", "--build", build, "--budget-usd", "5", "--limit=2"])
        try:
            generate.main()
            codes.append(0)
        except SystemExit as end:
            codes.append(end.code)
    assert codes == [0, 3]
    rest = ["--build", build, "--budget-usd", "5", "--limit=2"]
    names = ["tiny_ar", "tiny_benchmark_ar", "tiny_chats_en"]
    ways = {name: ["--in", f"{build}/generate/tiny/{name}.jsonl", "--out", f"{build}/generated/{name}.jsonl"] for name in names}
    assert begun == [ways["tiny_ar"] + rest, ways["tiny_benchmark_ar"] + rest, [*ways["tiny_chats_en"], *rest[:2], "--lang", "en", *rest[2:]]]


def test_rows_of_ones_own_do_not_go_with_a_recipe(tiny: Built) -> None:
    ran = command("data_prep.generate", "chats", "--recipe", "tiny", "--build", tiny.out.parents[1], "--in=rows.jsonl", "--lang", "ar")
    assert ran.code == 2 and "--in and --lang follow from the recipe" in ran.said and "python -m data_prep.chats --in .. --out .." in ran.said


def test_make_says_what_it_runs() -> None:
    """Without a key on any command line; half of IN and OUT is refused rather than a whole recipe paid for."""

    def make(*words: str) -> tuple[int, str]:
        outside = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}  # as if `make test` had not called it
        ran = subprocess.run(["make", "-n", *words], cwd=ROOT, capture_output=True, text=True, check=False, env=outside)
        return ran.returncode, " ".join((ran.stdout + ran.stderr).splitlines()[-1].split())

    assert make("translate", "IN=a", "OUT=b", "LLM_MODEL=m", "LLM_ARGS=--limit 3")[1] == (
        ".venv/bin/python -m data_prep.translate --in a --out b --build build --model m --limit 3"
    )
    wanted = ".venv/bin/python -m data_prep.generate chats --recipe r --data d --only chats_ar --build x"
    assert make("chats", "RECIPE=r", "DATA=d", "ONLY=chats_ar", "BUILD=x") == (0, wanted)
    for half, words in (("IN=a", "OUT is missing"), ("OUT=b", "IN is missing")):
        code, said = make("translate", half)
        assert code == 2 and words in said
    assert "KEY" not in " ".join(line for line in (ROOT / "Makefile").read_text(encoding="utf-8").splitlines() if not line.startswith("#"))


def test_nothing_to_choose_from(tmp_path: Path) -> None:
    """A data set without English rows has nothing for a step: told, not an empty file."""
    row = {"kind": "qa", "id": "a:1:ar", "origin_id": "a:1", "lang": "ar", "source": "a", "split": "train", "question": "ما الحمى؟", "answer": "حرارة."}
    write_lines(tmp_path / "rows.jsonl", [row])
    recipe = write_recipe(tmp_path / "arabic.yaml", {"reader": "records", "file": "rows.jsonl"})
    assert run_build(tmp_path / "build", recipe, tmp_path).code == 0
    with pytest.raises(BadInput, match="build a recipe with English rows"):
        choose.choose(str(recipe), tmp_path, tmp_path / "build")
    assert not (tmp_path / "build" / "generate").exists()
