"""Is the Arabic a clean Arabic text of fitting length: script, residual English, repetition, marks of direction, chatter?"""

import re
from collections.abc import Iterator

from data_prep.quality_words import RULES, WORD, Flag, Word, flagged, fold

ARABIC = re.compile("[\u0621-\u064a]")
LETTERS = re.compile(r"[^\W\d_]")
# letters of Persian, Urdu and Kurdish; پ چ ڤ گ ژ also write foreign names in Arabic
FOREIGN = re.compile("[\u0679\u0686\u0688\u0691\u0698\u067e\u06a4\u06a9\u06af\u06ba\u06be\u06c0-\u06d3\u06d5]")
NAMES_ONLY = frozenset("پچڤگژ")
# letters of other scripts; Greek and Latin are seen to elsewhere
OTHER = re.compile("[\u0400-\u058f\u0590-\u05ff\u0700-\u074f\u0780-\u1fff\u2e80-\ua4cf\ua500-\ud7ff\uf900-\ufaff]")
BAD = re.compile("[\ufffd\u0080-\u009f\ufb50-\ufdff\ufe70-\ufefc]")  # replacement characters, letters in their drawn forms
MARKS = re.compile("[\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
OPENING, OVERRIDES = frozenset("\u202a\u202b\u202d\u202e\u2066\u2067\u2068"), frozenset("\u202d\u202e")
CLOSING = {"\u202c", "\u2069"}
BRACKETS = re.compile(r"[()\[\]]")
MARKUP = re.compile(r"```|</?[a-z]+>|\{\"|\[INST\]|</?s>|<\|")
LINK = re.compile(r"https?:\S+|www\.\S+|\S+@\S+\.\w+")
_STAYS = frozenset(map(fold, RULES["latin"]["allowed"]))
_DRUG = re.compile(rf"\w{{2,}}({'|'.join(RULES['latin']['drug_stems'])})(s|e)?")
_PERSIAN = frozenset(RULES["persian"])
_START = re.compile(rf"\W*({'|'.join(RULES['chatter']['start'])})")
_ANYWHERE = re.compile("|".join(RULES["chatter"]["anywhere"]))
_IN_KIND = re.compile(RULES["chatter"]["allowed_when_en"])
RESIDUAL_WORDS, RESIDUAL_SHARE = 2, 0.12  # a single Latin word may be a name that the English writes small


def check_text(en: str, ar: str, english: list[Word], arabic: list[Word]) -> Iterator[Flag]:
    """Flags for what is wrong with the Arabic as a text; `english` and `arabic` are the words of the two texts."""
    if not ar.strip():
        yield flagged("empty", "error", en[:80], "", "there is no Arabic")
        return
    yield from _script(en, ar, english)
    yield from _residual(en, ar, english, arabic)
    yield from _length(en, ar)
    yield from _repetition(english, arabic)
    yield from _direction(en, ar)
    yield from _chatter(en, ar, arabic)


def _script(en: str, ar: str, english: list[Word]) -> Iterator[Flag]:
    if not ARABIC.search(ar) and LETTERS.search(en):
        words = [word for word in english if word.kind == WORD]
        if not all(word.folded in _STAYS or len(word.text) < 2 or word.text[1:] != word.text[1:].lower() for word in words) or MARKUP.search(ar):
            yield flagged("not_arabic", "error", en[:80], ar[:80], "no Arabic letter in the translation")
        return
    if found := FOREIGN.findall(ar):
        only_names = NAMES_ONLY.issuperset(found) and len(found) <= 2 + len(ar) // 100
        severity = "warning" if only_names else "error"
        yield flagged("foreign_letters", severity, "", " ".join(sorted(set(found))), "letters of Persian or Urdu; in Arabic ي and ك are other letters")
    elif len(found := [word for word in ar.split() if word in _PERSIAN]) > max(1, len(ar) // 60):
        yield flagged("persian", "error", "", " ".join(found[:6]), "words of Persian or Urdu")
    if (others := set(OTHER.findall(ar))) and not others <= set(en):
        yield flagged("other_script", "error", "", " ".join(sorted(others - set(en))[:6]), "letters of another script that the English does not have")
    if found := BAD.findall(ar):
        yield flagged(
            "broken_characters", "error" if len(found) > 2 or "\ufffd" in found else "warning", "", " ".join(found[:6]), "characters of a broken file"
        )
    if found := [mark for mark in MARKUP.findall(ar) if mark not in en]:
        yield flagged("markup", "error", "", " ".join(found[:3]), "marks of a chat or of code that the English does not have")


def _stays(word: Word, capital: frozenset[str] | set[str]) -> bool:
    """May this Latin word stand in Arabic: a name that the English has with a capital, an abbreviation, a drug?"""
    return word.folded in _STAYS or word.text in capital or len(word.text) < 2 or word.text[1:] != word.text[1:].lower() or bool(_DRUG.fullmatch(word.folded))


def _residual(en: str, ar: str, english: list[Word], arabic: list[Word]) -> Iterator[Flag]:
    latin = [word for word in arabic if word.latin and word.kind == WORD]
    if not latin or not ARABIC.search(ar):
        return
    if "." in ar and (links := LINK.findall(ar)):
        inside = " ".join(links)
        latin = [word for word in latin if word.text not in inside]
    capital, previous = set(), None
    for word in english:
        # a capital says nothing at the start of a sentence, nor does the word after a name in Latin (Staphylococcus aureus)
        if word.latin and (word.text[0].isupper() and previous is not None and previous.kind == WORD and not word.notions or word.text.isupper()):
            capital.add(word.text)
        of_a_name = previous is not None and previous.latin and previous.text[0].isupper() and word.latin
        if of_a_name and (word.text[0].isupper() or not word.notions and len(word.text) > 4):
            capital |= {word.text, previous.text}
        previous = word
    left = [word for word in latin if not _stays(word, capital)]
    small = [word for word in left if word.text[0].islower() or word.notions]
    if not left:
        return
    bare = "".join(re.split(r"\([^)]*\)", ar)) if "(" in ar else ar  # what stands in brackets is a gloss
    loose = [word for word in small if re.search(rf"\b{re.escape(word.text)}\b", bare)]
    share = sum(len(word.text) for word in left) / max(len(ar), 1)
    in_names = {word.text for word in english if word.text[0].isupper()}
    severe = len(loose) >= RESIDUAL_WORDS or share > RESIDUAL_SHARE * 2 or (share > RESIDUAL_SHARE and not {word.text for word in left} <= in_names)
    words = " ".join(word.text for word in left[:8])
    yield flagged("residual_english", "error" if severe else "warning", words, words, "English words were left that are no names or abbreviations")


def _length(en: str, ar: str) -> Iterator[Flag]:
    # professional translations have 0.88 letters a letter of English, 99% of them 0.6 to 1.5; short ones vary more, and abbreviations are written out
    least, most = 0.5 * len(en) - 8, 1.6 * len(en) + 40
    if not least <= len(ar) <= most:
        rule, said = ("too_short", "truncated") if len(ar) < least else ("too_long", "more than a translation")
        yield flagged(
            rule, "error", f"{len(en)} characters", f"{len(ar)} characters", f"{len(ar) / max(len(en), 1):.2f} characters of Arabic for one of English: {said}"
        )


def _again(words: list[str]) -> int:
    """How many pairs of neighbouring words repeat an earlier pair."""
    return max(len(words) - 1, 0) - len(set(zip(words, words[1:], strict=False)))


def _repetition(english: list[Word], arabic: list[Word]) -> Iterator[Flag]:
    words = [word.folded for word in arabic if word.kind <= WORD]
    if len(words) < 3:
        return
    again = _again(words)
    if again >= 2:
        most, where, times = 0, [], 0
        for size in range(1, min(12, len(words) // 2) + 1):  # a passage of up to 12 words that comes again at once
            run = 0
            for at in range(len(words) - size):
                run = run + 1 if words[at] == words[at + size] else 0
                if run >= size and run + size > most and (size > 1 or len(words[at]) > 2 and run > 1):
                    most, times, where = run + size, run // size + 1, words[at - run + 1 : at - run + 1 + size]
        in_english = _again([word.folded for word in english if word.kind <= WORD])
        if where and in_english < again - 1:
            # twice may be a gloss: منظمة الصحة العالمية (منظمة الصحة العالمية) where the English has (WHO)
            severe = times > 2 or len(where) > 7
            yield flagged("repetition" if severe else "said_twice", "error" if severe else "warning", "", " ".join(where), f"{times} times in a row")
        elif again > 6 + 2 * in_english and again > 0.3 * len(words):
            yield flagged("repetition", "error", "", " ".join(words[:8]), f"{again} of {len(words)} word pairs repeat an earlier one")
    for word in words:
        if len(word) > 8 and len(set(word)) < 3 and not word[0].isdigit():
            yield flagged("repetition", "error", "", word[:30], "one letter again and again")
            break


def _direction(en: str, ar: str) -> Iterator[Flag]:
    if found := MARKS.findall(ar):
        depth, sound = 0, True
        for mark in found:
            depth += (mark in OPENING) - (mark in CLOSING)
            sound = sound and depth >= 0
        names = " ".join(f"U+{ord(mark):04X}" for mark in dict.fromkeys(found))
        if OVERRIDES & set(found):
            yield flagged("direction_override", "error", "", names, "letters and digits are shown in another order than they are stored")
        elif depth or not sound:
            yield flagged("direction_unbalanced", "error", "", names, "an embedding is opened or closed once too often")
        else:
            yield flagged("invisible_marks", "warning", "", names, "invisible marks")
    if "(" in ar or "[" in ar or ")" in ar:
        depth = 0
        for bracket in BRACKETS.findall(ar):
            depth += 1 if bracket in "([" else -1
            if depth < 0 and ")" in en:
                yield flagged("mirrored_brackets", "warning", "", ar[:60], "a bracket is closed before it opens")
                break
    backwards = [
        word for word in re.findall("[\u0621-\u064a]{4,}", ar) if word[0] == "ة" or word.endswith("لا") and word[:-2].endswith("ا") and word[0] in "ةى"
    ]
    if backwards:
        yield flagged("reversed_letters", "error", "", " ".join(backwards[:4]), "words begin with a letter that only ends words: the text is stored backwards")


def _chatter(en: str, ar: str, arabic: list[Word]) -> Iterator[Flag]:
    if not any(word.chatter for word in arabic):
        return
    folded = fold(ar)
    found = _START.match(folded) or _ANYWHERE.search(folded)
    if found and not _IN_KIND.search(en.lower()):
        yield flagged("chatter", "error", "", found.group().strip(), "the answer speaks to its reader or refuses instead of translating")
