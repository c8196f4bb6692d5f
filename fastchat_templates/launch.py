"""Start one FastChat process with our template and adapter registered in it.

    python -m fastchat_templates.launch controller|worker|api [FastChat's own options]

FastChat picks the conversation by the model's name in whichever process asks, so a template that is registered in one process is
unknown to the others: all start through here. The web page has a module of its own, web.py.
"""

import runpy
import sys

from fastchat.protocol import openai_api_protocol as protocol

from fastchat_templates import conversation

MODULES = {
    "controller": "fastchat.serve.controller",
    "worker": "fastchat.serve.model_worker",
    "api": "fastchat.serve.openai_api_server",
}


def _json(message: protocol.BaseModel, ensure_ascii: bool = False, **options: object) -> str:
    return message.model_dump_json(**options)


def mend_streaming() -> None:
    """Let the API stream: FastChat calls `json(ensure_ascii=False)`, and pydantic 2 refuses that keyword, so the first chunk broke the answer off."""
    protocol.ChatCompletionStreamResponse.json = _json
    protocol.CompletionStreamResponse.json = _json


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1] not in MODULES:
        sys.exit(f"usage: python -m fastchat_templates.launch {'|'.join(MODULES)} [options of FastChat's module]")
    module = MODULES[sys.argv.pop(1)]
    conversation.register()
    mend_streaming()
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
