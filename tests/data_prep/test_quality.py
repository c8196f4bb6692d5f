"""The rules that judge a translation, one by one: what must pass, what must be flagged and by which rule, and the number parser by its properties."""

import itertools
import json
import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.quality import LINE, check
from data_prep.quality_check import check_options
from data_prep.quality_numbers import quantities
from data_prep.quality_words import number, read
from tests.data_prep.conftest import ROOT

SAME = [
    ("Take 5 mg twice a day.", "تناول 5 ملغ مرتين في اليوم."),
    ("Take 5 mg twice a day.", "تناول ٥ ملغم مرتين يوميا."),
    ("Take 5 mg twice a day.", "تناول ۵ مليغرام مرتين يوميا."),
    ("Give 1,000 mL of saline.", "أعط ١٬٠٠٠ مل من المحلول الملحي."),
    ("Give 1,000 mL of saline.", "أعط 1000 ملليلتر من المحلول الملحي."),
    ("The temperature is 98.6 °F.", "درجة الحرارة ٩٨٫٦ درجة فهرنهايت."),
    ("The temperature is 37.5 °C.", "درجة الحرارة 37,5 درجة مئوية."),
    ("The temperature is 37.5 C (99.5 F).", "درجة الحرارة 37.5 °م (99.5 °ف)."),
    ("The fever lasted two days.", "استمرت الحمى يومين."),
    ("Wait 2 hours after the meal.", "انتظر ساعتين بعد الوجبة."),
    ("The cough lasted 7-10 days.", "استمر السعال من 7 إلى 10 أيام."),
    ("The cough lasted 7–10 days.", "استمر السعال ٧-١٠ أيام."),
    ("The cough lasted 7 to 10 days.", "استمر السعال من سبعة إلى عشرة أيام."),
    ("Three patients and 4 doctors were infected.", "أصيب ثلاثة مرضى وأربعة أطباء."),
    ("About 25% of patients recovered.", "تعافى نحو ٢٥٪ من المرضى."),
    ("About 25 percent of patients recovered.", "تعافى نحو 25 في المئة من المرضى."),
    ("Twenty-five patients died.", "توفي خمسة وعشرون مريضا."),
    ("His blood pressure is 120/80 mm Hg.", "ضغط دمه 120/80 ملم زئبق."),
    ("His blood pressure is 120/80 mmHg.", "ضغط دمه ١٢٠/٨٠ ملم زئبقي."),
    ("Potassium is 7.4 mmol/L.", "البوتاسيوم 7.4 ملي مول/لتر."),
    ("Glucose is 110 mg/dL.", "الغلوكوز 110 ملغ/ديسيلتر."),
    ("Inject 10 IU of insulin.", "احقن 10 وحدات دولية من الإنسولين."),
    ("The cost was 1.5 million dollars.", "بلغت التكلفة 1,5 مليون دولار."),
    ("In the 19th century plague returned.", "في القرن التاسع عشر عاد الطاعون."),
    ("The clinic opens at 9:30 p.m.", "تفتح العيادة الساعة 9:30 مساء."),
    ("The clinic opens at 9:30 p.m.", "تفتح العيادة الساعة 21:30."),
    ("Keep the vaccine at -20 °C.", "احفظ اللقاح عند 20 درجة مئوية تحت الصفر."),
    ("He was born in 1985 and is 34 years old.", "ولد عام ١٩٨٥ وعمره ٣٤ سنة."),
    ("COVID-19 spreads through droplets.", "ينتشر كوفيد-19 عبر الرذاذ."),
    ("The MRI showed a tumour and DNA tests were done.", "أظهر تصوير MRI وجود ورم وأجريت اختبارات DNA."),
    ("Metformin and remdesivir are drugs.", "metformin وremdesivir من الأدوية."),
    ("Staphylococcus aureus causes skin infections.", "تسبب Staphylococcus aureus عدوى الجلد."),
    ("Serum sodium is 128 mEq/L.", "صوديوم المصل 128 ملي مكافئ/لتر."),
    ("Paracetamol 15 mg/kg every 6 hours, max 60 mg/kg/day.", "باراسيتامول 15 ملغ/كغ كل 6 ساعات، بحد أقصى 60 ملغ/كغ/يوم."),
    ("White cell count is 12,500/µL.", "عدد الكريات البيض 12500/ميكرولتر."),
    ("A six-month-old baby has a fever of 39.2°C.", "رضيع عمره ستة أشهر لديه حمى 39.2°م."),
    ("The first and second doses are given 21 days apart.", "تعطى الجرعتان الأولى والثانية بفاصل 21 يوما."),
    ("1/3 of patients", "ثلث المرضى"),
    ("p < 0.05", "p < 0.05"),
    ("None of the above", "لا شيء مما سبق"),
    ("All of the following are true EXCEPT", "كل ما يلي صحيح ما عدا"),
    ("I am not a doctor.", "لست طبيبا."),
    ("HIV", "فيروس نقص المناعة البشرية"),
    ("Yes", "نعم"),
    ("There is no fever.", "لا توجد حمى."),
    ("It is unlikely that fever returns.", "من غير المحتمل أن تعود الحمى."),
    ("He still has a fever.", "لا يزال يعاني من الحمى."),
    ("I cannot translate my symptoms into words, sorry.", "لا أستطيع ترجمة أعراضي إلى كلمات، آسف."),
]
DIFFERENT = [
    ("Take 5 mg twice a day.", "تناول 50 ملغ مرتين في اليوم.", "decimal_moved"),
    ("Take 5 mg twice a day.", "تناول 0.5 ملغ مرتين في اليوم.", "decimal_moved"),
    ("Take 5 mg twice a day.", "تناول 6 ملغ مرتين في اليوم.", "number_changed"),
    ("Take 5 mg twice a day.", "تناول 5 غرام مرتين في اليوم.", "unit_changed"),
    ("Take 5 mg twice a day.", "تناول 5 ميكروغرام مرتين في اليوم.", "unit_changed"),
    ("Take 5 mg twice a day.", "تناول 5 على معدة فارغة مرتين في اليوم.", "unit_lost"),
    ("Take the medicine with food for 25 days.", "تناول الدواء مع الطعام لمدة 52 يوما.", "digits_reversed"),
    ("Take the medicine for 3 weeks.", "تناول الدواء لمدة 3 أيام.", "unit_changed"),
    ("Take the medicine for two weeks.", "تناول الدواء لمدة شهرين.", "unit_changed"),
    ("The temperature is 39 °C and the patient is ill.", "درجة الحرارة 39 فهرنهايت والمريض متعب.", "unit_changed"),
    ("Glucose is 110 mg/dL in this patient.", "الغلوكوز 110 ملغ/لتر عند هذا المريض.", "unit_changed"),
    ("Keep the vaccine at -20 °C.", "احفظ اللقاح عند 20 درجة مئوية.", "sign_lost"),
    ("The fever lasted three days.", "استمرت الحمى خمسة أيام.", "number_changed"),
    ("COVID-19 spreads through droplets.", "ينتشر كوفيد-29 عبر الرذاذ.", "name_changed"),
    ("The patient has a fever and a cough.", "المريض has a fever وسعال.", "residual_english"),
    ("The patient has a fever and a cough.", "The patient has a fever and a cough.", "not_arabic"),
    ("The patient has a fever and a cough.", "بیمار تب و سرفه دارد و حال او خوب نیست.", "foreign_letters"),
    ("The patient has a fever and a cough.", "У пациента حمى وسعال.", "other_script"),
    ("The patient has a fever and a cough.", "المريض يعاني من الحمى والسعال والسعال والسعال والسعال والسعال.", "repetition"),
    ("The patient has a fever and a cough.", "هه هه يعاني المريض من الحمى يعاني المريض من الحمى يعاني المريض من الحمى.", "repetition"),
    ("There is no fever in this patient.", "توجد حمى عند هذا المريض.", "negation_lost"),
    ("The patient doesn't have a fever.", "يعاني المريض من الحمى.", "negation_lost"),
    ("The patient has a fever and a cough.", "بالتأكيد، إليك الترجمة: المريض يعاني من الحمى والسعال.", "chatter"),
    ("The patient has a fever and a cough.", "Here is the translation: المريض يعاني من الحمى والسعال.", "chatter"),
    ("The patient has a fever and a cough.", "عذرا، لا يمكنني تقديم ترجمة لهذا النص الطبي.", "chatter"),
    ("The patient has a fever and a cough.", "\u202eالمريض يعاني من الحمى والسعال.", "direction_override"),
    ("The patient has a fever and a cough.", "\u202bالمريض يعاني من الحمى والسعال.", "direction_unbalanced"),
    ("The patient has a fever and a cough.", "المريض يعاني من الحمى والسع\ufffdال.", "broken_characters"),
    ("The patient has a fever and a cough.", "```المريض يعاني من الحمى والسعال.```", "markup"),
    ("The patient has a fever and a cough.", "  ", "empty"),
    ("The patient has had a fever and a cough for several long weeks now.", "حمى وسعال.", "too_short"),
    ("Fever.", "ارتفاع درجة حرارة الجسم عن المعدل الطبيعي المعروف لدى الأطباء في جميع أنحاء العالم.", "too_long"),
    ("Wash your hands with soap and water before you eat.", "ارتفعت أسعار النفط في الأسواق العالمية أمس الجمعة.", "other_text"),
    ("The fever is severe. The kidneys failed. Surgery on the heart was done.", "الحمى شديدة. أجريت جراحة في القلب.", "sentence_dropped"),
    ("The patient has a severe fever, and the kidneys and the liver have failed.", "يعاني المريض من حمى شديدة، كما أن", "cut_off"),
]  # fmt: skip


