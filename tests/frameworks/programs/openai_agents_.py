from __future__ import annotations

from typing import Any

from agents import Agent, OpenAIChatCompletionsModel, Runner, function_tool, set_tracing_disabled

from tests.frameworks.programs import MODEL, PROMPT, City, weather


class Program:
    def __init__(self, client: Any) -> None:
        set_tracing_disabled(True)
        self.model = OpenAIChatCompletionsModel(MODEL, openai_client=client)

    def agent(self, **options: Any) -> Agent:
        return Agent(name="comet", model=self.model, **options)

    async def plain(self) -> str:
        return (await Runner.run(self.agent(), PROMPT)).final_output

    async def streamed(self) -> str:
        result = Runner.run_streamed(self.agent(), PROMPT)
        return "".join(
            [
                event.data.delta
                async for event in result.stream_events()
                if event.type == "raw_response_event" and event.data.type == "response.output_text.delta"
            ]
        )

    async def tools(self) -> str:
        return (await Runner.run(self.agent(tools=[function_tool(weather)]), PROMPT)).final_output

    async def structured(self) -> City:
        return (await Runner.run(self.agent(output_type=City), PROMPT)).final_output


make = Program
