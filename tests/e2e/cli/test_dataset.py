"""`tunehook check` and `tunehook build` as a person runs them: what is printed, and the exit status."""

import json
from pathlib import Path
from typing import Any

import pytest

from cli.main import main
from tests.unit.dataset.lines import good, jsonl

AUDUBON = Path(__file__).parents[3] / "examples" / "audubon_birds.jsonl"


def run(*words: str | Path) -> int:
    return main([str(word) for word in words])


def test_check_of_real_data_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("check", AUDUBON, "--model", "gpt-4.1-mini-2025-04-14") == 0
    told = capsys.readouterr().out
    assert "audubon_birds.jsonl: chat, 208 examples, 25.5 kB" in told
    assert "✓ No errors" in told
    assert "no_system_message (× 208)" in told
    assert "… and 203 more" in told
    assert "line 20   The same example as line 19." in told
    assert "4,245 tokens × 3 epochs" in told
    assert "= 0.06 USD at 5.00 USD per million" in told
    assert max(map(len, told.splitlines())) <= 120


def test_check_by_the_rules_and_prices_of_a_kind_of_upstream(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = "meta-llama/Llama-3.1-8B-Instruct"
    assert run("check", AUDUBON, "--model", model, "--kind", "nebius") == 0
    assert 'How many epochs "auto" means at upstreams of kind nebius is not known' in capsys.readouterr().out
    assert run("check", AUDUBON, "--model", model, "--kind", "nebius", "--n-epochs", "2") == 0
    told = capsys.readouterr().out
    assert "at 0.40 USD per million" in told
    assert "Counted with OpenAI's vocabulary" in told
    assert run("check", AUDUBON, "--kind", "nebius", "--method", "dpo") == 1
    assert "upstreams of kind nebius train by supervised, not by dpo" in capsys.readouterr().out
    few = tmp_path / "few.jsonl"
    few.write_bytes(jsonl(*map(good, range(3))))
    assert run("check", few) == 1
    assert run("check", few, "--kind", "fireworks") == 0


def test_check_of_a_broken_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_bytes(jsonl({"messages": [{"role": "user", "content": "Hi"}]}) + b"{\n")
    assert run("check", path) == 1
    told = capsys.readouterr().out
    assert "✗ 3 errors in 2 examples: the upstream would refuse this file" in told
    assert "line 2  Expecting property name" in told
    assert "Add --model to see tokens and the price." in told


def test_check_of_a_file_that_is_bad_all_through(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_bytes(b"x\n" * 150_000)
    assert run("check", path) == 1
    told = capsys.readouterr().out
    assert "✗ 100,002 errors in 100,000 examples" in told
    assert "Checking stopped after line 100,000: 100,000 lines have errors" in told
    assert "200,000 of 300,000 bytes were read; more may follow." in told


def test_check_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, apart = tmp_path / "t.jsonl", tmp_path / "v.jsonl"
    path.write_bytes(jsonl(*map(good, range(20))))
    apart.write_bytes(jsonl(good(100), good(7)))
    assert run("check", path, "--validation", apart, "--model", "gpt-4o", "--n-epochs", "2", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] is True
    assert told["training"]["counts"] == {"few_examples": 1}
    assert told["validation"]["counts"] == {"validation_overlap": 1}
    assert told["validation"]["findings"][0]["line"] == 2
    assert told["estimate"]["epochs"] == 2
    assert told["estimate"]["billed_tokens"] == 2 * told["training"]["tokens"]["total"]


def test_check_with_a_grader(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, grader = tmp_path / "t.jsonl", tmp_path / "grader.json"
    path.write_bytes(jsonl(*({"messages": [{"role": "user", "content": f"{n}?"}], "answer": n} for n in range(50))))
    grader.write_text('{"type": "string_check", "reference": "{{ item.answer }}"}')
    assert run("check", path, "--grader", grader) == 0
    grader.write_text('{"type": "string_check", "reference": "{{ item.anser }}"}')
    assert run("check", path, "--grader", grader) == 1
    assert "The grader reads item.anser, which line 1 does not have." in capsys.readouterr().out
    assert run("check", AUDUBON, "--grader", grader) == 2
    assert "--grader is for reinforcement files" in capsys.readouterr().err


def test_build_writes_both_files_that_check_accepts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = tmp_path / "birds.csv", tmp_path / "birds.jsonl"
    source.write_text("question,answer\n" + "".join(f"Bird {n}?,Wren {n}\n" for n in range(50)) + "Bird 50?,\n")
    how = ("--system", "You name birds.", "--validation-split", "0.2", "--seed", "1")
    assert run("build", source, "-o", out, *how) == 0
    told = capsys.readouterr().out
    assert f"{out}: 40 examples" in told
    assert "birds.validation.jsonl: 10 examples" in told
    assert "line 52: no answer" in told
    assert run("check", out, "--validation", tmp_path / "birds.validation.jsonl") == 0


def test_what_cannot_be_done_says_why_and_exits_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("check", tmp_path / "none.jsonl") == 2
    assert "none.jsonl: No such file or directory" in capsys.readouterr().err
    source = tmp_path / "birds.jsonl"
    source.write_text('{"q": "a", "a": "b"}')
    assert run("build", source, "-o", source, "--system", "S") == 2
    assert "would overwrite the source" in capsys.readouterr().err
    assert json.loads(source.read_text()) == {"q": "a", "a": "b"}
    capsys.readouterr()
    assert run("check", source, "--n-epochs", "51") == 2
    assert "--n-epochs. It is neither auto nor a number from 1 to 50." in capsys.readouterr().err


MODEL = ("--model", "gpt-4.1-mini-2025-04-14")


@pytest.mark.parametrize(
    ("line", "how", "said"),
    [
        (
            {"prompt": "Name one:", "completion": " Wren"},
            MODEL,
            "it holds completion examples, but supervised training",
        ),
        (good(1), (*MODEL, "--method", "dpo"), "it holds chat examples, but dpo training"),
        (good(1), ("--model", "babbage-002"), "needs completion ones"),
        (good(1), ("--method", "dpo"), "dpo training needs preference ones"),
    ],
)
def test_a_file_that_the_method_does_not_train_on_has_an_error_and_no_price(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], line: dict[str, Any], how: tuple[str, ...], said: str
) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(jsonl(*[line] * 12))
    assert run("check", path, *how) == 1
    told = capsys.readouterr().out
    assert said in told
    assert "USD" not in told
    assert run("check", path, *how, "--json") == 1
    assert json.loads(capsys.readouterr().out)["estimate"] is None


def test_a_file_without_a_good_example_has_no_price(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(jsonl({"messages": [{"role": "user", "content": "Hi"}]}) * 12)
    assert run("check", path, *MODEL) == 1
    assert "No price: nothing of the file can be trained on as it is." in capsys.readouterr().out


def test_one_example_is_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(jsonl(good(1)))
    run("check", path)
    told = capsys.readouterr().out
    assert "1 example, " in told
    assert "1 examples" not in told


def test_the_advice_of_check_is_a_command_that_works(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = tmp_path / "my birds.jsonl", tmp_path / "o.jsonl"
    source.write_text("question,answer\n" + "".join(f"Bird {n}?,Wren {n}\n" for n in range(12)))
    assert run("check", source) == 1
    assert f"`tunehook build '{source}' -o train.jsonl` turns it." in capsys.readouterr().out
    assert run("build", source, "-o", out) == 0
    assert run("check", out) == 0


def test_build_names_what_it_did_not_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sources = [tmp_path / "one.csv", tmp_path / "two.csv"]
    for source in sources:
        rows = "".join(f"{source.stem} {n}?,A story.,Wren {n}\n" for n in range(6))
        source.write_text("question,context,answer\n" + rows)
    out = tmp_path / "o.jsonl"
    assert run("build", *sources, "-o", out) == 0
    told = capsys.readouterr().out
    assert f"{out}: 12 examples" in told
    assert "Not used: context. `--question 'question,context'` joins columns." in told
    assert run("build", *sources, "-o", out, "--question", "question,context") == 0
    assert "Not used" not in capsys.readouterr().out
    assert json.loads(out.read_text().partition("\n")[0])["messages"][0]["content"] == "one 0?\n\nA story."
    sources[0].write_bytes("question,answer\nGröße?,Groß\n".encode("cp1252"))
    assert run("build", sources[0], "-o", out) == 2
    assert "--encoding" in capsys.readouterr().err
    assert run("build", sources[0], "-o", out, "--encoding", "cp1252") == 1
    assert "Not yet trainable: 1 example; at least 10 are needed" in capsys.readouterr().out


def test_check_warns_of_a_model_that_is_shut_down(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prices = {"model": "gpt-4.1", "usd_per_million_tokens": "25", "as_of": "2026-11-22", "shutdown_date": "2026-01-02"}
    (tmp_path / "prices.json").write_text(json.dumps({"prices": [prices]}))
    (tmp_path / "train.jsonl").write_bytes(jsonl(*(good(n) for n in range(12))))
    for model in ("gpt-4.1-2025-04-14", "ft:gpt-4.1-2025-04-14:acme::x"):
        run("check", tmp_path / "train.jsonl", "--model", model, "--prices", tmp_path / "prices.json")
        assert f"{model} was shut down on 2026-01-02." in capsys.readouterr().out
