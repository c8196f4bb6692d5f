"""The pictures: Arabic that runs from right to left and joins, marks where the figures are, the same bytes twice."""

import io
import re

import matplotlib
import numpy as np
import pytest
from fontTools.ttLib import TTFont
from matplotlib.image import imread

from eval.figures import ARABIC, SETS, _spread, draw, render, with_average
from eval.stats import calibration, share

NINE = [name for name in SETS if name != "average"]
SCORES = {"en": {"one": {name: share(60 + place, 100) for place, name in enumerate(NINE)}}, "ar": {"one": {name: share(40, 100) for name in NINE}}}
CALIBRATIONS = {("one", lang): calibration(np.linspace(0.3, 0.99, 90), np.arange(90) % 3 > 0) for lang in ("en", "ar")}


@pytest.fixture(scope="module")
def drawn() -> dict[str, bytes]:
    """All three as SVG."""
    figures = draw(SCORES, {"ar": {"one": {"medqa": 47.3}}}, CALIBRATIONS)
    return {name: render(figure, "svg") for name, figure in figures.items()}


def glyphs(svg: str, text: str) -> list[list[tuple[str, float]]]:
    """Each place where the text is drawn: its glyphs (font and number, in hexadecimal, of the outline) with their x from the left."""
    found = []
    for part in svg.split("<!--")[1:]:
        comment, _, drawing = part.partition("-->")
        if comment.strip() == text:
            uses = re.findall(r'<use xlink:href="#([\w-]+)"(?: transform="translate\(([\d.]+)[ )])?', drawing.split("<!--")[0].split("</g>")[0])
            found.append([(glyph, float(x or 0)) for glyph, x in uses])
    return found


def isolated(letter: str, font: str) -> str:
    """The glyph of a letter that joins no other, as matplotlib names it."""
    file = TTFont(f"{matplotlib.get_data_path()}/fonts/ttf/{font}.ttf")
    return f"{font}-{file.getGlyphID(file.getBestCmap()[ord(letter)]):x}"


@pytest.mark.parametrize(
    ("name", "text", "font"),
    [
        ("accuracies", ARABIC["ar"], "DejaVuSans-Bold"),
        ("accuracies", ARABIC["en"], "DejaVuSans-Bold"),
        ("accuracies", SETS["anatomy"][1], "DejaVuSans"),
        ("accuracies", SETS["average"][1], "DejaVuSans"),
        ("accuracies", SETS["clinical_knowledge"][1], "DejaVuSans"),
        ("languages", ARABIC["ar"], "DejaVuSans"),
        ("calibration", ARABIC["ar"], "DejaVuSans-Bold"),
    ],
)
def test_arabic_begins_at_the_right(drawn: dict[str, bytes], name: str, text: str, font: str) -> None:
    """All begin with alef, which joins nothing after it: its glyph lies right of all others. Drawn backwards it would lie left of them."""
    assert text[0] in "ا"
    places = glyphs(drawn[name].decode(), text)
    assert places
    for drawing in places:
        first = isolated("ا", font)
        assert [glyph for glyph, x in drawing if x == max(x for _, x in drawing)] == [first], drawing
        assert min(x for glyph, x in drawing if glyph != first) < min(x for glyph, x in drawing if glyph == first)


def test_arabic_letters_join(drawn: dict[str, bytes]) -> None:
    """Without shaping every letter would stand alone; in this word only alef does (and ra has no form that joins the next)."""
    (drawing,) = glyphs(drawn["languages"].decode(), ARABIC["ar"])
    alone = {isolated(letter, "DejaVuSans") for letter in "لعبية"}
    assert len(drawing) == len(ARABIC["ar"]) and not alone & {glyph for glyph, _ in drawing}


def test_a_picture_shows_the_figures(drawn: dict[str, bytes]) -> None:
    """Sets in both languages, the mean of nine, the fall from English to Arabic, the printed value."""
    text = drawn["accuracies"].decode()
    assert all(f"<!-- {words} -->" in text for pair in SETS.values() for words in pair) and "diamonds: printed in the paper" in text
    assert "<!-- CKG −20 -->" in drawn["languages"].decode() and "<!-- AVG −24 -->" in drawn["languages"].decode()


def test_pictures_are_the_same_twice(drawn: dict[str, bytes]) -> None:
    """A report of the same run is the same file; and the PNG is no blank sheet."""
    again = draw(SCORES, {"ar": {"one": {"medqa": 47.3}}}, CALIBRATIONS)
    assert {name: render(figure, "svg") for name, figure in again.items()} == drawn
    for figure in again.values():
        pixels = imread(io.BytesIO(render(figure, "png")))[..., :3]
        assert pixels.shape[1] > 800 and 0.01 < (pixels.min(axis=2) < 0.9).mean() < 0.6


def test_no_label_is_cut_off() -> None:
    """Every text lies inside the picture, with long names too."""
    long = {"a system with a rather long name (whole answers, 5-shot)": next(iter(SCORES["en"].values()))}
    for figure in draw({"en": SCORES["en"] | long, "ar": SCORES["en"] | long}, {}, CALIBRATIONS).values():
        renderer = figure.canvas.get_renderer() if hasattr(figure.canvas, "get_renderer") else figure._get_renderer()
        figure.draw(renderer)
        width, height = figure.bbox.width, figure.bbox.height
        for text in figure.findobj(matplotlib.text.Text):
            if text.get_visible() and text.get_text():
                box = text.get_window_extent(renderer)
                assert box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1, text.get_text()


def test_a_mean_needs_all_nine() -> None:
    """The mean of eight would be beside the paper's mean of nine."""
    assert "average" in with_average(SCORES["en"])["one"]
    assert "average" not in with_average({"one": {name: share(1, 2) for name in NINE[1:]}})["one"]


def test_labels_keep_apart_and_inside() -> None:
    """In their order, near their values, even where all values are one, at the bottom or at the top."""
    for values in ([50.0] * 10, [0.0] * 10, [100.0] * 10, [0.0, 1.0, 50.0, 51.0, 99.0, 100.0], [30.0]):
        placed = _spread(values, 4.0)
        assert sorted(range(len(values)), key=placed.__getitem__) == sorted(range(len(values)), key=values.__getitem__)
        assert all(after - before >= 4 - 1e-9 for before, after in zip(sorted(placed), sorted(placed)[1:], strict=False))
        assert min(placed) >= 0 and max(placed) <= 100
        assert abs(sum(placed) - sum(values)) / len(values) < 20
