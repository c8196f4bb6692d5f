"""The ecosystem's clients on the guarded API, unchanged: the openai package, lm_eval's two API models, curl."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import openai
import pytest

from tests.conftest import OFFLINE, ROOT, Trained
from tests.fastchat_templates.guarded import ANAEMIA, KEYS, Guarded

ARABIC = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": [{"type": "text", "text": "ما هو فقر الدم؟"}]}]
GREEDY = {"model": "tiny", "temperature": 0, "max_tokens": 24}


def test_openai_asks(guarded: Guarded) -> None:
    """Answer, usage, finish_reason; fields that other servers know and this one does not are passed over."""
    client = guarded.openai()
    harmless = {"user": "me", "seed": 7, "frequency_penalty": 0, "metadata": {"a": "b"}, "store": False, "extra_body": {"enable_thinking": False}}
    answer = client.chat.completions.create(messages=ARABIC, **GREEDY, **harmless)
    choice, usage = answer.choices[0], answer.usage
    assert choice.message.role == "assistant" and choice.message.content and choice.finish_reason in ("stop", "length")
    assert (choice.finish_reason == "length") == (usage.completion_tokens == 24)
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    several = client.chat.completions.create(messages=ANAEMIA, **GREEDY | {"temperature": 1, "n": 3, "max_tokens": 3})
    assert [choice.index for choice in several.choices] == [0, 1, 2]
    assert several.usage.prompt_tokens < 20 and 3 <= several.usage.completion_tokens <= 9
    assert [model.id for model in client.models.list()] == ["slow", "tiny", "twin"] and client.models.retrieve("tiny").id == "tiny"


@pytest.mark.parametrize("messages", [ANAEMIA, ARABIC])
def test_openai_streams(guarded: Guarded, messages: list[dict]) -> None:
    """Piece by piece the same text as at once, to the last half character, and the same usage at the end where it is asked for."""
    client = guarded.openai()
    whole = client.chat.completions.create(messages=messages, **GREEDY)
    chunks = list(client.chat.completions.create(messages=messages, **GREEDY, stream=True, stream_options={"include_usage": True}))
    deltas = [chunk.choices[0] for chunk in chunks[:-1]]
    assert deltas[0].delta.role == "assistant" and all(chunk.usage is None for chunk in chunks[:-1])
    assert "".join(choice.delta.content or "" for choice in deltas) == whole.choices[0].message.content
    assert [choice.finish_reason for choice in deltas if choice.finish_reason] == [whole.choices[0].finish_reason]
    assert chunks[-1].usage == whole.usage and chunks[-1].choices == []
    assert not any(chunk.usage for chunk in client.chat.completions.create(messages=messages, **GREEDY, stream=True))


def test_openai_completes(guarded: Guarded) -> None:
    """The older route: texts and token ids, several at once, log-probabilities with the prompt, stop strings, and the stream."""
    client = guarded.openai()
    two = client.completions.create(prompt=["Anaemia is", "The heart"], n=2, **GREEDY)
    one = client.completions.create(prompt="The heart", **GREEDY)
    assert [choice.index for choice in two.choices] == [0, 1, 2, 3]
    assert two.choices[2].text == two.choices[3].text == one.choices[0].text
    assert two.usage.prompt_tokens > one.usage.prompt_tokens
    scored = client.completions.create(prompt=[1, 415, 3031], echo=True, logprobs=2, **GREEDY | {"max_tokens": 1}).choices[0].logprobs
    assert len(scored.tokens) == 4 and scored.token_logprobs[0] is None and all(score < 0 for score in scored.token_logprobs[1:])
    assert all(len(top) >= 1 for top in scored.top_logprobs[1:])
    stop = one.choices[0].text[4:6]
    cut = client.completions.create(prompt="The heart", stop=[stop], **GREEDY).choices[0]
    assert cut.finish_reason == "stop" and cut.text == one.choices[0].text.partition(stop)[0]
    streamed = [chunk.choices[0] for chunk in client.completions.create(prompt="The heart", stream=True, logprobs=1, **GREEDY)]
    assert "".join(choice.text for choice in streamed) == one.choices[0].text
    assert sum(len(choice.logprobs.tokens) for choice in streamed if choice.logprobs) == one.usage.completion_tokens


def test_openai_is_asynchronous(guarded: Guarded) -> None:
    """Eight at once, streamed and not."""

    async def ask() -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{guarded.url('api')}/v1", api_key=KEYS[1], max_retries=0) as client:

            async def streamed() -> str:
                chunks = await client.chat.completions.create(messages=ANAEMIA, **GREEDY, stream=True)
                return "".join([chunk.choices[0].delta.content or "" async for chunk in chunks])

            async def whole() -> str:
                return (await client.chat.completions.create(messages=ANAEMIA, **GREEDY)).choices[0].message.content

            return await asyncio.gather(*(one() for one in [streamed, whole] * 4))

    answers = asyncio.run(ask())
    assert len(answers) == 8 and len(set(answers)) == 1 and answers[0]


def test_openai_understands_the_errors(guarded: Guarded) -> None:
    """Each status raises its own class, with the message; an error in mid-stream is raised too, and 429 carries what the client's retries need."""
    client = guarded.openai()
    with pytest.raises(openai.AuthenticationError, match="no valid API key"):
        guarded.openai("wrong").models.list()
    with pytest.raises(openai.NotFoundError, match="the models are slow, tiny, twin"):
        client.chat.completions.create(messages=ANAEMIA, model="gpt-5")
    with pytest.raises(openai.BadRequestError, match="at most 4") as bad:
        client.chat.completions.create(messages=ANAEMIA, **GREEDY, n=9)
    assert bad.value.param == "n"
    with pytest.raises(openai.BadRequestError, match="context") as long:
        client.completions.create(prompt=[[5] * 5000], **GREEDY)
    assert long.value.code == "context_length_exceeded"
    with pytest.raises(openai.RateLimitError) as full:
        client.chat.completions.create(messages=[{"role": "user", "content": "fail 42901 the queue is full"}], model="slow")
    assert full.value.response.headers["retry-after"] == "1"
    with pytest.raises(openai.APIError, match="gone in the middle"):
        for _ in client.chat.completions.create(messages=[{"role": "user", "content": "cut a b c"}], model="slow", stream=True):
            pass


