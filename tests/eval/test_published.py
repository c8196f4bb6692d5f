"""The paper's tables, typed a second time set by set (eval/published.yaml has them model by model), and what its averages are."""

from pathlib import Path

import pytest

from data_prep.records import BadInput
from eval import published
from eval.tasks.bimedix.write import BENCHMARKS
from tests.conftest import command

MODELS = {
    "bi": ["Jais-30B", "Mixtral-8x7B", "BiMediX (Bilingual)"],
    "ar": ["Jais-30B", "BiMediX (Arabic)", "BiMediX (Bilingual)"],
    "en": ["PMC-LLaMA-13B", "Med42-70B", "Clinical Camel-70B", "Meditron-70B", "BiMediX"],
}
TYPED = {
    "bi": """CKG 57.4 59.1 70.6
             CBio 55.2 57.6 72.2
             CMed 46.2 52.6 59.3
             MedGen 55.0 59.5 74.0
             ProMed 46.0 53.3 64.2
             Ana 48.9 54.4 59.6
             MedMCQA 40.2 43.2 55.8
             MedQA 31.0 40.6 54.0
             PubMedQA 75.5 74.7 78.6
             AVG 50.6 55.0 65.4""",
    "ar": """CKG 52.1 60.0 63.8
             CBio 50.7 54.9 57.6
             CMed 40.5 55.5 52.6
             MedGen 49.0 58.0 64.0
             ProMed 39.3 58.1 52.9
             Ana 43.0 49.6 50.4
             MedMCQA 37.0 46.0 49.1
             MedQA 28.8 40.2 47.3
             PubMedQA 74.6 76.6 78.4
             AVG 46.1 55.4 56.5""",
    "en": """CKG 63.0 75.9 69.8 72.3 78.9
             CBio 59.7 84.0 79.2 82.5 86.1
             CMed 52.6 69.9 67.0 62.8 68.2
             MedGen 70.0 83.0 69.0 77.8 85.0
             ProMed 64.3 78.7 71.3 77.9 80.5
             Ana 61.5 64.4 62.2 62.7 74.1
             MedMCQA 50.5 61.9 47.0 65.1 62.7
             MedQA 47.2 61.3 53.4 60.7 62.8
             PubMedQA 75.6 77.2 74.3 80.0 80.2
             AVG 60.5 72.9 65.9 71.3 75.4""",
}


def test_every_printed_number() -> None:
    """110 of them, cell by cell, each with its source."""
    numbers = 0
    for table, text in TYPED.items():
        found = published.rows(table)
        assert list(found) == MODELS[table]
        *sets, average = [line.split()[1:] for line in text.splitlines()]
        for place, model in enumerate(MODELS[table]):
            assert [found[model].cells[name] for name in BENCHMARKS] == [float(row[place]) for row in sets], model
            assert found[model].average == float(average[place])
            assert "2402.13253" in found[model].source
            numbers += len(sets) + 1
    assert numbers == 110


def test_averages_are_recomputed_and_one_is_wrong() -> None:
    """To 0.05, the half of the last printed digit; the bilingual model's Arabic average is off by 0.8 and says so."""
    wrong = {}
    for table in MODELS:
        for model, row in published.rows(table).items():
            assert row.recomputed == pytest.approx(sum(row.cells.values()) / 9)
            if abs(row.recomputed - row.average) > 0.05 + 1e-9:
                wrong[table, model] = (row.average, round(row.recomputed, 1), row.wrong, row.average_note)
    assert wrong == {("ar", "BiMediX (Bilingual)"): (56.5, 57.3, True, "The printed average is wrong; its nine cells average 57.3.")}


def test_the_english_row_is_not_the_bilingual_model() -> None:
    """Twice the bilingual cells less the Arabic ones are the bilingual model's English cells: 73.4 on average, not 75.4."""
    bilingual, arabic = (published.rows(table)["BiMediX (Bilingual)"].cells for table in ("bi", "ar"))
    english = [2 * bilingual[name] - arabic[name] for name in BENCHMARKS]
    assert round(sum(english) / 9, 1) == 73.4
    row = published.rows("en")["BiMediX"]
    assert row.average == 75.4 and "73.4" in row.note and "Not the bilingual model" in row.note


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("average: 50.6}", "average: 51.6}", "row 1 (bi, Jais-30B): the cells average 50.60, 51.6 is printed"),
        ("    average_note: The", "    remark: The", "unknown key remark"),
        ("cells: [57.4, ", "cells: [", "row 1 (bi, Jais-30B): a table of bi, en, ar and 9 cells"),
        ("cells: [57.4, ", "cells: [574, ", "row 1 (bi, Jais-30B): a table of bi, en, ar and 9 cells"),
        ("model: Mixtral-8x7B, ", "model: Jais-30B, ", "a model stands twice"),
        ("sets: [clinical_knowledge, college_biology", "sets: [college_biology, clinical_knowledge", "sets: the nine sets in the order"),
    ],
)
def test_a_typing_error_is_found(tmp_path: Path, old: str, new: str, words: str) -> None:
    """A wrong cell shows in its average; a wrong average without a note is refused."""
    text = published.FILE.read_text(encoding="utf-8")
    assert text.count(old) >= 1
    spoilt = tmp_path / "published.yaml"
    spoilt.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(BadInput) as told:
        published.read(spoilt)
    assert str(spoilt) in str(told.value) and words in str(told.value)


def test_the_command_prints_them() -> None:
    """With the wrong average marked."""
    ran = command("eval.published")
    assert ran.code == 0 and ran.said.count("57.3: the printed one is wrong") == 1
    assert "| BiMediX (Bilingual) | 63.8 | 57.6 | 52.6 | 64.0 | 52.9 | 50.4 | 49.1 | 47.3 | 78.4 | 56.5 |" in ran.said
