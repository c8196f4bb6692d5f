"""Ask the served model, one question after the other, through the OpenAI-compatible API.

python -m fastchat_templates.ask "What is anaemia?" "ما هو فقر الدم؟"
"""

import argparse
import sys

from openai import OpenAI, OpenAIError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("questions", nargs="+")
    parser.add_argument("--url", default="http://127.0.0.1:8000/v1", help="(%(default)s)")
    parser.add_argument("--model", help="default: the first one served")
    parser.add_argument("--max-tokens", type=int, default=256, help="(%(default)s)")
    args = parser.parse_args()
    client = OpenAI(base_url=args.url, api_key="none", max_retries=0)
    try:
        model = args.model or client.models.list().data[0].id
        for question in args.questions:
            messages = [{"role": "user", "content": question}]
            answer = client.chat.completions.create(model=model, messages=messages, temperature=0, max_tokens=args.max_tokens)
            text = answer.choices[0].message.content.strip()
            print(f"> {question}\n{model}: {text}\n", flush=True)
            if not text:
                sys.exit(f"error: {model} answered nothing to {question!r}")
    except OpenAIError as error:
        sys.exit(f"error: {args.url} did not answer: {error}")


if __name__ == "__main__":
    main()
