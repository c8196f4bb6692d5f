"""An answer's text as it comes: in pieces that are whole, and up to its stop string."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from fastchat_templates.transcript import BROKEN, Transcript, Vocabulary
from tests.conftest import Trained


@pytest.fixture(scope="module")
def vocabulary(trained: Trained) -> Vocabulary:
    return Vocabulary(AutoTokenizer.from_pretrained(trained.merged))


@given(st.lists(st.one_of(st.integers(0, 300), st.integers(259, 31999), st.just(28705)), max_size=40), st.integers(1, 4))
@settings(max_examples=150, deadline=None)
def test_pieces_are_the_text(vocabulary: Vocabulary, ids: list[int], every: int) -> None:
    """Whatever the tokens, bytes of half a character among them: the pieces make the decoded text, but for a broken end of bytes, which is left out."""
    transcript, text = Transcript(vocabulary, []), ""
    for place, token in enumerate(ids):
        transcript.add(token)
        if place % every == 0:
            text += transcript.ready()
            assert vocabulary.decode(ids).startswith(text)
    transcript.end()
    text += transcript.ready(final=True)
    plain = [token for token in ids if token not in vocabulary.special]
    settled = next((place for place in range(len(plain), 0, -1) if plain[place - 1] not in vocabulary.byte_tokens), 0)
    whole, until = vocabulary.decode(plain), vocabulary.decode(plain[:settled])
    assert text == whole if not whole.endswith(BROKEN) else text.startswith(until) and not text[len(until) :].endswith(BROKEN)


@pytest.mark.parametrize("text", ["ﷺ", "😀", "ٱلله"])
def test_a_letter_of_several_tokens_comes_whole(vocabulary: Vocabulary, text: str) -> None:
    """And never half: cut anywhere, an answer shows only the characters that are complete."""
    ids = vocabulary.tokenizer(text, add_special_tokens=False).input_ids
    assert len(ids) > len(text)
    for cut in range(len(ids) + 1):
        transcript = Transcript(vocabulary, [])
        for token in ids[:cut]:
            transcript.add(token)
        transcript.end()
        shown = transcript.ready(final=True)
        assert text.startswith(shown) and (cut < len(ids) or shown == text)


@pytest.mark.parametrize("text", ["The dose is 5 mg. STOP and more", "الجرعة خمسة مغ. قف 😀 STOP ثم", "no end SSTOP", "none of it ST"])
def test_a_stop_string_is_never_shown(vocabulary: Vocabulary, text: str) -> None:
    """Nor the beginning of one, over however many tokens it comes; without it, everything is shown in the end."""
    transcript, pieces = Transcript(vocabulary, ["STOP", "unused"]), []
    for token in vocabulary.tokenizer(text, add_special_tokens=False).input_ids:
        ended = transcript.add(token)
        pieces.append(transcript.ready())
        if ended:
            break
    transcript.end()
    pieces.append(transcript.ready(final=True))
    assert "".join(pieces) == text.split("STOP")[0]
    assert transcript.stopped == ("STOP" in text)
