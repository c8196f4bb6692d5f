"""The web page in a browser: both directions of writing, both languages of the page, every button, a phone, a keyboard."""

import json
import re
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
import requests
from playwright.sync_api import Browser, sync_playwright

from tests.fastchat_templates.guarded import Guarded, until
from tests.fastchat_templates.visitor import CONTRASTS, DESKTOP, OUTSIDE, OWN_WORDS, PHONE, WATCH, launch, visit

NOTICE = {"en": "For research, not for clinical use.", "ar": "للبحث العلمي فقط، وليس للاستخدام السريري."}
QUESTION = {"en": "What is anaemia?", "ar": "ما هو فقر الدم؟"}
DOSE = "خذ 500 mg من paracetamol كل 6 ساعات"
SIDES = {"en": "ltr", "ar": "rtl"}
# what a worker does, and what the line under the conversation then says; no two behind each other are the same
LINES = {
    "fail 42901": {"en": "Too many questions", "ar": "مشغول"},
    "cut a": {"en": "broke off", "ar": "انقطعت"},
    "fail 40001": {"en": "longer than the model can read", "ar": "أطول مما"},
    "fail 50301": {"en": "restarting", "ar": "يُعاد تشغيل"},
    "fail 50001": {"en": "broke off", "ar": "انقطعت"},
}


@pytest.fixture(scope="module")
def web(guarded: Guarded) -> Iterator[str]:
    """The page of the stack, up; afterwards it ends well and has written nothing that anybody said."""
    guarded.start("web", "fastchat_templates.web", "--controller-url", guarded.url("controller"), LOGDIR=str(guarded.logs / "web"))
    url = guarded.url("web")
    until(lambda: requests.get(f"{url}/health", timeout=5).ok, 60)
    yield url
    process = guarded.running.pop("web")
    process.terminate()
    assert process.wait(40) == 0
    log = guarded.log("web")
    assert "outcome stop" in log and "Traceback" not in log, log[-3000:]
    assert not list((guarded.logs / "web").glob("*conv.json"))
    assert not any(said in log for said in (*QUESTION.values(), DOSE, "paracetamol", "127.0.0.1")), log[-3000:]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        opened = launch(playwright)
        yield opened
        opened.close()


def test_a_question_in_each_language(browser: Browser, web: str) -> None:
    """The real model, in English and in Arabic: the answer is seen growing, each bubble and the box are written to their own side."""
    with visit(browser, web) as visitor:
        visitor.open("?model=tiny")
        page = visitor.page
        page.click("#settings")
        page.fill("#max_tokens input[type=number]", "256")
        page.press("#max_tokens input[type=number]", "Tab")
        page.evaluate(WATCH)
        for lang, question in QUESTION.items():
            page.fill("#ask textarea", question)
            box = page.locator("#ask textarea").evaluate("e => [e.dir, getComputedStyle(e).direction, getComputedStyle(e).textAlign]")
            assert box == ["auto", SIDES[lang], "start"]
            assert visitor.ask(question)
            assert visitor.bubble("user") == {"dir": "auto", "lang": lang, "direction": SIDES[lang], "align": "start"}
            assert visitor.bubble("bot")["dir"] == "auto"
        assert page.evaluate("seen.size") >= 2, "the answers came at once"
        assert [e.inner_text() for e in page.locator("#chat [data-testid=user]").all()] == list(QUESTION.values())


