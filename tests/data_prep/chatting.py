"""A chat that keeps every rule, in both languages, and a model behind the stand-in endpoint that writes it, spoils it as it is told, and judges it.

What the model does depends on the request alone. A row's explanation says how: `case: NAME` spoils every chat, `case: NAME once` the first one only.
"""

import json
from collections.abc import Callable

from data_prep.records import MultipleChoice

RIGHT = "Iron deficiency anaemia"
OPTIONS = [RIGHT, "Hypothyroidism", "Vitamin B12 deficiency", "Major depression"]
QUESTION = "A 34-year-old woman has been tired for two months, looks pale, and has had heavy menstrual bleeding for years. What is the most likely diagnosis?"
EXPLANATION = "Heavy bleeding takes iron from the body. It is given as ferrous sulfate 200 mg."
CONCLUSION = {"en": "most likely iron deficiency anaemia", "ar": "الأرجح أنه فقر الدم بعوز الحديد"}
OPENING = {
    "en": (
        "I have felt tired for two months and get out of breath on the stairs, and people say that I look pale.",
        "I am sorry to hear that. How old are you, and how heavy are your periods? Have you lost weight or seen black stools? Do you take any medicines?",
    ),
    "ar": (
        "أشعر بالتعب منذ شهرين ويضيق نفسي عند صعود الدرج، ويقول الناس إن وجهي شاحب.",
        "يؤسفني ذلك. كم عمرك، وهل دورتك الشهرية غزيرة؟ هل نقص وزنك أو رأيت برازا أسود؟ هل تتناولين أي أدوية؟",
    ),
}
MIDDLE = {
    "en": [
        (
            "I am 34. My periods are heavy and last eight days. My weight is the same and I take nothing.",
            "Thank you, that helps. What do you usually eat, and do you feel your heart racing or pain in your chest?",
        ),
        (
            "I eat little meat and drink a lot of tea. My heart races only when I climb stairs.",
            "Has anybody in your family had a disease of the blood, and have you been pregnant in the last year?",
        ),
        ("Nobody has, and I have not been pregnant.", "Do you have a sore tongue, brittle nails or a wish to chew ice?"),
        ("Yes, I chew ice every day.", "That is a useful sign. Do you feel dizzy when you stand up?"),
    ],
    "ar": [
        (
            "عمري 34 سنة. دورتي غزيرة وتدوم ثمانية أيام. وزني لم يتغير ولا أتناول أي دواء.",
            "شكرا لك، هذا مفيد. ماذا تأكلين عادة، وهل تشعرين بتسارع القلب أو بألم في الصدر؟",
        ),
        (
            "آكل القليل من اللحم وأشرب الكثير من الشاي. لا يتسارع قلبي إلا عند صعود الدرج.",
            "هل أصيب أحد في عائلتك بمرض في الدم، وهل كنت حاملا في السنة الماضية؟",
        ),
        ("لم يصب أحد، ولم أكن حاملا.", "هل لديك ألم في اللسان أو أظافر هشة أو رغبة في مضغ الثلج؟"),
        ("نعم، أمضغ الثلج كل يوم.", "هذه علامة مفيدة. هل تشعرين بالدوار عند الوقوف؟"),
    ],
}
ENDING = {
    "en": (
        "What do you think it is, and what should I do?",
        "This is most likely iron deficiency anaemia from your heavy periods. Eat meat, lentils and fruit, and drink tea apart from meals. After a blood test "
        "doctors often give ferrous sulfate 200 mg, so see a doctor this week. Go to the emergency department if you faint or have pain in your chest.",
    ),
    "ar": (
        "ما الذي أعانيه في رأيك، وماذا أفعل؟",
        "الأرجح أنه فقر الدم بعوز الحديد بسبب غزارة الدورة. كلي اللحم والعدس والفواكه، واشربي الشاي بعيدا عن الوجبات. كثيرا ما يصف الأطباء بعد تحليل الدم "
        "كبريتات الحديدوز 200 ملغ، فراجعي الطبيب هذا الأسبوع. اذهبي إلى الطوارئ إذا أغمي عليك أو شعرت بألم في الصدر.",
    ),
}
THANKS = {"en": "Thank you for telling me. ", "ar": "شكرا لأنك أخبرتني. "}  # a chat that was asked for again shows it, so that the judge knows


