"""The page on which a translation is reviewed: Label Studio's labelling configuration, and a queue's row as the task that it shows.

English stands left, Arabic right, field by field, with what the rules found beneath; then the verdict, the score, a remark. Every text of a task is shown
as text, never as HTML. A box that nobody touched is sent as it was prefilled; a box that is still open when the page is submitted is sent as it stands.
"""

from data_prep.texts import by_name

VERDICTS = {"accept": "Accept", "minor": "Minor correction", "major": "Major correction", "reject": "Reject"}
KEYS = dict(zip(VERDICTS, "1234", strict=True))
SCORES = {"q": 100, "w": 90, "e": 80, "r": 60, "t": 40, "y": 0}  # keys in a row: the common scores without a box
NOTICE = "For research, not for clinical use."
HELP = (
    "Verdict: keys 1 to 4. Score: keys q w e r t y for 100 90 80 60 40 0, or type another number, which then counts. Submit: Ctrl+Enter. "
    "Keys are letters while a box is open: close it with Shift+Enter, or leave it with Tab, then they are keys again. "
    "Correct what you call minor or major; accept only what you leave as it is; what you reject leaves the data."
)
_TITLES = {"context": "Context", "question": "Question", "answer": "Answer", "explanation": "Explanation"}
# no > in a selector: Label Studio escapes it, and the whole rule is lost
_STYLE = """
    .lsf-sidepanels__wrapper { display: none !important; }
    .lsf-sidepanels__content, .lsf-sidepanels { max-width: none !important; width: 100% !important; padding: 0 !important; }
    .review { font-size: 16px; max-width: 1600px; margin: 0 auto; }
    .review .notice { color: #a33; }
    .review .about .lsf-richtext__line, .review .found .lsf-richtext__line { display: block; unicode-bidi: plaintext; text-align: start; }
    .review .about br, .review .found br { display: none; }
    .review .about { background: rgba(128, 128, 128, .1); padding: 4px; border-radius: 6px; }
    .review .pair { display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); gap: 0 20px; padding: 4px 0;
      border-top: 1px solid rgba(128, 128, 128, .4); }
    .review .pair h3, .review .decide h3 { font-size: 14px; margin: 0 !important; opacity: .75; min-width: 110px; }
    .review .found { color: #a33; font-size: 14px; }
    .review .arabic textarea, .review .arabic .lsf-text-area { direction: rtl; text-align: right; }
    .review .arabic textarea, .review .arabic [data-testid="htx-textbox-content"] p { font-size: 18px; line-height: 1.8;
      font-family: "Noto Naskh Arabic", "Noto Sans Arabic", "DejaVu Sans", sans-serif; }
    .review .arabic textarea { field-sizing: content; min-height: 3.8em; }
    .review [data-testid="textarea-counts"] { display: none; }
    .review .bar { position: sticky; bottom: -12px; padding-bottom: 12px; z-index: 2; background: var(--color-neutral-background, Canvas);
      border-top: 2px solid rgba(128, 128, 128, .6); }
    .review .decide { display: flex; flex-wrap: wrap; gap: 0 20px; align-items: center; }
"""


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")


def _choices(name: str, entries: list[tuple[str, str, str]]) -> str:
    inner = "".join(f'<Choice value="{value}" alias="{alias}" hotkey="{key}"/>' for value, alias, key in entries)
    return f'<Choices name="{name}" toName="about" choice="single-radio" showInline="true" required="true">{inner}</Choices>'


