"""Dashboards: what they understand, as files, on paper, under a link, and live in a real browser."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import ClientSession

from dotmac_isp.plugins.monitoring.analytics_events_plugin import EventError
from dotmac_isp.plugins.monitoring.analytics_events_plugin.collector.dashboards import TEMPLATES, parse_dashboard

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
HOSTILE = "</script><img src=x onerror=\"document.title='broken'\">'\"${x}"


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_ready_made_dashboard_is_one(name: str) -> None:
    made = parse_dashboard({"template": name})
    assert (made.title, len(made.panels) >= 9) == (TEMPLATES[name]["title"], True)
    assert parse_dashboard({"template": name, "title": "Ours"}).title == "Ours"


def test_panels_share_named_questions_and_choose_their_chart() -> None:
    made = parse_dashboard(
        {
            "queries": {"money": {"metric": "sum", "field": "amount"}, "way": {"kind": "funnel", "steps": ["a", "b"]}},
            "panels": [
                {"query": "money", "group_by": ["currency"], "chart": "bar"},
                {"query": "way"},
                {"query": {"kind": "retention", "event": "a"}},
                {"kind": "timeline"},
                {"query": "money", "spec": {"mark": "point", "encoding": {"y": {"field": "value"}}}},
            ],
        }
    )
    assert [panel.chart for panel in made.panels] == ["bar", "funnel", "heatmap", "table", "vega"]
    assert made.panels[0].question == {"metric": "sum", "field": "amount", "group_by": ["currency"]}


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"template": "kitchen"}, "template: 'kitchen' given, expected one of network_operations, sales, support"),
        ({"panels": [{"kind": "funnel", "steps": ["a", "b"], "chart": "line"}]}, "a question of kind funnel"),
        ({"panels": [{"chart": "funnel"}]}, "a question of kind events"),
        ({"panels": [{"chart": "vega"}]}, r"panels\[0\].spec: nothing given"),
        ({"panels": [{"spec": {"data": {"url": "http://x"}, "mark": "bar"}}]}, "data"),
        ({"panels": [{"spec": {"mark": {"type": "image"}}}]}, "no picture"),
        ({"panels": [{"spec": {"layer": [{"encoding": {"href": {"field": "x"}}}]}}]}, "without addresses"),
        ({"panels": [{"spec": {"mark": "bar", "x": "y" * 70_000}}]}, "at most 65536"),
        ({"panels": [{}] * 25}, "at most 24 panels"),
        ({"colour": "red"}, "dashboard.colour"),
    ],
)
def test_a_dashboard_that_makes_no_sense_says_why(config: dict[str, Any], words: str) -> None:
    with pytest.raises(EventError, match=words):
        parse_dashboard(config)


def read(path: str) -> bytes:
    return Path(path).read_bytes()


async def tracked(plugin: Any) -> None:
    now = time.time()
    await plugin.track_events_batch(
        [
            {
                "event_name": "visit",
                "user_id": f"u{n % 7}",
                "timestamp": now - n * 600,
                "properties": {"page": f"/p{n % 3}", "ms": n},
            }
            for n in range(60)
        ]
        + [{"event_name": HOSTILE[:40], "user_id": HOSTILE, "properties": {"page": HOSTILE}}]
    )


CONFIG: dict[str, Any] = {
    "title": f"Ours {HOSTILE}",
    "refresh": "2s",
    "panels": [
        {"title": "Visits", "metric": "visit", "chart": "number"},
        {"title": "Over time", "chart": "area", "group_by": ["event_name"]},
        {"title": HOSTILE, "chart": "bar", "group_by": ["page"]},
        {"title": "Back", "kind": "retention", "event": "visit"},
        {"title": "Latest", "kind": "timeline", "limit": 5},
        {"title": "Own", "spec": {"mark": "point", "encoding": {"y": {"field": "value"}}}, "group_by": ["page"]},
        {"title": "Wrong", "chart": "number", "where": {"page": {"matches": "("}}},
    ],
}


async def test_a_dashboard_goes_on_paper_and_into_a_picture(shared: Any, charts: None) -> None:
    pypdf = pytest.importorskip("pypdf", reason="pypdf is not installed (extra 'reports')")
    plugin = await shared.started()
    await tracked(plugin)
    made = await plugin.create_dashboard(CONFIG)
    picture = await plugin.export_dashboard(made["id"], "png")
    head = read(picture["path"])[:24]
    assert (head[:8], int.from_bytes(head[16:20], "big")) == (b"\x89PNG\r\n\x1a\n", 1588)
    paper = await plugin.export_dashboard(made["id"], "pdf")
    text = "".join(page.extract_text() for page in pypdf.PdfReader(paper["path"]).pages)
    assert "Over time" in text
    assert "page 1 of" in text
    page = await plugin.export_dashboard(made["id"], "html")
    assert len(read(page["path"])) < 1_500_000
    with pytest.raises(EventError, match="form: 'gif' given"):
        await plugin.export_dashboard(made["id"], "gif")


async def test_a_link_shows_one_dashboard_of_one_tenant_until_it_ends(shared: Any, charts: None) -> None:
    mine, other = await shared.started("tenant_a"), await shared.started("tenant_b")
    await tracked(mine)
    await other.track_event({"event_name": "secret-of-b"})
    await other.flush()
    first, second = await mine.create_dashboard(CONFIG), await mine.create_dashboard({"title": "Second"})
    theirs = await other.create_dashboard({"title": "Theirs"})
    link = await mine.share_dashboard(first["id"], "1h")
    async with ClientSession() as session:

        async def status(url: str, **options: Any) -> int:
            async with session.get(url, **options) as answer:
                return answer.status

        async with session.get(link["url"]) as answer:
            page = await answer.text()
            policy = answer.headers["Content-Security-Policy"]
        nonce = re.search(r"'nonce-([^']+)'", policy)
        assert nonce is not None
        assert page.count("<script") == page.count(f'<script nonce="{nonce.group(1)}"') == 4
        assert "<img" not in page
        assert "secret-of-b" not in page
        assert len(page) < 100_000
        code = re.search(r'src="(/d/code/[^"]+)"', page)
        assert code is not None
        async with session.get(f"http://127.0.0.1:{shared.port}{code.group(1)}") as answer:
            assert (answer.status, "immutable" in answer.headers["Cache-Control"]) == (200, True)
        share, _, signature = link["path"].removeprefix("/d/").partition(".")
        wrong = [f"{share}.{'0' * 48}", share, f"{'0' * 32}.{signature}", f"{share}.", "x", f"{share}.\u00e9", "a.b.c"]
        for token in wrong:
            assert await status(f"http://127.0.0.1:{shared.port}/d/{token}") == 404
            assert await status(f"http://127.0.0.1:{shared.port}/d/{token}/live") == 404
        # A link is no key, and another tenant can neither see nor end it.
        bearer = {"Authorization": f"Bearer {share}.{signature}"}
        assert await status(f"http://127.0.0.1:{shared.port}/v1/dashboards", headers=bearer) == 401
        assert await other.unshare_dashboard(first["id"], link["share_id"]) is False
        assert await other.delete_dashboard(first["id"]) is False
        for call in (other.refresh_dashboard, other.share_dashboard, other.export_dashboard):
            with pytest.raises(Exception, match="there is no dashboard"):
                await call(first["id"])
        assert [one["id"] for one in await other.dashboards()] == [theirs["id"]]
        assert await mine.unshare_dashboard(first["id"], link["share_id"]) is True
        assert await status(link["url"]) == 404
        again = await mine.share_dashboard(second["id"])
        assert await status(again["url"]) == 200
        assert await mine.delete_dashboard(second["id"]) is True
        assert await status(again["url"]) == 404
        short = await mine.share_dashboard(first["id"], "1s")
        await asyncio.sleep(1.1)
        assert await status(short["url"]) == 404


# -- in a browser --------------------------------------------------------------------------------------------------------


class Browser:
    """Chromium without a screen, by its own protocol."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self._number = 0
        self.complaints: list[str] = []

    async def call(self, method: str, session: str = "", **params: Any) -> dict[str, Any]:
        self._number += 1
        wish = {"id": self._number, "method": method, "params": params}
        await self._socket.send_json(wish | ({"sessionId": session} if session else {}))
        while True:
            told = await asyncio.wait_for(self._socket.receive_json(), 30)
            if told.get("method") in {"Runtime.exceptionThrown", "Log.entryAdded", "Network.loadingFailed"}:
                self.complaints.append(json.dumps(told["params"])[:400])
            if told.get("id") == self._number:
                assert "result" in told, told
                return dict(told["result"])


