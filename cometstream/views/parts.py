"""Typed views of the smaller parts of an answer: log probabilities, audio, annotations."""

from __future__ import annotations

from cometstream.views.view import View, int_or_none, list_of_dicts, text_or_none, view_or_none

__all__ = [
    "Annotation",
    "AnnotationURLCitation",
    "ChatCompletionAudio",
    "ChatCompletionTokenLogprob",
    "ChoiceLogprobs",
    "TopLogprob",
]


class TopLogprob(View):
    """One token that the model might have written, and how likely it was."""

    __slots__ = ()

    @property
    def token(self) -> str:
        """The token's text."""
        return text_or_none(self._raw.get("token")) or ""

    @property
    def logprob(self) -> float | None:
        """The natural logarithm of its probability; None where the server wrote none."""
        logprob = self._raw.get("logprob")
        return logprob if isinstance(logprob, (int, float)) and not isinstance(logprob, bool) else None

    @property
    def bytes(self) -> list[int] | None:
        """The token as UTF-8, for characters that are spread over several tokens."""
        octets = self._raw.get("bytes")
        whole = isinstance(octets, list) and all(octet.__class__ is int for octet in octets)
        return octets if whole else None


class ChatCompletionTokenLogprob(TopLogprob):
    """One token of the answer with its probability, and the likeliest others at its place."""

    __slots__ = ()

    @property
    def top_logprobs(self) -> list[TopLogprob]:
        """The likeliest tokens at this place, as many as ``top_logprobs`` asked for."""
        return [TopLogprob(top) for top in list_of_dicts(self._raw.get("top_logprobs"))]


class ChoiceLogprobs(View):
    """The log probabilities of a choice."""

    __slots__ = ()

    @property
    def content(self) -> list[ChatCompletionTokenLogprob] | None:
        """Those of the text's tokens; None if none came."""
        return self._tokens("content")

    @property
    def refusal(self) -> list[ChatCompletionTokenLogprob] | None:
        """Those of the refusal's tokens; None if none came."""
        return self._tokens("refusal")

    def _tokens(self, name: str) -> list[ChatCompletionTokenLogprob] | None:
        tokens = self._raw.get(name)
        return [ChatCompletionTokenLogprob(token) for token in list_of_dicts(tokens)] if tokens is not None else None


class ChatCompletionAudio(View):
    """Audio of an answer, or the piece of it that a chunk brings."""

    __slots__ = ()

    @property
    def id(self) -> str | None:
        """Its id, to refer to it in a later turn."""
        return text_or_none(self._raw.get("id"))

    @property
    def data(self) -> str | None:
        """The sound, base64."""
        return text_or_none(self._raw.get("data"))

    @property
    def transcript(self) -> str | None:
        """What is said."""
        return text_or_none(self._raw.get("transcript"))

    @property
    def expires_at(self) -> int | None:
        """Unix time in seconds until which the id is good."""
        return int_or_none(self._raw.get("expires_at"))


class AnnotationURLCitation(View):
    """A citation of a web page."""

    __slots__ = ()

    @property
    def url(self) -> str:
        """The page."""
        return text_or_none(self._raw.get("url")) or ""

    @property
    def title(self) -> str:
        """Its title."""
        return text_or_none(self._raw.get("title")) or ""

    @property
    def start_index(self) -> int | None:
        """Where in the text the citation begins, in characters."""
        return int_or_none(self._raw.get("start_index"))

    @property
    def end_index(self) -> int | None:
        """Where it ends."""
        return int_or_none(self._raw.get("end_index"))


class Annotation(View):
    """A remark on the text that the provider adds."""

    __slots__ = ()

    @property
    def type(self) -> str:
        """``"url_citation"``, or a kind the provider adds."""
        return text_or_none(self._raw.get("type")) or ""

    @property
    def url_citation(self) -> AnnotationURLCitation | None:
        """The citation, where the annotation is one."""
        return view_or_none(AnnotationURLCitation, self._raw.get("url_citation"))
