"""One request of the chat completions protocol and what is taken out of its reply: the same live and in a batch."""

from __future__ import annotations

from typing import Any

from cefm_core.config import ReportConfig

Messages = list[dict[str, str]]

FORMATS = ("json_schema", "json_object", "plain")
"""How an endpoint is asked for JSON, strictest first; the first that it accepts serves the rest of the run."""
# A low estimate, so that a budget is kept also where the endpoint counts no tokens.
_CHARACTERS_PER_TOKEN = 3


def request_body(config: ReportConfig, messages: Messages, schema: dict[str, Any], form: str) -> dict[str, Any]:
    """Return the body of a request.

    Args:
        config: Model and sampling.
        messages: Chat messages.
        schema: JSON schema of the answer.
        form: One of ``FORMATS``.
    """
    body = {"model": config.llm_model, "messages": messages, "max_tokens": config.max_tokens, "temperature": config.temperature}
    if form == "json_schema":
        return body | {"response_format": {"type": "json_schema", "json_schema": {"name": "report", "strict": True, "schema": schema}}}
    return body | ({"response_format": {"type": "json_object"}} if form == "json_object" else {})


def plain_answer(reply: Any, prompt_tokens: int) -> dict[str, Any]:
    """Take content and counts out of a reply; reasoning fields stay behind.

    Args:
        reply: A completion, as an object of the client or as plain JSON.
        prompt_tokens: Estimate that stands where the reply counts none.

    Returns:
        ``content`` (str or None), ``finish_reason``, ``prompt_tokens``, ``completion_tokens``.

    Raises:
        ValueError: It is no completion.
    """
    choices = _field(reply, "choices")
    if not isinstance(choices, list) or not choices:
        raise ValueError("the reply holds no choices")
    content, finish_reason = _field(_field(choices[0], "message"), "content"), _field(choices[0], "finish_reason")
    content = content if isinstance(content, str) else None
    usage = _field(reply, "usage")
    return {
        "content": content,
        "finish_reason": finish_reason if isinstance(finish_reason, str) else None,
        "prompt_tokens": _count(_field(usage, "prompt_tokens"), prompt_tokens),
        "completion_tokens": _count(_field(usage, "completion_tokens"), _estimate(content or "")),
    }


def prompt_estimate(messages: Messages) -> int:
    """Return about how many tokens are asked with."""
    return _estimate("".join(message["content"] for message in messages))


def most_tokens(config: ReportConfig, prompt_tokens: int) -> int:
    """Return what an answer may cost at most."""
    return prompt_tokens + config.max_tokens


def _estimate(text: str) -> int:
    return len(text) // _CHARACTERS_PER_TOKEN + 1


def _field(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else getattr(value, name, None)


def _count(value: Any, otherwise: int) -> int:
    return value if isinstance(value, int) and value >= 0 else otherwise