class Page:
    def __init__(self, browser: Browser, session: str) -> None:
        self.browser, self.session = browser, session

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        return await self.browser.call(method, self.session, **params)

    async def value(self, expression: str) -> Any:
        told = await self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        return told["result"].get("value")

    async def until(self, expression: str) -> Any:
        for _ in range(200):
            if value := await self.value(expression):
                return value
            await asyncio.sleep(0.1)
        raise AssertionError(f"never: {expression}; {self.browser.complaints}")

    async def pixels(self) -> bytes:
        return base64.b64decode((await self.call("Page.captureScreenshot"))["data"])


@pytest.fixture
async def browser(tmp_path: Path) -> AsyncIterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no chromium is installed (Debian: apt-get install chromium)")
    process = await asyncio.create_subprocess_exec(
        *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
        *(f"--user-data-dir={tmp_path / 'chromium'}", "--remote-debugging-port=0", "about:blank"),
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(60):
            while not (found := re.search(rb"listening on (ws://\S+)", await process.stderr.readline())):
                assert process.returncode is None
        async with ClientSession() as session, session.ws_connect(found.group(1).decode(), max_msg_size=0) as socket:
            yield Browser(socket)
    finally:
        process.kill()
        await process.wait()


async def opened(browser: Browser, url: str, *, width: int = 1280, dark: bool = False) -> Page:
    target = (await browser.call("Target.createTarget", url="about:blank"))["targetId"]
    page = Page(browser, (await browser.call("Target.attachToTarget", targetId=target, flatten=True))["sessionId"])
    for domain in ("Page", "Runtime", "Log", "Network"):
        await page.call(f"{domain}.enable")
    mobile = width < 600
    await page.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=mobile)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    await page.call("Emulation.setEmulatedMedia", features=[scheme])
    await page.call("Page.navigate", url=url)
    return page


