from __future__ import annotations

from typing import Any

import dspy
import litellm

from tests.frameworks.programs import MODEL, PROMPT, City, weather


class Program:
    def __init__(self, client: Any) -> None:
        # dspy sends by litellm, which takes one client for all.
        litellm.aclient_session = client._client
        self.model = dspy.LM(
            f"openai/{MODEL}", api_key=client.api_key, api_base=str(client.base_url), cache=False, num_retries=0
        )

    async def plain(self) -> str:
        return (await self.model.acall(PROMPT))[0]

    async def streamed(self) -> str:
        with dspy.context(lm=self.model):
            ask = dspy.streamify(
                dspy.Predict("question -> answer"), stream_listeners=[dspy.streaming.StreamListener("answer")]
            )
            last = None
            async for part in ask(question=PROMPT):
                last = part
        return last.answer

    async def tools(self) -> str:
        with dspy.context(lm=self.model):
            return (await dspy.ReAct("question -> answer", tools=[weather]).acall(question=PROMPT)).answer

    async def structured(self) -> City:
        with dspy.context(lm=self.model, adapter=dspy.JSONAdapter()):
            return (
                await dspy.Predict("question -> city: City", custom_types={"City": City}).acall(question=PROMPT)
            ).city


make = Program
