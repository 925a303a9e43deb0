"""The plugin in runs of pytest of its own: as who installs the package meets it."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import fastapi.testclient  # noqa: F401 - what the app needs is not counted
import pytest
from support.pytest_plugin import plugin

from cometstream.testing import CometServer

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[2]

INI = "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error\n"

# An app that makes its own session, and hides what went wrong from its users.
APP = """
    from contextlib import asynccontextmanager

    from fastapi import FastAPI

    from cometstream import CometError, CometSession


    @asynccontextmanager
    async def lifespan(app):
        async with CometSession() as app.state.session:
            yield


    app = FastAPI(lifespan=lifespan)


    @app.get("/")
    async def answer(prompt: str):
        messages = [{"role": "user", "content": prompt}]
        try:
            return (await app.state.session.complete(model="gpt-5.4", messages=messages)).content
        except CometError:
            return "sorry"
"""

CASSETTE_TESTS = """
    import pytest
    from app import app
    from fastapi.testclient import TestClient


    def test_hello(comet_cassette):
        with TestClient(app) as browser:
            assert browser.get("/", params={"prompt": "Hello"}).json() == "Hello from far away"


    @pytest.mark.comet_cassette("bye.cassette", hash_contents=True, without_headers=["x-request-id"], realtime=True)
    def test_bye(comet_cassette):
        with TestClient(app) as browser:
            assert browser.get("/", params={"prompt": "Bye"}).json() == "Bye from far away"


    @pytest.mark.parametrize("name", ["a/b c"])
    async def test_async(comet_cassette, name):
        from cometstream import CometSession

        async with CometSession() as session:
            assert [model.id for model in await session.models()][0] == "gpt-5.4"
"""


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A folder with an app in it, and its modules forgotten afterwards."""
    pytester.makeini(INI)
    pytester.makepyfile(app=APP)
    monkeypatch.syspath_prepend(pytester.path)
    return pytester


def pytest_run(run: pytest.Pytester, *args: str) -> pytest.RunResult:
    """Run pytest with the plugin, and without the installed copy, where there is one."""
    return run.runpytest_inprocess("-p", "no:cometstream", "-p", "no:cacheprovider", *args, plugins=[plugin])


def test_a_test_of_an_app_is_short_and_fast(run: pytest.Pytester) -> None:
    code = """
        from app import app
        from fastapi.testclient import TestClient


        def test_the_answer_comes_through(comet_server):
            comet_server.rate_limited(retry_after=0).reply("A comet ", "is ice.")
            with TestClient(app) as browser:
                assert browser.get("/", params={"prompt": "Hi"}).json() == "A comet is ice."
            assert len(comet_server.requests) == 2
            comet_server.assert_asked(model="gpt-5.4", prompt="Hi")


        def test_the_app_says_sorry(comet_server):
            comet_server.cut_after("A com").overloaded(times=3)
            with TestClient(app) as browser:
                assert browser.get("/", params={"prompt": "Hi"}).json() == "sorry"
    """
    run.makepyfile(test_app=code)
    began = os.times()
    result = pytest_run(run)
    used = sum(os.times()[:2]) - sum(began[:2])
    result.assert_outcomes(passed=2)
    assert used < 2  # seconds of the processor, of a bar of 1 for one test


def test_async_tests_have_it_too(run: pytest.Pytester) -> None:
    run.makepyfile(
        """
        import os

        from cometstream import CometSession


        async def test_a_stream(comet_server):
            assert os.environ["COMETAPI_BASE_URL"] == comet_server.base_url
            comet_server.reply("Hel", "lo")
            async with CometSession() as session:
                async with session.stream(model="m", messages=[{"role": "user", "content": "Hi"}]) as stream:
                    assert [text async for text in stream.text()] == ["Hel", "lo"]


        def test_what_was_set_is_taken_back():
            assert "COMETAPI_BASE_URL" not in os.environ
        """
    )
    pytest_run(run).assert_outcomes(passed=2)


