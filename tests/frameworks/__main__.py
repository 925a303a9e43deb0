"""``python -m tests.frameworks [NAME ...]``: each framework, its newest version, in its own environment, over our transport.

The environments are made where they are missing, in ``FRAMEWORKS_DIR`` or ``.venv-frameworks``; ``--upgrade`` brings the newest
versions. At the end it prints the README's table.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
FOLDER = Path(os.environ.get("FRAMEWORKS_DIR", ROOT / ".venv-frameworks"))

# Name -> what is installed, and the packages whose versions the table shows.
FRAMEWORKS = {
    "pydantic_ai": (["pydantic-ai-slim[openai]"], ["pydantic-ai-slim", "openai"]),
    "openai_agents": (["openai-agents"], ["openai-agents", "openai"]),
    "instructor": (["instructor"], ["instructor", "openai"]),
    "langchain": (["langchain-openai", "langgraph"], ["langchain-openai", "langgraph", "openai"]),
    "llama_index": (["llama-index-llms-openai-like"], ["llama-index-core", "openai"]),
    "litellm": (["litellm"], ["litellm", "openai"]),
    "dspy": (["dspy"], ["dspy", "litellm", "openai"]),
}

# A streamed answer is cut every so many bytes; a chunk has about 170.
STEP = 13

# What our own package needs beside.
OURS = ["aiohttp", "orjson", "anyio"]

_VERSIONS = "import json, sys; from importlib.metadata import version; print(json.dumps([version(name) for name in sys.argv[1:]]))"


def python_of(name: str) -> Path:
    """Return the interpreter of a framework's environment, which need not be there."""
    return FOLDER / name / "bin" / "python"


def install(name: str, *, upgrade: bool) -> None:
    if python_of(name).exists() and not upgrade:
        return
    subprocess.run([sys.executable, "-m", "venv", str(FOLDER / name)], check=True)
    packages, _ = FRAMEWORKS[name]
    subprocess.run([str(python_of(name)), "-m", "pip", "install", "-q", "--upgrade", *OURS, *packages], check=True)


def run(name: str, step: int = STEP) -> dict[str, Any]:
    """Run one framework's program, with an answer cut every `step` bytes, and return what was found.

    Raises:
        RuntimeError: It failed.
    """
    command = [str(python_of(name)), "-m", "tests.frameworks.driver", name, str(step)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1200)
    if done.returncode:
        raise RuntimeError(f"{name}: {done.stderr[-4000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def is_met(found: dict[str, Any]) -> bool:
    """Whether all worked, each error raised after one request, and no cut was taken for a whole answer."""
    works = all(found[what] for what in ("plain", "streamed", "tools", "structured"))
    errors = found["errors"]
    raised = all(errors[status] != "no error" and errors[f"{status} requests"] == 1 for status in ("401", "429", "500"))
    return works and raised and found["cuts taken for whole, ours"] == 0


def versions(name: str) -> str:
    _, shown = FRAMEWORKS[name]
    told = subprocess.run([str(python_of(name)), "-c", _VERSIONS, *shown], capture_output=True, text=True, check=True)
    return ", ".join(f"{package} {version}" for package, version in zip(shown, json.loads(told.stdout), strict=True))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.frameworks", description=__doc__)
    parser.add_argument("name", nargs="*", help=f"some of {', '.join(FRAMEWORKS)}; all by default")
    parser.add_argument("--upgrade", action="store_true", help="bring the newest versions")
    parser.add_argument(
        "--step", type=int, default=STEP, help=f"bytes from one cut to the next (default {STEP}; 1 is every cut)"
    )
    options = parser.parse_args()
    rows, failed = [], 0
    for name in options.name or FRAMEWORKS:
        install(name, upgrade=options.upgrade)
        found = run(name, options.step)
        failed += not is_met(found)
        print(f"{name}: {'ok' if is_met(found) else 'FAILED'} {json.dumps(found)}", flush=True)
        cuts = found["cuts"]
        taken = [found[f"cuts taken for whole, {who}"] for who in ("ours", "alone")]
        rows.append(f"| {versions(name)} | {taken[0]} of {cuts} | {taken[1]} of {cuts} |")
    print("| tried | cut answers that passed for whole, over our transport | without |\n|---|---|---|")
    print("\n".join(rows))
    return failed


if __name__ == "__main__":
    sys.exit(main())
