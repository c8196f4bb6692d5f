"""No test question trains, in whatever clothes: planted leaks are found, and clean rows stay."""

import json
import random
from pathlib import Path

import pytest

from data_prep import locate, matching, recipe
from data_prep.decontaminate import in_order
from data_prep.records import MultipleChoice
from tests.data_prep.conftest import ROOT, Built, accounted, build_from

PLANTED = 150  # of each kind and test set
SETS = {
    "medmcqa": {"reader": "medmcqa", "file": "medmcqa/dev.json", "split": "test", "answer_base": 1},
    "medqa": {"reader": "medqa", "file": "medqa/US_4options_test.jsonl", "split": "test"},
    "anatomy": {"reader": "mmlu", "file": "mmlu_med/test/anatomy_test.csv", "benchmark": "anatomy", "split": "test"},
    "pubmedqa": {"reader": "pubmedqa", "file": "pubmedqa/ori_pqal.json", "test_ids": "test_ground_truth.json"},
}
SAMPLES = [{"reader": "samples", "file": "mcqa.jsonl"}]


def questions_of(source: dict, data: Path) -> list[MultipleChoice]:
    """The test questions of one source, as its reader gives them."""
    found = locate.read(locate.Found(recipe.Source.model_validate(source), data / source["file"], source["file"], source["reader"], options(source)))
    return [row for row in found if isinstance(row, MultipleChoice) and row.split == "test"]


def options(source: dict) -> dict:
    return {key: value for key, value in source.items() if key not in ("reader", "file")}


def mcqa(record: MultipleChoice, name: str, **changes: object) -> dict:
    """A training row made of a test question."""
    row = record.model_dump() | {"kind": "mcqa", "id": f"{name}:{record.lang}", "origin_id": name, "split": "train", "source": "planted"}
    return row | changes


def one_in_five(texts: list[str], words: list[str], rng: random.Random) -> list[str]:
    """The texts with one word in five of all of them, at least one, replaced by a word from other questions."""
    split = [text.split() for text in texts]
    places = [(part, place) for part, text in enumerate(split) for place in range(len(text))]
    for part, place in rng.sample(places, max(round(len(places) / 5), 1)):
        split[part][place] = rng.choice(words)
    return [" ".join(text) for text in split]


def plant(record: MultipleChoice, number: int, vocabulary: list[str], rng: random.Random) -> dict[str, dict]:
    """One leak of each kind, made of a test question."""
    marked = record.question.upper().replace(" ", "  ").rstrip("?.:") + " .." if record.lang == "en" else record.question.replace("ا", "أ").replace("ل", "لـ")
    order = list(range(len(record.options)))[::-1]
    turned = {"options": [record.options[place] for place in order], "answer": order.index(record.answer)}
    name = f"{record.benchmark}{number}"
    changed, *choices = one_in_five([record.question, *record.options], vocabulary, rng)
    stem = one_in_five([record.question], vocabulary, rng)[0]
    chat = [{"from": "human", "value": "أشعر بألم في البطن منذ يومين."}, {"from": "gpt", "value": "متى بدأ الألم؟ وهل هناك حمى؟"}]
    common = {"lang": "ar", "source": "planted", "split": "train", "origin_id": record.origin_id}
    return {
        "exact": mcqa(record, f"{name}exact"),
        "normalised": mcqa(record, f"{name}normalised", question=marked),
        "options in another order": mcqa(record, f"{name}turned", **turned),
        "an option more": mcqa(record, f"{name}five", options=[*record.options, f"None of the {number} above"]) if len(record.options) < 5 else None,
        "words changed": mcqa(record, f"{name}changed", question=changed, options=choices),
        "words of the question changed": mcqa(record, f"{name}stem", question=stem),
        "translation": common | {"kind": "qa", "id": f"{name}translation:ar", "question": f"سؤال مترجم رقم {number}", "answer": "جواب"},
        "chat": common | {"kind": "chat", "id": f"{name}chat:ar", "turns": chat},
    }


def build_planted(tmp_path: Path, data: Path, sources: list[dict], clean: list[dict], most: int = PLANTED) -> tuple[Built, dict[str, set[str]]]:
    """Build the sets, their planted leaks and clean training sources; returns the build and the ids planted of each kind."""
    rng, planted = random.Random(20), {}
    folder = tmp_path / "data"
    folder.mkdir()
    for entry in data.iterdir():
        (folder / entry.name).symlink_to(entry)
    with (folder / "planted.jsonl").open("w", encoding="utf-8") as out:
        for source in sources:
            tests = questions_of(source, data)
            vocabulary = [word for record in tests for word in record.question.split()]
            for number, record in enumerate(rng.sample(tests, min(most, len(tests)))):
                for kind, row in plant(record, number, vocabulary, rng).items():
                    if row is not None:
                        planted.setdefault(kind, set()).add(row["id"])
                        out.write(json.dumps(row, ensure_ascii=False) + "\n")
    built = build_from(tmp_path, folder, *clean, {"reader": "records", "file": "planted.jsonl"}, *sources)
    assert built.code == 0, built.said
    return built, planted


@pytest.fixture(scope="module")
def real(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Built, dict[str, set[str]]]:
    """Leaks planted among the real training files, with the real test sets."""
    clean = [
        {"reader": "medmcqa", "file": "medmcqa/selfbiorag_train_1000.json", "split": "train", "form": "selfbiorag"},
        {"reader": "medqa", "file": "medqa/selfbiorag_5options_train_first1000.json", "split": "train", "form": "selfbiorag"},
        {"reader": "medquad", "file": "medquad/medquad_xml_all.tar.gz"},
        {"reader": "chatdoctor", "file": "chatdoctor/chatdoctor5k.json"},
    ]
    return build_planted(tmp_path_factory.mktemp("planted"), real_data, list(SETS.values()), clean)


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> tuple[Built, dict[str, set[str]]]:
    """The same with the project's own samples, in both languages, for a checkout without the real files."""
    return build_planted(tmp_path_factory.mktemp("planted"), ROOT / "data_prep" / "samples", SAMPLES, [{"reader": "samples", "file": "qa.jsonl"}])


