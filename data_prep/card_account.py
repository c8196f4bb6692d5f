"""The card's account of the build, from the manifest: sources and licences, mixing, rejects, what is missing, duplicates, contamination.

A section whose data the manifest does not have is empty, and then left out of the card.
"""

import json
import re
from collections import Counter

from data_prep.built import Built
from data_prep.card_tables import plain, table
from data_prep.records import BadInput

SHOWN = 10  # hits of each method
LONGEST = 200  # characters of a quoted text
# the identifiers of the Hub that data sources bear; every other licence makes the whole `other`
HUB_LICENCES = {"apache-2.0", "mit", "cc0-1.0", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "odc-by", "pddl"}
METHODS = {
    "exact": "the same text",
    "normalised": "the same text but for case, marks, digits and forms of letters",
    "options": "the same question with its options reordered, added or taken away",
    "ngram": "a long run of the same words",
    "similar": "most of the words are the same",
    "origin": "a translation of a test question, or a chat made from one",
}


def used(built: Built, withheld: dict[str, str] | None = None) -> list[dict]:
    """The inputs of which rows stand in the data set; in a publication, without those whose parts are all withheld."""
    inputs = [entry for entry in built.manifest["inputs"] if sum(entry["used"].values())]
    return [entry for entry in inputs if not withheld or set(entry["parts"]) - withheld.keys()]


def licence(inputs: list[dict]) -> dict[str, object]:
    """The head's licence: one identifier, a list where sources differ, or `other` where one is unknown to the Hub or has terms of its own."""
    names = {re.sub(r"[\s_]+", "-", (entry["licence"] or "not stated").strip().lower()) for entry in inputs}
    found = sorted("cc0-1.0" if name == "cc0" else name for name in names)
    if not found or not HUB_LICENCES.issuperset(found) or any(entry["terms"] for entry in inputs):
        return {"license": "other", "license_name": "terms-of-each-source", "license_link": "LICENSE.md"}
    return {"license": found[0] if len(found) == 1 else found}


def sources(inputs: list[dict]) -> str:
    """One row an input: what it is, where it came from, its fingerprint, its rows."""
    lines = []
    for entry in inputs:
        hub = entry["hub"]
        if hub:
            part = ", ".join(str(value) for value in (hub.get("config"), hub.get("split")) if value)
            origin = f"{plain(hub['repository'])} @ `{hub['revision'] or 'not pinned'}`" + (f" ({plain(part)})" if part else "")
        else:
            origin = f"file {plain(entry['file'])}"
        origin += f", sha256 `{entry['sha256'][:16]}`" if entry.get("sha256") else ""
        names = ", ".join(entry["sources"]) + (f": {entry['describes']}" if entry["describes"] else "")
        lines.append([plain(names), origin, entry["read"], entry["expected"] or "", sum(entry["used"].values())])
    return table(["source", "repository @ revision, or file", ">rows read", ">rows its owner states", ">rows used"], lines)


def licences(inputs: list[dict]) -> str:
    """Licence and terms of each source, each said once."""
    lines = {}
    for entry in inputs:
        may = {True: "yes", False: "no", None: "not known"}[entry["redistribute"]]
        key = (plain(entry["licence"] or "not stated"), plain(entry["terms"] or ""), may)
        lines.setdefault(key, []).extend(name for name in entry["parts"] if name not in lines.get(key, []))
    return table(["source", "licence", "terms beside it", "may be passed on"], [[plain(", ".join(names)), *key] for key, names in lines.items()])


def group(of: dict) -> str:
    """A mixing group in words: `pubmedqa, en`."""
    parts = [of.get(key) for key in ("source", "kind", "lang") if of.get(key) is not None]
    return ", ".join(" + ".join(part) if isinstance(part, list) else str(part) for part in parts) or "all others"


def mixing(built: Built) -> str:
    """Wanted against built for each group of the mix, and the ratio of Arabic to English."""
    parts = []
    if built.manifest["mix"]:
        keys = ("wanted", "had", "built", "repeated", "shortfall")
        lines = [[plain(group(entry["group"])), *(entry[key] for key in keys)] for entry in built.manifest["mix"]]
        lines.append(["**all**", *(sum(entry[key] for entry in built.manifest["mix"]) for key in keys)])
        parts.append(table(["group", *(f">{key}" for key in keys)], lines))
        parts.append(
            "`wanted` is what the recipe asks for, `had` what was left of the sources after rejects, duplicates and test questions, `built` what stands in\n"
            "the data set, `repeated` how many of those are repetitions that the recipe asked for. A shortfall is never filled by repetition.\n"
        )
    if ratio := built.manifest["ratio"]:
        wanted, got = ({lang: counts.get(lang, 0) for lang in ("ar", "en")} for counts in (ratio["wanted"], ratio["built"]))
        share = f"1:{got['en'] / got['ar']:.2f}" if got["ar"] else "no Arabic rows"
        parts.append(f"Arabic to English: wanted {wanted['ar']:g}:{wanted['en']:g}, built {got['ar']:,}:{got['en']:,} rows ({share}).\n")
    return "\n".join(parts)


