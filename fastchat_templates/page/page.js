// What Gradio does not do for two directions of writing, and what needs no server: language, dir and lang of each bubble (what is inside
// them: bidi.js), announcements, keys, copying, saving. One global name, `bimedix`; no other host is asked for anything.
"use strict";
window.bimedix = (() => {
  const words = window.bimedixWords, bidi = window.bimedixBidi;
  const DIRECTIONS = { en: "ltr", ar: "rtl" };
  const root = document.documentElement;
  let language = "en";
  const find = (selector, inside = document) => inside.querySelector(selector);
  const all = (selector, inside = document) => [...inside.querySelectorAll(selector)];
  const say = (key) => words.script[key][language];

  // language ------------------------------------------------------------------------------------

  function stored(value) {
    try {
      if (value) localStorage.setItem("bimedix-language", value);
      return localStorage.getItem("bimedix-language");
    } catch { // a browser that keeps nothing
      return null;
    }
  }

  const chosen = [new URLSearchParams(location.search).get("lang"), stored(), (navigator.language || "en").slice(0, 2)];

  function setLanguage(wanted) {
    language = wanted;
    root.lang = wanted;
    root.dir = DIRECTIONS[wanted];
    // Gradio's few own words (its notices, its login) follow the browser's language, which is read once
    Object.defineProperty(navigator, "language", { value: wanted, configurable: true });
    Object.defineProperty(navigator, "languages", { value: [wanted], configurable: true });
    document.title = `${words.page.title[wanted]}: ${words.page.tagline[wanted]}`;
  }

  function propertiesOf(name) {
    const properties = Object.entries(words.components[name] || {}).map(([key, text]) => [key, text[language]]);
    if (name === "chat") properties.push(["examples", examples().map((example) => ({ text: example.text }))]);
    return Object.fromEntries(properties);
  }

  function examples() { // those in the page's language first
    const order = language === "ar" ? ["ar", "en"] : ["en", "ar"];
    return order.flatMap((code) => words.examples.map((example) => ({ code, use: words.script.uses[example.use][language], text: example[code] })));
  }

  // for Gradio: an update of each component that has words, in the order of the words file
  const updates = () => Object.keys(words.components).map((name) => ({ __type__: "update", ...propertiesOf(name) }));

  function switchTo(wanted) {
    stored(wanted);
    const url = new URL(location.href);
    url.searchParams.set("lang", wanted);
    history.replaceState(null, "", url);
    setLanguage(wanted);
    const translate = find("#translate");
    if (translate) translate.click();
    else location.reload(); // the login, which is all Gradio's
    dress();
  }

  setLanguage(chosen.find((code) => code in DIRECTIONS) || "en");
  for (const component of window.gradio_config.components || []) Object.assign(component.props, propertiesOf(component.props.elem_id));

  const set = (element, name, value) => element.getAttribute(name) === value || element.setAttribute(name, value);

  // directions ----------------------------------------------------------------------------------

  function dressBubble(bubble) {
    const text = bubble.textContent;
    const user = bubble.dataset.testid === "user";
    set(bubble, "dir", "auto");
    set(bubble, "lang", getComputedStyle(bubble).direction === "rtl" ? "ar" : bidi.languageOf(text));
    set(bubble, "role", "group");
    set(bubble, "aria-label", user ? say("you") : words.page.title[language]);
    bubble.style.textAlign = "start";
    bubble.classList.toggle("waiting", text.trim() === "▌");
    bidi.dress(bubble);
  }

  function dress() {
    if (!document.body) return;
    for (const button of all("#language button")) set(button, "aria-pressed", String(button.dataset.language === language));
    const group = find("#language");
    if (group) set(group, "aria-label", words.page.language[language]);
    // Gradio writes its own direction onto every block
    for (const block of all(".gradio-container .block[dir]")) set(block, "dir", root.dir);
    for (const field of all("#ask textarea")) {
      set(field, "dir", "auto");
      if (!field.value) field.style.height = ""; // Gradio lets it grow, and not shrink when the message is sent
      set(field, "aria-label", words.components.ask.label[language]);
    }
    all("#chat [data-testid=user], #chat [data-testid=bot]").forEach(dressBubble);
    const wrap = find("#chat [role=log]");
    if (wrap) {
      set(wrap, "aria-live", "off"); // it is drawn anew many times a second; announce() reads each sentence once
      set(wrap, "aria-label", say("chat"));
      set(wrap, "tabindex", "0"); // arrows scroll it
    }
    for (const button of all("#chat .message-buttons button")) label(button, say("copy_message"));
    for (const button of all("#chat .scroll-down-button-container button")) label(button, say("down"));
    const shown = examples();
    all("#chat .example").forEach((button, index) => {
      const example = shown[index];
      if (!example) return;
      set(button, "data-use", example.use);
      set(button, "aria-label", `${say("example")}, ${example.use}: ${example.text}`);
      set(button, "lang", language);
      for (const text of all(".example-text", button)) {
        set(text, "dir", "auto");
        set(text, "lang", example.code);
      }
    });
    for (const button of all("#tools button")) set(button, "title", button.textContent.trim());
    for (const knob of all("#panel .block")) {
      for (const button of all("button", knob)) label(button, say("reset"));
      const name = (find("[data-testid=block-info]", knob) || knob).textContent.trim();
      for (const field of all("input", knob)) set(field, "aria-label", `${name}: ${say(field.type === "range" ? "range" : "number")}`);
    }
    const line = find("#say");
    if (line) set(line, "role", "status");
    const settings = find("#settings");
    if (settings) {
      set(settings, "aria-controls", "panel");
      set(settings, "aria-expanded", String(document.body.classList.contains("panel-open")));
    }
    announce();
  }

  function label(button, text) {
    set(button, "aria-label", text);
    set(button, "title", text);
  }

  // a screen reader hears each sentence once, as it is finished -----------------------------------

  let announced = 0, turn = 0, wasWriting = false;
  const writing = () => Boolean(find("#stop") && find("#stop").offsetParent);

  function tell(text, code) {
    const line = document.createElement("p");
    line.textContent = text;
    line.lang = code;
    line.dir = "auto";
    const announcer = find("#announcer");
    announcer.append(line);
    while (announcer.children.length > 20) announcer.firstChild.remove();
  }

  function announce() {
    const now = writing();
    const bubble = all("#chat [data-testid=bot]").pop();
    const text = bubble ? bubble.innerText.replace("▌", "") : "";
    const turns = all("#chat [data-testid=user]").length;
    if (now && !wasWriting) tell(say("writing"), language);
    if (turns > turn) all("#chat [role=log]").forEach((log) => log.scrollTo(0, log.scrollHeight)); // Gradio follows only from the end
    if (turns !== turn || text.length < announced) [turn, announced] = [turns, 0];
    let end = now ? 0 : text.length;
    if (now) for (const match of text.matchAll(/[^\d\s][.!?؟]\s|\n/g)) end = match.index + match[0].length;
    if (end > announced) {
      const heard = text.slice(announced, end).trim();
      if (heard) tell(heard, bidi.languageOf(heard));
      announced = end;
    }
    // the button that had the focus went away with the click
    if (now !== wasWriting && document.activeElement === document.body && matchMedia("(pointer: fine)").matches) find("#ask textarea").focus();
    wasWriting = now;
  }

  // copying and saving ----------------------------------------------------------------------------

  function record() {
    const said = find("#record") ? find("#record").textContent.trim() : "";
    return said ? JSON.parse(said) : null;
  }

  function asText(conversation) {
    const notice = Object.keys(DIRECTIONS).map((code) => `${words.notice.short[code]} ${words.notice.long[code]}`);
    const head = [words.page.title[language], ...notice, `${say("stands_for")}: ${conversation.model}`, `${say("saved")}: ${now()}`];
    const turns = conversation.messages.map(({ role, content }) => `${say(role === "user" ? "you" : "stands_for")}:\n${content}`);
    return `${head.join("\n")}\n\n${turns.join("\n\n")}\n`;
  }

  const two = (number) => String(number).padStart(2, "0");
  function now() {
    const date = new Date();
    return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ${two(date.getHours())}:${two(date.getMinutes())}`;
  }

  function save(text, ending, type) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: `${type};charset=utf-8` }));
    link.download = `bimedix-${now().replace(" ", "-").replace(":", "")}.${ending}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  async function copyText(text, button) {
    if (navigator.clipboard) await navigator.clipboard.writeText(text);
    else { // a page that came over plain http from another machine has no clipboard
      const field = Object.assign(document.createElement("textarea"), { value: text });
      document.body.append(field);
      field.select();
      document.execCommand("copy");
      field.remove();
    }
    button.classList.add("done");
    setTimeout(() => button.classList.remove("done"), 1500);
    tell(say("copied"), language);
  }

  function pressed(name) {
    const conversation = record();
    if (name === "settings") {
      document.body.classList.toggle("panel-open");
      dress();
    } else if (conversation && name === "copy") copyText(asText(conversation), find("#copy"));
    else if (conversation && name === "save_text") save(`\ufeff${asText(conversation)}`, "txt", "text/plain");
    else if (conversation && name === "save_json") save(`${JSON.stringify({ notice: words.notice, saved: now(), ...conversation }, null, 2)}\n`, "json", "application/json");
  }

  // clicks and keys ---------------------------------------------------------------------------------

  document.addEventListener("click", (event) => {
    const change = event.target.closest("#language button");
    if (change) switchTo(change.dataset.language);
    const example = event.target.closest("#chat .example");
    if (example) fill(examples()[all("#chat .example").indexOf(example)].text);
    // Gradio copies the Markdown that a bubble was drawn from; the reader wants what was written
    const copy = event.target.closest("#chat .message-buttons button");
    if (copy) {
      event.stopPropagation();
      const index = all("#chat .message-buttons").indexOf(copy.closest(".message-buttons"));
      const message = (record() || { messages: [] }).messages[index];
      copyText(message ? message.content : all("#chat [data-testid=user], #chat [data-testid=bot]")[index].innerText, copy);
    }
    if (event.target.closest("#skip")) {
      event.preventDefault();
      find("#ask textarea").focus();
    }
  }, true);

  function fill(text) {
    const field = find("#ask textarea");
    field.value = text;
    field.dispatchEvent(new Event("input", { bubbles: true }));
    field.focus();
  }

  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && writing()) find("#stop").click();
  });

  document.addEventListener("DOMContentLoaded", () => {
    dress();
    new MutationObserver(dress).observe(document.body, { childList: true, subtree: true, characterData: true, attributeFilter: ["class", "disabled"] });
  });

  return { updates, pressed };
})();
