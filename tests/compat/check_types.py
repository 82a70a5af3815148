"""The types that openapi-typescript makes from the contract, and the Node example that is compiled against them."""

import shutil
import subprocess
from pathlib import Path

from tests.compat import node

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "receivers" / "node"


def compiled(directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(node.NODE), str(node.HERE / "node_modules" / "typescript" / "bin" / "tsc"), "--project", str(directory)],
        env=node.ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_the_node_example_is_compiled_against_types_of_the_contract(tmp_path: Path) -> None:
    for name in ("receiver.mjs", "package.json", "tsconfig.json"):
        shutil.copy(EXAMPLE / name, tmp_path)
    (tmp_path / "node_modules").symlink_to(node.HERE / "node_modules")
    contract, types = ROOT / "api_spec" / "openapi.yaml", tmp_path / "tunehook.d.ts"
    node.run("node_modules/openapi-typescript/bin/cli.js", str(contract), "--output", str(types))
    done = compiled(tmp_path)
    assert done.returncode == 0, done.stdout
    receiver = tmp_path / "receiver.mjs"
    receiver.write_text(receiver.read_text().replace("job.fine_tuned_model", "job.fine_tuned_modle"))
    refused = compiled(tmp_path)
    assert refused.returncode != 0
    assert "fine_tuned_modle" in refused.stdout