TASKS = {
    "letters": """
output_type: multiple_choice
doc_to_choice: [" A", " B", " C"]
doc_to_target: 1
metric_list: [{metric: acc}]
""",
    "words": """
output_type: generate_until
doc_to_target: "x"
generation_kwargs: {until: ["</s>", "\\n\\n"], max_gen_toks: 12, do_sample: false, temperature: 0}
metric_list: [{metric: exact_match}]
""",
}
LM_EVAL = """
import json, os, sys
import lm_eval
from lm_eval.tasks import TaskManager
url, model, tasks, out = sys.argv[1:]
def score(kind, names, args, **more):
    result = lm_eval.simple_evaluate(model=kind, model_args=args, tasks=names, task_manager=manager, bootstrap_iters=0, log_samples=True, **more)
    return {name: [sample["resps"] for sample in result["samples"][name]] for name in names}
manager = TaskManager(include_path=tasks, include_defaults=False)
served = f"model=tiny,base_url={url}/v1/%s,tokenizer={model},num_concurrent=2,max_retries=1,add_bos_token=True"
json.dump({
    "completions": score("local-completions", ["letters", "words"], served % "completions"),
    "chat": score("local-chat-completions", ["words"], served % "chat/completions", apply_chat_template=True),
    "hf": score("hf", ["letters", "words"], f"pretrained={model},dtype=float32", device="cpu", batch_size=1),
}, open(out, "w"))
"""


