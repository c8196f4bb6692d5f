"""Rules that a doctor-patient chat must keep, without a model: what is wrong with it, where, and the words that show it.

`check(exchanges, langs, conclusion, source)` takes (patient, assistant) texts, the language of each exchange, the words that state the answer, and the
question that the chat was made from; out come Violations, none for a chat that keeps the rules. Without a source (a chat that somebody wrote) the rules
about answer and doses are silent, without a conclusion those about it. A rule that cannot tell says nothing: the judge of data_prep/chats.py reads each chat.
The word lists are in data_prep/words/chats.yaml. About 450 chats a second on one core.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from data_prep import chat_answers, chat_doses
from data_prep.chat_answers import LISTS
from data_prep.quality_text import ARABIC, BAD, FOREIGN, LINK, MARKS, MARKUP, NAMES_ONLY, OTHER
from data_prep.quality_words import RULES, WORD, fold, read
from data_prep.records import MultipleChoice
from data_prep.wording import Lang

FEWEST, MOST = 3, 6  # exchanges; paper: the published example has 3; 6 is issue 4's
LONGEST = {"patient": 800, "assistant": 1600}  # ours: characters of a turn; the longest of our samples have 135 and 493
HOPELESS = 5_000  # ours: characters of a turn in which a model has lost its way; nothing more is looked for
LONGEST_CONCLUSION = 250  # ours: the prompt asks for 25 words at most
LATIN_LETTERS, LATIN_WORDS = 0.4, 2  # ours: share of the letters of an Arabic turn, words of it that are no names
ENGLISH = 0.1  # ours: share of the commonest words in an English turn of at least MANY words; 5 in 10,000 answers of ChatDoctor have less: lists of drugs
MANY = 12
_STAYS = frozenset(map(fold, RULES["latin"]["allowed"]))
_DRUG = re.compile(rf"\w{{2,}}({'|'.join(RULES['latin']['drug_stems'])})(s|e)?")
_COMMON = frozenset(LISTS["english"])
_LETTERED = {"en": re.compile(r"(?<!\w)\(?([A-E])[.)]\s"), "ar": re.compile(r"(?<!\w)\(?([أابجده]|هـ)[.)-]\s")}
_LETTERED_THINGS = frozenset(fold(word) for word in LISTS["exam_talk"]["lettered"])
_SENTENCE = re.compile(r"(?<=[.!?؟])\s+|\n+")
_MARKDOWN = re.compile(r"\*\*|__\w|^\s*(#{1,4}|[-*•]|\d+[.)])\s", re.MULTILINE)


class Violation(NamedTuple):
    """What is wrong: the rule, the turn (`patient 1`, `assistant 3`, `conclusion`, or `chat` for the whole), the words that show it, what to do."""

    rule: str
    turn: str
    evidence: str
    message: str

    def __str__(self) -> str:
        return f"{self.turn}: {self.message}" + (f" ({self.evidence!r})" if self.evidence else "")


def _patterns(name: str, lang: str) -> re.Pattern:
    return re.compile("|".join(f"(?:{pattern})" for pattern in LISTS[name][lang]), re.MULTILINE)


_TALK = {lang: _patterns("exam_talk", lang) for lang in ("en", "ar")}
_TALK_OF_ASSISTANT = {lang: _patterns("exam_talk", f"assistant_{lang}") for lang in ("en", "ar")}
_LETTER = {lang: _patterns("exam_talk", f"letters_{lang}") for lang in ("en", "ar")}
_REFUSAL = {lang: _patterns("refusal", lang) for lang in ("en", "ar")}
_LABEL = {lang: re.compile(rf"(?:^|[.!?؟]\s)\W*({LISTS['label'][lang]})\s*(\([^)]*\))?\s*:", re.MULTILINE) for lang in ("en", "ar")}
_CARE = {lang: [re.compile(LISTS["care"][lang][part]) for part in ("deed", "who", "when")] for lang in ("en", "ar")}


def check(exchanges: list[tuple[str, str]], langs: list[Lang], conclusion: str | None = None, source: MultipleChoice | None = None) -> list[Violation]:
    """What is wrong with a chat, in the order of its turns. ValueError where not every exchange has a language."""
    if len(exchanges) != len(langs):
        raise ValueError(f"{len(exchanges)} exchanges, but {len(langs)} languages")
    found = list(_shape(exchanges))
    if not exchanges or any(not turn.strip() or len(turn) > HOPELESS for exchange in exchanges for turn in exchange):
        return found
    for number, (exchange, lang) in enumerate(zip(exchanges, langs, strict=True), start=1):
        for who, text in zip(("patient", "assistant"), exchange, strict=True):
            found += (Violation(rule, f"{who} {number}", evidence, said) for rule, evidence, said in _turn(text, who, lang, source))
    if conclusion is not None and not conclusion.strip():
        found.append(Violation("conclusion", "conclusion", "", "it is empty; copy the words that state the answer from one of the assistant's last two turns"))
    found += _course(exchanges, langs, conclusion or "", source)
    if source is not None:
        found += _against(exchanges, langs, conclusion or "", source)
    return found


def _shape(exchanges: list[tuple[str, str]]) -> Iterator[Violation]:
    if not FEWEST <= len(exchanges) <= MOST:
        yield Violation("exchanges", "chat", str(len(exchanges)), f"a chat has {FEWEST} to {MOST} exchanges")
    seen: dict[str, str] = {}
    for number, exchange in enumerate(exchanges, start=1):
        for who, text in zip(("patient", "assistant"), exchange, strict=True):
            turn = f"{who} {number}"
            if not text.strip():
                yield Violation("empty_turn", turn, "", "the turn is empty; write it")
                continue
            if len(text) > LONGEST[who]:
                yield Violation("long_turn", turn, f"{len(text)} characters", f"the turn is longer than {LONGEST[who]} characters; put it shorter")
            words = " ".join(re.findall(r"\w+", fold(text)))
            if (first := seen.setdefault(words, turn)) != turn and (who == "assistant" or len(words) > 20):  # `yes` may be said twice
                yield Violation("said_twice", turn, text[:60], f"the turn says the same as {first}")


def _turn(text: str, who: str, lang: Lang, source: MultipleChoice | None) -> Iterator[tuple[str, str, str]]:
    """(rule, evidence, message) of one turn."""
    yield from _language(text, lang, source)
    folded = fold(text)
    if found := MARKS.findall(text):
        yield "control_marks", " ".join(f"U+{ord(mark):04X}" for mark in dict.fromkeys(found)), "invisible marks that change the direction; leave them out"
    if found := MARKUP.search(text) or _MARKDOWN.search(text):
        yield "markup", found.group().strip(), "marks of a chat, of code or of a list; write plain sentences"
    if found := LINK.search(text):
        yield "link", found.group(), "an address of a page or of a person; leave it out"
    if found := _LABEL[lang].search(folded):
        yield "role_label", found.group().strip(), "the name of the speaker stands in the text; leave it out"
    if found := _REFUSAL[lang].search(folded):
        yield "chatter", found.group(), "the text speaks of the model or of its task, or refuses; only patient and assistant speak"
    if found := _TALK[lang].search(folded) or who == "assistant" and _TALK_OF_ASSISTANT[lang].search(folded):
        yield "exam_talk", found.group(), "the text speaks of the exam question; nobody in the chat knows of one"
    if found := _LETTER[lang].search(text if lang == "en" else folded) or _letters(text, lang):
        yield "letter_talk", found.group(), "the text names an option by its letter; nobody in the chat knows of options"
    if found := _loop(text, lang):
        yield "repetition", found, "words come again and again"


def _language(text: str, lang: Lang, source: MultipleChoice | None) -> Iterator[tuple[str, str, str]]:
    if found := OTHER.findall(text) or BAD.findall(text):
        yield "other_script", " ".join(dict.fromkeys(found)), "letters of another script, or broken ones"
    bare = LINK.sub(" ", re.sub(r"\([^)]*\)", " ", text))  # a name in brackets is a gloss
    arabic, latin = len(ARABIC.findall(bare)), sum(letter.isascii() and letter.isalpha() for letter in bare)
    if lang == "en":
        if arabic > 0.05 * (arabic + latin):
            yield "language", text[:60], "the turn must be in English"
        words = re.findall(r"[a-z]+", bare.lower())
        if not arabic and len(words) >= MANY and sum(word in _COMMON for word in words) < ENGLISH * len(words):
            yield "language", text[:60], "the turn must be in English"
        return
    if (found := set(FOREIGN.findall(text))) and not found <= NAMES_ONLY:
        yield "language", " ".join(sorted(found)), "letters of Persian or Urdu; the turn must be in Arabic"
    if latin and latin > LATIN_LETTERS * (arabic + latin):
        yield "language", text[:60], "the turn must be in Arabic"
        return
    names = {word for part in (source.options if source else []) for word in re.findall(r"[A-Za-z]+", part)}
    left = [word.text for word in read(bare, "ar") if word.latin and word.kind == WORD and not _may_stay(word.text, word.folded, bool(word.notions), names)]
    if len(left) >= LATIN_WORDS:
        yield "language", " ".join(left[:8]), "English words in an Arabic turn; only names of medicines and abbreviations may stay"


def _may_stay(text: str, folded: str, term: bool, names: set[str]) -> bool:
    """May a Latin word stand in an Arabic turn: an abbreviation, a medicine, a name, a word of the answer that is no ordinary term?"""
    return text[1:] != text[1:].lower() or len(text) == 1 or folded in _STAYS or bool(_DRUG.fullmatch(folded)) or not term and (text in names or text.istitle())


def _letters(text: str, lang: Lang) -> re.Match | None:
    """The second of two options that are listed by letter; `hepatitis A. hepatitis B.` are none."""
    wanted = 0
    for mark in _LETTERED[lang].finditer(text):
        before = re.search(r"(\w+)\W*$", text[: mark.start()])
        if before and fold(before[1]) in _LETTERED_THINGS and not re.search(r"[.:;,؛،\n]\s*$", text[: mark.start()]):
            continue
        place = "ABCDE".find(mark[1]) if lang == "en" else "ابجده".find(fold(mark[1])[0])
        if place == wanted == 1:
            return mark
        wanted = 1 if place == 0 else wanted
    return None


def _loop(text: str, lang: Lang) -> str | None:
    """Words that stand three times in a row, or a text of which a third of the word pairs repeats earlier ones."""
    words = [word.folded for word in read(text, lang) if word.kind <= WORD]
    again = len(words) - 1 - len(set(zip(words, words[1:], strict=False)))
    if again < 2:
        return None
    for size in range(1, 13):
        run = 0
        for at in range(len(words) - size):
            run = run + 1 if words[at] == words[at + size] else 0
            if run >= 2 * size:
                return " ".join(words[at - run + 1 : at - run + 1 + size])
    return " ".join(words[:8]) if again > 6 and again > 0.33 * len(words) else None


def _course(exchanges: list[tuple[str, str]], langs: list[Lang], conclusion: str, source: MultipleChoice | None) -> Iterator[Violation]:
    """Opening, questions, conclusion, and when to see a doctor."""
    opening, first = exchanges[0]
    right = source.options[source.answer] if source else ""
    if right and chat_answers.named(right, source.question, "en"):
        right = ""  # the question itself names it: what the patient may say of it is the judge's to tell
    if right and chat_answers.named(right, opening, langs[0]):
        yield Violation("names_answer", "patient 1", opening[:80], f"the patient already names the answer, {right!r}; describe it without the name")
    elif conclusion and langs[0] == langs[-1] and chat_answers.told(conclusion, opening, langs[0]):
        yield Violation("names_answer", "patient 1", opening[:80], "the patient already says what the conclusion says; leave it to the assistant")
    if not re.search("[?؟]", first):
        yield Violation("no_question", "assistant 1", first[-60:], "the assistant asks nothing before it concludes; let it ask for details first")
    statements = " ".join(sentence for sentence in _SENTENCE.split(first) if not re.search(r"[?؟]\W*$", sentence))
    if conclusion and _plain(conclusion) in _plain(first) or right and chat_answers.named(right, statements, langs[0]):
        yield Violation("concludes_at_once", "assistant 1", statements[:80], "the first reply already concludes; let the assistant ask first")
    if conclusion and not any(_plain(conclusion) in _plain(assistant) for _, assistant in exchanges[-2:]):
        yield Violation(
            "conclusion", "conclusion", conclusion[:80], "it does not stand word for word in one of the assistant's last two turns; copy it from there"
        )
    if len(conclusion) > LONGEST_CONCLUSION:
        yield Violation("conclusion", "conclusion", f"{len(conclusion)} characters", "give only the few words that state the answer")
    if not any(_cares(assistant, lang) for (_, assistant), lang in zip(exchanges, langs, strict=True)):
        yield Violation("no_doctor", "chat", "", "the assistant never says when to see a doctor or to call for help; let the last turn say it")


def _against(exchanges: list[tuple[str, str]], langs: list[Lang], conclusion: str, source: MultipleChoice) -> Iterator[Violation]:
    """The chat against the question that it was made from."""
    right = source.options[source.answer]
    endings = [" ".join(assistant for (_, assistant), of in list(zip(exchanges, langs, strict=True))[-2:] if of == lang) for lang in ("en", "ar")]
    lost = [chat_answers.missing(source, ending, lang) for ending, lang in zip(endings, ("en", "ar"), strict=True) if ending]
    if lost and all(lost):  # a chat that changes its language at the end says it in one of them
        yield Violation("answer_missing", "chat", lost[0], f"the assistant's last two turns do not say the answer, {right!r}; let one of them name it")
    spoken = next(
        (lang for (_, assistant), lang in zip(exchanges[-2:], langs[-2:], strict=True) if conclusion and _plain(conclusion) in _plain(assistant)), None
    )
    if spoken and (wrong := chat_answers.other(source, conclusion, spoken)):
        yield Violation("other_answer", "conclusion", conclusion[:80], f"the chat concludes {wrong!r}, the answer is {right!r}")
    for number, ((patient, _), lang) in enumerate(zip(exchanges, langs, strict=True), start=1):
        if lang == "en" and (passage := chat_answers.copied(source.question, patient)):
            yield Violation("copied_question", f"patient {number}", passage, "the patient speaks in the words of the question; say it as a patient would")
    texts = [source.question, *source.options, source.explanation or "", source.context or ""]
    turns = [(patient, assistant, lang) for (patient, assistant), lang in zip(exchanges, langs, strict=True)]
    for number, words in chat_doses.invented(turns, texts):
        yield Violation(
            "invented_dose", f"assistant {number}", words, "no such amount is in the source; say `as the leaflet says` or `as your doctor prescribes`"
        )


def _plain(text: str) -> str:
    return " ".join(text.split()).strip(" .!").lower()


def _cares(text: str, lang: Lang) -> bool:
    """Does one sentence of a turn that is no question say to whom to go, and when?"""
    for sentence in _SENTENCE.split(fold(text)):
        if sentence and not re.search(r"[?؟]\W*$", sentence) and all(part.search(sentence) for part in _CARE[lang]):
            return True
    return False
