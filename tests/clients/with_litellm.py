"""litellm."""

from __future__ import annotations

import json
import os
from typing import Any

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # nothing is fetched

import litellm
from checks import (
    ANSWER,
    CITIES,
    IDA,
    SUM,
    WEATHER,
    Person,
    Servers,
    check_calls,
    check_many,
    check_vectors,
    main,
    tool,
)


def ask(url: str, messages: Any, name: str = "sprig", **options: Any) -> Any:
    if isinstance(messages, str):
        messages = [{"role": "user", "content": messages}]
    given = {"temperature": 0, "max_retries": 0, "timeout": 60, **options}
    return litellm.completion(
        model=f"openai/{name}", api_base=f"{url}/v1", api_key="x", messages=messages, **given
    )


def chat(servers: Servers) -> None:
    answer = ask(servers.sprig, SUM)
    assert answer.choices[0].message.content == ANSWER
    assert answer.usage.completion_tokens > 0


def stream(servers: Servers) -> None:
    chunks = list(ask(servers.sprig, SUM, stream=True, stream_options={"include_usage": True}))
    assert len(chunks) > 5
    whole = litellm.stream_chunk_builder(chunks)
    assert whole.choices[0].message.content == ANSWER
    assert whole.usage.completion_tokens > 0


def tools(servers: Servers) -> None:
    asked: list[Any] = [{"role": "user", "content": WEATHER}]
    message = ask(servers.sprig, asked, tools=[tool()]).choices[0].message
    [call] = message.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == (
        "weather",
        {"city": "Paris"},
    )
    asked += [message, {"role": "tool", "tool_call_id": call.id, "content": "sunny, 21 degrees"}]
    answer = ask(servers.sprig, asked, tools=[tool()])
    assert "sunny" in answer.choices[0].message.content


def parallel_tools(servers: Servers) -> None:
    given: Any = {"tools": [tool(*CITIES)], "tool_choice": "required", "temperature": 1}
    for seed in range(20):
        message = ask(servers.random, WEATHER, "random", seed=seed, **given).choices[0].message
        if len(message.tool_calls) > 1:
            break
    chunks = ask(servers.random, WEATHER, "random", seed=seed, stream=True, **given)
    streamed = litellm.stream_chunk_builder(list(chunks)).choices[0].message
    check_calls(*(_calls(told.tool_calls) for told in (message, streamed)))


def _calls(calls: Any) -> list[tuple[str, Any]]:
    return [(call.function.name, json.loads(call.function.arguments)) for call in calls]


def parse(servers: Servers) -> None:
    answer = ask(servers.sprig, IDA, response_format=Person)
    made = Person.model_validate_json(answer.choices[0].message.content)
    assert made == Person(name="Ida", age=41, city="Bergen")


def embeddings(servers: Servers) -> None:
    answer = litellm.embedding(
        model="openai/sprig",
        api_base=f"{servers.sprig}/v1",
        api_key="x",
        input=["one", "two", "one"],
    )
    first, second, third = (one["embedding"] for one in answer.data)
    check_vectors(first, second, third)


def at_once(servers: Servers) -> None:
    check_many(lambda text: ask(servers.sprig, text, max_tokens=4).choices[0].message.content)


if __name__ == "__main__":
    main(globals())
