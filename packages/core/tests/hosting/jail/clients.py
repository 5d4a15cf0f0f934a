"""What honest plugins do with the network: each library as its users call it. They run in a locked-down child."""

from __future__ import annotations

import asyncio
import errno
import socket
import threading
import time
from typing import Any


def said(error: BaseException) -> str:
    """The innermost reason of an error, as somebody reads it."""
    texts = []
    while error is not None:
        texts.append(f"{type(error).__name__}: {error}")
        error = error.__cause__ or error.__context__
    return " <- ".join(texts)[:2000]


def fetch(plan: Any, library: str, url: str) -> str:
    try:
        return FETCHERS[library](url)
    except Exception as error:
        return said(error)


def _aiohttp(url: str) -> str:
    import aiohttp

    async def get() -> str:
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            return await answer.text()

    return asyncio.run(get())


def _httpx(url: str) -> str:
    import httpx

    return httpx.get(url).text


def _httpx_async(url: str) -> str:
    import httpx

    async def get() -> str:
        async with httpx.AsyncClient() as client:
            return (await client.get(url)).text

    return asyncio.run(get())


def _requests(url: str) -> str:
    import requests

    return requests.get(url, timeout=20).text


def _urllib(url: str) -> str:
    import urllib.request

    with urllib.request.urlopen(url, timeout=20) as answer:
        return answer.read().decode()


def _hvac(url: str) -> str:
    import hvac

    return hvac.Client(url=url.rsplit("/", 1)[0], token="t").secrets.kv.v2.read_secret_version(
        "x", raise_on_deleted_version=True
    )["data"]["data"]["x"]


def _streams(url: str) -> str:
    async def get() -> str:
        host, _, port = url.split("/")[2].rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /streams HTTP/1.0\r\n\r\n")
        body = (await reader.read()).decode().rpartition("\r\n")[2]
        writer.close()
        await writer.wait_closed()
        return body

    return asyncio.run(get())


FETCHERS = {
    "aiohttp": _aiohttp,
    "httpx": _httpx,
    "httpx_async": _httpx_async,
    "requests": _requests,
    "urllib": _urllib,
    "hvac": _hvac,
    "streams": _streams,
}


def kafka(plan: Any, bootstrap: str, topic: str) -> list[str]:
    import aiokafka

    async def there_and_back() -> list[str]:
        async with aiokafka.AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
            await producer.send_and_wait(topic, b"from the jail")
        consumer = aiokafka.AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest")
        async with consumer:
            return [(await consumer.getone()).value.decode()]

    try:
        return asyncio.run(there_and_back())
    except Exception as error:
        return [said(error)]


def kafka_brokers(plan: Any, bootstrap: str) -> dict[str, bool]:
    """Which of the brokers that the cluster advertises can be connected to, by port."""
    from aiokafka.client import AIOKafkaClient

    async def each() -> dict[str, bool]:
        client = AIOKafkaClient(bootstrap_servers=bootstrap)
        await client.bootstrap()
        try:
            return {str(one.port): await client.ready(one.nodeId) for one in client.cluster.brokers()}
        finally:
            await client.close()

    return asyncio.run(each())


def grpc_call(plan: Any, host: str, port: int, authority: str = "") -> str:
    """One call through the relay; with *authority* (PEM) over TLS."""
    import grpc

    from dotmac_isp.plugins.core.hosting import jail

    async def call() -> str:
        target, options = jail.grpc_target(host, port)
        if authority:
            channel = grpc.aio.secure_channel(target, grpc.ssl_channel_credentials(authority.encode()), options=options)
        else:
            channel = grpc.aio.insecure_channel(target, options=options)
        async with channel:
            return (await channel.unary_unary("/t.Echo/Echo")(b"from the jail", timeout=20)).decode()

    try:
        return asyncio.run(call())
    except Exception as error:
        return said(error)


def grpc_direct(plan: Any, host: str, port: int) -> str:
    import grpc

    async def call() -> str:
        async with grpc.aio.insecure_channel(f"{host}:{port}") as channel:
            return (await channel.unary_unary("/t.Echo/Echo")(b"x", timeout=5)).decode()

    try:
        return asyncio.run(call())
    except Exception as error:
        return said(error)


