"""What pytest must know before it meets a suite; the package's entry point loads it in every project."""

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker that the suites' tests carry, so that `--strict-markers` knows it."""
    config.addinivalue_line("markers", "requirement(*numbers): the ecproc requirements that the test proves")
