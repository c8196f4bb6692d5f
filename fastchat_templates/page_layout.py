"""The page as Gradio components, and what happens when they are used. Words are in page/words.yaml, looks in page/page.css, directions in page/page.js.

FastChat's `build_demo` is an arena's page: its heading, its descriptions of models, its votes and its thanks stand inside one function, its
button texts are fixed and it has no way to stop. This one is built anew, on the State and the wire of the same module (page_chat.py).
"""

import html
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import gradio
import yaml
from fastchat.constants import INPUT_CHAR_LEN_LIMIT

from fastchat_templates.page_chat import Chat, Workers, problem

PAGE = Path(__file__).with_name("page")
LANGUAGES = {"en": "ltr", "ar": "rtl"}
ANSWERS_AT_ONCE, WAITING = 64, 256  # for all visitors; the worker's own queue refuses earlier
PARTS = 13  # components that an answer changes, see Page.connect
# fonts that are on the reader's machine: Gradio's themes bring theirs, some from Google, and none has Arabic letters
FONT = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "Noto Sans Arabic", "Tahoma", "sans-serif"]
MONO = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"]


def words() -> dict:
    """page/words.yaml; ValueError names what one of the languages lacks."""
    read = yaml.safe_load((PAGE / "words.yaml").read_text(encoding="utf-8"))

    def check(node: object, place: str) -> None:
        if isinstance(node, dict) and LANGUAGES.keys() & node.keys():
            if missing := [language for language in LANGUAGES if not str(node.get(language, "")).strip()]:
                raise ValueError(f"page/words.yaml: {place} lacks {', '.join(missing)}")
        elif isinstance(node, dict | list):
            for key, value in node.items() if isinstance(node, dict) else enumerate(node):
                check(value, f"{place}.{key}".lstrip("."))

    check(read, "")
    return read


def both(texts: dict[str, str], tag: str = "span") -> str:
    """A text in both languages, as HTML; page.css shows the one that the page is in."""
    return "".join(f'<{tag} class="in" lang="{language}" dir="{direction}">{html.escape(texts[language])}</{tag}>' for language, direction in LANGUAGES.items())


