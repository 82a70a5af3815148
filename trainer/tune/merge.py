"""`python -m trainer.tune.merge <adapter folder>`: merge an adapter into its base, as `<adapter folder>/merged`."""

import os
import shutil
import sys
from pathlib import Path

from peft import AutoPeftModelForCausalLM

from trainer import folders


def merge(adapter: Path) -> Path:
    """Returns the folder of a whole model. A kill leaves none of it."""
    merged, aside = adapter / "merged", adapter / ".merged.new"
    shutil.rmtree(aside, ignore_errors=True)
    model = AutoPeftModelForCausalLM.from_pretrained(adapter, dtype="auto", trust_remote_code=False)
    model.merge_and_unload().save_pretrained(aside)
    for path in [*adapter.glob("tokenizer*"), *adapter.glob("*.jinja"), *adapter.glob("special_tokens*")]:
        os.link(path, aside / path.name)
    for path in [*aside.iterdir(), aside]:
        folders.sync(path)
    aside.rename(merged)
    return merged


if __name__ == "__main__":
    merge(Path(sys.argv[1]))
