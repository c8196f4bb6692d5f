"""Does a chat say the right answer of the question that it was made from, in the end and not at once? As far as words can tell, in both languages.

The answer is English. In an English text its words are looked for with their endings, spellings and slips (anemic, anaemia; Venalafaxin, venlafaxine); in an
Arabic one by the notions, numbers and names of data_prep/quality_words.py. Where nothing can be told (`yes`, `all of the above`, a name that Arabic
translates) the rules say nothing: the judge of data_prep/chats.py reads every chat.
"""

import difflib
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import yaml

from data_prep.quality_text import ARABIC
from data_prep.quality_words import LABEL, NUMBER, RULES, WORD, WORDS, Word, fold, read
from data_prep.records import MultipleChoice
from data_prep.wording import Lang

LISTS = yaml.safe_load((WORDS / "chats.yaml").read_text(encoding="utf-8"))
_ENDINGS = ("ational", "ation", "itive", "ional", "iasis", "ency", "ancy", "ical", "ious", "eous", "osis", "otic", "ence", "ance", "ment", "ness", "ing", "ial")
_ENDINGS += ("ent", "ant", "ive", "ion", "ism", "ery", "ied", "ies", "ous", "ed", "es", "al", "ic", "ly", "ia", "um", "us", "is", "er", "s", "y", "e", "a")
_SPELLINGS = ((re.compile("ae"), "e"), (re.compile("oe(?=[dsmpt])"), "e"), (re.compile("our$"), "or"), (re.compile("ph"), "f"), (re.compile("yse"), "yze"))
_OTHERS = frozenset(LISTS["others"])
_DRUG = re.compile(rf"\w{{2,}}({'|'.join(RULES['latin']['drug_stems'])})(s|e)?")
ENOUGH, LONG = 0.6, 0.4  # share of the answer's words that must be met, and of an answer of more than SHORT words, which is a statement to be put simply
SHORT, ALIKE = 5, 0.84  # difflib's likeness of a slip of the pen
NAME = 0.6  # letters of a name in Arabic for one in Latin: وارفارين has 8 of warfarin's 8, درجة 4 of idarucizumab's 12
ROOM = 3  # words that may stand between those of a name


@lru_cache(maxsize=1 << 16)
def _stem(folded: str) -> str:
    """An English word without its ending, of at least four letters: anem of anaemia, anemic."""
    for pattern, spelling in _SPELLINGS:
        folded = pattern.sub(spelling, folded)
    for ending in _ENDINGS:
        if folded.endswith(ending) and len(folded) - len(ending) >= 4:
            return folded.removesuffix(ending)
    return folded


_STOP = {"en": {fold(word) for word in LISTS["stop"]["en"]}, "ar": {fold(word) for word in LISTS["stop"]["ar"]}}
_EVERYDAY = frozenset(_stem(str(word).lower()) for word in LISTS["everyday"])


class Term(NamedTuple):
    """A word of an answer that says something. `naming`: no everyday word; `known`: whether an Arabic text must have it, as far as is known."""

    word: Word
    stem: str
    naming: bool
    known: bool


class Said(NamedTuple):
    """What a text holds: its words in order, and all that an answer may be met by."""

    words: tuple[Word, ...]
    stems: frozenset[str]
    values: frozenset[float]
    notions: frozenset[int]
    names: dict[str, int]  # the consonants of names, and the letters of the longest word that has them


@lru_cache(maxsize=4096)
def terms(option: str) -> tuple[Term, ...]:
    """The words of an option that say what it is; none for `all of the above`, `yes` or `Both A and C`."""
    plain = re.findall(r"\w+", option.lower())
    if all(word in _OTHERS or len(word) == 1 for word in plain) and not (len(plain) == 1 and option.strip().isdigit()):
        return ()
    found = []
    for word in read(option, "en"):
        if word.kind not in (NUMBER, LABEL, WORD) or word.kind == WORD and (word.folded in _STOP["en"] or len(word.text) == 1 and not word.text.isupper()):
            continue
        stem = _stem(word.folded)
        known = word.kind == NUMBER or word.weight == 1 or bool(_DRUG.fullmatch(word.folded))
        found.append(Term(word, stem, word.kind == LABEL or word.kind == WORD and len(word.folded) > 3 and stem not in _EVERYDAY, known))
    return tuple(found)


def said(text: str, lang: Lang, wrong: frozenset[str] = frozenset()) -> Said:
    """What a text in one language holds."""
    return _said(tuple(read(text, lang)), wrong)


def _said(words: tuple[Word, ...], wrong: frozenset[str] = frozenset()) -> Said:
    """`wrong`: stems of other options, by whose notions nothing is met: a lysosome is no mitochondrion, though both are parts of a cell."""
    names: dict[str, int] = {}
    for word in words:
        if len(word.name) > 2:
            names[word.name] = max(names.get(word.name, 0), len(word.folded))
    return Said(
        words,
        frozenset(_stem(word.folded) for word in words if not ARABIC.match(word.text)),
        frozenset(value for word in words for value in word.values),
        frozenset().union(*(word.notions for word in words if not (word.latin and _stem(word.folded) in wrong))),
        names,
    )