@pytest.mark.parametrize(("en", "ar"), SAME)
def test_a_true_translation_passes(en: str, ar: str) -> None:
    """Whatever the digits, the spelling of the unit, the words for small numbers: no error, and above the line."""
    found = check(en, ar)
    assert found.score >= LINE and not [flag for flag in found.flags if flag["severity"] == "error"], found


@pytest.mark.parametrize(("en", "ar", "rule"), DIFFERENT)
def test_damage_is_flagged_by_its_rule(en: str, ar: str, rule: str) -> None:
    """Below the line, by the rule that names the damage, with evidence."""
    found = check(en, ar)
    assert found.score < LINE and rule in {flag["rule"] for flag in found.flags}, found
    assert all(flag["evidence"]["en"] or flag["evidence"]["ar"] or flag["rule"] == "empty" for flag in found.flags)


QUESTION = {
    "question": "Which organ makes insulin?",
    "options": ["The liver", "The pancreas", "The kidney", "The stomach"],
    "answer": "B",
    "explanation": "The pancreas makes insulin.",
}
ARABIC = {
    "question": "أي عضو يصنع الإنسولين؟",
    "options": ["الكبد", "البنكرياس", "الكلية", "المعدة"],
    "answer": "ب",
    "explanation": "يصنع البنكرياس الإنسولين.",
}


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({}, None),
        ({"options": ["الكبد", "البنكرياس", "الكلية"]}, "options_missing"),
        ({"options": ["الكبد", "البنكرياس", "الكلية والمعدة والبنكرياس"]}, "options_merged"),
        ({"options": ["الكبد", "البنكرياس", "الكلية", "المعدة", "القلب"]}, "options_added"),
        ({"options": ["البنكرياس", "الكبد", "الكلية", "المعدة"]}, "options_order"),
        ({"options": ["الكبد", "الكبد", "الكلية", "المعدة"]}, "options_same"),
        ({"answer": "ج"}, "answer_changed"),
        ({"explanation": None}, "field_missing"),
        ({"context": "سياق"}, "field_added"),
    ],
)
def test_records_are_compared_field_by_field(change: dict, rule: str | None) -> None:
    """Options missing, merged, added, out of order or told twice; another answer; a field too few or too many."""
    found = check(QUESTION, ARABIC | change)
    assert (rule in {flag["rule"] for flag in found.flags} and found.score < LINE) if rule else found.score == 100, found


