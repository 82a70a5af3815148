"""The allow-list that comes with the trainer: each base has its source, its commit, its licence and its size."""

import re

import pytest

from trainer.bases import Base, load_bases
from trainer.settings import MODELS
from trainer.store import Store

BASES = load_bases(MODELS)


@pytest.mark.parametrize("base", BASES.values(), ids=BASES)
def test_a_base_says_where_it_is_from_and_under_which_licence(base: Base, store: Store) -> None:
    assert base.licence in {"apache-2.0", "mit"}, "others have conditions of use: the operator's to accept"
    assert re.fullmatch(r"[\w.-]+/[\w.-]+", base.source or "")
    assert re.fullmatch(r"[0-9a-f]{40}", base.commit or ""), "a branch may change"
    shown = base.shown(store.config.data_dir, None, "cpu")
    assert shown["licence"] == base.licence
    assert shown["parameters"] == base.parameters > 10**8
    assert shown["context"] == base.context
    assert shown["memory_gb"]
    assert (shown["fetched"], shown["seconds_per_million_tokens"]) == (False, None)
