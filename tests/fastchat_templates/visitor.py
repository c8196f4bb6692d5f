"""Somebody who opens the web page in a browser: types, presses, reads, and is asked for nothing by another host."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from playwright.sync_api import Browser, ConsoleMessage, Page, Playwright, Request

from tests.conftest import ROOT

SCREENS = ROOT / "build" / "screens"
OPTIONS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
DESKTOP, PHONE = (1280, 800), (360, 640)
INSTALL = "the tests of the web page need Chromium and a font with Arabic letters: apt-get install chromium fonts-noto-core"
SECONDS = 20_000  # as milliseconds: how long an answer may take on a busy machine

# where each word of an element stands, in the order of the text: [word, left, right, top]
WORDS = """element => {
  const found = [], walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) for (const match of walker.currentNode.data.matchAll(/[^\\s]+/g)) {
    const range = document.createRange();
    range.setStart(walker.currentNode, match.index);
    range.setEnd(walker.currentNode, match.index + match[0].length);
    const box = range.getBoundingClientRect();
    if (box.width) found.push([match[0], box.left, box.right, box.top]);
  }
  return found;
}"""
LOOKS = "e => { const s = getComputedStyle(e); return {dir: e.getAttribute('dir'), lang: e.lang, direction: s.direction, align: s.textAlign}; }"
# what sticks out of the window at a side, and which controls do below
OUTSIDE = """() => [...document.querySelectorAll('#head *, .gradio-container button, .gradio-container textarea, #chat .message')].filter(e => {
  const box = e.getBoundingClientRect(), below = e.closest('#composer, #tools') && box.bottom > innerHeight + 0.5;
  return e.checkVisibility() && box.width && (box.left < -0.5 || box.right > innerWidth + 0.5 || below);
}).map(e => e.outerHTML.slice(0, 100))"""
# WCAG's contrast of each visible text that is not switched off: [ratio, text]
CONTRASTS = """() => {
  const rgb = text => { const n = text.match(/[\\d.]+/g).map(Number); return n.length > 3 ? n : [...n, 1]; };
  const light = c => { const [r, g, b] = c.map(v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126*r + 0.7152*g + 0.0722*b; };
  const ground = e => { for (; e; e = e.parentElement) {
    const c = rgb(getComputedStyle(e).backgroundColor); if (c[3] > 0.9) return c; } return [255, 255, 255]; };
  const found = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const e = walker.currentNode.parentElement, text = walker.currentNode.data.trim();
    if (!text || !e.checkVisibility() || e.closest('button:disabled, script, style, .unseen, .token, #skip')) continue;
    const [a, b] = [light(rgb(getComputedStyle(e).color)), light(ground(e))].sort((x, y) => y - x);
    found.push([(a + 0.05) / (b + 0.05), text]);
  }
  return found;
}"""

# each state of the last answer that is seen while it grows, in window.seen
WATCH = """() => {
  window.seen = new Set();
  const last = () => [...document.querySelectorAll('#chat [data-testid=bot]')].pop()?.textContent;
  const look = () => document.querySelector('#stop')?.checkVisibility() && seen.add(last());
  new MutationObserver(look).observe(document.querySelector('#chat'), {childList: true, subtree: true, characterData: true});
}"""
# every word that the page says itself, but for the notice and the examples: shown, or read out, or in a tip
OWN_WORDS = """() => [
  ...[...document.querySelectorAll('h1, #composer, #tools, #panel, #model, #say')].map(e => e.innerText),
  ...[...document.querySelectorAll('[aria-label], [title], [placeholder]')].filter(e => e.checkVisibility() && !e.closest('[data-testid]'))
    .flatMap(e => ['aria-label', 'title', 'placeholder'].map(name => e.getAttribute(name) || '')),
].join(' ')"""
# where the focus is: [id, what a screen reader calls it], or null
FOCUS = """() => {
  const e = document.activeElement;
  const name = e.getAttribute('aria-label') || e.innerText || e.labels?.[0]?.innerText;
  return e === document.body ? null : [e.id || e.closest('[id]:not([id^=component])').id, name];
}"""


def launch(playwright: Playwright) -> Browser:
    """The system's Chromium; RuntimeError with what to install where there is none."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not path:
        raise RuntimeError(INSTALL)
    return playwright.chromium.launch(executable_path=path, args=OPTIONS)