class Page:
    """The components, and the functions that answer them. `blocks` is the page itself."""

    def __init__(self, workers: Workers) -> None:
        self.workers, self.words = workers, words()
        theme = gradio.themes.Base(primary_hue="teal", secondary_hue="teal", neutral_hue="slate", font=FONT, font_mono=MONO)
        with gradio.Blocks(title=self.words["page"]["title"]["en"], theme=theme, analytics_enabled=False, fill_height=True) as self.blocks:
            self.draw()
            self.connect()

    def draw(self) -> None:
        """Everything between the page's heading (page/shell.html) and its end."""
        first = {name: {key: text["en"] for key, text in properties.items()} for name, properties in self.words["components"].items()}
        examples = [{"text": example[language]} for language in LANGUAGES for example in self.words["examples"]]

        def button(name: str, variant: str = "secondary", **more: object) -> gradio.Button:
            return gradio.Button(**first[name], elem_id=name, variant=variant, size="sm", min_width=0, scale=0, **more)

        self.chat = gradio.State()
        self.model = gradio.Dropdown([], **first["model"], elem_id="model", visible=False, interactive=True, filterable=False)
        # Gradio refuses a name that is not in the list, and the list of an open page is lost when this process starts again
        self.model.preprocess = lambda name: name
        self.bubbles = gradio.Chatbot(
            **first["chat"], elem_id="chat", type="messages", examples=examples, show_label=False, container=False, show_copy_button=True,
            height=None, latex_delimiters=[], scale=1,
        )  # fmt: skip
        self.say = gradio.HTML(elem_id="say")
        self.record = gradio.HTML(elem_id="record")
        with gradio.Row(elem_id="composer"):
            self.ask = gradio.Textbox(
                **first["ask"], elem_id="ask", show_label=False, container=False, lines=1, max_lines=6, max_length=INPUT_CHAR_LEN_LIMIT, scale=1,
                html_attributes=gradio.InputHTMLAttributes(enterkeyhint="send", autocomplete="off"),
            )  # fmt: skip
            self.send = button("send", "primary")
            self.stop = button("stop", "stop", visible=False)
        with gradio.Column(elem_id="panel"):
            self.temperature = gradio.Slider(0, 1, 0.7, step=0.1, elem_id="temperature", **first["temperature"])
            self.top_p = gradio.Slider(0.1, 1, 1, step=0.1, elem_id="top_p", **first["top_p"])
            self.max_tokens = gradio.Slider(16, 2048, 512, step=16, elem_id="max_tokens", **first["max_tokens"])
        with gradio.Row(elem_id="tools"):
            self.again, self.copy, self.save_text, self.save_json, self.new = (
                button(name, interactive=False) for name in ("again", "copy", "save_text", "save_json", "new")
            )
            self.settings = button("settings")
        self.translate = gradio.Button(elem_id="translate")  # page.js presses it; nobody sees it

    def connect(self) -> None:
        """What each button does. `api_name=False`: none of it is an API for others."""
        quiet = {"api_name": False, "show_progress": "hidden"}
        parts = [self.chat, self.bubbles, self.say, self.record, self.ask, self.model, self.send, self.stop]
        parts += [self.again, self.copy, self.save_text, self.save_json, self.new]
        knobs = [self.temperature, self.top_p, self.max_tokens]
        answering = {"concurrency_id": "answers", "concurrency_limit": ANSWERS_AT_ONCE, "trigger_mode": "multiple", **quiet}
        gradio.on([self.ask.submit, self.send.click], self.asked, [self.chat, self.model, self.ask, *knobs], parts, **answering)
        self.again.click(self.asked_again, [self.chat, *knobs], parts, **answering)
        at_once = {"queue": False, **quiet}
        self.stop.click(stop, self.chat, None, **at_once)
        self.new.click(self.cleared, self.chat, parts, **at_once)
        self.model.input(self.cleared, self.chat, parts, **at_once)
        self.blocks.load(self.loaded, None, [self.model, self.say], **at_once)
        for button in (self.copy, self.save_text, self.save_json, self.settings):
            button.click(None, None, None, js=f"() => bimedix.pressed({button.elem_id!r})", api_name=False)
        spoken = [getattr(self, {"chat": "bubbles"}.get(name, name)) for name in self.words["components"]]
        self.translate.click(None, None, spoken, js="() => bimedix.updates()", api_name=False)

    def show(self, chat: Chat | None, outcome: str = "", ask: object = None) -> list:
        """A value for each of the parts that `connect` names."""
        busy, something = bool(chat and chat.busy), bool(chat and chat.turns())
        record = "" if busy or not something else html.escape(json.dumps(chat.record(), ensure_ascii=False))
        idle = gradio.Button(interactive=something and not busy)
        return [
            chat,
            chat.shown() if something else [],
            both(self.words["outcomes"][outcome]) if outcome in self.words["outcomes"] else "",
            record,
            gradio.skip() if ask is None else ask,
            gradio.Dropdown(interactive=not busy),
            gradio.Button(visible=not busy),
            gradio.Button(visible=busy),
            *[idle] * 5,
        ]

    async def asked(self, chat: Chat | None, model: str | None, question: str, *knobs: float) -> AsyncIterator[list]:
        """Send: the question at once, then the answer as it grows."""
        question = question.strip()
        if not question or (chat and chat.busy):
            yield [gradio.skip()] * PARTS
        elif not (model := model or next(iter(await self.workers.models()), None)):
            yield self.show(chat, "no_model")
        elif reason := problem(chat, question):
            yield self.show(chat, reason)
        else:
            chat = chat or Chat(model)
            chat.ask(question)
            async for values in self.answered(chat, knobs, ask=""):
                yield values

    async def asked_again(self, chat: Chat | None, *knobs: float) -> AsyncIterator[list]:
        """Regenerate: another answer to the last question."""
        if chat and chat.turns() and not chat.busy:
            async for values in self.answered(chat, knobs):
                yield values
        else:
            yield [gradio.skip()] * PARTS

    async def answered(self, chat: Chat, knobs: tuple[float, ...], ask: str | None = None) -> AsyncIterator[list]:
        temperature, top_p, max_tokens = knobs
        chat.settings = {"temperature": float(temperature), "top_p": float(top_p), "max_new_tokens": int(max_tokens)}
        skip = gradio.skip()
        whole = True
        async with aclosing(self.workers.answer(chat)) as outcomes:
            async for outcome in outcomes:
                # between the first and the last only the conversation changes
                yield self.show(chat, outcome, ask) if whole or outcome else [skip, chat.shown(), *[skip] * (PARTS - 2)]
                whole, ask = False, None

    async def cleared(self, chat: Chat | None) -> list:
        """New conversation, with this or another model."""
        await stop(chat)
        return self.show(None)

    async def loaded(self, request: gradio.Request) -> tuple:
        """The models that are served when somebody opens the page; `?model=` chooses one."""
        names = await self.workers.models()
        wish = request.query_params.get("model")
        chosen = wish if wish in names else (names[0] if names else None)
        return gradio.Dropdown(names, value=chosen, visible=len(names) > 1), "" if names else both(self.words["outcomes"]["no_model"])


async def stop(chat: Chat | None) -> None:
    """End the answer that is being written; what there is of it stays."""
    if chat and chat.reading:
        chat.reading.cancel()
