"""Redaction hooks."""

NUMBER = 7


def mask(prompt: str) -> str | None:
    return None if prompt.startswith("drop") else prompt.replace("secret", "******")


def fail(prompt: str) -> str:
    raise ValueError(prompt)


def give_bytes(prompt: str) -> bytes:
    return prompt.encode()