def test_a_failed_look_at_the_requests_says_what_came(run: pytest.Pytester) -> None:
    run.makepyfile(
        """
        from app import app
        from fastapi.testclient import TestClient


        def test_one(comet_server):
            with TestClient(app) as browser:
                browser.get("/", params={"prompt": "Hi"})
            comet_server.assert_asked(prompt="Hello")


        def test_two(comet_server):
            assert comet_server.last_request.prompt == "Hello"
        """
    )
    result = pytest_run(run)
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(
        [
            "*AssertionError: none of 1 requests was asked with prompt='Hello'",
            "*1. POST /v1/chat/completions: prompt is 'Hi'",
            "*AssertionError: no request has reached the simulated server at http://127.0.0.1:*",
        ]
    )


def test_cassettes_are_recorded_once_and_replayed_without_a_key(
    run: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.makepyfile(test_far=CASSETTE_TESTS)
    result = pytest_run(run)
    result.assert_outcomes(errors=3)
    result.stdout.fnmatch_lines(
        ["there is no cassette *test_hello.cassette: record it with --comet-record and COMETAPI_KEY set"]
    )

    result = pytest_run(run, "--comet-record")
    result.assert_outcomes(errors=3)
    result.stdout.fnmatch_lines(["--comet-record talks to CometAPI: set COMETAPI_KEY"])

    with CometServer() as server, monkeypatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        server.reply("Hello from far away").reply("Bye from far away")
        pytest_run(run, "--comet-record").assert_outcomes(passed=3)
    kept = sorted(str(path.relative_to(run.path)) for path in run.path.rglob("*.cassette"))
    assert kept == [
        "bye.cassette",
        "cassettes/test_far/test_async-a%2Fb%20c.cassette",
        "cassettes/test_far/test_hello.cassette",
    ]
    bye = (run.path / "bye.cassette").read_text()
    assert '"sha256:' in bye
    assert "x-request-id" not in bye.lower()
    assert server.api_key not in bye

    pytest_run(run).assert_outcomes(passed=3)


def test_a_changed_request_fails_the_test_also_where_the_app_hides_it(run: pytest.Pytester) -> None:
    run.makepyfile(
        test_changed="""
        from app import app
        from fastapi.testclient import TestClient


        def test_changed(comet_cassette):
            with TestClient(app) as browser:
                assert browser.get("/", params={"prompt": "Hello!"}).json() == "sorry"
        """
    )
    cassette = run.path / "cassettes" / "test_changed" / "test_changed.cassette"
    cassette.parent.mkdir(parents=True)
    cassette.write_text(
        'cometstream cassette 1\nrequest POST /chat/completions\n    {"model": "gpt-5.4", '
        '"messages": [{"role": "user", "content": "Hello"}]}\nno answer\n'
    )
    result = pytest_run(run)
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(
        [
            f"the cassette {cassette} does not fit: request 1 is another one: "
            "messages?0?.content: recorded 'Hello', sent 'Hello!'. *"
        ]
    )


@pytest.mark.parametrize("mark", ["'a', 'b'", "other=1", "'a', path='b'"])
def test_a_mark_that_cannot_be_used_is_told(run: pytest.Pytester, mark: str) -> None:
    run.makepyfile(f"import pytest\n@pytest.mark.comet_cassette({mark})\ndef test_a(comet_cassette): pass")
    result = pytest_run(run, "--strict-markers")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["the mark comet_cassette takes a path, realtime, hash_contents and without_headers"])


def test_tests_that_differ_have_cassettes_that_do(run: pytest.Pytester) -> None:
    code = """
        import pytest


        @pytest.mark.parametrize("name", ["a/b", "a-b", "x" * 300, "x" * 301])
        def test_one(comet_cassette, name):
            pass


        class TestA:
            def test_one(self, comet_cassette):
                pass
    """
    run.makepyfile(test_names=code)
    result = pytest_run(run)
    result.assert_outcomes(errors=5)
    told = {line for line in result.outlines if line.startswith("there is no cassette")}
    assert len(told) == 5
    assert all(len(line) < 400 for line in told)


