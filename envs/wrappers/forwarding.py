"""Attributes of a wrapped vector env, as if they were the wrapper's own."""

from __future__ import annotations

from typing import Any


class Forwarding:
    """Base of vector-env wrappers: what neither the wrapper nor its class has is asked of ``env``."""

    env: Any

    def __getattr__(self, name: str) -> Any:
        if name == "env":  # not set yet: copied or unpickled
            raise AttributeError(name)
        return getattr(self.env, name)