@pytest.mark.parametrize("lang", SIDES)
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_the_page_in_each_language_and_size(browser: Browser, web: str, lang: str, size: tuple[int, int]) -> None:
    """Nothing sticks out, the notice stays in view in both languages, the box can be reached, long and mixed answers stand as they should."""
    with visit(browser, web, size) as visitor:
        visitor.open(f"?lang={lang}&model=slow")
        page, name = visitor.page, f"{lang}-{'phone' if size == PHONE else 'desktop'}"
        visitor.shoot(f"{name}-start")
        assert page.evaluate("[document.documentElement.lang, document.documentElement.dir]") == [lang, SIDES[lang]]
        assert page.locator("#ask textarea").evaluate("e => getComputedStyle(e).direction") == SIDES[lang]
        visitor.send("slow " + " ".join([DOSE] * 12))
        page.wait_for_function("document.querySelectorAll('#chat [data-testid=bot]').length && document.querySelector('#chat .prose bdi')")
        visitor.shoot(f"{name}-stream")
        page.keyboard.press("Escape")
        visitor.wait()
        visitor.ask("say " + " ".join(["Take 500 mg of paracetamol every 6 hours."] * 6))
        assert visitor.bubble("bot") == {"dir": "auto", "lang": "en", "direction": "ltr", "align": "start"}
        assert visitor.flush("#chat [data-testid=bot]") == "left"
        visitor.ask("say " + " ".join([f"{DOSE}."] * 6))
        assert visitor.bubble("bot") == {"dir": "auto", "lang": "ar", "direction": "rtl", "align": "start"}
        assert visitor.flush("#chat [data-testid=bot]") == "right"
        visitor.shoot(f"{name}-answer")
        page.evaluate("document.querySelector('#chat [role=log]').scrollTo(0, 0); scrollTo(0, 9999)")
        for language, notice in NOTICE.items():
            box = page.get_by_text(notice, exact=True).bounding_box()
            assert box["y"] >= 0 and box["y"] + box["height"] < size[1] / 3
            top = page.evaluate("([x, y]) => document.elementFromPoint(x, y).closest('p').lang", [box["x"] + box["width"] / 2, box["y"] + box["height"] / 2])
            assert top == language, "something lies over the notice"
        page.click("#settings")
        assert page.evaluate(OUTSIDE) == []
        assert page.evaluate("[document.documentElement.scrollWidth, document.documentElement.scrollHeight]") == list(size), "the page scrolls"
        if size == PHONE:
            sizes = page.locator("#send, #tools button").evaluate_all("all => all.map(e => Math.min(e.offsetHeight, e.offsetWidth))")
            assert min(sizes) >= 44, "too small for a finger"
        own = re.sub("BiMediX|JSON|Top-p|slow|tiny|twin", "", page.evaluate(OWN_WORDS))
        assert re.findall({"en": r"[\u0600-\u06ff]{2,}", "ar": r"[A-Za-z]{3,}"}[lang], own) == []
        visitor.shoot(f"{name}-settings")
        page.set_viewport_size({"width": 640, "height": 320})  # a phone on its side: now the page scrolls, under its heading
        page.evaluate("scrollTo(0, 9999)")
        assert page.evaluate("scrollY") > 0
        for notice in NOTICE.values():
            assert 0 <= page.get_by_text(notice, exact=True).bounding_box()["y"] < 100


def test_mixed_lines(browser: Browser, web: str) -> None:
    """A dose reads `500 mg` from left to right inside Arabic read from right to left, also inside an English line; code stays as it is."""
    with visit(browser, web) as visitor:
        visitor.open("?model=slow")
        visitor.ask(f"say {DOSE} (أو 5-10 mg/kg) `x = 10 - 3` ثم 10 - 3 = 7")
        x = visitor.places("#chat [data-testid=bot]")
        assert x["خذ"] > x["mg"] > x["500"] > x["من"] > x["paracetamol"] > x["كل"] > x["6"] > x["ساعات"]
        assert x["5-10"] < x["mg/kg"]
        assert [text for text, *_ in sorted(visitor.words("#chat [data-testid=bot] code"), key=lambda word: word[1])] == ["x", "=", "10", "-", "3"]
        last = visitor.words("#chat [data-testid=bot]")[-5:]
        assert [word for word, *_ in last] == ["10", "-", "3", "=", "7"] and last == sorted(last, key=lambda word: word[1])
        visitor.ask(f"say In Arabic: {DOSE} as above")
        x = visitor.places("#chat [data-testid=bot]")
        assert x["Arabic:"] < x["ساعات"] < x["paracetamol"] < x["500"] < x["mg"] < x["خذ"] < x["as"]
        # what is typed is shown letter for letter, each paragraph to its side
        typed = "say 5 * 3 * 2 <b>bold</b> _x_ # 1.\n\nكيف آخذ paracetamol؟"
        visitor.ask(typed)
        assert visitor.page.locator("#chat [data-testid=user]").last.inner_text().split() == typed.split()
        directions = "all => all.slice(-2).map(e => getComputedStyle(e).direction)"
        assert visitor.page.locator("#chat [data-testid=user] p").evaluate_all(directions) == ["ltr", "rtl"]
        # what a model writes loads nothing and loses nothing
        shown = visitor.ask("say p<0.05 and <normal ~5 to ~10, 2*3*4 ![x](http://127.0.0.2/x.png) <img src=http://127.0.0.2/y.png>")
        assert all(piece in shown for piece in ("p<0.05", "<normal", "~5 to ~10", "2*3*4", "<img src="))


