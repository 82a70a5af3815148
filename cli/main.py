"""The `tunehook` command: names the commands, and runs one. A command's module is imported when it is used."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.metadata import version

from cyclopts import App, CycloptsError, Parameter
from cyclopts.exceptions import UnknownCommandError, UnusedCliTokensError

from cli.failures import FAILED, WRONG, exit_status
from cli.lines import say
from tunehook.errors import TunehookError

#: Command → its App or function, and its line in `tunehook --help`.
COMMANDS = {
    "up": ("cli.up:up", "Run Tunehook on this machine, until Ctrl-C."),
    "demo": ("cli.demo:demo", "Run the main job, from dataset to verified webhook, against a simulator."),
    "import": ("cli.import_jobs:import_all", "Take over an account's jobs, with their datasets, from an upstream."),
    "submit": ("cli.submit:app", "Train a model on a file: check it, show the price, ask, and make the job."),
    "estimate": ("cli.submit:estimate_app", "Say what training on a file will cost, by the running Tunehook's prices."),
    "watch": ("cli.watch:app", "Follow jobs to their end."),
    "chat": ("cli.chat:app", "Ask a tuned model, once or in a conversation."),
    "files": ("cli.files:app", "List, upload, read and delete files."),
    "signature": ("cli.signature:app", "Sign and verify webhooks, offline."),
    "open": ("cli.open_page:app", "Open the page in a browser, at all jobs or at one."),
    "completion": ("cli.completion:app", "Print the completion script of a shell."),
    "jobs": ("cli.jobs:app", "List, show and steer jobs."),
    "deliveries": ("cli.deliveries:app", "Show what became of webhooks, and send them again."),
    "endpoints": ("cli.endpoints:app", "List, make and test webhook subscriptions."),
    "keys": ("cli.keys:app", "Make, list, change and revoke API keys."),
    "projects": ("cli.projects:app", "Set limits and budgets of projects, and decide on jobs beyond them."),
    "check": ("cli.dataset:check", "Check a dataset and say what training on it will cost."),
    "build": ("cli.dataset:build", "Make a dataset from questions and answers, or from another tool's file."),
    "doctor": ("cli.doctor:run", "Find inconsistent records in the store."),
    "backup": ("cli.backup:run", "Write all records and files to one archive."),
    "restore": ("cli.restore:run", "Put an archive of `backup` into an empty place."),
    "storage": ("cli.storage:app", "Move a deployment's files to another directory or bucket."),
    "retrain": ("cli.retrain:run", "Train jobs of one upstream again at another, once each."),
    "listen": ("cli.listen:app", "Forward webhooks to a server on this machine, and report its answers."),
    "trigger": ("cli.trigger:app", "Send a sample event through the endpoints, or straight to a server."),
    "trainer": ("cli.trainer:app", "Fetch a base model for the trainer of one's own, or watch it train."),
    "new-secret": ("cli.new_secret:new_secret", "Print a new TUNEHOOK_SECRET_KEY."),
}


def main(words: Sequence[str] | None = None) -> int:
    """Runs the command in `words`, or in the program's arguments.

    Returns the exit status, as cli/failures.py has them.
    """
    words = sys.argv[1:] if words is None else list(words)
    try:
        status = int(application(words)(words, exit_on_error=False, print_error=False) or 0)
        sys.stdout.flush()
        return status
    except CycloptsError as error:
        _say(f"tunehook: {_what(error)}")
        return WRONG
    except TunehookError as error:
        _say(f"tunehook: {error}")
        return exit_status(error)
    except BrokenPipeError:  # `tunehook jobs | head`: the exit must not complain of the closed pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except KeyboardInterrupt:
        return 130


def application(words: Sequence[str]) -> App:
    """Returns the command line, whose commands are not imported yet. `words`: those that it will be called with."""
    app = App(
        name="tunehook",
        help="Fine-tune, and get a POST instead of an e-mail.",
        version=f"tunehook {version('tunehook')}",
        help_format="plaintext",
        default_parameter=Parameter(negative=(), show_default=False),
        result_action="return_value",
        suppress_keyboard_interrupt=False,
    )
    for name, (place, line) in COMMANDS.items():
        # A line that is given here would replace the command's own help, which says more.
        app.command(place, name=name, help=None if words[:1] == [name] else line)
    return app


def _say(text: str) -> None:
    from cli.terminal import wrapped  # noqa: PLC0415  (rich: needed for an error alone)

    say(*(wrapped(line, indent=0, talk=True) for line in text.splitlines()))


def _what(error: CycloptsError) -> str:
    command = " ".join(("tunehook", *(error.command_chain or ())))
    what = str(error)
    if isinstance(error, UnusedCliTokensError):
        what = f"Too many arguments: {' '.join(error.unused_tokens or ())}."
        if error.app and any(not name.startswith("-") for name in error.app):
            unknown = UnknownCommandError(msg="", app=error.app, unused_tokens=error.unused_tokens)
            what = str(unknown).strip()
    return f"{what.partition(' Available commands: ')[0]} `{command} --help` says what there is."
