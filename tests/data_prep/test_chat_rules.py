"""The rules for chats: each finds what it is for, in both languages, and says nothing of what people really write."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.chat_doses import Known, doses
from data_prep.chat_rules import check
from data_prep.records import MultipleChoice
from tests.data_prep.chatting import CONCLUSION, OPENING, SPOILT, good, question


def rules(chat: list[list[str]], langs: list[str], conclusion: str | None = None, source: MultipleChoice | None = None) -> list[str]:
    """The rules that a chat breaks, each as often as it does."""
    found = check([tuple(exchange) for exchange in chat], langs, CONCLUSION[langs[-1]] if conclusion is None else conclusion, source or question())
    assert all(one.turn and one.message for one in found)
    return [one.rule for one in found]


def said(lang: str, text: str, turn: int = 7) -> set[str]:
    """The rules that the good chat of four exchanges breaks when one of its turns (from 0) says this too."""
    chat = good([lang] * 4)
    chat[turn // 2][turn % 2] += f" {text}"
    return set(rules(chat, [lang] * 4))


def test_a_good_chat_has_no_fault_whatever_its_languages() -> None:
    """3 to 6 exchanges, each in either language: 120 chats."""
    plans = [list(langs) for count in range(3, 7) for langs in itertools.product(("en", "ar"), repeat=count)]
    assert len(plans) == 120 and [(langs, found) for langs in plans if (found := rules(good(langs), langs))] == []


@pytest.mark.parametrize("name", SPOILT)
def test_each_fault_is_found_and_no_other(name: str) -> None:
    """One fault, one rule, with the turn that it is in."""
    chat = good(["en"] * 4)
    conclusion = SPOILT[name](chat)
    assert rules(chat, ["en"] * len(chat), conclusion) == [name]


@pytest.mark.parametrize(
    ("rule", "lang", "text"),
    [
        ("exam_talk", "ar", "الجواب الصحيح هو فقر الدم."),
        ("exam_talk", "ar", "هذا هو الخيار الصحيح."),
        ("exam_talk", "ar", "وفقا للسؤال أنت في الرابعة والثلاثين."),
        ("exam_talk", "ar", "جميع ما سبق صحيح."),
        ("exam_talk", "ar", "هذا سؤال اختيار من متعدد."),
        ("exam_talk", "en", "Which of the following do you prefer?"),
        ("exam_talk", "en", "All of the above are signs of it."),
        ("exam_talk", "en", "The question states that you are 34."),
        ("exam_talk", "en", "Ref: the 20th edition."),
        ("exam_talk", "en", "The explanation says that iron is lost."),
        ("letter_talk", "ar", "الخيار ب غير مناسب."),
        ("letter_talk", "ar", "أ. الراحة ب. الدواء"),
        ("letter_talk", "en", "A. Rest B. Iron"),
        ("letter_talk", "en", "The answer is C."),
        ("letter_talk", "en", "Option (A) fits."),
        ("chatter", "ar", "بصفتي نموذجا لغويا لا أستطيع تشخيصك."),
        ("chatter", "ar", "لا أستطيع تقديم نصيحة طبية."),
        ("chatter", "ar", "إليك المحادثة المطلوبة."),
        ("chatter", "en", "I'm just an AI and know little."),
        ("chatter", "en", "I cannot provide medical advice."),
        ("chatter", "en", "Here is the conversation that you asked for."),
        ("chatter", "en", "[insert name] will call you."),
        ("role_label", "ar", "المريض: شكرا."),
        ("role_label", "ar", "الطبيبة : راجعينا."),
        ("role_label", "en", "\nPatient: thank you."),
        ("invented_dose", "ar", "تناولي قرصين من الحديد يوميا."),
        ("invented_dose", "ar", "تناولي ٥٠٠ ملغ من الباراسيتامول."),
        ("invented_dose", "ar", "خذي حبة واحدة كل يوم."),
        ("invented_dose", "ar", "احقني ١٠ وحدات."),
        ("invented_dose", "ar", "خذي بختين من البخاخ."),
        ("invented_dose", "en", "Take two tablets daily."),
        ("invented_dose", "en", "Take one capsule at night."),
        ("invented_dose", "en", "Inject 10 units."),
        ("invented_dose", "en", "Take 2 g of ferrous sulfate."),  # 200 mg is in the source: the decimal point has moved
        ("invented_dose", "en", "Take 0.2 mg of ferrous sulfate."),
        ("language", "ar", "You should take the iron with food."),
        ("language", "ar", "این دارو برای شما خوب است."),
        ("control_marks", "ar", "\u202eنص\u202c"),
        ("control_marks", "en", "take\u200b it"),
        ("other_script", "ar", "贫血"),
        ("markup", "en", "</s>"),
        ("markup", "en", "[INST]"),
        ("markup", "en", "\n- Rest\n- Iron"),
        ("markup", "ar", "**مهم**"),
        ("link", "ar", "زوري www.example.org"),
        ("repetition", "ar", "نعم نعم نعم نعم."),
        ("repetition", "en", "take it with food take it with food take it with food"),
    ],
)
def test_a_sentence_that_must_not_stand_in_a_chat(rule: str, lang: str, text: str) -> None:
    """One sentence more in the assistant's last turn."""
    assert said(lang, text) == {rule}