def test_stop_and_regenerate(browser: Browser, web: str, guarded: Guarded) -> None:
    """Stop ends the worker's work and keeps what there is; Regenerate asks the same again; a page that is closed asks no more."""
    with visit(browser, web) as visitor:
        visitor.open("?model=slow")
        page = visitor.page
        page.evaluate(WATCH)

        def begin(press: str = "") -> int:
            if press:
                page.click(press)
            else:
                visitor.send("slow " + "word " * 300)
            page.wait_for_selector("#stop:visible")
            page.wait_for_function("[...document.querySelectorAll('#chat [data-testid=bot]')].pop()?.textContent.includes('word')")
            return guarded.seen("scripted")["left"]

        for stop in (lambda: page.click("#stop"), lambda: page.keyboard.press("Escape")):
            left = begin("#again" if page.locator("#again:enabled").count() else "")
            page.wait_for_function("seen.size > 5")
            assert page.locator("#again").is_disabled() and page.locator("#new").is_disabled()
            stop()
            page.wait_for_selector("#send:visible")
            assert "Stopped." in page.locator("#say").inner_text()
            assert 0 < page.locator("#chat [data-testid=bot]").last.inner_text().count("word") < 300
            assert page.locator("#chat [data-testid=user]").count() == 1
            until(lambda left=left: guarded.seen("scripted")["left"] > left, 5)
        prompts = [asked["prompt"] for asked in guarded.seen("scripted")["requests"][-2:]]
        assert prompts[0] == prompts[1] and prompts[0].startswith("[INST] slow word")
        left = begin("#again")
    until(lambda: guarded.seen("scripted")["left"] > left, 10)


@pytest.mark.parametrize("lang", SIDES)
def test_errors_are_told_in_the_pages_language(browser: Browser, web: str, guarded: Guarded, lang: str) -> None:
    """One line, none of the worker's words; the question that got no answer is not part of the next prompt."""
    with visit(browser, web) as visitor:
        visitor.open(f"?lang={lang}&model=twin")
        for question, words in LINES.items():
            visitor.send(f"{question} /srv/secret: trace")
            visitor.page.wait_for_function("words => document.querySelector('#say').innerText.includes(words)", arg=words[lang])
            visitor.page.wait_for_selector("#again:enabled")
            assert "secret" not in visitor.page.locator("#say").inner_text()
        visitor.shoot(f"{lang}-error")
        visitor.ask("say fine")
        prompt = guarded.seen("scripted")["requests"][-1]["prompt"]
        assert "fail" not in prompt and prompt.endswith("[INST] say fine [/INST]")
        assert not visitor.page.locator("#say").inner_text().strip()


