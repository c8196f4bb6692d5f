"""The prompts of the language-model steps: one YAML file each, with a version that is raised whenever its words change.

Name and version stand in the journal's key, in the manifest and in `made` of every row, so that each row says which words made it.
"""

import json
import string
from functools import cache
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from data_prep.records import BadInput

FOLDER = Path(__file__).parent


class Prompt(BaseModel):
    """A prompt: `system` is sent as it is, `user` with its ${words} filled in. `system_of` names a prompt whose system text it shares."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str
    version: int = Field(ge=1)
    system: str = ""
    system_of: str | None = None
    user: str

    @property
    def label(self) -> str:
        """Name and version, for keys and manifests; with those of the prompt that it shares its system text with."""
        return f"{self.name}@{self.version}" + (f"+{load(self.system_of).label}" if self.system_of else "")

    def messages(self, words: dict[str, str]) -> list[dict[str, str]]:
        """The messages to send. KeyError where a word of the prompt is not among `words`."""
        system = load(self.system_of).system if self.system_of else self.system
        said = [{"role": "system", "content": system.strip()}] if system else []
        return [*said, {"role": "user", "content": string.Template(self.user).substitute(words).strip()}]


def quoted(value: object) -> str:
    """Texts as they stand in a prompt: inside JSON nothing that a patient wrote ends the quotation."""
    return json.dumps(value, ensure_ascii=False, indent=0)


@cache
def load(name: str, folder: Path = FOLDER) -> Prompt:
    """The prompt in NAME.yaml of this folder or another; BadInput names the file and the key that is wrong."""
    path = folder / f"{name}.yaml"
    try:
        return Prompt.model_validate({"name": name} | yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError, TypeError, ValidationError) as error:
        raise BadInput(f"{path}: not a prompt ({error}); it has the keys version, system or system_of, and user") from error
