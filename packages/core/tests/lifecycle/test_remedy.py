"""The remedy of a failure is a decision over values."""

from __future__ import annotations

import pytest

from dotmac_isp.plugins.core import PluginState
from dotmac_isp.plugins.core.lifecycle._remedy import remedy_for
from dotmac_isp.plugins.core.model import Failure, FailureKind


def failure(kind: FailureKind) -> Failure:
    return Failure(plugin_id="one", tenant_id="t", operation="activate", kind=kind, message="no light")


@pytest.mark.parametrize(
    ("kind", "state", "tries"),
    [
        (FailureKind.NOT_READY, PluginState.RETRYING, True),
        (FailureKind.CREDENTIALS, PluginState.AWAITING_SECRET, False),
        (FailureKind.CONFIGURATION, PluginState.MISCONFIGURED, False),
        (FailureKind.PERMISSION, PluginState.DISABLED, False),
        (FailureKind.LICENCE, PluginState.DISABLED, False),
        (FailureKind.CANCELLED, PluginState.FAILED, False),
        (FailureKind.ERROR, PluginState.FAILED, True),
        (FailureKind.PROCESS_ENDED, PluginState.FAILED, True),
    ],
)
def test_each_class_of_failure_has_its_remedy(kind: FailureKind, state: PluginState, tries: bool) -> None:
    for wanted in (True, False):
        remedy = remedy_for(failure(kind), gave_up_after=None, wanted_active=wanted, attempts=0, first=5.0)
        assert (remedy.state, remedy.reason) == (state, "activate: no light")
        assert (remedy.retry_after is not None) is (tries and wanted), "what nobody wants active is not tried again"


def test_the_first_try_after_a_process_ended_comes_soon_and_the_next_ones_with_backoff() -> None:
    delays = [
        remedy_for(failure(FailureKind.PROCESS_ENDED), gave_up_after=None, wanted_active=True, attempts=n, first=5.0)
        for n in range(4)
    ]
    seconds = [one.retry_after or 0.0 for one in delays]
    assert 0.2 <= seconds[0] <= 0.22
    assert [5 * 2**n <= seconds[n] <= 5.5 * 2**n for n in (1, 2, 3)] == [True] * 3


def test_giving_up_names_the_last_failure() -> None:
    remedy = remedy_for(failure(FailureKind.ERROR), gave_up_after=3, wanted_active=True, attempts=2, first=5.0)
    assert remedy.state is PluginState.DISABLED
    assert remedy.reason == "gave up after 3 failures; the last: activate: no light"
    assert remedy.retry_after is None