def test_copy_and_save(browser: Browser, web: str) -> None:
    """What was written, letter for letter, with the notice in both languages and no path of the server; a new conversation begins empty."""
    with visit(browser, web) as visitor:
        visitor.open("?model=slow")
        page = visitor.page
        question, answer = f"say **{DOSE}** <b> 5*3", f"**{DOSE}** <b> 5*3"
        visitor.ask(question)

        text, record = visitor.save("#save_text", "txt"), json.loads(visitor.save("#save_json", "json"))
        assert all(notice in text for notice in NOTICE.values()) and f"You:\n{question}\n\nModel:\n{answer}\n" in text
        assert record["messages"] == [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        assert record["model"] == "slow" and record["settings"] == {"temperature": 0.7, "top_p": 1.0, "max_new_tokens": 512}
        assert record["notice"]["short"] == NOTICE
        for button, wanted in ((0, question), (1, answer)):
            page.locator("#chat .message-buttons button").nth(button).click()
            page.wait_for_function("async wanted => (await navigator.clipboard.readText()) === wanted", arg=wanted)
        page.click("#copy")
        page.wait_for_function("async wanted => (await navigator.clipboard.readText()) === wanted", arg=text)
        page.click("#new")
        page.wait_for_selector("#chat .example")
        assert page.locator("#chat .message").count() == 0 and page.locator("#copy").is_disabled()


def test_examples_and_models(browser: Browser, web: str, guarded: Guarded) -> None:
    """Three uses in two languages, each goes into the box to be sent or changed; every model that is served can be chosen."""
    with visit(browser, web) as visitor:
        visitor.open()
        page = visitor.page
        examples = page.locator("#chat .example")
        assert examples.evaluate_all("all => all.map(e => e.dataset.use)") == ["Conversation", "Multiple choice", "Open question"] * 2
        assert examples.locator("[dir=auto]").evaluate_all("all => all.map(e => getComputedStyle(e).direction)") == ["ltr"] * 3 + ["rtl"] * 3
        examples.nth(4).click()
        assert page.input_value("#ask textarea").startswith("السؤال: ") and "د. الكورتيزول" in page.input_value("#ask textarea")
        assert page.evaluate("document.activeElement.tagName") == "TEXTAREA"
        page.click("#model input")
        assert [option.strip("✓ \n") for option in page.locator("#model [role=option]").all_inner_texts()] == ["slow", "tiny", "twin"]
        page.locator("#model [role=option]", has_text="twin").click()
        visitor.ask("say hello")
        assert guarded.seen("scripted")["requests"][-1]["model"] == "twin"


def test_the_switch(browser: Browser, web: str) -> None:
    """One press turns words and layout, keeps the conversation, and is remembered, in the address and by the browser."""
    with visit(browser, web) as visitor:
        visitor.open("?model=slow")
        page = visitor.page
        visitor.ask("say hello")
        page.get_by_role("button", name="العربية").click()
        page.wait_for_function("document.querySelector('#send').innerText === 'إرسال'")
        assert page.evaluate("[document.documentElement.lang, document.documentElement.dir]") == ["ar", "rtl"]
        assert page.get_attribute("#ask textarea", "placeholder") == "اسأل بالعربية أو بالإنجليزية"
        assert page.locator("#chat [data-testid=bot]").inner_text() == "hello" and "lang=ar" in urlsplit(page.url).query
        send, box = page.locator("#send").bounding_box(), page.locator("#ask").bounding_box()
        assert send["x"] < box["x"], "the layout did not turn"
        user, bot = (page.locator(f"#chat .message.{who}").first.bounding_box() for who in ("user", "bot"))
        assert user["x"] < bot["x"]
        page.goto(web)
        page.wait_for_function("document.querySelector('#send')?.innerText === 'إرسال'")
        page.wait_for_selector("#chat .example:first-child [lang=ar]")
        page.get_by_role("button", name="English").click()
        page.wait_for_function("document.querySelector('#send').innerText === 'Send'")
    with visit(browser, web, locale="ar-SA") as visitor:
        visitor.open()
        assert visitor.page.inner_text("#send") == "إرسال"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_keyboard_and_screen_reader(browser: Browser, web: str, scheme: str) -> None:
    """Enter sends, Shift+Enter does not; Tab goes through all that can be pressed, each with a name; sentences are announced once; contrast 4.5."""
    with visit(browser, web, color_scheme=scheme) as visitor:
        visitor.open("?model=slow")
        page = visitor.page
        page.locator("#ask textarea").focus()
        page.keyboard.type("slow One sentence.")
        page.keyboard.press("Shift+Enter")
        page.keyboard.type("Another one.")
        assert page.input_value("#ask textarea") == "slow One sentence.\nAnother one."
        page.keyboard.press("Enter")
        page.wait_for_selector("#chat [data-testid=bot]")
        visitor.wait()
        page.wait_for_function("document.querySelector('#announcer').innerText.includes('Another one.')")
        heard = page.inner_text("#announcer")
        assert "The model is writing." in heard and heard.count("One sentence.") == 1
        assert page.get_attribute("#announcer", "aria-live") == "polite" and page.get_attribute("#chat [role=log]", "aria-live") == "off"
        page.click("#settings")
        page.focus("#skip")
        order = visitor.tab_through()
        assert all(name and name.strip() for _, name in order), order
        ids = [place for place, _ in order]
        assert ids[:3] == ["skip", "language", "language"]
        wanted = [
            "language",
            "model",
            "chat",
            "ask",
            "send",
            "temperature",
            "top_p",
            "max_tokens",
            "again",
            "copy",
            "save_text",
            "save_json",
            "new",
            "settings",
        ]
        assert [place for place in dict.fromkeys(ids) if place in wanted] == wanted
        assert [pair for pair in page.evaluate(CONTRASTS) if pair[0] < 4.5] == []
        visitor.shoot(f"en-{scheme}")