def rejects(built: Built) -> str:
    """Rejected rows by reason."""
    if not built.manifest["rejected"]:
        return "none\n"
    lines = sorted(([f"`{reason}`", count] for reason, count in built.manifest["rejected"].items()), key=lambda line: (-line[1], line[0]))
    return table(["reason", ">rows"], [*lines, ["**all**", sum(built.manifest["rejected"].values())]])


def missing(built: Built) -> str:
    """Sources that the recipe names and that were not there, and how a person supplies them."""
    return table(
        ["source", "why it is missing", "how to supply it"], [[plain(entry[key]) for key in ("source", "why", "supply")] for entry in built.manifest["missing"]]
    )


def deduplication(built: Built) -> str:
    """Removed duplicates."""
    of = built.manifest["deduplication"]
    if of is None:
        return ""
    lines = [["exact", of["exact"]], ["near", of["near"]], ["same question, two right answers", of["conflicting"]]]
    return table(["duplicates taken out", ">rows"], lines) + (
        f"\nNear: MinHash with {of['permutations']} permutations, similarity of {of['threshold']} or more, on texts normalised for the comparison only.\n"
    )


def contamination(built: Built, withheld: dict[str, str] | None = None) -> str:
    """Training rows that are test questions: counts by method, what was compared, and the first hits of each method with both texts."""
    of = built.manifest["contamination"]
    if of is None:
        return ""
    counts = [[f"`{method}`", METHODS.get(method, ""), count] for method, count in of["methods"].items()]
    parts = [table(["method", "what counts as a hit", ">hits"], counts) if counts else "No training row asks what a test question asks.\n"]
    checked = ", ".join(f"{plain(name)} ({count:,} questions)" for name, count in of["against"].items())
    parts.append(f"Compared with: {checked or 'no evaluation set'}.\n")
    parts.append(f"Not compared with, because they were not there: {', '.join(map(plain, of['not_checked'])) or 'none'}.\n")
    first = _hits(built)
    for method, hits in ((method, first[method]) for method in of["methods"] if method in first):
        parts.append(f"### `{method}`: {len(hits)} of {of['methods'][method]:,} hits\n")
        lines = [[plain(hit["score"]), *_quoted(built, hit, "train", withheld), *_quoted(built, hit, "test", withheld)] for hit in hits]
        parts.append(table([">score", "training row", "its text", "test question", "its text"], lines))
    return "\n".join(parts)


def _quoted(built: Built, hit: dict, side: str, withheld: dict[str, str] | None) -> list[str]:
    """Id and text of one side. A publication quotes only what it may pass on."""
    name, text = hit[f"{side}_id"], hit[f"{side}_text"]
    source, lang = built.source_of({"id": name}), name.rsplit(":", 1)[-1]
    # the id does not say of which kind the row is, so any closed part of its source in its language closes it
    made = any(part.startswith(f"{source} (") and (f"({lang}, " in part or lang not in ("en", "ar")) for part in withheld or ())
    closed = withheld is not None and (source in withheld or source not in built.known or made)
    return [plain(name), "(not quoted: its source may not be passed on)" if closed else plain(text, LONGEST)]


def _hits(built: Built) -> dict[str, list[dict]]:
    """Method -> its first hits, in the file's order."""
    first: dict[str, list[dict]] = {}
    if not (built.folder / "contamination.jsonl").is_file():
        if Counter(built.manifest["contamination"]["methods"]).total():
            raise BadInput(f"{built.folder / 'contamination.jsonl'} is missing, but the manifest counts hits; build the data set again")
        return first
    for number, hit in enumerate(built.rows("contamination.jsonl"), start=1):
        if not {"method", "score", "train_id", "train_text", "test_id", "test_text"} <= hit.keys():
            raise BadInput(f"{built.folder / 'contamination.jsonl'}, row {number}: not a hit ({json.dumps(hit)[:80]}); build the data set again")
        hits = first.setdefault(hit["method"], [])
        if len(hits) < SHOWN:
            hits.append(hit)
    return first