def loop_while_connecting(plan: Any, host: str, port: int, seconds: float) -> dict[str, Any]:
    """How long the loop stood still while a connection was waited for, and how that ended."""

    async def beat(longest: list[float]) -> None:
        last = time.monotonic()
        while True:
            await asyncio.sleep(0.005)
            longest.append(time.monotonic() - last)
            last = time.monotonic()

    async def watch() -> dict[str, Any]:
        gaps: list[float] = []
        beating = asyncio.create_task(beat(gaps))
        try:
            async with asyncio.timeout(seconds):
                await asyncio.open_connection(host, port)
            how = "connected"
        except (OSError, TimeoutError) as error:
            how = type(error).__name__
        beating.cancel()
        return {"beats": len(gaps), "how": how}

    return asyncio.run(watch())


def many_connects(plan: Any, host: str, port: int, times: int) -> dict[str, int]:
    found: dict[str, int] = {}
    for _ in range(times):
        try:
            socket.create_connection((host, port), timeout=20).close()
            said = "connected"
        except OSError as error:
            said = str(error).rpartition("denied: ")[2]
        found[said] = found.get(said, 0) + 1
    return found


def connect_from_threads(plan: Any, host: str, port: int, times: int) -> int:
    """Threads and an event loop ask at the same time."""
    made: list[socket.socket] = []

    def connect() -> None:
        made.append(socket.create_connection((host, port), timeout=20))

    async def connect_too() -> None:
        await asyncio.gather(*(asyncio.open_connection(host, port) for _ in range(times)))

    threads = [threading.Thread(target=connect) for _ in range(times)]
    for thread in threads:
        thread.start()
    asyncio.run(connect_too())
    for thread in threads:
        thread.join()
    return len(made) + times


def babble(plan: Any, times: int) -> str:
    """Say nonsense to the broker, much of it, then ask for something sensible."""
    from dotmac_isp.plugins.core.hosting.jail import _egress

    raw = _egress._Installed.egress._sock
    for number in range(times):
        raw.send((b"", b"\xc1", b"x" * 4000, b"\x93\x63\xaaa\nb denied\x01")[number % 4] or b"\x90")
    try:
        socket.create_connection(("nowhere.example", 1), timeout=30)
    except OSError as error:
        return str(error)
    return "connected"


def hammer_relay(plan: Any, number: int, times: int) -> dict[str, int]:
    """Open relay connections as fast as they go, and hold them."""
    held = []
    found: dict[str, int] = {}
    for _ in range(times):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(0.5)
        try:
            sock.connect(f"/run/relay/{number}")
            said = "connected"
            held.append(sock)
        except OSError as error:
            said = type(error).__name__
        found[said] = found.get(said, 0) + 1
    return found


def send(plan: Any, host: str, port: int, size: int) -> dict[str, float]:
    """Send *size* bytes and wait until the other side has them all."""
    with socket.create_connection((host, port), timeout=60) as connection:
        began = time.monotonic()
        block = b"x" * (1 << 18)
        left = size
        while left > 0:
            left -= connection.send(block[: min(left, len(block))])
        connection.shutdown(socket.SHUT_WR)
        received = int(connection.recv(64) or b"0")
        return {"received": received, "seconds": time.monotonic() - began}


def udp(plan: Any) -> str:
    try:
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    except OSError as error:
        return f"{errno.errorcode[error.errno]}: {error}"
    return "made"


def shapes(plan: Any, host: str, port: int) -> dict[str, Any]:
    """What libraries look at in a socket."""
    info = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.settimeout(20)
        sock.connect(info[0][4])
        return {
            "family": sock.family.name,
            "kind": sock.type.name,
            "peer": list(sock.getpeername()),
            "timeout": sock.gettimeout(),
            "number of addresses": len(info),
            "name": socket.getnameinfo(info[0][4], 0)[0],
            "error": sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR),
        }
