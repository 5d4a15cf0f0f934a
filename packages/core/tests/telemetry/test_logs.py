from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from dotmac_isp.plugins.core._scope import CallScope, current_scope
from dotmac_isp.plugins.core.errors import ConfigurationError
from dotmac_isp.plugins.core.telemetry import ScopeFilter, configure_logging, instance_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECRET = 'k9"\\\n-é'


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    for handler in [one for one in root.handlers if one not in handlers]:
        root.removeHandler(handler)
        handler.close()
    root.setLevel(level)
    structlog.reset_defaults()


class Page(io.StringIO):
    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.getvalue().splitlines()]


@pytest.fixture
def page() -> Page:
    return Page()


def without_pytests_handlers() -> None:
    """They raise where a record's arguments do not fit; a host's must not."""
    root = logging.getLogger()
    for handler in list(root.handlers):
        root.removeHandler(handler)


def hide(text: str) -> str:
    return text.replace(SECRET, "********")


def in_call(tenant: str | None, work: Callable[[], object], plugin: str = "voltha") -> None:
    token = current_scope.set(CallScope(plugin, tenant, "provision_olt", "req-1"))
    try:
        work()
    finally:
        current_scope.reset(token)


def test_a_plugins_record_says_whose_it_is_also_outside_of_calls(page: Page) -> None:
    configure_logging(stream=page)
    logger = instance_logger("voltha", "a")
    logger.info("from a thread", extra={"port": 3, "tenant": "forged"})
    in_call("a", lambda: logger.warning("in a call: %s", "ready"))
    first, second = page.records()
    assert first["event"] == "from a thread"
    assert (first["plugin"], first["tenant"], first["port"], first["level"]) == ("voltha", "a", 3, "info")
    assert "request_id" not in first
    assert second["event"] == "in a call: ready"
    assert second["logger"] == "dotmac.plugin.voltha"
    assert (second["operation"], second["request_id"]) == ("provision_olt", "req-1")


def test_a_record_does_not_take_the_request_of_another_instance(page: Page) -> None:
    configure_logging(stream=page)
    in_call("b", lambda: instance_logger("voltha", "a").info("mine"))
    (record,) = page.records()
    assert record["tenant"] == "a"
    assert "request_id" not in record


def test_records_of_libraries_that_a_plugin_calls_carry_its_instance(page: Page) -> None:
    configure_logging(stream=page)
    in_call(None, lambda: logging.getLogger("some.library").warning("retrying"))
    in_call("a", lambda: structlog.get_logger("another").warning("structured", device=1))
    logging.getLogger("host").warning("nobody's")
    first, second, third = page.records()
    assert (first["plugin"], first["tenant"], first["operation"]) == ("voltha", "-", "provision_olt")
    assert (second["event"], second["device"], second["tenant"]) == ("structured", 1, "a")
    assert "plugin" not in third


def test_a_hosts_own_format_may_name_the_fields_always(page: Page) -> None:
    handler = logging.StreamHandler(page)
    handler.addFilter(ScopeFilter())
    handler.setFormatter(logging.Formatter("%(plugin)s %(tenant)s %(operation)s %(request_id)s %(message)s"))
    logging.getLogger().addHandler(handler)
    logging.getLogger("host").error("one")
    in_call("a", lambda: logging.getLogger("library").error("two"))
    instance_logger("voltha", None).error("three")
    assert page.getvalue().splitlines() == [
        "- - - - one",
        "voltha a provision_olt req-1 two",
        "voltha - - - three",
    ]


def test_each_record_is_one_line_of_json_whatever_it_holds(page: Page) -> None:
    without_pytests_handlers()
    configure_logging(stream=page)
    logger = logging.getLogger("host")
    logger.info(
        "two\nlines \u2028 and \ud83d half", extra={"odd": {1: {2}, "o": object(), "b": b"x", "n": float("inf")}}
    )
    logger.info("%d apples", "no number")
    logger.info("100%")
    assert len(page.getvalue().splitlines()) >= 3
    records = [json.loads(line) for line in page.getvalue().split("\n") if line]
    assert len(records) == 3
    assert "its arguments do not fit" in records[1]["event"]


