"""Build the tiny Mixtral that stands in for Mixtral-8x7B on a laptop: 8 experts, top-2, random weights, the real vocabulary.

    python -m axolotl_configs.tiny_base --out build/models/tiny/base

The architecture class, the router, the expert layout on disk and the 32,000-token vocabulary are Mixtral's own; only the
sizes are small. The vocabulary is the Mistral v1 SentencePiece file that the installed `mistral_common` package carries.
"""

import argparse
import contextlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import mistral_common
import torch
from safetensors import SafetensorError
from transformers import AutoTokenizer, MixtralConfig, MixtralForCausalLM, PreTrainedTokenizerBase

from data_prep.files import written_aside

VOCABULARY = Path(mistral_common.__file__).parent / "data" / "tokenizer.model.v1"

# 9.85M parameters, of which 8.2M are the two 32,000 x 128 embedding tables and 1.6M the experts: a training step of 8 rows takes about 0.6 s
# on 2 cores. Heads, experts and top-k keep Mixtral-8x7B's proportions (4 query heads to 1 key/value head, top-2 of 8).
SIZES = dict(
    hidden_size=128,
    intermediate_size=256,
    num_hidden_layers=2,
    num_attention_heads=8,
    num_key_value_heads=2,
    num_local_experts=8,
    num_experts_per_tok=2,
    max_position_embeddings=4096,
    rope_theta=1e4,
)

# transformers writes these down with a tokenizer: they say how it was loaded (offline or not), and make equal folders differ
HOW_IT_WAS_LOADED = ("is_local", "local_files_only")


def tokenizer() -> PreTrainedTokenizerBase:
    """Mixtral-8x7B-v0.1's tokenizer: 32,000 tokens, BOS `<s>`, EOS `</s>`, padding with `<unk>`, which byte fallback never emits.

    `legacy` is true, as in Mixtral's own tokenizer_config.json: text after a special token opens with "▁" like text at the
    start. Without it `<s>[INST]` and BOS + `[INST]` give different ids, and served prompts stop matching trained ones.
    """
    if not VOCABULARY.is_file():
        raise FileNotFoundError(f"{VOCABULARY} is missing: run `make setup`, which installs mistral_common")
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(VOCABULARY, Path(folder) / "tokenizer.model")
        settings = dict(
            tokenizer_class="LlamaTokenizer",
            bos_token="<s>",
            eos_token="</s>",
            unk_token="<unk>",
            pad_token="<unk>",
            legacy=True,
            add_bos_token=True,
            model_max_length=SIZES["max_position_embeddings"],
        )
        (Path(folder) / "tokenizer_config.json").write_text(json.dumps(settings))
        made = AutoTokenizer.from_pretrained(folder)
    for key in HOW_IT_WAS_LOADED:
        made.init_kwargs.pop(key, None)
    return made


@contextlib.contextmanager
def disk_faults() -> Iterator[None]:
    """A full disk is an OSError, as everywhere; safetensors has an error of its own that keeps the number in its text."""
    try:
        yield
    except SafetensorError as error:
        if number := re.search(r"os error (\d+)", str(error)):
            raise OSError(int(number[1]), os.strerror(int(number[1]))) from error
        raise


def build(out: Path, seed: int = 0) -> int:
    """Write model and tokenizer to `out` (written aside, renamed when whole); returns the number of parameters."""
    tok = tokenizer()
    torch.manual_seed(seed)
    config = MixtralConfig(
        vocab_size=len(tok),
        bos_token_id=tok.bos_token_id,
        eos_token_id=tok.eos_token_id,
        pad_token_id=tok.pad_token_id,
        router_aux_loss_coef=0.02,
        initializer_range=0.1,
        **SIZES,
    )
    model = MixtralForCausalLM(config).to(torch.bfloat16)
    with written_aside(out) as aside:
        with disk_faults():
            model.save_pretrained(aside)
        tok.save_pretrained(aside)
    return model.num_parameters()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build/models/tiny/base"), help="folder to write (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the random weights (%(default)s)")
    args = parser.parse_args()
    print(f"{args.out}: {build(args.out, args.seed):,} parameters, seed {args.seed}")


if __name__ == "__main__":
    main()
