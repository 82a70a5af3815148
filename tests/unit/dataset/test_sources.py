"""What other tools write becomes a dataset; nothing is lost without a word."""

import io
import json
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.dataset.lines import GOOD, build, good, report_of
from tunehook.dataset.build import Built, build_from
from tunehook.dataset.examples import Columns
from tunehook.dataset.rows import CannotBuild
from tunehook.dataset.sources import Source

ALPACA = "instruction,input,output\nTranslate to German,hello,hallo\nSummarize,long text,short\nSay hi,,hi\n"


def made(source: str | bytes | list[Any] | dict[str, Any], kind: str = "json", **how: Any) -> Built:
    if isinstance(source, list | dict):
        source = json.dumps(source)
    raw = source.encode() if isinstance(source, str) else source
    return build(raw, kind=kind, **{"system": "", **how})


def lines(built: Built) -> list[dict[str, Any]]:
    return [json.loads(line) for line in built.training.splitlines()]


def turns(built: Built) -> list[list[str]]:
    return [[f"{m['role'][0]}:{m['content']}" for m in line["messages"]] for line in lines(built)]


def test_alpaca_keeps_the_instruction_and_the_input() -> None:
    names, *rows = [line.split(",") for line in ALPACA.strip().split("\n")]
    for built in (made(ALPACA, "csv"), made([dict(zip(names, row, strict=True)) for row in rows])):
        assert turns(built) == [
            ["u:Translate to German\n\nhello", "a:hallo"],
            ["u:Summarize\n\nlong text", "a:short"],
            ["u:Say hi", "a:hi"],
        ]
        assert (built.dropped, built.unused) == ((), ())


def test_columns_that_are_not_used_are_named_and_can_be_joined() -> None:
    table = "question,context,answer,id\nWho?,A story.,She.,\nWhen?,,Then.,\n"
    assert made(table, "csv").unused == ("context",)
    assert made(table, "csv").asked == ("question",)
    joined = made(table, "csv", columns=Columns(question=["context", "Question"]))
    assert turns(joined) == [["u:A story.\n\nWho?", "a:She."], ["u:When?", "a:Then."]]
    assert joined.unused == ()
    assert made("What?,That.,7\n", "csv").unused == ("column 3",)
    assert made([{"q": "a", "a": "b", "score": 1}]).unused == ("score",)
    with pytest.raises(CannotBuild, match="There is no column 'contxt' in the first row: question, context"):
        made(table, "csv", columns=Columns(question=["contxt"]))


def test_a_system_column_goes_before_the_system_message_for_all() -> None:
    table = "system,question,answer\nBe brief.,Who?,She.\n,When?,Then.\n"
    assert turns(made(table, "csv", system="Be kind.")) == [
        ["s:Be brief.", "u:Who?", "a:She."],
        ["s:Be kind.", "u:When?", "a:Then."],
    ]
    assert turns(made([good(1)], system="Be kind."))[0][0] == "s:You name birds."
    bare = {"messages": GOOD["messages"][1:]}
    assert turns(made([bare], system="Be kind."))[0][0] == "s:Be kind."


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        (json.dumps([good(n) for n in range(12)]), "json"),
        (json.dumps([good(n) for n in range(12)], indent=2), "jsonl"),
        ("\n".join(json.dumps(good(n), indent=2) for n in range(12)), "json"),
        ("\n".join(json.dumps(good(n), indent=2) for n in range(12)), "jsonl"),
        ("\n".join(json.dumps(good(n)) for n in range(12)), "txt"),
        ("\r".join(json.dumps(good(n)) for n in range(12)), "jsonl"),
        (json.dumps({"data": [good(n) for n in range(12)]}), "jsonl"),
        (json.dumps({"rows": [{"row_idx": n, "row": good(n), "truncated_cells": []} for n in range(12)]}), "json"),
        ("\n".join(json.dumps(good(n) | {"id": n, "model": "gpt-4o", "weight": None}) for n in range(12)), "jsonl"),
    ],
)
def test_finished_examples_come_out_one_a_line(source: str, kind: str) -> None:
    built = made(source, kind)
    assert lines(built) == [good(n) for n in range(12)]
    assert built.dropped == ()
    assert built.unused == (("id", "model") if '"id"' in source else ())


def test_lines_for_a_grader_and_preferences_are_kept_whole() -> None:
    asked = [{"messages": GOOD["messages"][:2], "answer": f"{n}"} for n in range(3)]
    assert lines(made(asked)) == asked
    pair = {"input": {"messages": GOOD["messages"][:2]}, "preferred_output": GOOD["messages"][2:]}
    pair["non_preferred_output"] = [{"role": "assistant", "content": "Bat"}]
    assert lines(made([pair])) == [pair]


