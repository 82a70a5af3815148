"""`python -m simulator`: serve until interrupted; the first line printed is the base URL."""

import argparse
import sys

from pydantic import ValidationError

from simulator.app import build_app
from simulator.settings import from_environment
from wire.http import serve


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m simulator", description=__doc__)
    parser.add_argument("--host", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", help="port to listen on, 0 for any free one (4010)")
    parser.add_argument("--speed", help="how many times faster than life it trains (1)")
    parser.add_argument("--slots", help="unfinished jobs allowed at once, 0 for any number (3)")
    parser.add_argument("--key", dest="keys", action="append", help="accept this API key only; may be repeated")
    parser.add_argument("--webhook-url", help="where to post the ends of jobs, as OpenAI does")
    parser.add_argument("--webhook-secret", help="whsec_…, signs what is posted")
    parser.add_argument("--model-delay", help="seconds for which a fresh model is not found (0)")
    parser.add_argument("--file-delay", help="seconds for which a fresh file is being processed (0)")
    parser.add_argument("--azure-deployed", action="store_true", default=None, help="tuned models answer there too")
    return parser.parse_args()


def main() -> int:
    given = {name: value for name, value in vars(_options()).items() if value is not None}
    try:
        config = from_environment(**given)
    except ValidationError as error:
        for wrong in error.errors():
            sys.stderr.write(f"simulator: {'.'.join(map(str, wrong['loc'])) or 'options'}: {wrong['msg']}\n")
        return 2
    try:
        serve(build_app(config), config.host, config.port)
    except OSError as error:
        sys.stderr.write(f"simulator: cannot listen on {config.host}:{config.port}: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
