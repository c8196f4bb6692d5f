"""FastChat's side of test_parity.py, run in the serving environment: for each line of JSON messages the prompt and its token ids.

    python -m tests.fastchat_templates.render FOLDER_OF_A_TOKENIZER

The worker sends its conversation to the API process as JSON, and the API rebuilds it: both steps are FastChat's own here, but for HTTP.
"""

import asyncio
import json
import sys

from fastapi.encoders import jsonable_encoder
from fastchat.model import get_conversation_template
from fastchat.serve import openai_api_server
from transformers import AutoTokenizer

from fastchat_templates import conversation


def main() -> None:
    conversation.register()
    tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
    sent = json.dumps(jsonable_encoder(get_conversation_template("any-name")))

    async def get_conv(model_name: str, worker_addr: str) -> dict:
        return json.loads(sent)

    openai_api_server.get_conv = get_conv
    unused = dict.fromkeys(["top_k", "presence_penalty", "frequency_penalty", "echo", "stop"])
    print("ready", file=sys.__stdout__, flush=True)  # FastChat puts its logger in the place of sys.stdout
    for line in sys.stdin:
        made = asyncio.run(openai_api_server.get_gen_params("any-name", "", json.loads(line), temperature=0.0, top_p=1.0, max_tokens=8, **unused))
        # as fastchat.serve.inference.generate_stream encodes it
        answer = {"text": made["prompt"], "ids": tokenizer(made["prompt"]).input_ids, "stop": made["stop"]}
        print(json.dumps(answer), file=sys.__stdout__, flush=True)


if __name__ == "__main__":
    main()