@pytest.mark.parametrize(
    ("lang", "text"),
    [
        ("en", "There are several treatment options, and the best option for you is iron by mouth."),
        ("en", "Vitamin A. and vitamin B. are both in food, and hepatitis A and B are not."),
        ("en", "That is a good question. The question is whether the bleeding stops."),
        ("en", "The right choice of food helps, and the choice is yours."),
        ("en", "A C-section or vitamin B12 would be another matter, and type A. B. is rare."),
        ("en", "Ferrous sulfate 0.2 g is the same amount, which 200mg says too."),
        ("en", "Drink 2 litres of water a day and come back in 6 weeks if your temperature is above 38 degrees."),
        ("en", "If any of the following happens, call for help: fainting or bleeding."),
        ("en", "I am sorry, but I cannot say more without a blood test."),
        ("en", "Your doctor: is she near you? She may ask for an ECG, a CT or an MRI."),
        ("ar", "الخيار العلاجي الأفضل لك هو الحديد، وهناك خيارات أخرى."),
        ("ar", "سؤالك جيد، والسؤال هو هل يتوقف النزف."),
        ("ar", "فيتامين أ. وفيتامين ب. موجودان في الطعام، والتهاب الكبد ب أمر آخر."),
        ("ar", "كبريتات الحديدوز (ferrous sulfate) ٠٫٢ غ هي الكمية نفسها."),
        ("ar", "قد يطلب الطبيب تخطيط القلب ECG أو الرنين المغناطيسي MRI أو تحليل TSH."),
        ("ar", "قد يفيد metformin أو البنسلين في حالات أخرى."),
        ("ar", "اشربي لترين من الماء يوميا، وراجعي الطبيب إذا زادت الحرارة على 38 درجة."),
        ("ar", "إجابتك مفيدة، واختيارك للطعام مهم، ونوع الدم أ لا يهم."),
        ("ar", "إذا حدث أي مما يلي فاتصلي بالإسعاف: إغماء أو نزف شديد."),
        ("ar", "يؤسفني أنني لا أستطيع تأكيد ذلك دون تحليل."),
    ],
)
def test_normal_talk_is_left_alone(lang: str, text: str) -> None:
    """What looks like a fault and is none."""
    assert said(lang, text) == set()


def test_a_patient_may_say_what_an_assistant_may_not() -> None:
    """`None of the above` answers a doctor's list, and what a patient takes is no advice."""
    for lang, text in (("en", "None of the above. I took 400 mg of ibuprofen."), ("ar", "لا شيء مما سبق. تناولت 400 ملغ من الإيبوبروفين.")):
        assert said(lang, text, turn=4) == set()
    for lang, text in (("en", "My glucose was 430 mg/dL."), ("ar", "كان سكر الدم 430 ملغ/دل.")):
        chat = good([lang] * 4)
        chat[2][1] = f"{text} {chat[2][1]}"
        assert rules(chat, [lang] * 4) == ["invented_dose"]
        chat[1][0] += f" {text}"  # once the patient has said it, the assistant may say it again
        assert rules(chat, [lang] * 4) == []
    assert said("en", "Then is it option B?", turn=6) == {"letter_talk"}


@pytest.mark.parametrize("lang", ["en", "ar"])
def test_the_answer_is_hidden_at_first_and_said_in_the_end(lang: str) -> None:
    """Said in the opening, said in the first reply, not said at all, another one said."""
    said_so = {"en": "It is most likely iron deficiency anaemia.", "ar": "الأرجح أنه فقر الدم بعوز الحديد."}[lang]
    assert said(lang, said_so, turn=0) == {"names_answer"}
    assert said(lang, said_so, turn=1) == {"concludes_at_once"}
    chat = good([lang] * 4)
    other = {"en": "most likely vitamin B12 deficiency", "ar": "الأرجح أنه نقص فيتامين B12"}[lang]
    chat[-1][1] = chat[-1][1].replace(CONCLUSION[lang], other)
    assert rules(chat, [lang] * 4, other) == {"en": ["answer_missing", "other_answer"], "ar": []}[lang]  # deficiency is in both: left to the judge
    drug = question(options=["Metformin", "Warfarin", "Aspirin", "Insulin"])
    wrong = {"en": "The best medicine is warfarin", "ar": "أفضل دواء هو الوارفارين"}[lang]
    chat[-1][1] += f" {wrong}."
    assert "other_answer" in rules(chat, [lang] * 4, wrong, drug)


