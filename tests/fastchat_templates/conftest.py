"""Stacks that several modules ask: they come up once a session."""

from collections.abc import Iterator

import pytest

from tests.conftest import Trained
from tests.fastchat_templates.guarded import Guarded


@pytest.fixture(scope="session")
def guarded(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """Controller, real worker, scripted workers and two APIs."""
    stack = Guarded(tmp_path_factory.mktemp("guarded"), trained.merged)
    try:
        stack.up()
        yield stack
    finally:
        stack.down()
