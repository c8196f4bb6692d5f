"""Do the two texts say the same: the terms of a bilingual list met, no sentence dropped, nothing cut off, no negation lost or added?

The list (data_prep/words/lexicon.txt) has some 710 notions with the forms they take. Of the English words that it knows 86 in 100 are met in a
professional translation, and 10 in 100 in the translation of something else: enough to tell the two apart from a few words on.
"""

import math
import re
from collections.abc import Iterator

from data_prep.quality_words import DASH, END, LABEL, NUMBER, WORD, Flag, Word, flagged

_ABBREVIATIONS = {"dr", "mr", "mrs", "ms", "vs", "etc", "al", "st", "no", "fig", "inc", "ltd", "co", "prof", "approx", "spp", "sp", "jr", "ca", "cf"}
# what a met or missed word says for and against the two texts belonging together, and a length so many deviations off; below the line they do not.
# Of the tico19 pairs 3 in 1,000 fall below it, of strangers among them 99 in 100 (tests/data_prep/test_quality_tico.py)
MET_EN, LOST_EN, MET_AR, LOST_AR, RATIO, SPREAD, MOST, LINE = 1.5, 2.0, 1.0, 0.7, 0.9, 0.18, 4.5, -6.5
LAST_PART, SHORT, FRAGMENT = 0.55, 0.72, 0.6  # the last 45% of the English words; letters of Arabic for one of English, fewer where no full stop tells
FEWER, MISSED = 7.4, 0.7  # that the Arabic has fewer sentences makes a lost one so many times as likely; the line for one that is missed
MONTHS = {"jan", "feb", "mar", "apr", "jun", "jul", "aug", "sep", "sept", "oct", "nov", "dec"}
# after لا or ما: still, especially, must, without doubt
_STILL = re.compile("[يت]?زال.*|سيما|[يت]زل.*|بد|شك")
# English words that deny within themselves, for which Arabic has غير or عدم
_WITHIN = re.compile(
    r"(un(?!der|it|i[ovq]|til|less|cle|ion|animous)|non(?!e$).|asympt|in(complete|adequate|active|direct|sufficient|effective)|abnormal|irregular|\w+less$)"
)


def check_sense(en: str, ar: str, english: list[Word], arabic: list[Word]) -> Iterator[Flag]:
    """Flags for meaning that is missing or another's; `english` and `arabic` are the words of the two texts."""
    in_ar = frozenset().union(*[word.notions for word in arabic])
    in_en = frozenset().union(*[word.notions for word in english])
    names = {word.name for word in arabic if len(word.name) > 2}
    numbers = {value for word in arabic for value in word.values}
    met_en, all_en, lost = _met(english, in_ar, names, numbers)
    met_ar, all_ar = 0.0, 0.0
    for word in arabic:
        if word.notions:
            all_ar += word.weight
            if not word.notions.isdisjoint(in_en):
                met_ar += word.weight
    found, ratio = None, len(ar) / max(len(en), 1)
    off = min(((ratio - RATIO) / SPREAD) ** 2 / 2, MOST)
    if MET_EN * met_en + MET_AR * met_ar - LOST_EN * (all_en - met_en) - LOST_AR * (all_ar - met_ar) - off < LINE:
        words = [word.text for word in arabic if word.weight and word.notions.isdisjoint(in_en)]
        said = f"{met_en + met_ar:.0f} of {all_en + all_ar:.0f} known terms are met in the other text"
        found = flagged("other_text", "error", " ".join(lost[:8]), " ".join(words[:8]), said)
    elif (dropped := _dropped(english, arabic, in_ar, names, numbers, ratio)) is not None:
        found = flagged("sentence_dropped", "error", dropped, "", "nothing in the Arabic speaks of this sentence")
    elif (cut := _cut(en, ar, english, in_ar, names, numbers)) is not None:
        found = flagged("cut_off", "error", cut, ar[-40:], "the Arabic ends before the English does")
    if found:
        yield found
    elif en.rstrip()[-1:] in (".", "?", "!") and ar.rstrip("\"'”»)] \u200f\n")[-1:] not in (".", "?", "!", "؟", "…", "۔"):
        yield flagged("no_full_stop", "warning", en[-20:], ar[-20:], "the English ends in a full stop, the Arabic does not")
    yield from _negation(english, arabic)


def _met(words: list[Word], notions: frozenset[int], names: set[str], numbers: set[float]) -> tuple[float, float, list[str]]:
    """Of the English words that the list knows, and of names and numbers: the weight of those met in the Arabic, of all, and which are not met."""
    met, total, lost, previous = 0.0, 0.0, [], None
    for word in words:
        if word.kind == NUMBER:
            total += 1
            if numbers.isdisjoint(word.values):
                lost.append(word.text)
            else:
                met += 1
        elif word.notions:
            total += word.weight
            if word.notions.isdisjoint(notions) and numbers.isdisjoint(word.values):
                if word.weight == 1:
                    lost.append(word.text)
            else:
                met += word.weight
        elif word.kind == WORD and len(word.name) > 2 and word.text[0].isupper() and previous is not None and previous.kind != END and word.text[1:].islower():
            total += 1
            if word.name in names:
                met += 1
            else:
                lost.append(word.text)
        previous = word
    return met, total, lost


