"""The tiny recipe: the project's own samples, as `make data` turns them into training rows and question sets."""

import hashlib
from collections import Counter, defaultdict

import pytest

from data_prep.records import EvaluationRow, ShareGPTRow
from tests.data_prep.conftest import Built, accounted, run_build

AREAS = {
    "clinical_knowledge",
    "college_biology",
    "college_medicine",
    "medical_genetics",
    "professional_medicine",
    "anatomy",
    "medmcqa",
    "medqa",
    "pubmedqa",
}
ROW_KEYS = ["id", "conversations", "lang", "kind", "source", "split", "origin_id"]
LANGS = ("en", "ar")
TRAINING = ("train", "validation")


def arabic_share(text: str) -> float:
    """The part of a text's letters that are Arabic; 0 where there is no letter."""
    letters = [character for character in text if character.isalpha()]
    return sum("\u0600" <= character <= "\u06ff" for character in letters) / max(len(letters), 1)


def training_rows(built: Built) -> list[dict]:
    return [row for split in TRAINING for row in built.rows(f"{split}.jsonl")]


def held_out(built: Built) -> list[dict]:
    return [row for area in sorted(AREAS) for lang in LANGS for row in built.rows(f"eval/{area}_{lang}.jsonl")]


def test_counts_of_the_samples(samples: Built) -> None:
    """The promised set: 126 questions, 60 open questions and 30 chats, each in both languages."""
    trained = Counter((row["kind"], row["lang"], row["split"]) for row in training_rows(samples))
    for lang in LANGS:
        counts = {kind: [trained[kind, lang, split] for split in TRAINING] for kind in ("mcqa", "qa", "chat")}
        assert counts == {"mcqa": [72, 18], "qa": [54, 6], "chat": [27, 3]}
        assert sum(row["lang"] == lang for row in held_out(samples)) == 36


def test_the_demo_trains_on_all_questions_and_on_every_kind(tiny: Built) -> None:
    """The demo's model is judged on at least 60 questions in each language, and must have seen open questions and chats in both."""
    trained = Counter((row["kind"], row["lang"]) for row in tiny.rows("train.jsonl"))
    assert [trained["mcqa", lang] for lang in LANGS] == [72, 72]
    assert all(trained[kind, lang] > 0 for kind in ("qa", "chat") for lang in LANGS)


def test_nine_areas_are_in_every_split(either: Built) -> None:
    """A benchmark without training or held-out questions in one language would leave an empty cell in the report."""
    areas = defaultdict(set)
    for lang in LANGS:
        for row in either.rows(f"eval/seen_{lang}.jsonl") + [row for row in held_out(either) if row["lang"] == lang]:
            areas[lang, row["origin_id"].split(":")[1]].add(row["benchmark"])
    assert dict(areas) == {(lang, split): AREAS for lang in LANGS for split in ("train", "test")}


def test_each_sample_has_one_split_and_both_languages(samples: Built) -> None:
    """A question that trains in English and is tested in Arabic would make the score a memory test."""
    splits, langs = defaultdict(set), defaultdict(set)
    for row in training_rows(samples) + held_out(samples):
        name = row["origin_id"].split(":")[-1]
        splits[name].add(row.get("split", "test"))
        langs[name].add(row["lang"])
        assert row["id"].startswith(row["origin_id"] + ":" + row["lang"])
    assert len(splits) == 126 + 60 + 30
    assert [name for name, where in splits.items() if len(where) != 1] == []
    assert [name for name, spoken in langs.items() if spoken != set(LANGS)] == []


def test_held_out_questions_never_train(either: Built) -> None:
    """Held-out questions in the training text would make the held-out score worthless."""
    trained = "\n".join(turn["value"] for row in training_rows(either) for turn in row["conversations"])
    assert [row["id"] for row in held_out(either) if row["question"] in trained] == []


def test_seen_sets_are_the_trained_questions(either: Built) -> None:
    """`seen_*` tells whether training took: a question in it that did not train, or with another answer, would blur that."""
    trained = {row["id"]: row["conversations"] for row in either.rows("train.jsonl") if row["kind"] == "mcqa"}
    seen = [row for lang in LANGS for row in either.rows(f"eval/seen_{lang}.jsonl")]
    assert sorted(trained) == sorted(row["id"] for row in seen)
    for row in seen:
        asked, said = trained[row["id"]]
        assert asked["value"] == row["prompt"]
        assert said["value"].endswith(f"{row['lead']} {row['letters'][row['answer']]}.")


