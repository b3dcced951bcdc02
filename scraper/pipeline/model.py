"""What of the model client the pipeline uses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from scraper.deadline import Deadline
from scraper.models import Json, Usage
from scraper.pipeline.prompt import Message
from scraper.trace import Trace


class Reply(Protocol):
    @property
    def text(self) -> str: ...
    @property
    def finish_reason(self) -> str | None: ...
    @property
    def model(self) -> str | None: ...
    @property
    def usage(self) -> Usage: ...
    @property
    def stopped(self) -> str | None:
        """What the answer did without end, where it was hung up on."""
        ...


class ServedModel(Protocol):
    @property
    def max_model_len(self) -> int | None: ...


class Model(Protocol):
    async def chat(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int,
        response_format: Mapping[str, Json],
        sampling: Mapping[str, Json],
        max_depth: int,
        deadline: Deadline,
        trace: Trace,
    ) -> Reply: ...

    async def served_model(self, *, deadline: Deadline, trace: Trace) -> ServedModel: ...

    async def count_tokens(self, messages: Sequence[Message]) -> int | None:
        """Tokens of the prompt with its chat template; None where the server cannot say."""
        ...
