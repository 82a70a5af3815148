"""The reader of request bodies: one error for all it does not take, the standard library's value for all it does."""

import json
import string
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunehook.dataset.strict_json import MAX_DEPTH, explain
from tunehook.errors import InvalidBody
from tunehook.openai_format.strict_json import LARGE_MARKS, MARKS, parse_object

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**200), 10**200)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


@given(VALUES, st.booleans())
def test_what_is_json_is_read_as_the_standard_library_reads_it(value: object, ascii_only: bool) -> None:
    body = json.dumps({"a": value}, ensure_ascii=ascii_only).encode()
    assert parse_object(body) == json.loads(body) == {"a": value}


@given(st.binary(max_size=200))
def test_bytes_of_any_kind_are_read_or_refused(body: bytes) -> None:
    _read_or_refuse(body)


@given(st.text('{}[]",:\\ue+-.0123456789dDfFnNaItrls \n\x00é', max_size=60))
def test_what_looks_like_json_is_read_or_refused(text: str) -> None:
    _read_or_refuse(text.encode())


def _read_or_refuse(body: bytes) -> None:
    try:
        value = parse_object(body)
    except InvalidBody:
        return
    assert value == json.loads(body)
    json.dumps(value, allow_nan=False, ensure_ascii=False).encode()  # can be written again


@given(VALUES, st.integers(0, 200), st.sampled_from(list(string.printable)))
def test_a_document_that_was_damaged_is_read_or_refused(value: object, at: int, what: str) -> None:
    text = json.dumps({"a": value})
    at %= len(text)
    _read_or_refuse((text[:at] + what + text[at + 1 :]).encode())


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (b"{", "character 2"),
        (b'{"a": 1,}', "character 9"),
        (b"nonsense", "character 1"),
        (b"\xff\xfe", "Not UTF-8 at byte 1"),
        ('{"a": "é"}'.encode("latin-1"), "Not UTF-8 at byte 8"),
        ('{"a": 1}'.encode("utf-16"), "NUL byte at byte 4"),
        (b'{"a": NaN}', "NaN is not JSON ($.a)"),
        (b'{"a": [Infinity]}', "Infinity is not JSON"),
        (b'{"a": [-Infinity]}', "-Infinity is not JSON"),
        (b'{"a": [1e999]}', "too large"),
        (b'{"a": [-1e999]}', "too large"),
        (b'{"a": 1' + b"0" * 400 + b".0}", "too large"),
        (b'{"a": 1, "b": 2, "a": 3}', "'a' comes twice"),
        (b'{"a": {"b": 1, "b": 1}}', "'b' comes twice"),
        (b'{"a": "\\ud800"}', "half of a pair"),
        (b'{"\\udfff": 1}', "half of a pair"),
        (b'{"a": 1' + b"0" * 5000 + b"}", "5,001 digits ($.a)"),
        (b"[" * 100_000, "too many members and elements"),
        (b"[" * 4_000, "Nested more than"),
        (b"[" * (MAX_DEPTH + 2) + b"]" * (MAX_DEPTH + 2), "Nested more than"),
        (b'{"a":' * (MAX_DEPTH + 1) + b"1" + b"}" * (MAX_DEPTH + 1), "Nested more than"),
        (b'["tab\tinside"]', "Invalid control character at character 6"),
        (b'{"a": 1} {"b": 2}', "Extra data"),
        (b"\xef\xbb\xbf{}", "character 1"),
    ],
)
def test_what_other_readers_let_through_or_stumble_over_is_refused_with_a_reason(body: bytes, why: str) -> None:
    with pytest.raises(InvalidBody) as refused:
        parse_object(body)
    assert why in refused.value.message
    assert len(refused.value.message) < 300


def test_what_is_just_allowed() -> None:
    deep = b'{"a":' + b"[" * (MAX_DEPTH - 1) + b"]" * (MAX_DEPTH - 1) + b"}"
    assert parse_object(deep) == json.loads(deep)
    assert parse_object(b'{"a": "\\ud83e\\udd89"}') == {"a": "\N{OWL}"}
    assert parse_object(b'{"a": 1e308}') == {"a": 1e308}


@pytest.mark.parametrize("body", [b"[]", b"1", b'"text"', b"null", b"true"])
def test_bodies_are_objects(body: bytes) -> None:
    with pytest.raises(InvalidBody, match="must be a JSON object"):
        parse_object(body)
    assert parse_object(b'{"a": null}') == {"a": None}


MIB = 1 << 20


def filled(unit: bytes) -> bytes:
    """A MiB of one element, again and again."""
    return b'{"a": [' + b",".join([unit] * ((MIB - 10) // (len(unit) + 1))) + b"]}"


@pytest.mark.parametrize("end", [b"", b', "a": NaN}', b"}"])
@pytest.mark.parametrize(
    "unit",
    [b"[]", b"{}", b"[" * 63 + b"]" * 63, b"[" * 190 + b"]" * 190, b"1", b'""', b"NaN", b'{"a":1,"a":1}', b"["],
    ids=lambda unit: unit[:8].decode(),
)
def test_a_body_of_many_elements_is_refused_at_once(unit: bytes, end: bytes) -> None:
    """It would be read for 0.4 s, in which nothing else is done. By CPU time: a busy machine does not matter."""
    body = filled(unit) if not end else filled(unit)[:-1] + end
    begun = time.thread_time()
    with pytest.raises(InvalidBody):
        parse_object(body)
    assert time.thread_time() - begun < 0.05


def test_marks_within_strings_do_not_count() -> None:
    text = 'f(a[0], {"b": [1, 2]})\\ "' * (MIB // 30)
    assert parse_object(json.dumps({"source": text}).encode()) == {"source": text}


def test_pairs_of_a_dataset_may_be_many() -> None:
    body = json.dumps({"pairs": [{"question": "q", "answer": "a"}] * 30_000}).encode()
    assert len(parse_object(body, LARGE_MARKS)["pairs"]) == 30_000
    with pytest.raises(InvalidBody, match="too many"):
        parse_object(body, MARKS)


def test_a_long_name_is_cut_in_the_path_of_each_finding_below_it() -> None:
    """A thousand findings below a name of half a megabyte were half a gigabyte of paths."""
    found = explain(b'{"%b": [%b]}' % (b"k" * 100_000, b", ".join([b"NaN"] * 1000))).found
    assert len(found) == 1000
    assert max(len(path) for _, path, _ in found) < 100
