"""Rows of a queue and people's decisions on them, written down rather than made on a page."""

from data_prep.records import MultipleChoice, OpenQuestion, as_row
from data_prep.review_ledger import Decision, Row, key_of
from data_prep.texts import by_name, nested

QUEUE = "generated/medqa_ar.review.jsonl"
ARABIC = {"question": "ما هو فقر الدم؟", "answer": "نقص في الهيموغلوبين."}


def row(name: str, score: int = 50, kind: str = "qa", readers: int = 1, weight: float = 1.0, rules: int = 100, **more: object) -> Row:
    """A row whose texts no rule minds; `split`, `source`, `english` (another question) and `current` by name."""
    common = dict(id=f"{name}:ar", origin_id=name, lang="ar", source=more.get("source", "medquad"), split=more.get("split", "train"))
    english = {"question": more.get("english", "What is anaemia?"), "answer": "A lack of haemoglobin."}
    if kind == "mcqa":
        options = {"options": ["الحديد", "الماء"], "answer": 0}
        arabic = MultipleChoice(**common, benchmark="medqa", question=ARABIC["question"], **options)
        english = {"question": english["question"], "options": ["Iron", "Water"]}
    else:
        arabic = OpenQuestion(**common, **ARABIC)
    line = {"id": arabic.id, "kind": kind, "source": arabic.source, "split": arabic.split, "why": "low_score", "score": score, "feedback": ""}
    flags = [] if rules == 100 else [{"rule": "number_missing", "severity": "error", "message": "x", "evidence": {"en": "5", "ar": ""}, "field": "answer"}]
    line |= {"rules": {"score": rules, "flags": flags}, "en": english, "ar": nested(arabic), "record": as_row(arabic), "made": {"step": "translate"}}
    return Row(key_of(line), arabic.id, QUEUE, readers, weight, more.get("current", True), line)


def decision(of: Row, person: int, verdict: str | None, score: float | None, edits: dict[str, str] | None = None, **more: object) -> Decision:
    """What somebody decided, at minute `at`; `stage` is review unless it is said."""
    stage, at = more.get("stage", "review"), more.get("at", 0)
    said = {"verdict": verdict, "score": score, "comment": None, "texts": by_name(of.row["ar"]) | (edits or {})}
    return Decision(f"{stage}:1@{at}/{of.key}/{person}", f"2026-01-01T00:{at:02}:00.000000+00:00", stage, of.key, person, said)


def corrected(of: Row) -> dict[str, str]:
    """An edit that breaks no rule."""
    return {"question": of.row["ar"]["question"].replace("ما هو", "ما المقصود ب")}
