"""openai's own client."""

from __future__ import annotations

import json
from typing import Any

import openai
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


def client(url: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0, timeout=60)


def user(text: str) -> Any:
    return [{"role": "user", "content": text}]


def chat(servers: Servers) -> None:
    answer = client(servers.sprig).chat.completions.create(
        model="sprig", messages=user(SUM), temperature=0
    )
    assert answer.choices[0].message.content == ANSWER
    assert answer.usage is not None
    assert answer.usage.completion_tokens > 0


def stream(servers: Servers) -> None:
    chunks = list(
        client(servers.sprig).chat.completions.create(
            model="sprig",
            messages=user(SUM),
            temperature=0,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    texts = [chunk.choices[0].delta.content or "" for chunk in chunks[:-1]]
    assert "".join(texts) == ANSWER
    assert len(texts) > 5
    assert chunks[-1].usage is not None


def tools(servers: Servers) -> None:
    asked = user(WEATHER)
    given: Any = {"model": "sprig", "temperature": 0, "tools": [tool()]}
    create = client(servers.sprig).chat.completions.create
    message = create(messages=asked, **given).choices[0].message
    [call] = message.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == (
        "weather",
        {"city": "Paris"},
    )
    asked += [message, {"role": "tool", "tool_call_id": call.id, "content": "sunny, 21 degrees"}]
    assert "sunny" in create(messages=asked, **given).choices[0].message.content


def parallel_tools(servers: Servers) -> None:
    asked: Any = {
        "model": "random",
        "messages": user(WEATHER),
        "tools": [tool(*CITIES)],
        "tool_choice": "required",
    }
    completions = client(servers.random).chat.completions
    for seed in range(20):
        message = completions.create(**asked, seed=seed).choices[0].message
        if len(message.tool_calls or []) > 1:
            break
    with completions.stream(**asked, seed=seed) as events:
        streamed = events.get_final_completion().choices[0].message
    check_calls(*(_calls(told.tool_calls) for told in (message, streamed)))


def _calls(calls: Any) -> list[tuple[str, Any]]:
    return [(call.function.name, json.loads(call.function.arguments)) for call in calls]


def parse(servers: Servers) -> None:
    answer = client(servers.sprig).chat.completions.parse(
        model="sprig", messages=user(IDA), temperature=0, response_format=Person
    )
    assert answer.choices[0].message.parsed == Person(name="Ida", age=41, city="Bergen")


def embeddings(servers: Servers) -> None:
    answer = client(servers.sprig).embeddings.create(model="sprig", input=["one", "two", "one"])
    first, second, third = (one.embedding for one in answer.data)
    check_vectors(first, second, third)


def at_once(servers: Servers) -> None:
    shared = client(servers.sprig)

    def ask(text: str) -> str:
        answer = shared.chat.completions.create(
            model="sprig", messages=user(text), max_tokens=4, temperature=0
        )
        return answer.choices[0].message.content or ""

    check_many(ask)


if __name__ == "__main__":
    main(globals())
