"""What a whole completion holds beside text and calls: sources, files, token counts, in the form that browsers take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from cometstream.views.view import list_of_dicts

if TYPE_CHECKING:
    from cometstream.views.chunks import CompletionUsage
    from cometstream.views.completion import ChatCompletion

__all__ = ["files_of", "sources_of", "usage_of"]

# What a page may load or link to; a model that writes `javascript:` is not obeyed.
_LINKS: Final = ("https://", "http://")


def sources_of(completion: ChatCompletion) -> list[dict[str, Any]]:
    """Return the web pages that the answer cites, each once: ``url``, and ``title`` where there is one."""
    found: dict[str, dict[str, Any]] = {}
    for annotation in list_of_dicts(_message(completion).get("annotations")):
        cited = annotation.get("url_citation")
        if isinstance(cited, dict):
            _add(found, cited.get("url"), cited.get("title"))
    # Perplexity and others list them beside the choices.
    listed = completion.raw.get("citations")
    for url in listed if isinstance(listed, list) else ():
        _add(found, url, None)
    return list(found.values())


def files_of(completion: ChatCompletion) -> list[dict[str, str]]:
    """Return the images of the answer: ``url`` and ``mediaType``."""
    files = []
    for image in list_of_dicts(_message(completion).get("images")):
        holder = image.get("image_url")
        url = holder.get("url") if isinstance(holder, dict) else holder
        if isinstance(url, str) and url.startswith("data:image/"):
            files.append({"url": url, "mediaType": url[5:].partition(";")[0].partition(",")[0]})
        elif isinstance(url, str) and url.startswith(_LINKS):
            files.append({"url": url, "mediaType": "image/*"})
    return files


def usage_of(usage: CompletionUsage | None) -> dict[str, int]:
    """Return the token counts under the names of AI SDK and AG-UI; ``{}`` where the server reported none."""
    if usage is None:
        return {}
    inner, outer = usage.completion_tokens_details, usage.prompt_tokens_details
    counts = {
        "inputTokens": usage.prompt_tokens,
        "outputTokens": usage.completion_tokens,
        "totalTokens": usage.total_tokens,
        "reasoningTokens": None if inner is None else inner.reasoning_tokens,
        "cachedInputTokens": None if outer is None else outer.cached_tokens,
    }
    return {name: count for name, count in counts.items() if isinstance(count, int) and 0 <= count < 2**53}


def _message(completion: ChatCompletion) -> dict[str, Any]:
    return completion.choices[0].message.raw if completion.choices else {}


def _add(found: dict[str, dict[str, Any]], url: object, title: object) -> None:
    if isinstance(url, str) and url.startswith(_LINKS) and url not in found:
        found[url] = {"url": url, "title": title} if isinstance(title, str) and title else {"url": url}
