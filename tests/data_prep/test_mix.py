"""The mix takes what the recipe says and no more, the same in every run, and says what it lacks."""

import json
from collections import Counter
from pathlib import Path

import pytest

from tests.data_prep.conftest import Built, accounted, build_from

SOURCES = {("one", "en"): 300, ("two", "en"): 100, ("one", "ar"): 120}


def rows() -> list[dict]:
    """Open questions of two sources, of one of which some stand in Arabic too."""
    found = []
    for (source, lang), count in SOURCES.items():
        for number in range(count):
            origin = f"{source}:train:{number}"
            text = {"en": f"Question {number} of source {source}?", "ar": f"السؤال رقم {number} من المصدر {source}"}[lang]
            common = {"kind": "qa", "id": f"{origin}:{lang}", "origin_id": origin, "lang": lang, "source": source, "split": "train"}
            found.append(common | {"question": text, "answer": f"Answer {number}."})
    return found


def mixed(tmp_path: Path, mix: dict | None, extra: list[dict] = (), **changes: object) -> Built:
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*rows(), *extra]), encoding="utf-8")
    return build_from(tmp_path, tmp_path, {"reader": "records", "file": "rows.jsonl"}, mix=mix, **changes)


def counts(built: Built) -> dict[tuple[str, str], int]:
    return dict(Counter((row["source"], row["lang"]) for row in built.rows("train.jsonl")))


def test_counts(tmp_path: Path) -> None:
    """So many of each group; what fits no group is not taken, and the account closes."""
    built = mixed(tmp_path, {"groups": [{"source": "one", "lang": "en", "rows": 50}, {"lang": "ar", "rows": 20}]})
    assert counts(built) == {("one", "en"): 50, ("one", "ar"): 20}
    assert accounted(built.manifest) and built.manifest["inputs"][0]["not_taken"] == 450
    first = built.manifest["mix"][0]
    assert first == {"group": {"source": "one", "lang": "en"}, "wanted": 50, "had": 300, "built": 50, "repeated": 0, "shortfall": 0}


def test_the_same_in_every_run(tmp_path: Path) -> None:
    """The seed decides; another one chooses other rows; the order is that of the file."""
    mix = {"groups": [{"lang": "en", "rows": 80}]}
    found = [[row["id"] for row in mixed(tmp_path, mix, seed=seed).rows("train.jsonl")] for seed in (3, 3, 4)]
    assert found[0] == found[1] != found[2]
    order = [row["id"] for row in rows()]
    assert found[0] == [name for name in order if name in set(found[0])]


def test_more_rows_elsewhere_change_nothing(tmp_path: Path) -> None:
    """A source that is added must not reshuffle the others: runs stay comparable."""
    mix = {"groups": [{"source": "two", "rows": 40}, {"source": "one", "lang": "en", "rows": 80}]}
    before = mixed(tmp_path, mix).rows("train.jsonl")
    more = [row | {"id": f"new:{row['id']}", "origin_id": f"new:{row['origin_id']}", "source": "new"} for row in rows()]
    assert mixed(tmp_path, mix, more).rows("train.jsonl") == before


def test_translations_go_together(tmp_path: Path) -> None:
    """Of the 120 origins in both languages the same are taken in both, as far as the shares allow."""
    built = mixed(tmp_path, {"groups": [{"source": "one", "lang": "en", "rows": 150}, {"lang": "ar", "rows": 60}]})
    taken = {lang: {row["origin_id"] for row in built.rows("train.jsonl") if row["lang"] == lang} for lang in ("en", "ar")}
    assert len(taken["ar"]) == 60 and len(taken["ar"] & taken["en"]) >= 50


def test_shortfall_is_reported_and_not_filled(tmp_path: Path) -> None:
    """Too few rows are too few rows: no row twice unless the recipe says so."""
    built = mixed(tmp_path, {"groups": [{"lang": "ar", "rows": 500}, {"kind": "chat", "rows": 10}]})
    assert counts(built) == {("one", "ar"): 120}
    assert [(entry["built"], entry["shortfall"]) for entry in built.manifest["mix"]] == [(120, 380), (0, 10)]
    assert "short of 380 rows: lang ar: wanted 500, had 120, built 120" in built.said
    assert "short of 10 rows: kind chat" in built.said


