"""Prompts and answers as people read them, in every shape they come in, also broken ones."""

from __future__ import annotations

import json

import pytest
from dify_otel.tail.content import MAX_CHARACTERS, Talk, Turn, talk
from hypothesis import given
from hypothesis import strategies as st

from .sample import chat, messages, request, span


def of(name: str) -> Talk:
    return next(talk(one) for one in request() if one.name == name)


def test_a_conversation() -> None:
    last = [one for one in request() if one.name == "chat stub-chat"][-1]
    said = talk(last)
    assert (said.input_title, said.output_title) == ("Prompt", "Answer")
    assert [turn.role for turn in said.input] == ["system", "user", "assistant", "user"]
    assert said.input[0].text.startswith("You are the support desk")
    assert said.output[0].text.startswith("Your parcel left")


def test_a_tool_call_names_the_tool() -> None:
    (turn,) = of("chat stub-chat").output
    assert (turn.role, turn.label, turn.code) == ("assistant", "calls parcel_status", True)
    assert json.loads(turn.text) == {"order": 48213}


def test_tool_and_documents() -> None:
    tool, found = of("execute_tool parcel_status"), of("retrieval")
    assert (tool.input_title, tool.output_title) == ("Arguments", "Result")
    assert json.loads(tool.output[0].text)["place"] == "Graz depot"
    assert found.input == (Turn("value", "", "parcel late snow"),)
    assert found.output[0] == Turn("document", "Delays and weather", "Deliveries in the Alps pause …", score=0.91)


def test_nothing_recorded_is_nothing_said() -> None:
    assert all(not (talk(one).input or talk(one).output) for one in request(content=False))


@pytest.mark.parametrize("broken", ['[{"role": "user", "parts": [{"type": "te', "{", "[", "[1,", "[" * 5000])
def test_what_does_not_parse_is_shown_as_it_is(broken: str) -> None:
    (turn,) = talk(chat(1, 0, 0, 1, (1, 1), **{"gen_ai.input.messages": broken})).input
    assert turn.text == broken


def test_pictures_are_told_not_shown() -> None:
    parts = [{"type": "blob", "mime_type": "image/png", "modality": "image", "content": "QUJD" * 1000}]
    sent = json.dumps([{"role": "user", "parts": parts}])
    (turn,) = talk(chat(1, 0, 0, 1, (1, 1), **{"gen_ai.input.messages": sent})).input
    assert turn.label == "image"
    assert "QUJD" not in turn.text


def test_a_very_long_text_is_cut() -> None:
    sent = messages(("user", "x" * (MAX_CHARACTERS + 500)))
    (turn,) = talk(chat(1, 0, 0, 1, (1, 1), **{"gen_ai.input.messages": sent})).input
    assert turn.text.endswith("… 500 more characters")


json_values = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["role", "parts", "type", "content", "text", "name", "score", "id"]), inner)
    ),
    max_leaves=20,
)


@given(
    json_values, st.sampled_from(["gen_ai.input.messages", "gen_ai.retrieval.documents", "gen_ai.system_instructions"])
)
def test_no_shape_is_too_odd(value: object, key: str) -> None:
    said = talk(span(1, 0, "chat m", 0, 1, {key: json.dumps(value), "gen_ai.operation.name": "chat"}))
    assert all(isinstance(turn.text, str) for turn in (*said.input, *said.output))