def test_lm_eval_scores(guarded: Guarded, tmp_path: Path) -> None:
    """`local-completions` gives the log-likelihoods and texts that lm-eval's own `hf` model gives; `local-chat-completions` generates.

    With add_bos_token, for lm-eval sends token ids and leaves the opening one out unless told, which its `hf` model does not.
    """
    rows = [{"q": "Anaemia is a lack of red cells. Answer:"}, {"q": "ما هو فقر الدم؟ الجواب:"}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    for name, task in TASKS.items():
        head = (
            f'task: {name}\ndataset_path: json\ndataset_kwargs: {{data_files: {{test: {tmp_path}/rows.jsonl}}}}\ntest_split: test\ndoc_to_text: "{{{{q}}}}"\n'
        )
        (tmp_path / f"{name}.yaml").write_text(head + task, encoding="utf-8")
    out = tmp_path / "out.json"
    environment = {
        "OPENAI_API_KEY": KEYS[0],
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(tmp_path / "hf"),
        "PATH": "/usr/bin:/bin",
        "TOKENIZERS_PARALLELISM": "false",
    }
    line = [sys.executable, "-c", LM_EVAL, guarded.url("api"), str(guarded.model), str(tmp_path), str(out)]
    ran = subprocess.run(line, capture_output=True, text=True, timeout=300, env=environment, check=False)
    assert ran.returncode == 0, ran.stderr[-3000:]
    said = json.loads(out.read_text(encoding="utf-8"))
    for ours, theirs in zip(said["completions"]["letters"], said["hf"]["letters"], strict=True):
        for (score,), (wanted,) in zip(ours, theirs, strict=True):
            assert float(score[0]) == pytest.approx(float(wanted[0]), abs=1e-3) and str(score[1]) == str(wanted[1])
    assert said["completions"]["words"] == said["hf"]["words"]
    assert all(answer for ((answer,),) in said["chat"]["words"])


def test_make_eval_scores_a_served_model(guarded: Guarded, trained: Trained, tmp_path: Path) -> None:
    """`--backend local-completions`: the benchmark's own tasks through a server give the scores of the folder that it serves."""
    served = f"model=tiny,base_url={guarded.url('api')}/v1/completions,tokenizer={guarded.model},num_concurrent=2"
    common = ["--data", str(trained.questions), "--tasks", "bimedix_ar_anatomy,bimedix_en_medqa_text", "--limit", "3", "--build", str(tmp_path)]
    for model, more in (("tiny", ["--backend", "local-completions", "--model-args", served, "--name", "served"]), (str(guarded.model), ["--name", "folder"])):
        line = [sys.executable, "-m", "eval.run", "--model", model, *common, *more]
        environment = os.environ | OFFLINE | {"OPENAI_API_KEY": KEYS[0]}
        ran = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=300, env=environment, check=False)
        assert ran.returncode == 0, ran.stdout + ran.stderr
    for task in ("bimedix_ar_anatomy", "bimedix_en_medqa_text"):
        one, other = (
            [json.loads(line) for line in (tmp_path / "eval" / name / "samples" / f"{task}.jsonl").read_text(encoding="utf-8").splitlines()]
            for name in ("served", "folder")
        )
        assert [sample["arguments"] for sample in one] == [sample["arguments"] for sample in other] and len(one) == 3
        for here, there in zip(one, other, strict=True):
            assert [float(score) for score, _ in here["filtered_resps"]] == pytest.approx([float(score) for score, _ in there["filtered_resps"]], abs=1e-3)


def test_curl_asks(guarded: Guarded) -> None:
    """As in any manual; the stream arrives as events."""
    body = json.dumps(GREEDY | {"messages": ANAEMIA, "stream": True})
    line = [
        "curl",
        "-sSN",
        f"{guarded.url('api')}/v1/chat/completions",
        "-H",
        "Content-Type: application/json",
        "-H",
        f"Authorization: Bearer {KEYS[0]}",
        "-d",
        body,
    ]
    said = subprocess.run(line, capture_output=True, text=True, timeout=60, check=True).stdout
    events = [event.removeprefix("data: ") for event in said.split("\n\n") if event]
    assert events[-1] == "[DONE]" and json.loads(events[0])["object"] == "chat.completion.chunk" and len(events) > 3