def label_config(adjudication: bool) -> str:
    """The XML of the project for review, or of the one where people's differences are settled (which also shows what each of them said)."""
    verdicts = _choices("verdict", [(label, verdict, KEYS[verdict]) for verdict, label in VERDICTS.items()])
    scores = _choices("key_score", [(str(score), str(score), key) for key, score in SCORES.items()])
    others = '<Header value="What the readers decided"/><View className="about"><Text name="others" value="$others"/></View>' if adjudication else ""
    return f"""<View className="review">
  <Style>{_STYLE}</Style>
  <View className="notice"><Header size="5" value="{NOTICE}"/></View>
  <View className="about"><Text name="about" value="$about"/></View>
  {others}
  <Repeater on="$fields" indexFlag="{{{{i}}}}">
    <View className="pair">
      <View><Header value="$fields[{{{{i}}}}].title"/><Text name="en_{{{{i}}}}" value="$fields[{{{{i}}}}].en"/>
        <View className="found"><Text name="found_{{{{i}}}}" value="$fields[{{{{i}}}}].found"/></View></View>
      <View className="arabic"><TextArea name="ar_{{{{i}}}}" toName="en_{{{{i}}}}" value="$fields[{{{{i}}}}].ar" rows="3" maxSubmissions="1" editable="true"
        required="true"/></View>
    </View>
  </Repeater>
  <View className="decide"><Header value="Remark"/></View>
  <TextArea name="comment" toName="about" rows="2" maxSubmissions="1" editable="true" placeholder="what was wrong, if it helps others"/>
  <View className="about"><Text name="help" value="{_escaped(HELP)}"/></View>
  <View className="bar">
    <View className="decide"><Header value="Verdict"/>{verdicts}</View>
    <View className="decide"><Header value="Score, 0 to 100"/>{scores}<Number name="score" toName="about" min="0" max="100" step="1"/></View>
  </View>
</View>"""


def _title(name: str, record: dict) -> str:
    kind, _, number = name.partition("_")
    if kind == "option":
        right = ", the right answer" if int(number) - 1 == record["answer"] else ""
        return f"Option {'ABCDE'[int(number) - 1]}{right}"
    if kind == "turn":
        return f"{'Patient' if int(number) % 2 else 'Assistant'}, turn {number}"
    return _TITLES[name]


def remark(flag: dict, isolated: bool = False) -> str:
    """A flag of the rules in a line, with its evidence; `isolated` for the page: marks of direction keep Arabic in its place within the line."""
    begin, end = ("\u2068", "\u2069") if isolated else ("", "")
    evidence = "; ".join(f"{side}: {begin}{flag['evidence'][key]}{end}" for side, key in (("English", "en"), ("Arabic", "ar")) if flag["evidence"].get(key))
    return f"{flag['severity']}: {flag['message']}" + (f" ({evidence})" if evidence else "")


def name_of(flag: dict) -> str:
    """The name of the text that a flag speaks of; "" where it speaks of the whole."""
    field, _, number = flag.get("field", "").partition(".")
    return f"{field.removesuffix('s')}_{number}" if number else field


def task(key: str, row: dict, arabic: dict[str, str] | None = None, others: str | None = None) -> dict:
    """A queue's row as Label Studio's task. `arabic` prefills the boxes instead of the machine's, `others` is what its readers decided."""
    english, machine = by_name(row["en"]), by_name(row["ar"])
    flags: dict[str, list[str]] = {name: [] for name in ("", *english)}
    for flag in row["rules"]["flags"]:
        flags[name_of(flag) if name_of(flag) in flags else ""].append(remark(flag, isolated=True))
    about = [f"{row['id']}  |  {row['source']}, {row['kind']}, {row['split']}  |  in review because: {row['why']}"]
    about += [f"machine's score {row['score']}, rules' score {row['rules']['score']}, both of 100"]
    about += [f"machine's feedback: {row['feedback']}"] if row["feedback"].strip() else []
    about += flags[""]
    shown = machine if arabic is None else arabic
    fields = [
        {"name": name, "title": _title(name, row["record"]), "en": text, "ar": shown[name], "found": "\n".join(flags[name]) or " "}
        for name, text in english.items()
    ]
    data = {"key": key, "id": row["id"], "source": row["source"], "kind": row["kind"], "why": row["why"], "machine_score": row["score"]}
    data |= {"rules_score": row["rules"]["score"], "about": "\n".join(about), "fields": fields}
    return data | ({"others": others} if others is not None else {})
