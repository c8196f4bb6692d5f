"""FastChat's side of the one chat template, and the adapter that loads our model folders.

FastChat rebuilds a conversation from its fields in the API process (a subclass does not survive), so the template is one that its
LLAMA2 separator style prints: `[INST] u1 [/INST] a1</s>[INST] u2 [/INST] a2</s>`, to which the tokenizer adds the one BOS.
Text and token ids equal bimedix.jinja's: tests/fastchat_templates/test_parity.py.
"""

import copy
from pathlib import Path

import fastchat.conversation as fastchat_conversation
import fastchat.model.model_adapter as fastchat_adapters
import fastchat.utils
from fastchat.conversation import Conversation, SeparatorStyle, register_conv_template
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedConfig

NAME = "bimedix"
TEMPLATE = Path(__file__).with_name("bimedix.jinja")

# What somebody types must stay text. A tokenizer reads `</s>` in a prompt as the end token, wherever it stands, and `[INST]` would open
# a turn that nobody took; a space inside breaks both and stays readable. bimedix.jinja does the same, for training and for lm-eval.
CONTROL_STRINGS = {"<s>": "< s>", "</s>": "< /s>", "<unk>": "< unk>", "[INST]": "[ INST]", "[/INST]": "[ /INST]"}


def plain(text: str) -> str:
    """The text with a space inside each control string."""
    for control, harmless in CONTROL_STRINGS.items():
        text = text.replace(control, harmless)
    return text


def conversation() -> Conversation:
    """A fresh, empty conversation in our template."""
    return Conversation(
        name=NAME,
        system_template="[INST] {system_message}\n\n",
        roles=("[INST]", "[/INST]"),
        messages=[],  # FastChat's default is a tuple, to which the web page cannot append
        sep_style=SeparatorStyle.LLAMA2,
        sep=" ",
        sep2="</s>",
        stop_str="</s>",
    )


def _text(message: str | tuple[str, list]) -> str:
    """A message's text. Content that comes as a list of parts is (text, images) in FastChat; ValueError where there is an image."""
    if isinstance(message, str):
        return message
    text, images = message
    if images:
        raise ValueError("this model reads text only; leave the image out")
    return text


def _plain_prompt(conv: Conversation) -> str:
    """What Conversation.get_prompt prints, with the control strings in messages of our template made harmless."""
    if conv.name != NAME:
        return _fastchat_prompt(conv)
    safe = copy.copy(conv)
    safe.system_message = plain(conv.system_message)
    safe.messages = [[role, message and plain(_text(message))] for role, message in conv.messages]
    return _fastchat_prompt(safe)


_fastchat_prompt = Conversation.get_prompt


class BimedixAdapter(fastchat_adapters.BaseModelAdapter):
    """Takes every model that this project serves, and refuses a folder whose tokenizer carries another chat template.

    FastChat chooses by the folder's name and falls back to `one_shot`, a chat about a child's birthday; we never fall back.
    """

    def match(self, model_path: str) -> bool:
        return True

    def load_model(self, model_path: str, from_pretrained_kwargs: dict):
        """Model and tokenizer of a folder or Hub id; ValueError where its chat template is not ours."""
        # a copy: FastChat reads `torch_dtype` from its dictionary once more after this
        options = dict(from_pretrained_kwargs)
        dtype = options.pop("torch_dtype", "auto")
        tokenizer = AutoTokenizer.from_pretrained(model_path, revision=options.get("revision", "main"))
        if tokenizer.chat_template != TEMPLATE.read_text(encoding="utf-8"):
            raise ValueError(
                f"{model_path}: its chat template is not {TEMPLATE.name}, so prompts would not be what the model was trained on; "
                "serve a folder that `make train` merged, or save the tokenizer with this template"
            )
        model = AutoModelForCausalLM.from_pretrained(model_path, dtype=dtype, low_cpu_mem_usage=True, **options)
        return model, tokenizer

    def get_default_conv_template(self, model_path: str) -> Conversation:
        return conversation()


def context_length(config: PreTrainedConfig) -> int:
    """Positions the model was made for. FastChat's own fails on transformers 5, where `rope_scaling` exists always, without `factor`."""
    return config.max_position_embeddings


def register() -> None:
    """Make template and adapter known to this process; every FastChat process calls it first (launch.py)."""
    register_conv_template(conversation(), override=True)
    fastchat_conversation.Conversation.get_prompt = _plain_prompt
    fastchat_adapters.model_adapters.insert(0, BimedixAdapter())
    fastchat_adapters.get_model_adapter.cache_clear()
    fastchat.utils.get_context_length = context_length
