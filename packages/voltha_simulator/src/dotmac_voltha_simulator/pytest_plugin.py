"""The fixtures ``voltha_simulator``, two OLTs with two PONs of two ONUs each, twenty times faster than the real system, and
``onu_images``, ONU software over HTTP.

A test asks for another size with ``@pytest.mark.voltha_simulator(olts=1, pons=4, onus=8, …)``, the arguments of
``Simulator``. Nothing heavy is imported before the fixture is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from ._simulator import Simulator

_DEFAULTS: dict[str, Any] = {"olts": 2, "pons": 2, "onus": 2, "time_factor": 0.05}


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", "voltha_simulator(**size): arguments of the simulator that the test gets")


@pytest.fixture
def onu_images() -> Iterator[str]:
    """Where ONU software is: ``/VERSION.img`` says this version, ``/VERSION.big`` takes two seconds, ``/nope.img`` is not there."""
    from ._image_files import image_files  # noqa: PLC0415 - only for who uses the fixture

    with image_files() as address:
        yield address


try:
    from pytest_asyncio import fixture as _async_fixture
except ImportError:

    @pytest.fixture(name="voltha_simulator")
    def _voltha_simulator_unavailable() -> None:
        """Says what is missing: the fixture is asynchronous."""
        pytest.fail("the fixture voltha_simulator needs pytest-asyncio: pip install 'dotmac-voltha-simulator[test]'")

else:

    @_async_fixture
    async def voltha_simulator(request: pytest.FixtureRequest) -> AsyncIterator[Simulator]:
        """A running simulator, new for every test; ``voltha_simulator.target`` is where it listens."""
        from ._simulator import Simulator  # noqa: PLC0415 - gRPC is heavy; load it for who uses the fixture

        marker = request.node.get_closest_marker("voltha_simulator")
        size = {**_DEFAULTS, **(marker.kwargs if marker is not None else {})}
        async with Simulator(**size) as simulator:
            yield simulator
