"""The stand-in endpoint in this process, for tests that read what was asked."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator

import pytest

from data_prep.endpoint import Endpoint


@contextlib.contextmanager
def standin(script: Callable[[dict], object], *models: str) -> Iterator[None]:
    """A real endpoint that answers as the script says, with its address in the environment, while the block runs."""
    ready, port, loop = threading.Event(), [], asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve() -> None:
        async with Endpoint(script, models=models).listening() as found:
            port.append(found)
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    try:
        assert ready.wait(30)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{port[0]}/v1")
            patch.delenv("OPENAI_API_KEY", raising=False)
            yield
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()