ALL = ("exact", "normalised", "options in another order", "an option more", "translation", "chat")


@pytest.mark.parametrize("of", ["real", "samples"])
@pytest.mark.parametrize("kind", [*ALL, "words changed", "words of the question changed"])
def test_planted_leaks_are_found(of: str, kind: str, request: pytest.FixtureRequest) -> None:
    """Every copy in other clothes, every translation and chat by its origin, and 95% of those with one word in five changed."""
    built, planted = request.getfixturevalue(of)
    found = {hit["train_id"] for hit in built.rows("contamination.jsonl")}
    share = len(planted[kind] & found) / len(planted[kind])
    assert share == 1 if kind in ALL else share >= 0.95, f"{share:.1%} of {len(planted[kind])}"
    assert not found & {row["id"] for row in built.rows("train.jsonl")}


@pytest.mark.parametrize("of", ["real", "samples"])
def test_clean_rows_stay(of: str, request: pytest.FixtureRequest) -> None:
    """At most one clean row in a thousand goes. Of the real files 11 of the 15 that go are rewordings of test questions (docs/DATA.md)."""
    built, planted = request.getfixturevalue(of)
    hits = [hit for hit in built.rows("contamination.jsonl") if not any(hit["train_id"] in ids for ids in planted.values())]
    clean = sum(entry["used"].get("train", 0) for entry in built.manifest["inputs"]) + len(hits)
    assert len(hits) <= 0.001 * clean, [(hit["train_text"][:100], hit["test_text"][:100]) for hit in hits]
    assert accounted(built.manifest)


def test_the_report_shows_both_texts(real: tuple[Built, dict[str, set[str]]]) -> None:
    """A person can judge each hit: how it was found and both texts; the manifest has the counts and the sets that were compared with."""
    built, _ = real
    hits = built.rows("contamination.jsonl")
    assert all(hit["train_text"] and hit["test_text"] and hit["score"] > 0 for hit in hits)
    assert len(hits) == sum(built.manifest["contamination"]["methods"].values()) == built.manifest["rejected"]["in_test_set"]
    assert built.manifest["contamination"]["against"] == {"anatomy_en": 135, "medmcqa_en": 4183, "medqa_en": 1273, "pubmedqa_en": 500}
    assert {"exact", "normalised", "options", "similar", "origin"} <= set(built.manifest["contamination"]["methods"])


BOILERPLATE = "His temperature is 37 C (98.6 F), pulse is 80/min, respirations are 16/min, and blood pressure is 120/80 mm Hg."
OTHER = "My uncle fell from a ladder while he was picking olives, cannot lift his left arm and feels no touch on the outside of the shoulder."
CASE = "A 61-year-old gardener with a swollen thumb after pruning roses two weeks ago has nodules along the lymphatics of the forearm"


def row(name: str, split: str, question: str, options: list[str], **more: object) -> dict:
    common = {"kind": "mcqa", "id": f"{name}:en", "origin_id": name, "lang": "en", "source": "ours", "split": split, "benchmark": "ours", "answer": 0}
    return common | {"question": question, "options": options} | more


@pytest.mark.parametrize(
    ("train", "method"),
    [
        ({"kind": "qa", "question": f"Please help me. {CASE}. What is it?", "answer": "Sporotrichosis."}, "ngram"),
        ({"kind": "qa", "question": "Tell me of roses.", "answer": f"Here is a case. {CASE}. It is sporotrichosis."}, "ngram"),
        ({"kind": "chat", "turns": [{"from": "human", "value": f"{CASE}. What is it?"}, {"from": "gpt", "value": "It is sporotrichosis."}]}, "normalised"),
        ({"kind": "qa", "question": f"{OTHER} {BOILERPLATE} What is it?", "answer": "See a doctor."}, None),
        ({"kind": "qa", "question": "A 61-year-old gardener with a swollen thumb. What now?", "answer": "See a doctor."}, None),
    ],
)
def test_a_long_passage_leaks(tmp_path: Path, train: dict, method: str | None) -> None:
    """Thirteen words in a row that make up half of a test question, in question, answer or chat; what several test questions share is boilerplate."""
    tests = [row("t1", "test", f"{CASE}. What is it?", ["Sporotrichosis", "Gout"])]
    tests += [
        row(f"t{n}", "test", f"A {n}0-year-old man has pain in the {part}. {BOILERPLATE} What is it?", [part, "Gout"]) for n, part in ((2, "knee"), (3, "hip"))
    ]
    trains = {"id": "x:en", "origin_id": "x", "lang": "en", "source": "ours", "split": "train"} | train
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in [trains, *tests]), encoding="utf-8")
    built = build_from(tmp_path, tmp_path, {"reader": "records", "file": "rows.jsonl"})
    assert built.manifest["contamination"]["methods"] == ({method: 1} if method else {})
    assert len(built.rows("train.jsonl")) == (0 if method else 1)


def test_the_share_in_order() -> None:
    """Twice the longest common subsequence over both lengths."""
    one, other = (matching.hashes(text.split()) for text in ("a b c d e", "a x c e d"))
    assert in_order(one, other) == pytest.approx(2 * 3 / 10) and in_order(one, one) == 1 and in_order(one, one[:0]) == 0