def question(name: str = "1", **fields: object) -> MultipleChoice:
    """The question that the chat answers, under this name."""
    plain = {"id": f"t:{name}:en", "origin_id": f"t:{name}", "lang": "en", "source": "t", "split": "train", "benchmark": "t", "question": QUESTION}
    return MultipleChoice(**plain | {"options": OPTIONS, "answer": 0, "explanation": EXPLANATION} | fields)


def good(langs: list[str]) -> list[list[str]]:
    """The chat with each exchange in its language, 2 to 6 of them: [patient, assistant] each."""
    middle = [MIDDLE[lang][number] for number, lang in enumerate(langs[1:-1])]
    return [list(exchange) for exchange in (OPENING[langs[0]], *middle, ENDING[langs[-1]])]


def _last(chat: list[list[str]], more: str) -> None:
    chat[-1][1] += more


# name: how it spoils the chat in place; it may give another conclusion
SPOILT: dict[str, Callable[[list[list[str]]], str | None]] = {
    "invented_dose": lambda chat: _last(chat, " Take ibuprofen 400 mg for the pain."),
    "names_answer": lambda chat: chat[0].__setitem__(0, "Do I have iron-deficiency anemia? I am so tired."),
    "no_question": lambda chat: chat[0].__setitem__(1, "I see. Please tell me more about it."),
    "no_doctor": lambda chat: chat[-1].__setitem__(1, chat[-1][1].split(" After")[0]),
    "exam_talk": lambda chat: _last(chat, " So that is the correct answer."),
    "letter_talk": lambda chat: _last(chat, " It is option A."),
    "exchanges": lambda chat: chat.__setitem__(slice(1, None), chat[-1:]),
    "empty_turn": lambda chat: chat[1].__setitem__(0, "  "),
    "language": lambda chat: chat[1].__setitem__(0, MIDDLE["ar"][0][0]),
    "answer_missing": lambda chat: chat[-1].__setitem__(1, chat[-1][1].replace("iron deficiency anaemia", "a low thyroid")) or "most likely a low thyroid",
    "conclusion": lambda chat: "it is surely iron deficiency anaemia",
    "chatter": lambda chat: _last(chat, " As an AI, I cannot replace a doctor."),
    "role_label": lambda chat: chat[1].__setitem__(1, f"Doctor: {chat[1][1]}"),
}
JUDGED = {"unsafe": {"safe_advice": False, "feedback": "Tea with iron is wrongly praised."}, "low_score": {"score": 79}}


def answer(request: dict) -> object:
    """The script of the endpoint: writes a chat or judges one."""
    said = request["messages"][1]["content"]
    source, _ = json.JSONDecoder().raw_decode(said[said.index("{") :])
    case, _, once = source["explanation"].partition("case: ")[2].partition(" ")
    if request["response_format"]["json_schema"]["name"] == "Judgement":
        criteria = [name for name, of in request["response_format"]["json_schema"]["schema"]["properties"].items() if of["type"] == "boolean"]
        verdict = {"feedback": "", **dict.fromkeys(criteria, True), "score": 92}
        return verdict if once and any(thanks in said for thanks in THANKS.values()) else verdict | JUDGED.get(case, {})
    langs = [line.split(": ")[1][:2] for line in said.split("Languages: ")[1].split("\n")[0].split("; ")]
    langs = ["en" if lang == "En" else "ar" for lang in langs]
    if case in ("short", "stays"):  # a change of language that never comes
        langs = langs[:1] * (3 if case == "short" else len(langs))
    chat, again = good(langs), "This is attempt" in said
    if again:
        chat[-1][1] = THANKS[langs[-1]] + chat[-1][1]
    conclusion = SPOILT[case](chat) if case in SPOILT and not (again and once) else None
    exchanges = [{"patient": patient, "assistant": assistant} for patient, assistant in chat]
    return {"exchanges": exchanges, "conclusion": conclusion or CONCLUSION[langs[-1]]}
