"""langchain-openai."""

from __future__ import annotations

import os
from functools import reduce
from operator import add
from typing import Any

os.environ["LANGSMITH_TRACING"] = "false"

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
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI, OpenAIEmbeddings


def model(url: str, name: str = "sprig", **options: Any) -> ChatOpenAI:
    given = {"temperature": 0, "max_retries": 0, "timeout": 60, **options}
    return ChatOpenAI(base_url=f"{url}/v1", api_key="x", model=name, **given)


def chat(servers: Servers) -> None:
    answer = model(servers.sprig).invoke(SUM)
    assert answer.content == ANSWER
    assert answer.usage_metadata["output_tokens"] > 0


def stream(servers: Servers) -> None:
    chunks = list(model(servers.sprig, stream_usage=True).stream(SUM))
    assert "".join(chunk.content for chunk in chunks) == ANSWER
    assert len(chunks) > 5
    assert reduce(add, chunks).usage_metadata["output_tokens"] > 0


def tools(servers: Servers) -> None:
    able = model(servers.sprig).bind_tools([tool()])
    asked: list[Any] = [HumanMessage(WEATHER)]
    message = able.invoke(asked)
    [call] = message.tool_calls
    assert (call["name"], call["args"]) == ("weather", {"city": "Paris"})
    asked += [message, ToolMessage("sunny, 21 degrees", tool_call_id=call["id"])]
    assert "sunny" in able.invoke(asked).content


def parallel_tools(servers: Servers) -> None:
    for seed in range(20):
        able = model(servers.random, "random", temperature=1, seed=seed)
        able = able.bind_tools([tool(*CITIES)], tool_choice="required")
        message = able.invoke(WEATHER)
        if len(message.tool_calls) > 1:
            break
    streamed = reduce(add, able.stream(WEATHER))
    check_calls(*([(c["name"], c["args"]) for c in m.tool_calls] for m in (message, streamed)))


def parse(servers: Servers) -> None:
    made = model(servers.sprig).with_structured_output(Person).invoke(IDA)
    assert made == Person(name="Ida", age=41, city="Bergen")


def embeddings(servers: Servers) -> None:
    made = OpenAIEmbeddings(
        base_url=f"{servers.sprig}/v1", api_key="x", model="sprig", check_embedding_ctx_length=False
    )
    first, second, third = made.embed_documents(["one", "two", "one"])
    check_vectors(first, second, third)
    check_vectors(first, second, made.embed_query("one"))


def at_once(servers: Servers) -> None:
    shared = model(servers.sprig, max_tokens=4)
    check_many(lambda text: str(shared.invoke(text).content))


if __name__ == "__main__":
    main(globals())
