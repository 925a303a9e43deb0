"""One measurement: a load server and a client, each a fresh process that ends with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trustme

from benchmarks.answers import Answer
from benchmarks.job import WARM_UPS
from benchmarks.scenarios import IMPORTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.job import Job
    from benchmarks.scenarios import Measurement, Scenario

ROOT = Path(__file__).resolve().parent.parent

# litellm pins an openai of its own, and so lives in an environment of its own.
LITELLM_ENV = ROOT / ".venv-bench-litellm"
LITELLM_PYTHON = LITELLM_ENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

# The slowest peer needs a quarter of this on a slow machine.
_TIMEOUT = 300.0

# How often each import is timed within one measurement.
_IMPORTS = 8

_TIMED_IMPORT = "import time; began = time.process_time(); {}; print(time.process_time() - began)"

# What would change how Python or a client runs.
_FOREIGN = ("PYTHON", "COMETAPI_", "OPENAI_", "LITELLM_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "SSL_CERT_")


class ChildFailed(Exception):
    """A process ended badly, or its counts were wrong."""


@dataclass(frozen=True)
class Certificate:
    """A certificate for 127.0.0.1 that lasts as long as the benchmark.

    Args:
        server: File of the server's certificate and key.
        authority: File of the authority that the clients are told to trust.
    """

    server: Path
    authority: Path

    @classmethod
    def make(cls, folder: Path) -> Certificate:
        made = cls(folder / "server.pem", folder / "authority.pem")
        authority = trustme.CA()
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(made.server))
        authority.cert_pem.write_to_path(str(made.authority))
        return made


def environment(certificate: Certificate) -> dict[str, str]:
    """Return the environment of the children, which trust a certificate."""
    # Read by OpenSSL's defaults, and so by every client here; without the other, litellm asks the internet for prices.
    return {**own_environment(), "SSL_CERT_FILE": str(certificate.authority), "LITELLM_LOCAL_MODEL_COST_MAP": "True"}


def own_environment() -> dict[str, str]:
    """Return the environment without what changes what is measured."""
    return {key: value for key, value in os.environ.items() if not key.upper().startswith(_FOREIGN)}


@contextmanager
def load_server(env: dict[str, str], certificate: Path | None, answers: int) -> Iterator[str]:
    """Run a load server and give its origin; it ends with its standard input.

    Raises:
        ChildFailed: It did not start, or was not asked for just so many `answers` beside the warm-up's.
    """
    command = [sys.executable, "-m", "benchmarks.server", *([str(certificate)] if certificate else [])]
    with subprocess.Popen(
        command, cwd=ROOT, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        try:
            first = server.stdout.readline()
            if not first:
                raise ChildFailed("the load server did not start; what it said stands above")
            port = json.loads(first)["port"]
            yield f"{'https' if certificate else 'http'}://127.0.0.1:{port}"
        finally:
            last, _ = server.communicate()
    served = json.loads(last)["answers"]
    if served != answers + WARM_UPS:
        raise ChildFailed(f"the server was asked for {served} answers, not {answers + WARM_UPS}")


def measure(scenario: Scenario, line: Measurement, certificate: Certificate, folder: Path = ROOT) -> float:
    """Return one value in the scenario's unit: microseconds, KiB of memory, or milliseconds of an import.

    The client runs in `folder`, and imports the package from there.

    Raises:
        ChildFailed: The client failed, or what it read was not what the server sent.
    """
    if line.job is None:
        return _measure_import(IMPORTS[line.label], environment(certificate), folder)
    result = run_job(line.job, certificate, tls=line.tls, folder=folder)
    if scenario.unit == "stream":
        return result["bytes_per_stream"] / 1024
    if scenario.unit == "opening":
        return result["opening"] / result["answers"] * 1e6
    counted = result["answers"] * (Answer.named(line.job.answer).chunks if scenario.unit == "token" else 1)
    return result["cpu"] / counted * 1e6


def run_job(
    job: Job, certificate: Certificate, *, tls: bool = False, timeout: float = _TIMEOUT, folder: Path = ROOT
) -> dict[str, float]:
    """Run a client in a folder against a load server of its own, and return what it measured.

    Raises:
        ChildFailed: The client failed, or what it read was not what the server sent.
    """
    env = environment(certificate)
    python = str(LITELLM_PYTHON) if job.peer == "litellm" else sys.executable
    answers = job.streams * job.requests
    with load_server(env, certificate.server if tls else None, answers) as origin:
        command = [python, "-m", "benchmarks.peers", replace(job, origin=origin).to_json()]
        result: dict[str, float] = run(command, env, timeout, folder)
    if result["answers"] != answers:
        raise ChildFailed(f"{result['answers']} answers were read, not {answers}")
    return result


def _measure_import(statement: str, env: dict[str, str], folder: Path) -> float:
    """Return the least of several: what an import costs has a floor, and noise only adds to it."""
    command = [sys.executable, "-c", _TIMED_IMPORT.format(statement)]
    return min(float(run(command, env, folder=folder)) for _ in range(_IMPORTS)) * 1e3


def run(command: list[str], env: dict[str, str], timeout: float = _TIMEOUT, folder: Path = ROOT) -> Any:
    """Run a child in a folder and return the last line that it printed, which is JSON.

    Raises:
        ChildFailed: It failed, or took too long.
    """
    try:
        done = subprocess.run(
            command, cwd=folder, env=env, capture_output=True, text=True, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired as late:
        raise ChildFailed(f"it took longer than {timeout:g} s") from late
    if done.returncode != 0:
        raise ChildFailed("\n".join(done.stderr.strip().splitlines()[-3:]) or f"exit code {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


def make_litellm_env() -> None:
    """Install litellm into its own environment, unless it is there.

    Raises:
        ChildFailed: It could not be installed.
    """
    if LITELLM_PYTHON.exists():
        return
    for command in (
        [sys.executable, "-m", "venv", str(LITELLM_ENV)],
        [str(LITELLM_PYTHON), "-m", "pip", "install", "-q", "litellm"],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ChildFailed(f"litellm could not be installed: {done.stderr.strip()[-300:]}")


def litellm_versions() -> dict[str, str]:
    """Return the versions in litellm's environment."""
    code = (
        "import json, importlib.metadata as m;"
        "print(json.dumps({'litellm': m.version('litellm'), 'openai of litellm': m.version('openai')}))"
    )
    versions: dict[str, str] = run([str(LITELLM_PYTHON), "-c", code], dict(os.environ))
    return versions
