"""``cometstream serve``: the simulated CometAPI server by itself, or a proxy that mends and verifies what an endpoint sends."""

from __future__ import annotations

import errno
import os
import signal
import sys
from functools import partial
from typing import TYPE_CHECKING

import click

from cometstream.cli.process import Interrupted, run_until_signal

if TYPE_CHECKING:
    from cometstream.proxy import Proxy
    from cometstream.testing import SimulatedServer

__all__ = ["serve"]


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0 takes a free one.")
@click.option(
    "--upstream",
    metavar="URL",
    help="Be a proxy to this endpoint instead: answers are verified, repaired, and repeated before their first content. Programs "
    "in any language change their base URL.",
)
@click.option(
    "--repair/--no-repair", default=True, help="With --upstream: mend bent chunks and tool calls.  [default: on]"
)
@click.option(
    "--token-rate",
    type=click.FloatRange(min=0),
    default=30.0,
    show_default=True,
    metavar="N",
    help="Tokens a second; 0 is as fast as they are read.",
)
def serve(*, host: str, port: int, upstream: str | None, repair: bool, token_rate: float) -> None:
    """Run a simulated CometAPI server, or with --upstream a proxy, for curl and any OpenAI client, until Ctrl-C or SIGTERM."""
    if upstream is None:
        from cometstream.testing import serve as run_server  # a web server: --help does not wait for it

        serving = run_server(host=host, port=port, token_rate=token_rate or None, started=_introduce)
    else:
        from cometstream.proxy import serve as run_proxy  # as above

        key = os.environ.get("COMETAPI_KEY")
        serving = run_proxy(
            upstream=upstream,
            host=host,
            port=port,
            api_key=key,
            repair=repair,
            started=partial(_introduce_proxy, upstream),
        )
    try:
        run_until_signal(serving, signal.SIGINT, signal.SIGTERM)
    except Interrupted:
        pass  # the way to end it
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise click.ClickException(
                f"port {port} of {host} is taken: choose another with --port, 0 takes a free one"
            ) from None
        raise click.ClickException(f"cannot listen on port {port} of {host}: {error.strerror or error}") from None


def _introduce_proxy(upstream: str, proxy: Proxy) -> None:
    print(
        f"A proxy to {upstream} listens; Ctrl-C ends it.\n  export OPENAI_BASE_URL={proxy.base_url}",
        file=sys.stderr,
        flush=True,
    )


def _introduce(server: SimulatedServer) -> None:
    request = '{"model": "gpt-5.4", "stream": true, "messages": [{"role": "user", "content": "Write one sentence about comets."}]}'
    print(
        f"The simulated CometAPI server listens; Ctrl-C ends it.\n"
        f"  base URL: {server.base_url}\n"
        f"  API key:  {server.api_key}\n"
        f"  export COMETAPI_BASE_URL={server.base_url} COMETAPI_KEY={server.api_key}\n"
        f"  curl -N {server.base_url}/chat/completions -H 'Authorization: Bearer {server.api_key}'"
        f" -H 'Content-Type: application/json' -d '{request}'",
        file=sys.stderr,
        flush=True,
    )
