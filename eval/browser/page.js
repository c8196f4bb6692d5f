"use strict";
// data: {sets: {name: short}, systems: [{label, letters}], docs: [[id, question, context, options, letters, answer]], pairs: [[set, en, ar]],
//        answers: [one a system: [one a doc: null or [right, chosen, scores, problem]]]}; en and ar are places in docs, -1 where there is none
const $ = id => document.getElementById(id);
const LANGS = ["en", "ar"], WORDS = {
  en: {name: "English", right: "right", wrong: "wrong", answer: "right answer", context: "Context", none: "This question is not among the English ones."},
  ar: {name: "العربية", right: "صحيح", wrong: "خطأ", answer: "الجواب الصحيح", context: "السياق", none: "لا يوجد هذا السؤال بين الأسئلة العربية."},
};
const SHOWN = 150;
let data, found = [], at = 0, drawn = 0, current = 0, haystack; // current: the pair that is shown, kept while a filter finds nothing

async function unpack(text) {
  const packed = Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
  return new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"))).json();
}

function element(name, fields = {}, ...children) {
  const made = Object.assign(document.createElement(name), fields);
  made.append(...children);
  return made;
}

const answer = (pair, system, lang) => pair[lang + 1] < 0 ? null : data.answers[system][pair[lang + 1]];
const right = (pair, system, lang) => { const one = answer(pair, system, lang); return one ? Boolean(one[0]) : null; };

// name -> [words, whether a pair is shown, systems needed]
const FILTERS = {
  all: ["all questions", () => true, 1],
  wrong: ["wrong in a language", (pair, a) => LANGS.some((_, lang) => right(pair, a, lang) === false), 1],
  right: ["right wherever asked", (pair, a) => LANGS.some((_, lang) => right(pair, a, lang)) && !LANGS.some((_, lang) => right(pair, a, lang) === false), 1],
  languages: ["right in one language only", (pair, a) => right(pair, a, 0) !== null && right(pair, a, 1) !== null && right(pair, a, 0) !== right(pair, a, 1), 1],
  english: ["right in English only", (pair, a) => right(pair, a, 0) === true && right(pair, a, 1) === false, 1],
  arabic: ["right in Arabic only", (pair, a) => right(pair, a, 0) === false && right(pair, a, 1) === true, 1],
  problem: ["could not be scored", (pair, a) => LANGS.some((_, lang) => (answer(pair, a, lang) || [])[3]), 1],
  systems: ["one of both systems right", (pair, a, b) => LANGS.some((_, lang) => right(pair, a, lang) !== null && right(pair, b, lang) !== null && right(pair, a, lang) !== right(pair, b, lang)), 2],
  better: ["first right, other wrong", (pair, a, b) => LANGS.some((_, lang) => right(pair, a, lang) === true && right(pair, b, lang) === false), 2],
  worse: ["first wrong, other right", (pair, a, b) => LANGS.some((_, lang) => right(pair, a, lang) === false && right(pair, b, lang) === true), 2],
};

// one spelling for what Arabic writes in several ways: no vowel signs, one alef, ya and ha
const fold = text => text.toLowerCase().replace(/[\u064B-\u0652\u0670\u0640]/g, "").replace(/[أإآٱ]/g, "ا").replace(/ى/g, "ي").replace(/ة/g, "ه");

function search() {
  haystack ??= data.pairs.map(pair => fold(LANGS.map((_, lang) => data.docs[pair[lang + 1]]).filter(Boolean).map(doc => [doc[0], doc[1], ...doc[3]].join(" ")).join("\n")));
  const words = fold($("search").value).split(/\s+/).filter(Boolean);
  return place => words.every(word => haystack[place].includes(word));
}

function filter() {
  const set = $("set").value, a = Number($("system").value), b = Number($("other").value), [, test] = FILTERS[$("show").value];
  const matches = $("search").value.trim() ? search() : () => true;
  found = [...data.pairs.keys()].filter(place => (!set || data.pairs[place][0] === set) && test(data.pairs[place], a, b) && matches(place));
  const rates = LANGS.map((lang, number) => {
    const judged = found.map(place => right(data.pairs[place], a, number)).filter(one => one !== null);
    return judged.length ? `${lang === "en" ? "English" : "Arabic"} ${judged.filter(Boolean).length.toLocaleString("en")} of ${judged.length.toLocaleString("en")} right` : "";
  });
  $("count").textContent = [`${found.length.toLocaleString("en")} of ${data.pairs.length.toLocaleString("en")} questions`, ...rates].filter(Boolean).join("; ");
  $("list").replaceChildren();
  drawn = 0;
  more();
  const kept = found.indexOf(current);
  select(kept < 0 ? 0 : kept);
}

function mark(pair, system, lang) {
  const one = right(pair, system, lang);
  if (one === null) return element("span", {className: "none", textContent: "–"});
  return element("span", {className: one ? "good" : "bad", textContent: `${LANGS[lang]} ${one ? "✓" : "✗"}`});
}

function more() {
  const system = Number($("system").value);
  for (const place of found.slice(drawn, drawn + SHOWN)) {
    const pair = data.pairs[place], english = pair[1] >= 0, doc = data.docs[english ? pair[1] : pair[2]];
    const marks = element("span", {className: "marks"}, element("b", {textContent: data.sets[pair[0]]}), mark(pair, system, 0), " ", mark(pair, system, 1));
    const words = element("span", {textContent: doc[1].slice(0, 160), lang: english ? "en" : "ar", dir: english ? "ltr" : "rtl"});
    const line = element("li", {}, marks, words);
    line.dataset.place = place;
    $("list").append(line);
  }
  drawn = Math.min(found.length, drawn + SHOWN);
}

