"""What every suite stands on: its async tests run on asyncio, whatever the project that runs them has set."""

from __future__ import annotations

import pytest


class Suite:
    """The base of the suites. Async fixtures of any scope may be used beside it."""

    pytestmark = pytest.mark.anyio

    @pytest.fixture(scope="session")
    @staticmethod
    def anyio_backend() -> str:
        """Name asyncio, the one backend that ecproc runs on."""
        return "asyncio"
