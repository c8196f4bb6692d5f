"""report.html in a real browser: every question with its scores, both languages side by side, without any network, on a desk and on a phone."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from eval import browser as made
from eval.report import report
from tests.conftest import command
from tests.eval.written import both, ours, pattern, questions, samples
from tests.fastchat_templates.visitor import launch

EVIL = "<script>document.title = 'taken'</script><img src=https://example.org/x.png> </script> & \"quoted\""
INSIDE = """() => {
  const [line, list] = ['#list [aria-current]', '#list'].map(one => document.querySelector(one).getBoundingClientRect());
  return line.top >= list.top - 1 && line.bottom <= list.bottom + 1;
}"""
ARABIC = "مَا هُوَ العِلاج؟"


def tasks(english: list[bool], arabic: list[bool]) -> dict[str, list[dict]]:
    """200 questions of MedQA in both languages, a PubMedQA question with its context, one of anatomy in English only."""
    found = both("medqa", 200, english, arabic) | both("pubmedqa", 1, [True], [False])
    found |= {"bimedix_en_anatomy": samples(questions("anatomy", 1, "en"), [True])}
    found["bimedix_en_medqa"][3]["doc"]["question"] = found["bimedix_en_medqa"][3]["doc"]["options"][0] = EVIL
    found["bimedix_ar_medqa"][4]["doc"]["question"] = ARABIC
    for lang, context in (("en", "A trial of forty patients."), ("ar", "تجربة شملت أربعين مريضا.")):
        found[f"bimedix_{lang}_pubmedqa"][0]["doc"]["context"] = context
    return found


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of two systems, by command."""
    folder = tmp_path_factory.mktemp("report")
    first = tasks(pattern(200, 150), pattern(200, 90))
    first["bimedix_en_medqa"][199]["filtered_resps"][0][0] = float("nan")
    one = ours(folder / "first", first)
    two = ours(folder / "second", tasks(pattern(200, 120), pattern(200, 60)))
    ran = command("eval.report", one, two, "--out", folder / "out")
    assert ran.code == 0, ran.said
    return folder / "out" / "report.html"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        opened = launch(playwright)
        yield opened
        opened.close()


@pytest.fixture(params=[(1400, 900), (390, 844)], ids=["desk", "phone"])
def page(chromium: Browser, file: Path, request: pytest.FixtureRequest) -> Iterator[Page]:
    """The open page; nothing may have been asked of a network, and no error may stand in the console."""
    width, height = request.param
    context = chromium.new_context(viewport={"width": width, "height": height})
    opened, asked, complaints = context.new_page(), [], []
    opened.set_default_timeout(10_000)
    opened.on("request", lambda one: asked.append(one.url))
    opened.on("console", lambda one: complaints.append(one.text))
    opened.on("pageerror", lambda one: complaints.append(str(one)))
    opened.goto(file.as_uri())
    opened.wait_for_selector("#list li")
    yield opened
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == [] and complaints == []
    assert opened.title() == "Evaluation"
    context.close()


def count(page: Page) -> str:
    return page.inner_text("#count")


def test_all_questions_are_there(page: Page) -> None:
    """With both accuracies; nothing sticks out at the side; more are drawn as one goes down the list."""
    assert count(page) == "202 of 202 questions; English 152 of 202 right; Arabic 90 of 201 right"
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.locator("#list li").count() == 150
    page.evaluate("document.getElementById('list').scrollTop = 1e6")
    page.wait_for_function("document.querySelectorAll('#list li').length === 202")


def test_both_languages_side_by_side(page: Page) -> None:
    """English from the left, Arabic from the right, beside each other where there is room and below each other where there is not."""
    english, arabic = page.locator("article[lang=en]"), page.locator("article[lang=ar]")
    assert (english.get_attribute("dir"), arabic.get_attribute("dir")) == ("ltr", "rtl")
    assert "case 0 of anatomy" in english.inner_text() and "لا يوجد هذا السؤال" in arabic.inner_text()
    page.select_option("#set", "medqa")
    assert "case 0 of medqa" in english.inner_text() and "الحالة رقم 0" in arabic.inner_text()
    left, right = english.bounding_box(), arabic.bounding_box()
    assert left["y"] == right["y"] and left["x"] < right["x"] if page.viewport_size["width"] > 760 else left["y"] < right["y"] and left["x"] == right["x"]
    letters = [arabic.locator(f".option >> nth={place} >> b").first.inner_text() for place in range(4)]
    assert letters == ["أ.", "ب.", "ج.", "د."]
    letter, words = (arabic.locator(".option").first.locator(one).first.bounding_box() for one in ("p b", "p span"))
    assert letter["x"] > words["x"]  # an Arabic line begins at the right


def test_scores_of_an_option(page: Page) -> None:
    """Share and log-likelihood of each system; the right option and the chosen one are marked; verdicts in the language of the column."""
    page.select_option("#set", "medqa")
    page.fill("#search", "made:medqa:00130")
    option = page.locator("article[lang=en] .option >> nth=2")
    assert "✓ right answer" in option.inner_text() and page.locator("article[lang=en] .right").count() == 1
    first, second = option.locator(".score").all()
    assert [part.strip() for part in first.inner_text().split("\n") if part.strip()] == ["first", "70.0%", "-0.36"]
    assert "chosen" in first.get_attribute("class") and "chosen" not in second.get_attribute("class")
    assert page.locator("article[lang=en] .verdict").all_inner_texts() == ["first ✓ right", "second ✗ wrong"]
    assert page.locator("article[lang=ar] .verdict").all_inner_texts() == ["first ✗ خطأ", "second ✗ خطأ"]


