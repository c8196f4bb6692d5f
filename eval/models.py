"""The systems that `make eval MODEL=name` knows by name: a row of eval/models.yaml each, checked before anything is loaded.

    row("mixtral-8x7b").loader()   ->   {"pretrained": "mistralai/Mixtral-8x7B-v0.1", "revision": "fc7ac94..", "dtype": "bfloat16", ..}

Code that comes with a model is never run (no trust_remote_code): a row that needs it says so and has a `refusal`, one line, in place of a loader.
"""

import re
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from data_prep.records import BadInput

FILE = Path(__file__).parent / "models.yaml"
ROOT = FILE.parents[1]
# of lm_eval's HFLM; the rest of its options would change what is measured
ARGUMENTS = {"dtype", "max_length", "parallelize", "add_bos_token", "backend", "use_fast_tokenizer", "attn_implementation"}


def _commit(revision: str) -> str:
    if revision != "main" and not re.fullmatch("[0-9a-f]{40}", revision):
        raise ValueError("a commit of 40 hexadecimal digits (the Hub takes no shorter one), or main, which is not pinned")
    return revision


def _prompt(prompt: str) -> str:
    if prompt not in ("tokenizer", "raw") and not (prompt.endswith(".jinja") and (ROOT / prompt).is_file()):
        raise ValueError("tokenizer (its own chat template), raw (the bare prompt), or a .jinja file of this repository")
    return prompt


def _arguments(arguments: dict) -> dict:
    if "trust_remote_code" in arguments:
        raise ValueError("trust_remote_code is not for us: say remote_code: true, and the row is refused with a reason")
    if others := set(arguments) - ARGUMENTS:
        raise ValueError(f"{', '.join(sorted(others))}: not among {', '.join(sorted(ARGUMENTS))}")
    return arguments


class Row(BaseModel):
    """One system. Sizes in billions of parameters and in GB (10^9 bytes) of memory on GPUs."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str
    title: str
    hub_id: Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+$")]
    revision: Annotated[str, AfterValidator(_commit)]
    prompt: Annotated[str, AfterValidator(_prompt)]
    auto_class: Literal["AutoModelForCausalLM", "AutoModelForImageTextToText"] = "AutoModelForCausalLM"
    arguments: Annotated[dict[str, str | int | bool], AfterValidator(_arguments)]
    remote_code: bool = False
    licence: str
    gated: bool
    parameters: Annotated[float, Field(gt=0)]
    memory_gb: Annotated[int, Field(gt=0)]
    published: dict[Literal["bi", "en", "ar"], str] = {}
    note: str = ""

    @model_validator(mode="after")
    def _fits(self) -> "Row":
        if self.memory_gb < 2 * self.parameters:
            raise ValueError(f"memory_gb: {self.memory_gb} is less than {self.parameters} billion parameters take in 16 bits")
        return self

    @property
    def pinned(self) -> bool:
        """Whether the revision is one commit, so that a second run reads the same weights."""
        return self.revision != "main"

    @property
    def template(self) -> Path | None:
        """The file of the chat template, where it is neither the tokenizer's nor none."""
        return ROOT / self.prompt if self.prompt.endswith(".jinja") else None

    @property
    def refusal(self) -> str | None:
        """One line on why this system cannot be run here; None where it can."""
        if self.remote_code:
            return f"{self.name}: {self.hub_id} loads only with Python code of its own (trust_remote_code), which is never run here"
        return None

    def loader(self) -> dict[str, str | int | bool]:
        """Arguments of lm_eval's HFLM; BadInput with the refusal where there is one."""
        if self.refusal:
            raise BadInput(self.refusal)
        return {"pretrained": self.hub_id, "revision": self.revision, "trust_remote_code": False, **self.arguments}


def read(path: Path = FILE) -> dict[str, Row]:
    """Name -> row of a file; BadInput that names file, row and key."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise BadInput(f"{path}: not a YAML file that can be read ({error})") from error
    if not isinstance(content, dict) or not all(isinstance(fields, dict) for fields in content.values()):
        raise BadInput(f"{path}: one mapping is needed, name: {{title: .., hub_id: .., ..}}")
    found = {}
    for name, fields in content.items():
        try:
            found[name] = Row(**{**fields, "name": name})
        except (ValidationError, TypeError) as error:
            faults = error.errors() if isinstance(error, ValidationError) else [{"loc": (), "msg": str(error)}]
            told = "; ".join(f"{'.'.join(map(str, fault['loc'])) or 'row'}: {fault['msg'].removeprefix('Value error, ')}" for fault in faults)
            raise BadInput(f"{path}: row {name}: {told}") from error
    return found


@cache
def rows() -> dict[str, Row]:
    """All rows of eval/models.yaml by name."""
    return read()


def row(name: str) -> Row | None:
    """The row of that name; None where there is none, so that the name is a folder or a Hub id."""
    return rows().get(name)
