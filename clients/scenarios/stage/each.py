"""Scenarios that are played with each language, side by side: most of their time is waiting."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from stage.agent import LANGUAGES


def each_language(scenario: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """Make a test of a scenario, which is given a `stage` and a `language`.

    Where it asks for `other`, that is the language of whoever comes next: each follows each other
    one somewhere. Anything else that it asks for is a fixture or a parameter.
    """
    asked = inspect.signature(scenario).parameters
    own = {"stage", "language", "other"}

    async def play(stages: dict[str, Any], **more: Any) -> None:
        async def with_one(language: str) -> None:
            other = LANGUAGES[(LANGUAGES.index(language) + 1) % len(LANGUAGES)]
            given = {"stage": stages[language], "language": language, "other": other}
            try:
                await scenario(**{name: given[name] for name in asked if name in own}, **more)
            except BaseException as error:
                error.add_note(f"with the client in {language}")
                await stages[language].give_up()
                raise

        played = await asyncio.gather(*map(with_one, stages), return_exceptions=True)
        errors = [error for error in played if isinstance(error, BaseException)]
        # Who waited for one that failed did not fail.
        errors.sort(key=lambda error: isinstance(error, asyncio.BrokenBarrierError))
        if errors:
            raise errors[0]

    fixtures = [each for name, each in asked.items() if name not in own]
    stages = inspect.Parameter("stages", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    play.__signature__ = inspect.Signature([stages, *fixtures])  # type: ignore[attr-defined]
    play.__name__ = scenario.__name__
    play.__doc__ = scenario.__doc__
    return play
