"""Load the model that is to be scored: a folder or Hub id with transformers (eval/scorer.py), or whatever lm-eval has a name for."""

import httpx
import psutil
import torch
import transformers
from huggingface_hub.errors import HfHubHTTPError
from lm_eval.api.model import LM
from lm_eval.api.registry import get_model
from lm_eval.utils import simple_parse_args_string

from data_prep.files import BadInput
from eval import models
from eval.scorer import Scorer


def load_model(model: str, backend: str, more: str, batch_size: int, anyway: bool = False) -> LM:
    """The model behind lm-eval's interface. BadInput where it is not there, not to be had, gated, or too large for the memory (unless `anyway`)."""
    row = models.row(model)
    given = {"pretrained": model, **(row.loader() if row else {}), **simple_parse_args_string(more)}
    if row and backend == "hf" and not anyway and (room := memory_gb()) < row.memory_gb:
        raise BadInput(f"{model}: it needs {row.memory_gb} GB of memory ({row.parameters:g} billion parameters), and here are {room:.0f}; --anyway tries it")
    try:
        if backend != "hf":
            of_theirs = {name: value for name, value in given.items() if name not in models.ARGUMENTS - {"dtype"}}
            return get_model(backend).create_from_arg_obj(of_theirs, {"batch_size": batch_size})
        return _transformers(given, row, batch_size)
    except (OSError, HfHubHTTPError, httpx.HTTPError, KeyError, ModuleNotFoundError) as error:
        raise BadInput(f"{model}: {_why(error)}") from error
    except (RuntimeError, MemoryError) as error:
        if out_of_memory(error):
            raise BadInput(f"{model}: out of memory while it was loaded; use a machine with more") from error
        raise


def memory_gb() -> float:
    """What there is for a model: all GPUs together, or the free memory where there is none (10^9 bytes)."""
    gpus = [torch.cuda.get_device_properties(number).total_memory for number in range(torch.cuda.device_count())]
    return (sum(gpus) or psutil.virtual_memory().available) / 1e9


def out_of_memory(error: Exception) -> bool:
    """Whether that is what an error says: on a GPU by its type, on a CPU by its words."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "allocate memory" in str(error)


def _transformers(given: dict, row: models.Row | None, batch_size: int) -> Scorer:
    """Weights and tokenizer, loaded here rather than by lm-eval, which does not look at what the files lack: it would be made up at random."""
    if given.pop("trust_remote_code", False):
        raise BadInput("trust_remote_code: code that comes with a model is never run here; take it out of --model-args")
    name, revision = given.pop("pretrained"), given.pop("revision", None)
    kind = getattr(transformers, row.auto_class if row else "AutoModelForCausalLM")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    # float32 on a CPU: bfloat16 is emulated there, at half the speed. Several GPUs share a model
    dtype = given.pop("dtype", "auto" if device == "cuda" else "float32")
    more = {key: given.pop(key) for key in ("attn_implementation",) if key in given}
    where = "auto" if given.pop("parallelize", True) and torch.cuda.device_count() > 1 else device
    weights, found = kind.from_pretrained(name, revision=revision or "main", dtype=dtype, device_map=where, output_loading_info=True, **more)
    if lacks := sorted(found["missing_keys"]):
        raise BadInput(f"{name}: its files lack {len(lacks)} tensors of {type(weights).__name__} ({lacks[0]}, ..), which would be random: it is no whole model")
    tokenizer = transformers.AutoTokenizer.from_pretrained(name, revision=revision or "main", use_fast=given.pop("use_fast_tokenizer", True))
    if row and row.template:
        tokenizer.chat_template = row.template.read_text(encoding="utf-8")
    try:
        return Scorer(pretrained=weights, tokenizer=tokenizer, batch_size=batch_size, **{"backend": "causal"} | given)
    except TypeError as error:
        raise BadInput(f"--model-args: {error}") from error


def _why(error: Exception) -> str:
    said = f"{error} {error.__cause__}"
    if "gated" in said.lower():
        return "it is gated: accept its terms on the Hub and set HF_TOKEN"
    if isinstance(error, ModuleNotFoundError):
        return f"the package {error.name} is not installed: pip install {error.name} into .venv"
    if "offline" in said.lower() or "couldn't connect" in said.lower() or isinstance(error, httpx.HTTPError):
        return "it is no folder here, and the Hub cannot be reached: check the network, or name a folder"
    return str(error).splitlines()[0]


def context_of(sample: dict) -> str:
    """The text before the options of a logged sample."""
    return sample["arguments"][0][0]
