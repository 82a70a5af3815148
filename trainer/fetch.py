"""`python -m trainer.fetch <alias>`: download a base of the allow-list, once. After that it works offline."""

import argparse
import shutil
import sys
from pathlib import Path

from huggingface_hub import snapshot_download

from trainer.bases import Base, load_bases
from trainer.settings import from_environment
from trainer.templates import Untrainable, training_template

#: Weights as safetensors, and text. No pickle, and no code: it would not be run.
_WANTED = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model", "LICENSE*", "README.md")


class CannotFetch(Exception):
    """A base that cannot be had. The message is for the user."""


def fetch(base: Base, data_dir: Path) -> Path:
    """Downloads a base at its commit and returns its folder. What was begun before goes on.

    Raises CannotFetch, and Untrainable for one whose template has no training form."""
    final = base.folder(data_dir)
    if base.is_here(data_dir):
        return final
    if base.source is None or base.commit is None:
        raise CannotFetch(f"{base.alias} has no source and commit in models.json: put its folder at {final}.")
    aside = final.with_name(f".{final.name}.new")
    try:
        snapshot_download(base.source, revision=base.commit, local_dir=aside, allow_patterns=list(_WANTED))
    except OSError as error:
        raise CannotFetch(
            f"{base.source} at {base.commit} cannot be downloaded: {error}. Try again; it goes on."
        ) from error
    training_template(aside)
    shutil.rmtree(aside / ".cache", ignore_errors=True)
    aside.rename(final)
    return final


def main() -> int:
    parser = argparse.ArgumentParser(prog="tunehook trainer fetch", description=__doc__)
    parser.add_argument("alias", help="of a model in models.json")
    alias = parser.parse_args().alias
    try:
        config = from_environment()
        bases = load_bases(config.models)
        if alias not in bases:
            raise CannotFetch(f"{alias} is not in {config.models}. There are: {', '.join(bases) or 'none'}.")
        folder = fetch(bases[alias], config.data_dir)
    except (CannotFetch, Untrainable, OSError, ValueError) as error:
        sys.stderr.write(f"tunehook: {error}\n")
        return 1
    sys.stdout.write(f"{alias} ({bases[alias].licence}) is at {folder}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