def test_filters(page: Page) -> None:
    """Each gives as many questions as the answers say."""
    page.select_option("#set", "medqa")
    expected = {"all": 200, "wrong": 110, "right": 90, "languages": 60, "english": 60, "arabic": 0, "problem": 1, "systems": 60, "better": 60, "worse": 0}
    found = {}
    for name in expected:
        page.select_option("#show", name)
        found[name] = int(count(page).split()[0])
    assert found == expected
    page.select_option("#show", "problem")
    assert "a likelihood that is no number" in page.inner_text("article[lang=en]") and "none" in page.inner_text("article[lang=en]")
    page.select_option("#show", "arabic")
    assert page.inner_text("#pair") == "No question fits." and page.is_disabled("#next") and page.is_disabled("#previous")
    page.select_option("#show", "right")
    page.select_option("#system", "1")
    assert count(page).startswith("60 of 202")


def test_search(page: Page) -> None:
    """Words in any order, ids, and Arabic however it is spelt: without its vowel signs, with another alef."""
    for words, number in (("medqa CASE 17", 12), ("made:medqa:00017", 1), ("ما هو العلاج", 1), ("أعلاج", 0), ("العلآج", 1), ("case 201", 0)):
        page.fill("#search", words)
        assert int(count(page).split()[0]) == number, words
    page.fill("#search", "الحاله رقم 12 ")
    assert "الحالة رقم 12 " in page.inner_text("article[lang=ar]")


def test_going_from_question_to_question(page: Page) -> None:
    """By button and by key, not beyond either end; typing in the search box goes nowhere; the line in the list goes along and stays in sight."""
    page.select_option("#set", "medqa")
    place = page.locator("#place")
    page.click("#next")
    page.keyboard.press("j")
    page.keyboard.press("ArrowRight")
    assert place.inner_text() == "4 of 200"
    page.keyboard.press("k")
    page.click("#previous")
    assert place.inner_text() == "2 of 200"
    page.keyboard.press("/")
    page.keyboard.type("kj case")
    assert page.input_value("#search") == "kj case"
    page.fill("#search", "")
    page.keyboard.press("Escape")
    for _ in range(160):
        page.keyboard.press("j")
    assert place.inner_text() == "162 of 200"  # beyond what was drawn at first
    assert page.evaluate(INSIDE)
    page.locator("#list li >> nth=170").click()
    assert place.inner_text() == "171 of 200"


def test_text_is_text(page: Page) -> None:
    """What looks like a script in a question is shown; it neither runs nor fetches."""
    page.fill("#search", "made:medqa:00003")
    assert EVIL.split(" & ")[0].strip() in page.inner_text("article[lang=en] .question")
    assert EVIL.split(" & ")[0].strip() in page.inner_text("article[lang=en] .option >> nth=0")


def test_context_is_folded(page: Page) -> None:
    """PubMedQA's abstracts are long: one click away, in both languages."""
    page.select_option("#set", "pubmedqa")
    context = page.locator("article[lang=en] .context")
    assert not context.is_visible()
    page.click("article[lang=en] summary")
    page.click("article[lang=ar] summary")
    assert context.inner_text() == "A trial of forty patients." and "أربعين" in page.inner_text("article[lang=ar] .context")


def test_the_tables_are_the_reports(page: Page, file: Path) -> None:
    """Every figure of report.md stands in report.html, and the pictures are drawn."""
    words = " ".join(page.inner_text("#tables").split())
    text = file.with_suffix(".md").read_text(encoding="utf-8")
    cells = {cell.strip() for line in text.splitlines() if line.startswith("| first |") for cell in line.split("|")}
    assert len(cells) > 10 and all(cell in words for cell in cells if "`" not in cell and "**" not in cell)
    assert page.evaluate("[...document.images].length === 3 && [...document.images].every(one => one.naturalWidth > 300)")


def test_a_file_that_is_closed_to_the_outside(file: Path) -> None:
    """No address of any network, and a policy that forbids one."""
    text = file.read_text(encoding="utf-8")
    assert "default-src 'none'" in text and "http" not in text.replace('http-equiv="Content-Security-Policy"', "").split('<script type="text/plain"')[
        0
    ].replace("base64", "")
    assert "For research, not for clinical use." in text


def test_without_samples_there_are_no_questions(tmp_path: Path) -> None:
    """Tables alone; no empty browser."""
    folder = ours(tmp_path / "m", tasks(pattern(200, 150), pattern(200, 90)))
    for path in (folder / "samples").iterdir():
        path.unlink()
    systems, blocks, pictures = report([folder])
    text = made.page("Evaluation", blocks, {name: forms["svg"] for name, forms in pictures.items()}, systems)
    assert 'id="questions"' not in text and "No samples were logged" in text


def test_the_same_wording_is_kept_once(tmp_path: Path) -> None:
    """Two systems share their questions; a question that differs between them stands twice, each with its own answers."""
    other = json.loads(json.dumps(tasks(pattern(200, 150), pattern(200, 90))))
    other["bimedix_en_medqa"][9]["doc"]["question"] += " (corrected)"
    systems, _, _ = report([ours(tmp_path / "a", tasks(pattern(200, 150), pattern(200, 90))), ours(tmp_path / "b", other)])
    found = made.collect(systems)
    assert len(found["docs"]) == 404 and len(found["pairs"]) == 203
    assert [[row is None for row in answers].count(True) for answers in found["answers"]] == [1, 1]
