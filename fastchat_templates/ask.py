"""Ask the served model, one question after the other, through the OpenAI-compatible API.

python -m fastchat_templates.ask "What is anaemia?" "ما هو فقر الدم؟"
"""

import argparse
import os
import sys
from pathlib import Path

from openai import OpenAI, OpenAIError


def key() -> str:
    """The API key to send: BIMEDIX_API_KEY, or the first of those that the server takes, where it was started with the same environment."""
    keys = [os.environ.get("BIMEDIX_API_KEY", ""), *os.environ.get("BIMEDIX_API_KEYS", "").split(",")]
    if path := os.environ.get("BIMEDIX_API_KEYS_FILE"):
        keys += [line.partition("#")[0] for line in Path(path).read_text(encoding="utf-8").splitlines()]
    return next((found for word in keys if (found := word.strip())), "none")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("questions", nargs="+")
    parser.add_argument("--url", default="http://127.0.0.1:8000/v1", help="(%(default)s)")
    parser.add_argument("--model", help="default: the first one served")
    parser.add_argument("--max-tokens", type=int, default=256, help="(%(default)s)")
    args = parser.parse_args()
    try:
        client = OpenAI(base_url=args.url, api_key=key(), max_retries=0)
        model = args.model or client.models.list().data[0].id
        for question in args.questions:
            messages = [{"role": "user", "content": question}]
            answer = client.chat.completions.create(model=model, messages=messages, temperature=0, max_tokens=args.max_tokens)
            text = answer.choices[0].message.content.strip()
            print(f"> {question}\n{model}: {text}\n", flush=True)
            if not text:
                sys.exit(f"error: {model} answered nothing to {question!r}")
    except OSError as error:
        sys.exit(f"error: BIMEDIX_API_KEYS_FILE cannot be read: {error}")
    except OpenAIError as error:
        sys.exit(f"error: {args.url} did not answer: {error}")


if __name__ == "__main__":
    main()
