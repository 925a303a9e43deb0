"""``python -m fuzz TARGET [--minutes N] [--found DIR]``: fuzz one target with atheris; README.md says how."""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
from pathlib import Path
from typing import Any

try:
    atheris: Any = importlib.import_module("atheris")
except ImportError:
    sys.exit("fuzzing needs atheris: pip install -e '.[dev,fuzz]'")

with atheris.instrument_imports(include=["cometstream"]):
    from fuzz.corpus import CORPUS, seeds
    from fuzz.targets import TARGETS


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("target", choices=[*TARGETS], help="what to fuzz")
    parser.add_argument("--minutes", type=float, default=3.0, help="for how long (default 3)")
    parser.add_argument("--found", type=Path, help="a folder for new inputs and crashes; a temporary one by default")
    options, libfuzzer = parser.parse_known_args()
    found = options.found or Path(tempfile.mkdtemp(prefix=f"fuzz-{options.target}-"))
    if not found.exists() or not any(found.iterdir()):
        found.mkdir(parents=True, exist_ok=True)
        for name, data in seeds().items():
            (found / name).write_bytes(data)
    print(f"new inputs, and crashes, are kept in {found}", flush=True)
    arguments = [
        # A merge runs this again.
        f"{sys.executable} -m fuzz {options.target}",
        # New inputs go to the first folder; the others are only read.
        str(found),
        str(CORPUS / options.target),
        f"-artifact_prefix={found}/",
        f"-max_total_time={max(1, round(options.minutes * 60))}",
        "-max_len=4096",
        "-timeout=20",
        "-print_final_stats=1",
        *libfuzzer,
    ]
    atheris.Setup(arguments, TARGETS[options.target])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
