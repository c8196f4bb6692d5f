"""The batching worker: FastChat's worker endpoints in front of the engine that answers many requests at once.

    python -m fastchat_templates.worker --model-path build/models/tiny/merged --model-names tiny --port 21002 \\
        --worker-address http://127.0.0.1:21002 --controller-address http://127.0.0.1:21001

FastChat's own worker takes one request after the other, truncates prompts in silence and goes on for clients that have left.
"""

import argparse
import asyncio
import logging
import os
import sys
import time
from collections.abc import AsyncIterator

import torch
from transformers.utils import logging as transformers_logging

from fastchat_templates import conversation
from fastchat_templates.engine import Engine
from fastchat_templates.face import Face, Server, add_addresses, with_address
from fastchat_templates.request import Params, Piece, Request, Scored

log = logging.getLogger("worker")


class Worker(Face):
    """The face of one engine."""

    def __init__(self, args: argparse.Namespace, engine: Engine) -> None:
        super().__init__(args.controller_address, args.worker_address, args.model_path, args.model_names, args.concurrency)
        self.engine, self.context_len, self.tokenizer = engine, engine.context, engine.vocabulary.tokenizer

    def get_queue_length(self) -> int:
        return self.engine.load

    def drain(self, seconds: float) -> None:
        if not self.engine.drain(seconds):
            log.warning("answers that were not finished after %.0f s were ended", seconds)

    async def count(self, prompt: str | list[int]) -> int:
        """The opening token is counted too."""
        return len(prompt) if isinstance(prompt, list) else len((await asyncio.to_thread(self.tokenizer, prompt)).input_ids)

    async def stream(self, params: object) -> AsyncIterator[dict]:
        loop, pieces = asyncio.get_running_loop(), asyncio.Queue()

        def sink(piece: Piece) -> None:
            loop.call_soon_threadsafe(pieces.put_nowait, piece)

        request = await asyncio.to_thread(lambda: Request(self.engine.vocabulary, Params.read(params), self.engine.context, sink))
        self.engine.submit(request)
        try:
            text, place = (request.prompt_text if request.echo else ""), 0
            while True:
                piece = await pieces.get()
                if piece.error:
                    raise piece.error
                text += piece.text
                news = {"text": text, "error_code": 0, "usage": usage(len(request.prompt_ids), piece.completion_tokens), "finish_reason": piece.finish_reason}
                if request.logprobs is not None:
                    # without `echo` those of the prompt were not asked for; the engine does not compute them then
                    news["logprobs"], place = openai_logprobs(request, piece.scored, place)
                yield news
                if piece.finish_reason:
                    return
        finally:
            self.engine.cancel(request)


def usage(prompt: int, completion: int) -> dict[str, int]:
    """Tokens of the prompt and of the answer; the closing token counts, as in what `generate` returns."""
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def openai_logprobs(request: Request, scored: list[Scored], place: int) -> tuple[dict[str, list], int]:
    """The four lists of OpenAI's completions, as lm-eval reads them, and the place in the text after the last token."""
    lists = {"text_offset": [], "tokens": [], "token_logprobs": [], "top_logprobs": []}
    for token, own, best in scored:
        word = request.vocabulary.word(token)
        lists["text_offset"].append(place)
        lists["tokens"].append(word)
        lists["token_logprobs"].append(own)
        # the best first, so that of two tokens of the same word the likelier one stays
        top = None if best is None else {}
        for other, value in best or []:
            top.setdefault(request.vocabulary.word(other), value)
        lists["top_logprobs"].append(top)
        place += request.vocabulary.width(token) - (place == 0 and word.startswith(" "))  # the decoder drops a text's leading space
    return lists, place


def load(path: str, device: str, dtype: str | None) -> tuple[torch.nn.Module, object]:
    """Model and tokenizer through the adapter, which refuses another chat template. float32 on a CPU, where bfloat16 is emulated."""
    wanted = dtype or ("float32" if device == "cpu" else "bfloat16")
    model, tokenizer = conversation.BimedixAdapter().load_model(path, {"torch_dtype": getattr(torch, wanted), "device_map": device})
    head = model.get_output_embeddings()
    if device == "cpu" and not getattr(model.config, "tie_word_embeddings", False):
        # column by column: MKL then takes half the time for one row on an AMD CPU (0.27 ms of 0.51) and a sixth less for 16
        head.weight.data = head.weight.data.t().contiguous().t()
    return model, tokenizer


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model-path", required=True, help="merged model folder or Hub id")
    parser.add_argument("--model-names", type=lambda names: names.split(","), required=True, help="what clients call it, comma between several")
    add_addresses(parser)
    parser.add_argument("--device", default="cpu", help="cpu, cuda, or cuda:1 (%(default)s)")
    parser.add_argument("--dtype", choices=["float32", "bfloat16", "float16"], help="(float32 on a CPU, else bfloat16)")
    parser.add_argument("--concurrency", type=int, default=16, help="answers at once (%(default)s)")
    parser.add_argument("--queue", type=int, default=64, help="requests that may wait; the next ones are refused with 429 (%(default)s)")
    parser.add_argument("--context", type=int, help="tokens of prompt and answer together, at most (default: what the model was made for)")
    # one core is left to the processes in front: with both of two cores a step took up to ten times as long as with one
    parser.add_argument("--threads", type=int, default=max(1, len(os.sched_getaffinity(0)) - 1), help="of torch on a CPU (%(default)s)")
    return with_address(parser.parse_args())


def main() -> None:
    args = parse()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stdout)
    conversation.register()
    transformers_logging.disable_progress_bar()
    torch.set_num_threads(args.threads)
    start = time.monotonic()
    try:
        model, tokenizer = load(args.model_path, args.device, args.dtype)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    context = min(args.context or sys.maxsize, conversation.context_length(model.config))
    engine = Engine(model, tokenizer, context, args.concurrency, args.queue)
    engine.start()
    engine.warm_up()
    log.info("%s is loaded after %.1f s: %d answers at once, context %d", args.model_names[0], time.monotonic() - start, args.concurrency, context)
    Server(Worker(args, engine), args.host, args.port).run()


if __name__ == "__main__":
    main()
