"""The form in which the Self-BioRAG release wraps MedQA and MedMCQA: question and options inside one prompt text.

`{"instances": {"input": "QUESTION: ..\\nOption A:..\\nOption B:..", "output": "Answer: (A)" or the option's text}}`. The release
gives every row the same `id`, so rows are named by their line.
"""

import re

PROMPT = re.compile(r"(?:QUESTION|Question): (?P<question>.*?)(?P<options>(?:\nOption [A-E]:.*?)+)\n?", re.DOTALL)
OPTION = re.compile(r"\nOption ([A-E]):(.*?)(?=\nOption [A-E]:|\n?\Z)", re.DOTALL)


def parse(content: dict) -> tuple[str, list[str], int]:
    """The question, its options and the 0-based index of the right one; ValueError says what a row lacks."""
    instance = content.get("instances")
    if not isinstance(instance, dict) or not all(isinstance(instance.get(key), str) for key in ("input", "output")):
        raise ValueError("instances.input and instances.output must be texts")
    match = PROMPT.fullmatch(instance["input"])
    if match is None:
        raise ValueError("the prompt is not 'Question: ..' followed by lines 'Option A: ..'")
    lettered = OPTION.findall(match["options"])
    if "".join(letter for letter, _ in lettered) != "ABCDE"[: len(lettered)]:
        raise ValueError("the options are not lettered A, B, C, .. in order")
    options = [text.strip() for _, text in lettered]
    said = instance["output"].strip()
    letter = re.fullmatch(r"Answer: \(([A-E])\)", said)
    named = ["ABCDE".index(letter[1])] if letter else [i for i, option in enumerate(options) if option == said]
    if len(named) != 1 or named[0] >= len(options):
        raise ValueError(f"the answer {said!r} does not name exactly one option")
    return match["question"], options, named[0]
