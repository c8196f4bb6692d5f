"""Logits only where there is a label: faster on a CPU, but loss and gradients must stay exactly those of the stock model."""

from collections.abc import Callable

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import MixtralConfig, MixtralForCausalLM

from axolotl_configs.plugin import labelled_logits
from axolotl_configs.tiny_base import SIZES

VOCABULARY = 32_000
ROWS, LENGTH = 3, 24


def plain() -> MixtralForCausalLM:
    """The tiny base in float32, with the router's loss on as in training."""
    torch.manual_seed(1)
    return MixtralForCausalLM(MixtralConfig(vocab_size=VOCABULARY, output_router_logits=True, router_aux_loss_coef=0.02, **SIZES))


def adapted(**settings: object) -> torch.nn.Module:
    """The same below LoRA on attention, experts and router; nothing starts at zero, so that every gradient counts."""
    lora = LoraConfig(
        r=4,
        target_modules=["q_proj", "k_proj", "v_proj", "o_proj"],
        target_parameters=["mlp.experts.gate_up_proj", "mlp.experts.down_proj", "mlp.gate.weight"],
        **settings,
    )
    model = get_peft_model(plain(), lora)
    torch.manual_seed(2)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    return model


MODELS = {"stock": plain, "LoRA": adapted, "LoRA with embeddings": lambda: adapted(modules_to_save=["embed_tokens", "lm_head"])}


def batch() -> dict[str, torch.Tensor]:
    """Rows as in training: question without labels, answer with, padding; the last row holds two answers."""
    ids = torch.randint(3, VOCABULARY, (ROWS, LENGTH), generator=torch.Generator().manual_seed(3))
    labels = ids.clone()
    labels[:, :6] = -100
    labels[0, 9:] = -100
    labels[2, 12:18] = -100
    mask = torch.ones_like(ids)
    mask[0, 20:] = 0
    return {"input_ids": ids, "labels": labels, "attention_mask": mask}


def loss_and_gradients(model: torch.nn.Module, **more: object) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The loss of a batch and the gradient of each parameter that trains."""
    model.zero_grad()
    loss = model(**batch(), **more).loss
    loss.backward()
    return loss.detach(), {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}


def rows_of_head(model: torch.nn.Module) -> list[tuple[int, ...]]:
    """A list that fills with the shape of the logits at each call of lm_head."""
    causal_lm = model.get_base_model() if hasattr(model, "get_base_model") else model
    shapes: list[tuple[int, ...]] = []
    causal_lm.get_output_embeddings().register_forward_hook(lambda module, args, logits: shapes.append(tuple(logits.shape)))
    return shapes


@pytest.mark.parametrize("items", [None, 57], ids=["mean", "num_items_in_batch"])
@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS.keys())
def test_loss_and_gradients_stay_what_they_were(make: Callable[[], torch.nn.Module], items: int | None) -> None:
    """A loss over other positions, or divided by another count, would train another model without a word."""
    model = make()
    more = {} if items is None else {"num_items_in_batch": torch.tensor(items)}
    loss, gradients = loss_and_gradients(model, **more)
    labelled_logits(model)
    shapes = rows_of_head(model)
    fewer_loss, fewer_gradients = loss_and_gradients(model, **more)
    torch.testing.assert_close(fewer_loss, loss, rtol=1e-5, atol=1e-5)
    assert fewer_gradients.keys() == gradients.keys()
    assert all(gradient.abs().max() > 0 for gradient in gradients.values()), "a gradient of zero compares nothing"
    for name, gradient in gradients.items():
        torch.testing.assert_close(fewer_gradients[name], gradient, rtol=1e-5, atol=1e-5 * gradient.abs().max().item(), msg=name)
    assert shapes == [(int((batch()["labels"][:, 1:] != -100).sum()), VOCABULARY)], "lm_head ran on positions without a label"


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS.keys())
def test_calls_without_labels_return_all_logits(make: Callable[[], torch.nn.Module]) -> None:
    """Generation and scoring need the logits of every position, after a training step too."""
    model = make().eval()
    inputs = {key: value for key, value in batch().items() if key != "labels"}
    with torch.inference_mode():
        before = model(**inputs).logits
        labelled_logits(model)
        model(**batch())
        after = model(**inputs).logits
    assert after.shape == (ROWS, LENGTH, VOCABULARY)
    torch.testing.assert_close(after, before)


def test_a_label_on_the_first_token_is_no_position_more() -> None:
    """Labels are shifted by one: the first token has nothing before it that could predict it."""
    model = plain()
    everywhere = {"input_ids": batch()["input_ids"], "labels": batch()["input_ids"]}
    wanted = model(**everywhere).loss
    labelled_logits(model)
    shapes = rows_of_head(model)
    torch.testing.assert_close(model(**everywhere).loss, wanted, rtol=1e-5, atol=1e-5)
    assert shapes == [(ROWS * (LENGTH - 1), VOCABULARY)]