_DRAWN = "document.querySelectorAll('.chart svg.marks, .chart .vega-embed svg').length >= 4 && document.readyState === 'complete'"


@pytest.mark.slow
async def test_a_browser_shows_it_live_light_and_dark_and_on_a_telephone(
    shared: Any, charts: None, browser: Browser
) -> None:
    plugin = await shared.started()
    await tracked(plugin)
    made = await plugin.create_dashboard(CONFIG)
    link = await plugin.share_dashboard(made["id"])
    page = await opened(browser, link["url"])
    await page.until(_DRAWN)
    await page.until("document.getElementById('state').className.includes('on')")
    assert await page.value("document.title") == CONFIG["title"]
    assert await page.value("document.querySelector('#panel0 .number').firstChild.textContent") == "60"
    await plugin.track_event({"event_name": "visit"})
    await plugin.flush()
    await page.until("document.querySelector('#panel0 .number').firstChild.textContent === '61'")
    grounds = [await page.value("getComputedStyle(document.body).backgroundColor")]
    dark = await opened(browser, link["url"], dark=True)
    await dark.until(_DRAWN)
    grounds.append(await dark.value("getComputedStyle(document.body).backgroundColor"))
    assert len(set(grounds)) == 2
    telephone = await opened(browser, link["url"], width=390)
    await telephone.until(_DRAWN)
    assert await telephone.value("document.documentElement.scrollWidth") <= 390
    assert len(await telephone.pixels()) > 5_000
    assert browser.complaints == []
    assert await plugin.unshare_dashboard(made["id"], link["share_id"])
    await page.until("document.getElementById('state').textContent === 'this link has ended'")


@pytest.mark.slow
async def test_the_file_opens_without_any_server(shared: Any, charts: None, browser: Browser) -> None:
    plugin = await shared.started()
    await tracked(plugin)
    made = await plugin.create_dashboard(CONFIG)
    page = await opened(browser, Path(made["path"]).as_uri())
    await page.until(_DRAWN)
    assert await page.value("document.title") == CONFIG["title"]
    assert await page.value("performance.getEntriesByType('resource').length") == 0
    assert browser.complaints == []
