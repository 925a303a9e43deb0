"""The page of a batch's report: one file of HTML with its styles and pictures in it, and nothing from anywhere else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cometstream.cli.batch_charts import concurrency, section, spread, table, throughput
from cometstream.cli.drawing import markup, shown_time
from cometstream.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from cometstream.cli.batch_figures import BatchFigures, Fault

__all__ = ["RunFacts", "as_page"]

_COST_SOURCES: Final = {
    "reported": "reported by the server, in US dollars",
    "price": "by --price",
    "catalog": "by the gateway's catalogue, in US dollars",
    "unknown": "unknown",
}


@dataclass(frozen=True)
class RunFacts:
    """What a run knows beside its figures.

    Attributes:
        name: The input's name.
        ended: How it ended, as sentences.
        whole: Whether every row has a good line.
        left: Rows without a line; None if their number is not known.
        earlier: Rows that had a line before.
        processes: How many sent the rows.
        settings: What the user chose, by names; no key.
    """

    name: str
    ended: str
    whole: bool
    left: int | None
    earlier: int
    processes: int
    settings: Sequence[tuple[str, str]]


def as_page(figures: BatchFigures, facts: RunFacts) -> str:
    """Return the page."""
    state = "whole" if facts.whole else "partial"
    content = "\n".join(
        [
            f"<h1>Batch of <bdi>{markup(facts.name)}</bdi></h1>",
            f'<p class="ended {state}">{markup(facts.ended)}</p>',
            f"<p>From {_moment(figures.began)} to {_moment(figures.ended)}.</p>",
            _cards(_rows(figures, facts)),
            throughput(figures),
            spread(
                "Time to first content",
                figures.first_content,
                "It is counted from the start of a row's last attempt.",
            ),
            spread("Duration", figures.durations, "It is that of the last attempt of complete rows."),
            concurrency(figures, facts.processes),
            section("Errors", _faults(figures.faults)),
            section("Requests sent again", _retries(figures)),
            section("Tokens and cost", _cards(_spent(figures)) + _sources(figures)),
            section("Models", _models(figures)),
            section("Settings", table(("setting", "value"), facts.settings)),
            f"<footer>Made by cometstream {markup(__version__)}. Percentiles are right to 3 %.</footer>",
        ]
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        # Whatever a server said: the browser loads nothing and runs nothing.
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">\n"
        '<link rel="icon" href="data:,">\n'
        f"<title>Batch of {markup(facts.name)}</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n<main>\n{content}\n</main>\n</body>\n</html>\n"
    )


def _rows(figures: BatchFigures, facts: RunFacts) -> list[tuple[str, str]]:
    progress = figures.progress
    shown = [("rows complete", f"{figures.done:,}"), ("rows failed", f"{figures.failed:,}")]
    shown.append(("rows left", "unknown" if facts.left is None else f"{facts.left:,}"))
    if facts.earlier:
        shown.append(("rows that had a line before", f"{facts.earlier:,}"))
    if progress is not None and progress.from_ledger:
        shown.append(("of complete, from the ledger", f"{progress.from_ledger:,}"))
    if progress is not None and progress.maybe_paid_twice:
        shown.append(("maybe paid twice", f"{progress.maybe_paid_twice:,}"))
    shown.append(("time", shown_time(figures.seconds)))
    return shown


def _faults(faults: dict[str, Fault]) -> str:
    if not faults:
        return "<p>No row failed.</p>"
    most = sorted(faults.items(), key=lambda fault: -fault[1].rows)
    rows = [
        (
            kind,
            f"{fault.rows:,}",
            ", ".join(fault.named) + (", …" if fault.rows > len(fault.named) else ""),
            fault.message,
        )
        for kind, fault in most
    ]
    return table(("kind", "rows", "custom_id", "the first one says"), rows)


def _retries(figures: BatchFigures) -> str:
    count = 0 if figures.progress is None else figures.progress.retries
    text = f"<p>{count:,} requests were attempts beyond the first of their row.</p>"
    progress = figures.progress
    if progress is not None and progress.hedged:
        text += (
            f"<p>{progress.hedged:,} requests were hedged: sent a second time, as their content was late. "
            f"{progress.hedges_won:,} times the second one brought the answer. What the other ones cost is unknown.</p>"
        )
    if not figures.retries:
        return text
    rows = [(reason, f"{times:,}") for reason, times in figures.retries.most_common()]
    return text + table(("why, for rows that have ended", "attempts"), rows)


def _spent(figures: BatchFigures) -> list[tuple[str, str]]:
    progress = figures.progress
    if progress is None:
        return [("tokens", "unknown"), ("cost", "unknown")]
    shown = [("input tokens", f"{progress.prompt_tokens:,}"), ("output tokens", f"{progress.completion_tokens:,}")]
    if figures.uncounted:
        shown.append(("answers without a count of tokens", f"{figures.uncounted:,}"))
    shown.append(("cost", "unknown" if progress.cost is None else f"{progress.cost:,.4f}"))
    if progress.cost is not None and figures.costs["unknown"]:
        shown.append(("answers of unknown cost, not in it", f"{figures.costs['unknown']:,}"))
    return shown


def _sources(figures: BatchFigures) -> str:
    said = "Attempts that broke off are in it where the server told their tokens."
    if figures.progress is None or figures.progress.cost is None:
        said = "Nobody said what the answers cost: --price or --cost tells it."
    rows = [(text, f"{figures.costs[source]:,}") for source, text in _COST_SOURCES.items() if figures.costs[source]]
    return f"<p>{said}</p>" + (table(("what an answer cost is", "answers"), rows) if rows else "")


def _models(figures: BatchFigures) -> str:
    if not figures.models:
        return "<p>No model was asked.</p>"
    return table(("model", "rows"), [(model, f"{rows:,}") for model, rows in figures.models.most_common()])


def _cards(shown: Sequence[tuple[str, str]]) -> str:
    return (
        "<dl>"
        + "".join(f"<div><dt>{markup(name)}</dt><dd>{markup(value)}</dd></div>" for name, value in shown)
        + "</dl>"
    )


def _moment(moment: datetime) -> str:
    local = moment.astimezone()
    return f'<time datetime="{moment.isoformat(timespec="seconds")}">{local:%Y-%m-%d %H:%M:%S} {local:%z}</time>'


# Okabe and Ito's colours, which people who see colours differently can tell apart.
_STYLE: Final = """
:root{--text:#1b1f24;--quiet:#57606a;--page:#fff;--card:#f3f5f7;--line:#d5dae0;--done:#0072b2;--failed:#d55e00;--area:#a9d3ec}
@media (prefers-color-scheme:dark){:root{--text:#e6e8eb;--quiet:#a0a9b4;--page:#14171b;--card:#1f242a;--line:#3a424c;
--done:#56b4e9;--failed:#e69f00;--area:#1f4f6b}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--text);font:1rem/1.5 system-ui,sans-serif;overflow-wrap:anywhere}
main{max-width:60rem;margin:auto;padding:1rem}
h1{font-size:1.5rem;line-height:1.25;margin:.5rem 0}
h2{font-size:1.2rem;margin:2rem 0 .25rem}
p{margin:.25rem 0 .75rem}
.ended{border-left:.3rem solid var(--failed);padding:.25rem .75rem}
.ended.whole{border-color:var(--done)}
dl{display:grid;grid-template-columns:repeat(auto-fit,minmax(8.5rem,1fr));gap:.5rem;margin:.5rem 0}
dl div{background:var(--card);padding:.5rem .75rem;border-radius:.4rem}
dt{color:var(--quiet);font-size:.85rem}
dd{margin:0;font-size:1.25rem;font-variant-numeric:tabular-nums}
.chart{font-size:.8rem;color:var(--quiet)}
.unit{margin:0}
.plot{position:relative;height:13rem;margin:.6rem .5rem 1.8rem 3.5rem}
.plot svg{display:block;width:100%;height:100%;overflow:visible}
.plot path{vector-effect:non-scaling-stroke;fill:none}
.plot .grid{stroke:var(--line)}
.plot .done{fill:var(--done)}
.plot .failed{fill:var(--failed)}
.plot .running{fill:var(--area)}
.plot .allowed{stroke:var(--done);stroke-width:2}
.plot .line{stroke:var(--text);stroke-dasharray:4 3}
.xs span,.ys span,.marks span{position:absolute;white-space:nowrap;line-height:1}
.xs span{top:calc(100% + .5rem);transform:translateX(-50%)}
.ys span{right:calc(100% + .5rem);transform:translateY(50%)}
.marks .percentile{color:var(--text);background:var(--page);padding:.1em .3em;margin:0 .2em}
.marks .mark{transform:translate(-50%,50%);width:1.5em;line-height:1.5em;border-radius:50%;text-align:center;
background:var(--text);color:var(--page)}
.legend{display:flex;flex-wrap:wrap;gap:.25rem 1rem;list-style:none;margin:0 0 .75rem;padding:0;font-size:.85rem}
.legend i{display:inline-block;width:.8em;height:.8em;margin-right:.4em;background:var(--done)}
.legend .failed{background:var(--failed)}
.legend .running{background:var(--area)}
.legend .allowed{height:.2em;vertical-align:.25em}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:.9rem}
th,td{text-align:left;vertical-align:top;padding:.3rem .75rem .3rem 0;border-bottom:1px solid var(--line)}
th{color:var(--quiet);font-weight:600;white-space:nowrap}
td{overflow-wrap:break-word}
.short{white-space:nowrap}
.long{min-width:12rem;max-width:24rem}
details{margin:.5rem 0}
summary{cursor:pointer}
footer{margin-top:2.5rem;color:var(--quiet);font-size:.85rem}
"""