def _sentences(words: list[Word], english: bool) -> list[list[Word]]:
    """The sentences of a text; the full stop of Dr. or e.g. ends none."""
    found, begun = [], 0
    for at, word in enumerate(words):
        if word.kind != END:
            continue
        before = words[at - 1] if at else None
        following = words[at + 1] if at + 1 < len(words) else None
        if word.text == "." and following is not None and before is not None and "\n" not in word.text:
            if english and (len(before.text) == 1 and before.kind == WORD or before.folded in _ABBREVIATIONS | MONTHS or not following.text[0].isupper()):
                continue
            if not english and (len(before.text) == 1 and before.kind == WORD or following.kind == DASH):
                continue
        if any(piece.kind in (WORD, NUMBER, LABEL) for piece in words[begun:at]):
            found.append(words[begun:at])
        begun = at + 1
    if any(piece.kind in (WORD, NUMBER, LABEL) for piece in words[begun:]):
        found.append(words[begun:])
    return found


def _dropped(english: list[Word], arabic: list[Word], in_ar: frozenset[int], names: set[str], numbers: set[float], ratio: float) -> str | None:
    """The English sentence that the Arabic passes over, if any: fewer sentences there, and what this one speaks of is missing."""
    sentences = _sentences(english, True)
    if len(sentences) < 2:
        return None
    against = math.log(FEWER) if len(sentences) > len(_sentences(arabic, False)) else -math.log(FEWER) - 2
    worst, most = None, MISSED
    lengths = [sum(len(word.text) + 1 for word in sentence) for sentence in sentences]
    for sentence, length in zip(sentences, lengths, strict=True):
        met, total, _ = _met(sentence, in_ar, names, numbers)
        # how much better the length fits without this sentence, and that its terms are missing
        whole, without = (math.log(ratio / RATIO) / SPREAD, math.log(ratio / RATIO * sum(lengths) / max(sum(lengths) - length, 1)) / SPREAD)
        longer = min(whole * whole / 2, MOST) - min(without * without / 2, MOST)
        weight = against + longer + LOST_EN * (total - met) - MET_EN * met
        if weight > most:
            most, worst = weight, sentence
    return " ".join(word.text for word in worst)[:120] if worst else None


def _cut(en: str, ar: str, english: list[Word], in_ar: frozenset[int], names: set[str], numbers: set[float]) -> str | None:
    """The last words of the English, where the Arabic ends early."""
    ratio = len(ar) / max(len(en), 1)
    ended = ar.rstrip("\"'”»)] \u200f\n")[-1:] in (".", "?", "!", "؟", "…", "۔")
    unended = en.rstrip("\"'”)] \n")[-1:] in (".", "?", "!") and not ended
    dangling = ar.rstrip()[-1:] in ("،", "(", "-", ":", "؛") and en.rstrip()[-1:] not in (",", "(", "-", ":", ";", "–")
    if (unended or dangling) and ratio < SHORT and len(en) > 25:
        return en[-60:]
    last = english[int(len(english) * LAST_PART) :]
    met, total, lost = _met(last, in_ar, names, numbers)
    few = (met + 0.5) / (total + 1) < 0.55
    short = ratio < SHORT if unended else not ended and ratio < FRAGMENT and (len(lost) > 1 or ratio < 0.5)
    if len(en) > 25 and lost and few and short or total >= 3.5 and met <= 0.15 * total:
        return " ".join(lost[-6:])
    return None


def _negation(english: list[Word], arabic: list[Word]) -> Iterator[Flag]:
    said_en = [word for word in english if word.denies]
    # لا يزال is `still` and لا سيما `especially`: neither denies
    said_ar = [word for at, word in enumerate(arabic) if word.denies and not (at + 1 < len(arabic) and _STILL.fullmatch(arabic[at + 1].folded))]
    if said_en:  # unknown and asymptomatic are denied in Arabic too, and must not stand for a `not` that was lost
        within = sum(1 for word in english if _WITHIN.match(word.folded))
        for word in [word for word in said_ar if word.folded.removeprefix("و") in ("غير", "عدم", "الغير")][:within]:
            said_ar.remove(word)
    if len(said_en) == len(said_ar):
        return
    if len(said_en) > len(said_ar):
        softly = [word for word in arabic if word.softly]
        if len(said_en) - len(said_ar) > len(softly):
            yield flagged("negation_lost", "error", " ".join(word.text for word in said_en), " ".join(word.text for word in said_ar), "the Arabic denies less")
    elif not said_en and not any(word.softly for word in english):
        yield flagged("negation_added", "warning" if len(said_ar) == 1 else "error", "", " ".join(word.text for word in said_ar), "the English denies nothing")
