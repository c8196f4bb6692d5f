// Mixed lines inside a bubble: which paragraph runs which way, and what must not be torn apart. No state; page.js calls it after each drawing.
"use strict";
window.bimedixBidi = (() => {
  const ARABIC = /[\u0600-\u06ff\u0750-\u077f\u08a0-\u08ff\ufb50-\ufdff\ufe70-\ufeff]/g;
  const LATIN = /[A-Za-z\u00c0-\u024f]/g;
  const BLOCKS = "p, ul, ol, h1, h2, h3, h4, h5, h6, blockquote, table";
  // A dose, a value or a sum inside Arabic text: `500 mg`, `5-10 mg/kg`, `HbA1c 6.5%`, `10 - 3 = 7`. Left to itself the line shows the number
  // to the right of its unit, a range backwards, `mg 10-5`, and a sum too. Digits alone go with the Arabic around them, ranges of them as well.
  const VALUE = /[A-Za-z0-9\u00b5\u0370-\u03ff<>≤≥±~][A-Za-z0-9\u00b5\u0370-\u03ff.,:;/%°<>≤≥=±~^*×+\-–()\[\] ]*/g;

  const count = (text, letters) => (text.match(letters) || []).length;
  const languageOf = (text) => (count(text, ARABIC) > count(text, LATIN) ? "ar" : "en");

  // Arabic with a value inside an English line, which would tear number and unit apart: at most two foreign words in a row
  const A = "\\u0600-\\u06ff\\u0750-\\u077f\\u08a0-\\u08ff";
  const PHRASE = new RegExp(`[${A}]+(?:[^${A}A-Za-z]*(?:[A-Za-z][\\w./%-]*[^${A}A-Za-z]*){0,2}[${A}]+)*`, "g");

  const latinValue = (text) => {
    const value = balanced(text.replace(/[\s.,:;<>=~+\-–(\[*]+$/, ""));
    return /[A-Za-z=×*^÷+%°]/.test(value) && /[0-9]/.test(value) ? value : "";
  };
  const arabicPhrase = (text) => (/[A-Za-z0-9]/.test(text) ? text : "");

  function isolate(block, pattern, wanted, dir) {
    const walker = document.createTreeWalker(block, NodeFilter.SHOW_TEXT);
    const nodes = [];
    while (walker.nextNode()) if (!walker.currentNode.parentElement.closest(`bdi[dir=${dir}], code, pre, a`)) nodes.push(walker.currentNode);
    for (const node of nodes) {
      for (const match of [...node.data.matchAll(pattern)].reverse()) {
        const text = wanted(match[0]);
        if (!text) continue;
        const inner = node.splitText(match.index);
        inner.splitText(text.length);
        const wrap = document.createElement("bdi");
        wrap.dir = dir;
        wrap.classList.toggle("together", dir === "ltr" && text.length < 24); // no line ends between a number and its unit
        inner.replaceWith(wrap);
        wrap.append(inner);
      }
    }
  }

  function balanced(value) { // up to a closing bracket that was opened before it, or an opening one that is closed after it
    const open = [];
    for (let index = 0; index < value.length; index++) {
      if ("([".includes(value[index])) open.push(index);
      if (")]".includes(value[index]) && open.pop() === undefined) return value.slice(0, index).trimEnd();
    }
    return open.length ? value.slice(0, open[0]).trimEnd() : value;
  }

  // Paragraphs, lists and values of a bubble that has dir=auto. Doing it twice changes nothing.
  function dress(bubble) {
    const inside = (selector) => [...bubble.querySelectorAll(selector)];
    // dir=auto looks at text that has no dir of its own: the first block is left to the bubble, each later one decides for itself
    for (const block of inside(BLOCKS).filter((one) => !one.parentElement.closest(BLOCKS)).slice(1)) if (block.dir !== "auto") block.dir = "auto";
    for (const block of inside("p, li, h1, h2, h3, h4, td, th")) {
      if (getComputedStyle(block).direction === "ltr") isolate(block, PHRASE, arabicPhrase, "rtl");
      else isolate(block, VALUE, latinValue, "ltr");
    }
    for (const phrase of inside("bdi[dir=rtl]")) isolate(phrase, VALUE, latinValue, "ltr");
  }

  return { dress, languageOf };
})();