def test_sharegpt_gemini_and_histories_have_several_turns() -> None:
    talk = [("system", "Be kind."), ("human", "Hi"), ("gpt", "Hello"), ("user", "Who?"), ("assistant", "She.")]
    wanted = [["s:Be kind.", "u:Hi", "a:Hello", "u:Who?", "a:She."]]
    said = [{"from": who, "value": text} for who, text in talk]
    built = made([{"id": "x1", "conversations": said}])
    assert (turns(built), built.unused) == (wanted, ("id",))
    assert turns(made([{"conversation": [{"role": w, "content": t} for w, t in talk]}])) == wanted
    contents = [{"role": "model" if w in ("gpt", "assistant") else "user", "parts": [{"text": t}]} for w, t in talk[1:]]
    assert turns(made([{"systemInstruction": {"parts": [{"text": "Be kind."}]}, "contents": contents}])) == wanted
    old = {"instruction": "Who?", "input": "", "output": "She.", "history": [["Hi", "Hello"]], "system": "Be kind."}
    assert turns(made([old])) == wanted
    dropped = made([{"conversations": [*said, {"from": "observation", "value": "4"}]}, {"conversations": said}]).dropped
    assert [(d.at, "'observation'" in d.why) for d in dropped] == [("item 1", True)]


def test_rows_of_one_conversation_are_joined() -> None:
    table = "chat,question,answer\n1,Hi,Hello\n2,What?,That.\n1,Who?,She.\n"
    wanted = [["s:S", "u:Hi", "a:Hello", "u:Who?", "a:She."], ["s:S", "u:What?", "a:That."]]
    assert turns(made(table, "csv", system="S", columns=Columns(conversation="chat"))) == wanted
    log = "1,user,Hi\n1,assistant,Hello\n2,user,What?\n2,assistant,That.\n1,user,Who?\n1,assistant,She.\n"
    said = made(f"chat,role,content\n{log}", "csv", system="S", columns=Columns(conversation="chat"))
    assert turns(said) == wanted


def test_preferences_of_trl_become_ours() -> None:
    texts = {"prompt": "Who?", "chosen": "She.", "rejected": "He.", "score": 1}
    asked = [{"role": "user", "content": "Who?"}]
    answers = [[{"role": "assistant", "content": text}] for text in ("She.", "He.")]
    as_turns = {"prompt": "Who?", "chosen": asked + answers[0], "rejected": asked + answers[1]}
    apart = {"prompt": asked, "chosen": answers[0], "rejected": answers[1]}
    for row in (texts, as_turns, apart):
        (line,) = lines(made([row], system="Be kind."))
        assert line["input"]["messages"] == [{"role": "system", "content": "Be kind."}, *asked]
        assert [line["preferred_output"], line["non_preferred_output"]] == answers
        assert report_of(json.dumps(line).encode(), None).format == "preference"
        assert report_of(json.dumps(line).encode(), None).ok
    assert made([texts]).unused == ("score",)
    begun = "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: Who?\n\nAssistant:"
    (line,) = lines(made([{"chosen": f"{begun} She.", "rejected": f"{begun} He."}]))
    assert [m["content"] for m in line["input"]["messages"]] == ["Hi", "Hello", "Who?"]
    assert [line["preferred_output"], line["non_preferred_output"]] == answers
    why = [d.why for d in made([texts, texts | {"rejected": "She."}, {"chosen": "a", "rejected": "b"}]).dropped]
    assert why == ["`chosen` and `rejected` are the same", "no `prompt`"]


def test_what_a_viewer_has_cut_is_not_taken() -> None:
    rows = [{"row": {"question": "a", "answer": f"b{n}"}, "truncated_cells": ["answer"] * n} for n in range(2)]
    assert [d.why for d in made({"rows": rows}).dropped] == ["the dataset viewer has cut its cells"]


def test_a_first_row_that_looks_like_a_heading() -> None:
    two = made("prompt_text,label\n" + "".join(f"Is it {n}?,yes\n" for n in range(20)), "csv")
    assert (two.training_examples, "prompt_text" in two.notes[0]) == (20, True)
    assert made("prompt_text,label\nIs it?,yes\n", "csv", heading=False).training_examples == 2
    with pytest.raises(CannotBuild, match="looks like a heading: id, prompt_text, label"):
        made("id,prompt_text,label\n1,Is it?,yes\n", "csv")
    named = made("id,prompt_text,label\n1,Is it?,yes\n", "csv", columns=Columns(["prompt_text"], ["label"]))
    assert (turns(named), named.unused) == ([["u:Is it?", "a:yes"]], ("id",))
    assert made("Name a bird.,Wren\nWho?,She\n", "csv").notes == ()