def test_secrets_are_written_nowhere(page: Page, capsys: pytest.CaptureFixture[str]) -> None:
    without_pytests_handlers()
    configure_logging(stream=page, redact=hide)
    logger = instance_logger("voltha", "a")
    logger.info("password %s", SECRET, extra={"login": {"user": "u", SECRET: [SECRET, (SECRET,)]}})
    logger.info("%d", SECRET)
    logger.info({"password": SECRET})
    structlog.get_logger("library").warning("structured", password=SECRET)
    try:
        try:
            raise ValueError(SECRET)
        except ValueError as error:
            error.add_note(f"with {SECRET}")
            raise RuntimeError(f"again {SECRET}") from error
    except RuntimeError:
        logger.exception("failed", stack_info=True)
    written = page.getvalue() + "".join(capsys.readouterr())
    assert "k9" not in written
    failed = page.records()[-1]
    assert "RuntimeError: again ********" in failed["exception"]
    assert "with ********" in failed["exception"]


def test_secrets_are_written_nowhere_for_people_either(page: Page) -> None:
    configure_logging(json=False, stream=page, redact=hide)
    try:
        raise ValueError(SECRET)
    except ValueError:
        instance_logger("voltha", "a").exception("password %s", SECRET, extra={"login": SECRET})
    assert "password ********" in page.getvalue()
    assert "ValueError: ********" in page.getvalue()
    assert "k9" not in page.getvalue()


def test_a_redaction_that_fails_shows_nothing(page: Page) -> None:
    def broken(text: str) -> str:
        raise KeyError(text)

    configure_logging(stream=page, redact=broken)
    logging.getLogger("host").error("password %s", SECRET)
    (record,) = page.records()
    assert record["event"] == "[left out: this record could not be redacted]"
    assert record["level"] == "error"


def test_a_record_that_cannot_be_written_does_not_show_its_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(28, "No space left on device")

    without_pytests_handlers()
    configure_logging(stream=Full())
    logging.getLogger("host").error("password %s", SECRET)
    errors = capsys.readouterr().err
    assert "a log record of host could not be written: OSError" in errors
    assert "k9" not in errors


def test_a_flood_of_one_instance_is_bounded_counted_and_harms_no_other(page: Page) -> None:
    handler = configure_logging(stream=page, rate=0.001, burst=5)
    for number in range(20):
        instance_logger("voltha", "a").info("flood %d", number)
    instance_logger("voltha", "a").error("important")
    instance_logger("voltha", "b").info("another tenant")
    for _ in range(20):
        logging.getLogger("host").info("the host")
    in_call("c", lambda: [logging.getLogger("library").info("of a library") for _ in range(6)])
    handler.close()
    events = [record["event"] for record in page.records()]
    assert [event for event in events if event.startswith("flood")] == [f"flood {n}" for n in range(5)]
    assert "important" in events
    assert "another tenant" in events
    assert events.count("the host") == 20
    assert events.count("of a library") == 5
    said = {(r["tenant"], r["dropped"]) for r in page.records() if "dropped" in r}
    assert said == {("a", 15), ("c", 1)}
    assert "15 records of voltha@a were left out: more than 0.001 a second" in events


def test_what_was_dropped_is_said_as_soon_as_there_is_room(page: Page) -> None:
    configure_logging(stream=page, rate=1e9, burst=1)
    logger = instance_logger("voltha", "a")
    handler = logging.getLogger().handlers[-1]
    handler._limit.rate = 0.0  # type: ignore[attr-defined]
    for number in range(4):
        logger.info("%d", number)
    handler._limit.rate = 1e9  # type: ignore[attr-defined]
    logging.getLogger("host").info("any other")
    events = [record["event"] for record in page.records()]
    assert events[0] == "0"
    assert events[1].startswith("3 records of voltha@a were left out")
    assert events[2] == "any other"


def test_a_second_call_replaces_the_first(page: Page) -> None:
    old = Page()
    configure_logging(stream=old)
    configure_logging(stream=page, level="WARNING")
    logging.getLogger("host").info("too low")
    logging.getLogger("host").warning("once")
    assert old.getvalue() == ""
    assert [record["event"] for record in page.records()] == ["once"]


def test_neither_structlog_nor_prometheus_is_imported_before_it_is_needed() -> None:
    code = (
        "import sys; from dotmac_isp.plugins.core import telemetry; telemetry.Telemetry().instance('p', None); "
        "telemetry.instance_logger('p', None); print([m for m in ('structlog', 'prometheus_client') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "[]\n"


def test_without_structlog_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch, page: Page) -> None:
    monkeypatch.setitem(sys.modules, "structlog", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'dotmac-plugins-core\[logs\]'"):
        configure_logging(stream=page)