def test_upsampling_is_a_key(tmp_path: Path) -> None:
    """`upsample: 3` writes a row up to three times, under ids that say so."""
    built = mixed(tmp_path, {"groups": [{"lang": "ar", "rows": 300, "upsample": 3}]})
    (entry,) = built.manifest["mix"]
    assert (entry["built"], entry["repeated"], entry["shortfall"]) == (300, 180, 0)
    names = [row["id"] for row in built.rows("train.jsonl")]
    assert len(set(names)) == 300 and sum(name.endswith(":copy2") for name in names) == 120 and sum(name.endswith(":copy3") for name in names) == 60
    short = mixed(tmp_path, {"groups": [{"lang": "ar", "rows": 500, "upsample": 3}]})
    assert short.manifest["mix"][0]["built"] == 360 and short.manifest["mix"][0]["shortfall"] == 140


def test_shares(tmp_path: Path) -> None:
    """Shares are of `total`."""
    built = mixed(tmp_path, {"total": 200, "groups": [{"lang": "ar", "share": 0.3}, {"source": "two", "share": 0.2}, {"lang": "en", "share": 0.5}]})
    assert counts(built) == {("one", "ar"): 60, ("two", "en"): 40, ("one", "en"): 100}


@pytest.mark.parametrize(("when_short", "english"), [("report", 400), ("cut", 240)])
def test_the_ratio_of_the_languages(tmp_path: Path, when_short: str, english: int) -> None:
    """1:2 with 120 Arabic rows leaves 240 English ones where the recipe cuts, and is told where it does not."""
    mix = {"groups": [{"lang": "en", "rows": 400}, {"lang": "ar", "rows": 200}], "ratio": {"ar": 1, "en": 2}, "when_short": when_short}
    built = mixed(tmp_path, mix)
    assert Counter(row["lang"] for row in built.rows("train.jsonl")) == {"en": english, "ar": 120}
    assert built.manifest["ratio"] == {"wanted": {"ar": 1, "en": 2}, "built": {"ar": 120, "en": english}}
    assert f'languages: wanted {{"ar": 1.0, "en": 2.0}}, built {{"ar": 120, "en": {english}}} rows' in built.said
    assert accounted(built.manifest)


@pytest.mark.parametrize(("languages", "left"), [(["en"], {"en"}), (["ar"], {"ar"}), (["en", "ar"], {"en", "ar"})])
def test_the_three_variants(tmp_path: Path, languages: list[str], left: set[str]) -> None:
    """English, Arabic or both from one recipe; what is in the other language is not taken."""
    built = mixed(tmp_path, None, languages=languages)
    assert {row["lang"] for row in built.rows("train.jsonl")} == left and accounted(built.manifest)


def test_hold_out(tmp_path: Path) -> None:
    """A share of the origins becomes validation, translations with their question, and none of them trains."""
    built = mixed(tmp_path, None, hold_out=0.2)
    held, trained = ({row["origin_id"] for row in built.rows(f"{split}.jsonl")} for split in ("validation", "train"))
    assert not held & trained and 0.1 < len(held) / len(held | trained) < 0.3
    assert {row["lang"] for row in built.rows("validation.jsonl")} == {"en", "ar"}
    assert all(row["split"] == "validation" for row in built.rows("validation.jsonl"))


@pytest.mark.parametrize(
    ("mix", "words"),
    [
        ({"groups": [{"lang": "en"}]}, "`rows` or by `share`"),
        ({"groups": [{"lang": "en", "rows": 1, "share": 0.5}]}, "one of the two"),
        ({"groups": [{"lang": "en", "share": 0.5}]}, "`total`"),
        ({"total": 10, "groups": [{"lang": "en", "share": 0.7}, {"lang": "ar", "share": 0.7}]}, "add up to 1"),
        ({"groups": []}, "mix.groups"),
        ({"groups": [{"lang": "fr", "rows": 1}]}, "mix.groups.0.lang"),
    ],
)
def test_bad_mixes_are_refused(tmp_path: Path, mix: dict, words: str) -> None:
    """The message names the key and what belongs there."""
    built = mixed(tmp_path, mix)
    assert built.ended_badly() and words in built.said, built.said