def test_a_file_of_another_kind_than_its_name_says_is_read_all_the_same() -> None:
    for kind in ("jsonl", "json", "txt", "csv"):
        assert turns(made("question,answer\nWho?,She.\n", kind)) == [["u:Who?", "a:She."]]
    assert turns(made("Q: Who?\nA: She.\n", "jsonl")) == [["u:Who?", "a:She."]]
    assert turns(made('{"q": "Who?", "a": "She."}\n', "csv")) == [["u:Who?", "a:She."]]


def test_other_encodings() -> None:
    table = "question,answer\nGröße?,Groß\n"
    with pytest.raises(CannotBuild, match=r"not UTF-8 \(line 2\).*cp1252 \(--encoding\)"):
        made(table.encode("cp1252"), "csv")
    assert turns(made(table.encode("cp1252"), "csv", encoding="cp1252")) == [["u:Größe?", "a:Groß"]]
    with pytest.raises(CannotBuild, match="may be UTF-16"):
        made("question,answer\na,b\n".encode("utf-16-le"), "csv")
    assert turns(made("question,answer\na,b\n".encode("utf-16-le"), "csv", encoding="utf-16-le")) == [["u:a", "a:b"]]
    unknown = ("latin-99", "a\0b", "\ud800", "punycode", "undefined", "hex", "x" * 1000)
    for wrong, said in (("ascii", "not ascii"), *((name, "no encoding that is known") for name in unknown)):
        with pytest.raises(CannotBuild, match=said):
            made(table, "csv", encoding=wrong)


def test_several_sources_become_one_dataset() -> None:
    sources = [
        Source(b"question,answer\na,b\n", "csv", "one.csv"),
        Source(b'{"q": "c", "a": "d"}\n{"q": "a", "a": "b"}', "jsonl", "two.jsonl"),
    ]
    built = build_from(sources, system="")
    assert turns(built) == [["u:a", "a:b"], ["u:c", "a:d"]]
    assert [(d.at, d.why) for d in built.dropped] == [("two.jsonl: line 2", "the same as one.csv: line 2")]


def sheet() -> bytes:
    xlsxwriter = pytest.importorskip("xlsxwriter")
    out = io.BytesIO()
    with xlsxwriter.Workbook(out) as book:
        first = book.add_worksheet("Pairs")
        for n, row in enumerate((["question", "answer", "note"], ["How many?", 3], ["Who?", "She.", "x"])):
            first.write_row(n, 0, row)
        book.add_worksheet("Other").write_row(0, 0, ["a", "b"])
    return out.getvalue()


def test_spreadsheets() -> None:
    pytest.importorskip("python_calamine")
    for kind in ("xlsx", "csv"):
        built = made(sheet(), kind)
        assert turns(built) == [["u:How many?", "a:3"], ["u:Who?", "a:She."]]
        assert built.unused == ("note",)
        assert built.notes == ("Only the first sheet was read; not Other.",)


def test_parquet() -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    out = io.BytesIO()
    rows = [good(n) | {"source": "x"} for n in range(12)]
    rows[0]["messages"][2]["weight"] = 1
    parquet.write_table(pyarrow.Table.from_pylist(rows), out)
    built = made(out.getvalue(), "parquet")
    assert lines(built)[1:] == [good(n) for n in range(1, 12)]
    assert built.unused == ("source",)
    assert report_of(built.training).ok
    with pytest.raises(CannotBuild, match="no Parquet that can be read"):
        made(out.getvalue()[:200], "parquet")


@pytest.mark.parametrize(
    ("name", "module", "start"), [("xlsx", "python_calamine", b"PK\x03\x04"), ("parquet", "pyarrow", b"PAR1")]
)
def test_without_the_extra_it_is_named(name: str, module: str, start: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(CannotBuild, match=r"pip install 'tunehook\[tables\]'"):
        made(start, name)
    with pytest.raises(CannotBuild, match="turn the file with `tunehook build`"):
        made(start, "csv", at_most=5)


NAMES = """
messages conversations contents chosen rejected prompt input preferred_output question answer history system
instruction role content from value parts data rows row truncated_cells
"""
names = st.sampled_from(NAMES.split())
values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.sampled_from(["user", "gpt", "a", "", '[{"role": "user"}]']),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=400, deadline=None)
@given(st.lists(values, max_size=4) | values, st.sampled_from([None, "role", "chat"]))
def test_no_row_raises_anything_else(source: Any, conversation: str | None) -> None:
    for kind, text in (("json", json.dumps(source)), ("jsonl", "\n".join(map(json.dumps, [source, source])))):
        try:
            made(text, kind, system="S", columns=Columns(conversation=conversation))
        except CannotBuild:
            continue


@pytest.mark.parametrize("depth", [300, 480, 900, 5000])
def test_deep_rows_are_dropped_or_taken(depth: int) -> None:
    deep = '{"messages": [{"role": "user", "content": ' + "[" * depth + "]" * depth + "}]}\n"
    assert made(deep + '{"q": "a", "a": "b"}', "jsonl").training_examples in (1, 2)