def test_a_chat_in_another_language_is_found() -> None:
    """Whole turns, by their letters or by their commonest words."""
    spanish = "Hola, me siento cansada desde hace dos meses y la gente dice que estoy muy pálida, sobre todo por la mañana."
    for lang, text in (("en", spanish), ("en", OPENING["ar"][0]), ("ar", OPENING["en"][0]), ("ar", spanish), ("en", "Я чувствую себя усталой.")):
        chat = good([lang] * 3)
        chat[0][0] = text
        assert set(rules(chat, [lang] * 3)) <= {"language", "other_script"} and rules(chat, [lang] * 3), text
    assert rules(good(["en", "en", "ar"]), ["en", "en", "en"], CONCLUSION["ar"])[:2] == ["language", "language"]  # who is written to in English answers so


def test_the_shape() -> None:
    """Turns that are too many, too long, or said twice; what is not a chat at all."""
    six = good(["en"] * 6)
    assert rules([*six[:5], six[1], six[5]], ["en"] * 7) == ["exchanges", "said_twice", "said_twice"]
    assert set(said("en", "It will get better, and you need not worry about this now. " * 40)) == {"long_turn", "repetition"}
    assert [one.rule for one in check([], [], "x", question())] == ["exchanges"]
    assert rules([*good(["en"] * 3)[:2], ("Yes.", "(" * 100_000)], ["en"] * 3) == ["long_turn"]  # at once: the other rules would take seconds over it
    with pytest.raises(ValueError, match="3 exchanges, but 2 languages"):
        check([("a", "b")] * 3, ["en"] * 2)
    copied = question().question
    chat = good(["en"] * 3)
    chat[1][0] = copied
    assert "copied_question" in rules(chat, ["en"] * 3)
    assert rules(good(["en"] * 3), ["en"] * 3, "") == ["conclusion"]
    assert rules(good(["en"] * 3), ["en"] * 3, good(["en"] * 3)[-1][1]) == ["conclusion"]  # the whole turn is not `the few words`


@pytest.mark.parametrize(
    ("lang", "text", "says_it"),
    [
        ("en", "If it gets worse, call emergency services.", True),
        ("en", "Please make an appointment with your GP this week.", True),
        ("en", "You should be seen by a cardiologist.", True),
        ("en", "Seek medical attention if you faint.", True),
        ("en", "Have you seen a doctor today?", False),
        ("en", "Doctors know this illness well.", False),
        ("en", "Call me if it gets worse.", False),
        ("ar", "راجعي طبيبك إذا استمر التعب.", True),
        ("ar", "اتصلي بالإسعاف فورا.", True),
        ("ar", "عند أي نزف شديد توجهي إلى أقرب مستشفى.", True),
        ("ar", "يجب استشارة طبيبة مختصة خلال أيام.", True),
        ("ar", "هل راجعت الطبيب اليوم؟", False),
        ("ar", "يعرف الأطباء هذا المرض جيدا.", False),
        ("ar", "أخبريني إذا زاد التعب.", False),
    ],
)
def test_when_to_see_a_doctor(lang: str, text: str, says_it: bool) -> None:
    """A sentence that says to whom to go and when; a question about doctors, or praise of them, is none."""
    chat = good([lang] * 3)
    chat[-1][1] = f"{'This is' if lang == 'en' else ''} {CONCLUSION[lang]}. {text}"
    assert rules(chat, [lang] * 3) == ([] if says_it else ["no_doctor"])


def test_doses_are_the_same_in_both_languages_and_all_units() -> None:
    """What is read as one amount, and what is no dose."""
    same = [("0.5 g", "٥٠٠ ملغ"), ("500mg", "0.5 غ"), ("two tablets", "قرصين"), ("one capsule", "حبة واحدة"), ("50 mcg", "0.05 ملغ"), ("10 units", "10 وحدات")]
    for english, arabic in same:
        (one,), (other,) = doses(f"Take {english} now.", "en"), doses(f"تناولي {arabic} الآن.", "ar")
        assert one.same(other) and other.same(one), (english, arabic)
    assert not doses("5 mg", "en")[0].same(doses("5 ml", "en")[0]) and not doses("5 mg", "en")[0].same(doses("50 mg", "en")[0])
    for text in ("Drink 2 litres a day for 3 weeks.", "Above 38 degrees, or 140/90 mmHg.", "One of the tablets every 8 hours.", "She is 34 and weighs 70 kg."):
        assert doses(text, "en") == [], text
    assert Known(["The dose in mg is", "250", "500"]).has(doses("250 mg", "en")[0])  # number and unit apart
    assert not Known(["The dose in ml is", "250", "500"]).has(doses("250 mg", "en")[0])


@settings(max_examples=150)
@given(st.lists(st.tuples(st.text(), st.text()), max_size=4), st.text(), st.lists(st.text(min_size=1).map(lambda text: f"a{text}"), min_size=2, max_size=3))
def test_no_text_stops_the_rules(exchanges: list[tuple[str, str]], conclusion: str, options: list[str]) -> None:
    """A model may write anything: each chat gets its verdict."""
    for lang in ("en", "ar"):
        assert check(exchanges, [lang] * len(exchanges), conclusion, question(options=options))