def test_lettered_options_in_running_text() -> None:
    """The same for a question with its options in one text."""
    en = "Question: Which organ makes insulin? Options: A. The liver B. The pancreas C. The kidney D. The stomach"
    ar = "السؤال: أي عضو يصنع الإنسولين؟ الخيارات: أ. الكبد ب. البنكرياس ج. الكلية د. المعدة"
    assert check(en, ar).score == 100
    for damaged, rule in ((ar.replace("ج. الكلية ", ""), "options_missing"), (ar.replace("الكبد ب. البنكرياس", "البنكرياس ب. الكبد"), "options_order")):
        assert rule in {flag["rule"] for flag in check(en, damaged).flags}


def test_turns() -> None:
    """A chat has the same turns of the same speakers on both sides."""
    en = [{"from": "human", "value": "I have a fever."}, {"from": "gpt", "value": "For how many days?"}]
    ar = [{"from": "human", "value": "لدي حمى."}, {"from": "gpt", "value": "منذ كم يوم؟"}]
    assert check(en, ar).score == 100
    assert check(en, ar[:1]).flags[0]["rule"] == "turns_differ"
    assert "turns_differ" in {flag["rule"] for flag in check(en, [ar[0], ar[1] | {"from": "human"}]).flags}
    with pytest.raises(TypeError, match="needed on both sides"):
        check(en, "لدي حمى.")