@dataclass
class Visitor:
    """One page in one browser context."""

    page: Page
    url: str
    asked: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(SECONDS)
        self.page.on("request", self._note)
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _note(self, request: Request) -> None:
        self.asked.append(request.url)

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.complaints.append(message.text)

    def strangers(self) -> list[str]:
        """Addresses that were asked for and are not the page's own."""
        return [url for url in self.asked if not url.startswith(("data:", "blob:")) and urlsplit(url).netloc != urlsplit(self.url).netloc]

    def open(self, query: str = "") -> None:
        self.page.goto(f"{self.url}/{query}")
        self.page.wait_for_selector("#ask textarea")
        self.page.wait_for_selector("#chat .example")
        self.page.wait_for_function("!document.querySelector('#model') || document.querySelector('#model input').value")

    def send(self, text: str) -> None:
        self.page.fill("#ask textarea", text)
        self.page.press("#ask textarea", "Enter")

    def wait(self) -> None:
        """Until the answer is whole."""
        self.page.wait_for_selector("#send:visible")
        self.page.wait_for_function("document.querySelector('#record').textContent.trim() || document.querySelector('#say').textContent.trim()")

    def ask(self, text: str) -> str:
        """Send and wait; the answer as it is shown."""
        before = self.page.locator("#chat [data-testid=bot]").count()
        self.send(text)
        self.page.wait_for_function("n => document.querySelectorAll('#chat [data-testid=bot]').length > n", arg=before)
        self.wait()
        return self.page.locator("#chat [data-testid=bot]").last.inner_text()

    def bubble(self, who: str, number: int = -1) -> dict:
        """How a bubble of `user` or `bot` is written."""
        return self.page.locator(f"#chat [data-testid={who}]").nth(number).evaluate(LOOKS)

    def words(self, selector: str) -> list[list]:
        """Words of the last such element, with where each stands."""
        return self.page.locator(selector).last.evaluate(WORDS)

    def places(self, selector: str) -> dict[str, float]:
        """Left edge of each word of the last such element."""
        return {word: left for word, left, _, _ in self.words(selector)}

    def flush(self, selector: str) -> str:
        """At which edge the lines of the last such element end together: left or right."""
        lefts, rights = {}, {}
        for _, left, right, top in self.words(selector):
            line = round(top / 8)  # a line's words differ by a pixel where fonts change
            lefts[line], rights[line] = min(left, lefts.get(line, left)), max(right, rights.get(line, right))
        assert len(lefts) > 1, "one line does not tell"
        ragged = {"left": max(lefts.values()) - min(lefts.values()), "right": max(rights.values()) - min(rights.values())}
        return min(ragged, key=ragged.get)

    def tab_through(self) -> list[list[str]]:
        """What the focus meets from here on: id and name."""
        met = []
        while (where := self.page.evaluate(FOCUS)) and where not in met[:1] and len(met) < 40:
            met.append(where)
            self.page.keyboard.press("Tab")
        return met

    def save(self, button: str, ending: str) -> str:
        """The text of the file that a button makes."""
        with self.page.expect_download() as download:
            self.page.click(button)
        name = download.value.suggested_filename
        assert re.fullmatch(rf"bimedix-\d{{4}}-\d\d-\d\d-\d{{4}}\.{ending}", name), name
        return download.value.path().read_text(encoding="utf-8-sig")

    def shoot(self, name: str) -> None:
        SCREENS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SCREENS / f"{name}.png")


@contextmanager
def visit(browser: Browser, url: str, size: tuple[int, int] = DESKTOP, **more: object) -> Iterator[Visitor]:
    """A visitor, in a browser that has never been here. Afterwards: no other host was asked, nothing complained."""
    context = browser.new_context(viewport={"width": size[0], "height": size[1]}, permissions=["clipboard-read", "clipboard-write"], **more)
    try:
        visitor = Visitor(context.new_page(), url)
        yield visitor
        assert visitor.asked and not visitor.strangers(), visitor.strangers()
        assert not visitor.complaints, visitor.complaints
    finally:
        context.close()