def test_a_script_that_fails_fails_the_test(run: pytest.Pytester) -> None:
    run.makepyfile(
        """
        from app import app
        from fastapi.testclient import TestClient


        def ask():
            with TestClient(app) as browser:
                return browser.get("/", params={"prompt": "Hi"}).json()


        def look(request):
            assert request.prompt == "Hello"


        def test_one(comet_server):
            comet_server.always(look)
            assert ask() == "sorry"


        def test_two(comet_server):
            comet_server.always(lambda request: "Hello")
            assert ask() == "sorry"
        """
    )
    result = pytest_run(run)
    result.assert_outcomes(passed=2, errors=2)
    result.stdout.fnmatch_lines(["*assert 'Hi' == 'Hello'*", "*a script must return a Reply or None; got 'Hello'"])


def test_each_case_that_suits_an_app_is_a_test(run: pytest.Pytester) -> None:
    run.makepyfile(
        """
        import asyncio

        from cometstream import CometError, CometSession


        def test_case(comet_case, comet_server):
            comet_server.always(comet_case.reply)

            async def main():
                async with CometSession(retry=0) as session:
                    stream = session.stream(model="m", messages=[{"role": "user", "content": "Hi"}])
                    try:
                        async with stream:
                            await stream.until_done()
                    except CometError:
                        pass
                    return stream

            stream = asyncio.run(main())
            assert (stream.completion.content or "") == comet_case.text
            assert stream.outcome == comet_case.outcome
        """
    )
    result = pytest_run(run, "-k", "termination")
    outcomes = result.parseoutcomes()
    assert outcomes["passed"] > 20
    assert "failed" not in outcomes


def test_a_run_that_uses_none_of_it_does_not_import_the_package(tmp_path: Path) -> None:
    """As an installed package has it: the plugin outside the package, and an entry point."""
    (tmp_path / "pytest_cometstream.py").write_text(Path(plugin.__file__).read_text())
    info = tmp_path / "cometstream-0.0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: cometstream\nVersion: 0.0.1\n")
    (info / "entry_points.txt").write_text("[pytest11]\ncometstream_as_installed = pytest_cometstream\n")
    (tmp_path / "pytest.ini").write_text(INI)
    (tmp_path / "test_a.py").write_text(
        "import sys\n"
        "def test_a(): assert 'pytest_cometstream' in sys.modules and 'cometstream' not in sys.modules\n"
        "def test_b(comet_server): assert comet_server.reply('Hello').unused == 1\n"
    )
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    ended = subprocess.run(
        [
            *(sys.executable, "-W", "error", "-m", "pytest"),
            "-q",
            "-p",
            "no:cometstream",
            "-p",
            "no:cacheprovider",
            str(tmp_path),
        ],
        env={**os.environ, "PYTHONPATH": path, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "", "PYTEST_ADDOPTS": ""},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "2 passed" in ended.stdout


def test_the_library_itself_imports_no_test_framework() -> None:
    code = "import sys, cometstream.testing, cometstream.testing.conformance; print('pytest' in sys.modules)"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    assert (
        subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, timeout=60, check=True).stdout
        == b"False\n"
    )


def test_a_wheel_has_the_plugin_outside_the_package_and_the_cases(tmp_path: Path) -> None:
    if None in map(importlib.util.find_spec, ("hatchling", "hatch_fancy_pypi_readme")):
        pytest.skip("needs what builds the package")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        timeout=120,
        check=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (points,) = (archive.read(name).decode() for name in names if name.endswith("entry_points.txt"))
        installed = archive.read("pytest_cometstream.py")
    assert "[pytest11]\ncometstream = pytest_cometstream" in points
    assert installed == Path(plugin.__file__).read_bytes()
    assert "cometstream/testing/plugin.py" not in names
    shipped = {name for name in names if name.startswith("cometstream/testing/conformance/")}
    for case in (ROOT / "tests" / "conformance").glob("*/*.json"):
        assert f"cometstream/testing/conformance/{case.parent.name}/{case.name}" in shipped