function select(place) {
  at = Math.max(0, Math.min(place, found.length - 1));
  while (drawn <= at && drawn < found.length) more();
  $("list").querySelector("[aria-current]")?.removeAttribute("aria-current");
  $("previous").disabled = at === 0;
  $("next").disabled = at >= found.length - 1;
  $("place").textContent = found.length ? `${(at + 1).toLocaleString("en")} of ${found.length.toLocaleString("en")}` : "";
  if (!found.length) return $("pair").replaceChildren(element("p", {className: "none", textContent: "No question fits."}));
  const line = $("list").children[at], list = $("list");
  line.setAttribute("aria-current", "true");
  if (line.offsetTop < list.scrollTop || line.offsetTop + line.offsetHeight > list.scrollTop + list.clientHeight) list.scrollTop = line.offsetTop - 60; // the list alone, not the page
  current = found[at];
  const pair = data.pairs[current];
  $("pair").replaceChildren(...LANGS.map((lang, number) => article(pair, number, lang)));
}

const shownSystems = () => [...new Set([Number($("system").value), ...data.systems.keys()])];

function article(pair, number, lang) {
  const words = WORDS[lang], doc = data.docs[pair[number + 1]], box = element("article", {lang, dir: lang === "ar" ? "rtl" : "ltr"});
  if (!doc) { box.append(element("h3", {textContent: words.name}), element("p", {className: "none", textContent: words.none})); return box; }
  const [id, question, context, options, letters, rightOne] = doc;
  box.append(element("h3", {}, words.name, element("small", {textContent: id, dir: "ltr"})));
  for (const system of shownSystems()) {
    const one = answer(pair, system, number);
    if (!one) continue;
    const name = element("bdi", {textContent: data.systems[system].label});
    const verdict = element("span", {className: one[0] ? "good" : "bad", textContent: one[0] ? `✓ ${words.right}` : `✗ ${words.wrong}`});
    box.append(element("p", {className: "verdict"}, name, " ", verdict, one[3] ? ` (${one[3]})` : ""));
  }
  if (context) box.append(element("details", {}, element("summary", {textContent: words.context}), element("div", {className: "context", textContent: context})));
  box.append(element("p", {className: "question", textContent: question}));
  options.forEach((option, place) => box.append(optionBox(pair, number, doc, place, words)));
  return box;
}

function optionBox(pair, number, doc, place, words) {
  const [, , , options, letters, rightOne] = doc;
  const line = element("p", {}, element("b", {textContent: `${letters[place]}.`}), element("span", {textContent: options[place]}));
  if (place === rightOne) line.append(" ", element("span", {className: "tag good", textContent: `✓ ${words.answer}`}));
  const box = element("div", {className: place === rightOne ? "option right" : "option"}, line);
  for (const system of shownSystems()) {
    const one = answer(pair, system, number);
    if (!one) continue;
    const score = one[2][place], finite = one[2].filter(value => value !== null), most = Math.max(...finite);
    const share = score === null ? 0 : Math.exp(score - most) / finite.reduce((sum, value) => sum + Math.exp(value - most), 0);
    const bar = element("i"), {label, letters: byLetters} = data.systems[system];
    bar.style.width = `${100 * share}%`;
    box.append(element("div", {className: one[1] === place ? "score chosen" : "score", dir: "ltr"},
      element("span", {className: "name", textContent: label, title: label}), element("span", {className: "bar"}, bar),
      element("span", {className: "number", textContent: byLetters && score !== null ? `${(100 * share).toFixed(1)}%` : ""}),
      element("span", {className: "number", textContent: score === null ? "none" : score.toFixed(2), title: "log-likelihood"})));
  }
  return box;
}

function choose(select, entries) { select.replaceChildren(...entries.map(([value, textContent]) => element("option", {value, textContent}))); }

function start() {
  const sets = [...new Set(data.pairs.map(pair => pair[0]))], several = data.systems.length > 1;
  choose($("set"), [["", "all sets"], ...sets.map(name => [name, data.sets[name]])]);
  choose($("system"), data.systems.map(({label}, place) => [place, label]));
  choose($("other"), data.systems.map(({label}, place) => [place, label]));
  choose($("show"), Object.entries(FILTERS).filter(([, [, , needed]]) => needed <= data.systems.length).map(([value, [words]]) => [value, words]));
  $("other").value = several ? 1 : 0;
  $("against").hidden = !several;
  for (const id of ["set", "system", "other", "show"]) $(id).addEventListener("change", filter);
  $("search").addEventListener("input", filter);
  $("filters").addEventListener("submit", event => event.preventDefault());
  $("previous").addEventListener("click", () => select(at - 1));
  $("next").addEventListener("click", () => select(at + 1));
  $("list").addEventListener("click", event => { const line = event.target.closest("li"); if (line) select([...$("list").children].indexOf(line)); });
  $("list").addEventListener("scroll", () => { const list = $("list"); if (list.scrollTop + list.clientHeight > list.scrollHeight - 400 && drawn < found.length) more(); });
  document.addEventListener("keydown", event => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.matches("input, select")) { if (event.key === "Escape") event.target.blur(); return; }
    if (event.key === "/") { event.preventDefault(); $("search").focus(); }
    if (event.key === "j" || event.key === "ArrowRight") { event.preventDefault(); select(at + 1); }
    if (event.key === "k" || event.key === "ArrowLeft") { event.preventDefault(); select(at - 1); }
  });
  $("loading").hidden = true;
  $("browser").hidden = false;
  filter();
}

unpack($("data").textContent).then(content => { data = content; start(); }).catch(error => {
  $("loading").textContent = `The questions could not be unpacked (${error.message}); a browser of 2023 or later is needed.`;
});