def test_the_project_samples_pass() -> None:
    """At most 3% of our own samples fall below the line."""
    rows = [json.loads(line) for path in sorted((ROOT / "data_prep" / "samples").glob("*.jsonl")) for line in path.read_text(encoding="utf-8").splitlines()]
    below = {row["id"]: found.flags for row in rows if (found := check(row["en"], row["ar"])).score < LINE}
    assert len(below) <= 0.03 * len(rows), below


DIGITS = [str.maketrans("0123456789.,", "0123456789.,"), str.maketrans("0123456789.,", "٠١٢٣٤٥٦٧٨٩٫٬"), str.maketrans("0123456789.,", "۰۱۲۳۴۵۶۷۸۹٫٬")]


@given(st.integers(0, 10**9), st.sampled_from(DIGITS))
def test_whole_numbers_are_read_in_all_digits(value: int, digits: dict) -> None:
    """With and without thousands separators, in Western, Arabic-Indic and Persian digits."""
    assert number(str(value).translate(digits))[0] == value
    assert number(f"{value:,}".translate(digits))[0] == value


@given(st.integers(0, 99999), st.integers(0, 99), st.sampled_from(DIGITS))
def test_decimals_are_read_with_point_and_comma(whole: int, part: int, digits: dict) -> None:
    """98.6, ٩٨٫٦ and 98,6."""
    said = f"{whole}.{part:02d}"
    assert float(said) in number(said.translate(digits)) and float(said) in number(said.replace(".", ",").translate(digits))


@given(st.text())
def test_any_text_can_be_read(text: str) -> None:
    """No text, however odd, raises; every number that is found has a finite value."""
    for lang in ("en", "ar"):
        for quantity in quantities(read(text, lang), lang):
            assert all(value == value and value >= 0 for value in quantity.values)
    assert 0 <= check(text, text).score <= 100


@given(st.integers(2, 999), st.sampled_from([("mg", "ملغ"), ("days", "يوما"), ("%", "٪"), ("mL", "مل"), ("weeks", "أسبوعا")]), st.sampled_from(DIGITS))
def test_a_dose_equals_itself_and_no_other(value: int, unit: tuple[str, str], digits: dict) -> None:
    """The same number and unit pass in every script, the next number never does."""
    en = f"Give {value} {unit[0]} to the patient."
    same, other = (f"أعط {str(count).translate(digits)} {unit[1]} للمريض." for count in (value, value + 1))
    assert check(en, same).score >= LINE and check(en, other).score < LINE


def test_errors_weigh_more_than_any_number_of_warnings() -> None:
    """One error falls below the line, warnings alone never do."""
    found = check("Take 5 mg.", "تناول 6 ملغ.")
    assert Counter(flag["severity"] for flag in found.flags)["error"] and found.score < LINE


def test_the_page_names_every_rule() -> None:
    """docs/DATA.md lists the rules: a flag that nobody can look up helps nobody."""
    page = (ROOT / "docs" / "DATA.md").read_text(encoding="utf-8").split("## How translations are checked")[1].split("\n## ")[0]
    listed = set(re.findall(r"`([a-z_]+)`", page))
    code = "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "data_prep").glob("quality_*.py")))
    assert set(re.findall(r'flagged\(\s*"([a-z_]+)"', code)) <= listed


def test_swapped_options_are_seen() -> None:
    """Two options that changed places make another answer the right one. 70% of the swaps in our samples are seen by this rule, the rest is the scorer's."""
    found = swaps = alarms = 0
    with (ROOT / "data_prep" / "samples" / "mcqa.jsonl").open(encoding="utf-8") as lines:
        for sample in map(json.loads, lines):
            en, ar = sample["en"]["options"], sample["ar"]["options"]
            alarms += any(flag["rule"] == "options_order" for flag in check_options(en, ar))
            for one, other in itertools.combinations(range(len(ar)), 2):
                swapped = list(ar)
                swapped[one], swapped[other] = ar[other], ar[one]
                swaps += 1
                found += any(flag["rule"] == "options_order" for flag in check_options(en, swapped))
    assert alarms == 0 and found / swaps > 0.68
