"""`tunehook completion`: prints the completion script of a shell."""

from __future__ import annotations

from typing import Literal

from cyclopts import App

from cli.lines import tell
from cli.options import examples

app = App(name="completion", help_epilogue=examples("completion bash", "completion zsh"))


@app.default
def completion(shell: Literal["bash", "zsh", "fish"], /) -> int:
    """Print the completion script of a shell.

    bash: tunehook completion bash > ~/.local/share/bash-completion/completions/tunehook
    zsh: tunehook completion zsh > a file _tunehook in a directory of $fpath
    fish: tunehook completion fish > ~/.config/fish/completions/tunehook.fish

    Args:
        shell: for which one
    """
    from cli.main import application  # noqa: PLC0415  (cli.main names this module)

    tell(application([]).generate_completion(shell=shell))
    return 0
