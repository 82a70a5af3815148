"""The `tunehook` command: parses the arguments and runs one command."""

from __future__ import annotations

import argparse
import base64
import os
import sys
from importlib.metadata import version
from typing import Any

from cli import backup, dataset, doctor, keys, restore
from tunehook.errors import TunehookError


def main() -> int:
    """Returns the exit status: 0 done, 1 failed, 2 wrong arguments."""
    parser = _parser()
    args = parser.parse_args()
    if args.command is None:
        parser.print_help()
        return 0
    try:
        return int(args.run(args))
    except TunehookError as error:
        print(f"tunehook: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tunehook", description="Fine-tune, and get a POST instead of an e-mail.")
    parser.add_argument("--version", action="version", version=f"tunehook {version('tunehook')}")
    commands = parser.add_subparsers(dest="command", metavar="command")
    up = commands.add_parser("up", help="run Tunehook on this machine, until Ctrl-C")
    up.set_defaults(run=_up)
    demo = commands.add_parser("demo", help="the main job, from dataset to verified webhook, against a simulator")
    demo.set_defaults(run=_demo)
    _add_import(commands)
    keys.add_command(commands)
    dataset.add_commands(commands)
    doctor.add_command(commands)
    backup.add_command(commands)
    restore.add_command(commands)
    _add_retrain(commands)
    secret = commands.add_parser("new-secret", help="print a new TUNEHOOK_SECRET_KEY")
    secret.set_defaults(run=_new_secret)
    return parser


def _add_service(command: argparse.ArgumentParser) -> None:
    command.add_argument("--url", help="of the running Tunehook, such as http://127.0.0.1:8080 (OPENAI_BASE_URL)")
    command.add_argument("--key", help="an API key of the project, th_… (OPENAI_API_KEY)")


def _add_retrain(commands: Any) -> None:
    command = commands.add_parser("retrain", help="train jobs of one upstream again at another, once each")
    command.add_argument("job", nargs="*", help="ids of jobs; or --all with --from")
    command.add_argument("--all", action="store_true", help="all jobs of --from that succeeded")
    command.add_argument("--from", dest="source", metavar="UPSTREAM", help="whose jobs are trained again")
    command.add_argument("--to", required=True, metavar="UPSTREAM", help="where they are trained")
    command.add_argument(
        "--model", required=True, action="append", metavar="[OLD=]NEW", help="NEW for all jobs, or for base model OLD"
    )
    command.add_argument("--options", metavar="JSON", help="the new upstream's own members")
    command.add_argument("--max-cost-usd", type=float, help="of each job: one that may cost more is not trained")
    command.add_argument("--dry-run", action="store_true", help="show the table, and train nothing")
    command.add_argument("--yes", action="store_true", help="do not ask")
    command.add_argument("--again", action="store_true", help="repeat retrains that failed or were cancelled")
    _add_service(command)
    command.set_defaults(run=_retrain)


def _retrain(args: argparse.Namespace) -> int:
    from cli.retrain import run  # noqa: PLC0415  (the other commands need no HTTP client)

    return run(args)


def _add_import(commands: Any) -> None:
    command = commands.add_parser("import", help="take over an account's jobs, with their datasets, from an upstream")
    command.add_argument("--upstream", required=True, help="its name in the running Tunehook, such as openai")
    command.add_argument("--all", action="store_true", required=True, help="every job that it lists")
    command.add_argument("--with-datasets", action="store_true", help="fetch and keep the training files as well")
    command.add_argument("--dry-run", action="store_true", help="show what would be imported, and import nothing")
    _add_service(command)
    command.set_defaults(run=_import)


def _import(args: argparse.Namespace) -> int:
    from cli.import_jobs import import_all  # noqa: PLC0415  (imports an HTTP client)

    return import_all(args)


def _up(args: argparse.Namespace) -> int:
    from cli.up import up  # noqa: PLC0415  (the other commands need none of it)

    return up()


def _demo(args: argparse.Namespace) -> int:
    from cli.demo import demo  # noqa: PLC0415  (imports the openai package, as a client: 0.6 s)

    return demo()


def _new_secret(args: argparse.Namespace) -> int:
    print(base64.urlsafe_b64encode(os.urandom(32)).decode())
    return 0
