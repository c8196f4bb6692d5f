"""Label Studio through label-studio-sdk: the project, its tasks, and what people decided. Runs in .venv-review, the only place where the SDK is.

A project is found by its title, or created. Label Studio accepts another labelling configuration without a word while people work with the old one, so
the two are compared here and a difference is an error. Tasks carry `key` (data_prep/review_ledger.py) in their data; those without are left alone.
"""

import contextlib
import datetime
from collections.abc import Iterator
from typing import NamedTuple

import httpx
from label_studio_sdk import LabelStudio
from label_studio_sdk.core.api_error import ApiError

from data_prep.records import BadInput
from data_prep.review_ledger import Decision
from data_prep.review_page import VERDICTS

SECONDS = 60  # that one request may take
AT_ONCE = 100  # tasks in a request
LABELS = {label: verdict for verdict, label in VERDICTS.items()} | {verdict: verdict for verdict in VERDICTS}


class Pulled(NamedTuple):
    """A page of what the server holds: decisions of submitted annotations, and of how many tasks."""

    decisions: list[Decision]
    tasks: int


class Server:
    """A Label Studio server that lets us in. Every method raises BadInput where it does not answer or refuses."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url.rstrip("/")
        self._sdk = LabelStudio(base_url=self.url, api_key=token, timeout=SECONDS)

    @contextlib.contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except httpx.HTTPError as error:
            raise BadInput(
                f"{self.url}: Label Studio does not answer ({type(error).__name__}); start it (make review) or correct LABEL_STUDIO_URL, then run this again: "
                "what was done before is kept"
            ) from error
        except ApiError as error:
            if error.status_code in (401, 403):
                raise BadInput(f"{self.url}: the token is refused ({error.status_code}); set LABEL_STUDIO_API_KEY to one of this server") from error
            said = " ".join(str(error.body).split())[:300]
            raise BadInput(f"{self.url}: Label Studio refuses with {error.status_code}: {said}; what was done before is kept") from error

    def who(self) -> str:
        """The e-mail address of the account whose token is used."""
        with self._faults():
            return self._sdk.users.whoami().email

    def project(self, title: str, label_config: str, create: bool = True) -> int | None:
        """The number of the project of that title; None where there is none and none is to be created."""
        with self._faults():
            found = [one for one in self._sdk.projects.list() if one.title == title]
            if len(found) > 1:
                raise BadInput(f"{self.url}: {len(found)} projects are called {title!r}; rename all but one of them there")
            if found:
                there = self._sdk.projects.get(found[0].id).label_config
                if _bare(there) != _bare(label_config):
                    raise BadInput(
                        f"{self.url}/projects/{found[0].id}: its labelling configuration is not the one of data_prep/review_page.py; put that one in "
                        f"(Settings, Labeling Interface: python -m data_prep.review page prints it), or name another project with --project"
                    )
                return found[0].id
            if not create:
                return None
            note = "For research, not for clinical use. Translations that a machine made, for medical readers. Filled by data_prep.review."
            ways = {"show_skip_button": False, "enable_empty_annotation": False, "maximum_annotations": 1, "show_annotation_history": False}
            return self._sdk.projects.create(title=title, description=note, label_config=label_config, **ways).id

    def tasks(self, project: int) -> Iterator[tuple[str, int, int]]:
        """Key, number and readers (overlap) of each of our tasks."""
        with self._faults():
            for one in self._sdk.tasks.list(project=project, page_size=AT_ONCE, fields="task_only"):
                if isinstance(key := (one.data or {}).get("key"), str):
                    yield key, one.id, one.overlap

    def add(self, project: int, tasks: list[dict]) -> None:
        """Upload tasks. Label Studio imports a request as a whole or not at all."""
        with self._faults():
            for start in range(0, len(tasks), AT_ONCE):
                self._sdk.projects.import_tasks(project, request=[{"data": task} for task in tasks[start : start + AT_ONCE]])

    def set_readers(self, task: int, readers: int) -> None:
        """How many people a task is given to."""
        with self._faults():
            self._sdk.tasks.update(id=str(task), overlap=readers)

    def pull(self, project: int, stage: str, page_size: int) -> Iterator[Pulled]:
        """Page by page what people have submitted. Skipped tasks and drafts are no decisions. What is submitted meanwhile moves others to a later page,
        never to an earlier one, so a row may come twice and none is passed over."""
        page = 1
        while True:
            with self._faults():
                try:
                    listed = self._sdk.tasks.list(project=project, page=page, page_size=page_size, fields="all", only_annotated=True).items or []
                except ApiError as error:
                    if error.status_code == 404:  # Label Studio's answer to a page after the last, also the first where nothing is annotated
                        return
                    raise
            ours = [task for task in listed if isinstance((task.data or {}).get("key"), str)]
            yield Pulled([one for task in ours for one in _decisions(task, project, stage)], len(ours))
            if len(listed) < page_size:
                return
            page += 1


def _bare(config: str) -> str:
    return " ".join(config.split())


def _utc(moment: object) -> str:
    moment = datetime.datetime.fromisoformat(moment.replace("Z", "+00:00")) if isinstance(moment, str) else moment
    return moment.astimezone(datetime.UTC).isoformat(timespec="microseconds")


def _decisions(task: object, project: int, stage: str) -> Iterator[Decision]:
    names = [field["name"] for field in task.data["fields"]]
    for found in task.annotations or []:
        one = found if isinstance(found, dict) else found.dict()
        if one.get("was_cancelled"):
            continue
        person = one["completed_by"]
        person = person["id"] if isinstance(person, dict) else person
        name = f"{stage}:{project}@{_utc(one['created_at'])}/{one['id']}"
        yield Decision(name, _utc(one.get("updated_at") or one["created_at"]), stage, task.data["key"], person, _said(one["result"] or [], names))


def _said(results: list[dict], names: list[str]) -> dict:
    """Verdict, score, comment and texts of an annotation; what is not there is None. A text of several parts is one of several lines."""
    said: dict = {"verdict": None, "score": None, "comment": None, "texts": dict.fromkeys(names)}
    key_score = None
    for result in results:
        value, name = result["value"], result["from_name"]
        if name == "verdict":
            said["verdict"] = LABELS.get(value["choices"][0])
        elif name == "key_score":
            key_score = int(value["choices"][0])
        elif name == "score":
            said["score"] = value["number"]
        elif name == "comment":
            said["comment"] = "\n".join(value["text"])
        elif name.startswith("ar_") and int(name[3:]) < len(names):
            said["texts"][names[int(name[3:])]] = "\n".join(value["text"])
    if said["score"] is None:
        said["score"] = key_score
    return said