def _met(term: Term, text: Said, lang: Lang, wrong: frozenset[str] = frozenset()) -> bool:
    """Is a word of the answer in the text? `wrong`: stems of other options, which no slip of the pen may be taken for."""
    if not text.values.isdisjoint(term.word.values):  # 16, six, II
        return True
    if term.word.kind == NUMBER:
        return False
    if term.stem in text.stems or term.word.weight == 1 and not term.word.notions.isdisjoint(text.notions):
        return True
    if lang == "ar":
        return len(term.word.name) > 2 and text.names.get(term.word.name, 0) >= NAME * len(term.word.folded)
    if len(term.stem) < 5 or term.stem.startswith("hyp"):  # hypo- and hyper- are alike
        return False
    near = [stem for stem in text.stems - wrong if stem[:1] == term.stem[:1] and abs(len(stem) - len(term.stem)) < 3]
    return bool(difflib.get_close_matches(term.stem, near, 1, ALIKE))


def named(option: str, text: str, lang: Lang) -> bool:
    """Does the text name the option: all its words close together, one of them no everyday word? False where it cannot be told."""
    wanted = terms(option)
    if not any(term.naming for term in wanted) or len(wanted) > SHORT or lang == "ar" and not all(term.known or len(term.word.name) > 2 for term in wanted):
        return False
    whole = said(text, lang)
    if lang == "ar" and not any(term.naming and term.known for term in wanted) or not all(_met(term, whole, lang) for term in wanted):
        return False
    reach = len(wanted) + ROOM
    for at in range(max(len(whole.words) - reach, 0) + 1):
        words = whole.words[at : at + reach]
        if lang == "en":
            stems = {_stem(word.folded) for word in words}
            if all(term.stem in stems or term.word.kind == NUMBER for term in wanted):
                return True
        elif all(_met(term, _said(words), lang) for term in wanted):
            return True
    return False


def told(conclusion: str, text: str, lang: Lang) -> bool:
    """Do the words of the conclusion, three in four of at least two, stand in this text of the same language?"""

    def content(of: str) -> list[str]:
        words = [word for word in read(of, lang) if word.kind in (NUMBER, LABEL, WORD) and word.folded not in _STOP[lang] and len(word.folded) > 2]
        return [_stem(word.folded) if lang == "en" else re.sub(r"^(وال|بال|ال|لل|و|ب|ل)(?=..)|(ات|ين|ه|ا)$", "", word.folded) for word in words]

    wanted, has = content(conclusion), set(content(text))
    met = [stem for stem in wanted if stem in has]
    return len(met) > 1 and len(met) >= 0.75 * len(wanted) and not set(met) <= (_EVERYDAY if lang == "en" else set())


def missing(source: MultipleChoice, ending: str, lang: Lang) -> str | None:
    """Which words of the right answer are not in the last turns, where they are too few; None where it is there or cannot be told."""
    right = source.options[source.answer]
    wanted = terms(right) if lang == "en" else tuple(term for term in terms(right) if term.known)
    others = frozenset(term.stem for at, option in enumerate(source.options) if at != source.answer for term in terms(option))
    wrong = others - {term.stem for term in wanted}
    text = said(ending, lang, wrong)
    met = [term for term in wanted if _met(term, text, lang, wrong)]
    lost = " ".join(term.word.text for term in wanted if term not in met)
    if lang == "ar":  # of two words that the list knows in both languages one may be said in another way
        numbers = [term for term in wanted if term.word.kind == NUMBER and term not in met]
        return lost if numbers or len(wanted) > 1 and not met else None
    return lost if wanted and len(met) < (ENOUGH if len(wanted) <= SHORT else LONG) * len(wanted) else None


def other(source: MultipleChoice, conclusion: str, lang: Lang) -> str | None:
    """The wrong option that the conclusion states in place of the right one; None where it states none or it cannot be told."""
    right = terms(source.options[source.answer])
    for at, option in enumerate(source.options):
        if at == source.answer:
            continue
        own, rights = _apart(terms(option), right), _apart(right, terms(option))
        text = said(conclusion, lang, frozenset(term.stem for term in own))
        if lang == "ar":
            own, rights = (own if all(term.known or len(term.word.name) > 2 for term in own) else []), [term for term in rights if term.known]
        states = all(term.stem in text.stems or term.word.kind == NUMBER and _met(term, text, lang) or lang == "ar" and _met(term, text, lang) for term in own)
        if own and rights and states and not any(_met(term, text, lang) for term in rights):
            return option
    return None


def _apart(these: tuple[Term, ...], those: tuple[Term, ...]) -> list[Term]:
    """The terms of one option that the other does not have, in no other form."""
    stems = {term.stem for term in those}
    return [term for term in these if term.stem not in stems]


def copied(question: str, text: str, run: int = 12) -> str | None:
    """A passage of `run` words that a patient has copied from the question."""
    asked, spoken = ([word.folded for word in read(part, "en") if word.kind <= WORD] for part in (question, text))
    of_question = set(_runs(asked, run))
    return next((" ".join(passage) for passage in _runs(spoken, run) if passage in of_question), None)


def _runs(words: list[str], run: int) -> Iterator[tuple[str, ...]]:
    return (tuple(words[at : at + run]) for at in range(len(words) - run + 1))