def test_training_rows_keep_the_contract(either: Built) -> None:
    """Axolotl reads these keys and no others; a row out of step would be dropped or would train the wrong side."""
    rows = training_rows(either)
    assert {tuple(row) for row in rows} == {tuple(ROW_KEYS)}
    assert len({row["id"] for row in rows}) == len(rows)
    for row in rows:
        ShareGPTRow.model_validate(row)
        assert [turn["from"] for turn in row["conversations"]] == ["human", "gpt"] * (len(row["conversations"]) // 2)
        assert all(set(turn) == {"from", "value"} and turn["value"] == turn["value"].strip() != "" for turn in row["conversations"])


def test_chats_have_three_exchanges(samples: Built) -> None:
    """One-exchange chats would teach no follow-up questions."""
    assert min(len(row["conversations"]) for row in training_rows(samples) if row["kind"] == "chat") >= 6


def test_each_language_is_written_in_its_script(samples: Built) -> None:
    """An English sentence in the Arabic set, or the other way round, would teach the model to answer in the wrong language."""
    for row in training_rows(samples):
        for turn in row["conversations"]:
            share = arabic_share(turn["value"])
            assert (share > 0.85) if row["lang"] == "ar" else (share == 0), (row["id"], turn["value"])
    for row in held_out(samples):
        share = arabic_share(row["prompt"])
        assert (share > 0.85) if row["lang"] == "ar" else (share == 0), row["id"]


def test_question_sets_are_answerable(either: Built) -> None:
    """lm-eval indexes `letters` with `answer`: one out of range would stop the evaluation half-way."""
    for row in held_out(either):
        EvaluationRow.model_validate(row)
        assert len(row["letters"]) == len(row["options"]) > row["answer"] >= 0
        assert all(f"{letter}. {option}" in row["prompt"] for letter, option in zip(row["letters"], row["options"], strict=True))


@pytest.mark.parametrize("lang", LANGS)
def test_right_letters_are_spread(tiny: Built, lang: str) -> None:
    """Were the right answer mostly A, a model that always says A would look taught."""
    answers = Counter(row["letters"][row["answer"]] for row in tiny.rows(f"eval/seen_{lang}.jsonl"))
    assert max(answers.values()) <= 0.4 * 72


def test_both_languages_have_the_same_answer(samples: Built) -> None:
    """A translation whose options were reordered would have one wrong key."""
    answers = defaultdict(set)
    for row in held_out(samples) + [row for lang in LANGS for row in samples.rows(f"eval/seen_{lang}.jsonl")]:
        answers[row["origin_id"]].add((row["answer"], len(row["options"])))
    assert [origin for origin, pairs in answers.items() if len(pairs) != 1] == []


def test_files_hold_real_characters(tiny: Built) -> None:
    """`\\u0627` instead of a letter makes a file that nobody can review."""
    for name, content in tiny.files().items():
        assert b"\\u" not in content, name
        assert content.endswith((b"\n", b"}")), name


def test_manifest_tells_the_truth(tiny: Built) -> None:
    """The manifest is the only record of what went in: each output's rows and hash, each source's rows one by one."""
    manifest = tiny.manifest
    assert accounted(manifest)
    assert manifest["recipe"] == "tiny" and manifest["seconds"] >= 0
    assert [entry["read"] for entry in manifest["inputs"]] == [252, 120, 60]
    assert set(manifest["outputs"]) | {"manifest.json"} == set(tiny.files())
    for name, entry in manifest["outputs"].items():
        content = tiny.files()[name]
        assert (entry["rows"], entry["sha256"]) == (content.count(b"\n"), hashlib.sha256(content).hexdigest()), name


def test_two_runs_write_the_same_bytes(tiny: Built, tmp_path) -> None:
    """Else nobody could rebuild the data of a published model; a second run into the same folder counts as well."""
    for _ in range(2):
        again = run_build(tmp_path)
        assert again.code == 0, again.said
        assert again.files() == tiny.files()
    assert again.leftovers() == []
