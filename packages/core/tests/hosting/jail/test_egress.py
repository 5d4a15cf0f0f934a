"""Connections through the broker: real libraries against real servers, and what is not listed."""

from __future__ import annotations

import contextlib
import socket
import threading
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from dotmac_isp.plugins.core.hosting import jail

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Attackable

LOOPBACK = ("127.0.0.0/8",)


class Answering(BaseHTTPRequestHandler):
    """Answers every path with its last part; the path of a secret as Vault does."""

    def do_GET(self) -> None:
        name = self.path.rpartition("/")[2]
        body = name.encode()
        if self.path.startswith("/v1/"):
            body = b'{"data": {"data": {"x": "hvac"}, "metadata": {"version": 1}}}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None: ...


class Server(ThreadingHTTPServer):
    """Says nothing of clients that hang up."""

    def handle_error(self, request: Any, client_address: Any) -> None: ...


@contextlib.contextmanager
def serving() -> Iterator[int]:
    server = Server(("127.0.0.1", 0), Answering)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def web() -> Iterator[int]:
    with serving() as port:
        yield port


def listed(port: int, host: str = "vendor.example", **more: Any) -> dict[str, Any]:
    """A plan with one endpoint by name, which the operator allows to be on loopback."""
    return {"endpoints": [jail.Endpoint(host, port, networks=LOOPBACK, **more)], "names": {host: [["127.0.0.1"]]}}


@pytest.mark.parametrize("library", ["aiohttp", "httpx", "httpx_async", "requests", "urllib", "hvac", "streams"])
def test_libraries_reach_what_is_listed_and_nothing_else(host: Attackable, web: int, library: str) -> None:
    pytest.importorskip(library.removesuffix("_async")) if library != "streams" else None
    told = host.attack_online("fetch", library, f"http://vendor.example:{web}/{library}", **listed(web))
    assert told["result"] == library
    assert [one["allowed"] for one in told["decisions"]] == [True]
    assert told["decisions"][0]["address"] == "127.0.0.1"
    refused = host.attack_online("fetch", library, f"http://other.example:{web}/{library}", **listed(web))
    assert f"egress to other.example:{web} denied: not among the endpoints" in refused["result"]
    assert "PermissionError" in refused["result"]
    assert {one["allowed"] for one in refused["decisions"]} == {False}


def test_a_socket_looks_as_libraries_expect(host: Attackable, web: int) -> None:
    told = host.attack_online("shapes", "vendor.example", web, **listed(web))["result"]
    assert told == {
        "family": "AF_INET",
        "kind": "SOCK_STREAM",
        "peer": ["127.0.0.1", web],
        "timeout": 20,
        "number of addresses": 1,
        "name": "vendor.example",
        "error": 0,
    }


def test_other_ports_and_addresses_are_denied(host: Attackable, web: int) -> None:
    for where in (f"vendor.example:{web + 1}", f"127.0.0.1:{web}", f"[::1]:{web}", "169.254.169.254:80"):
        told = host.attack_online("fetch", "urllib", f"http://{where}/x", **listed(web))
        assert "denied" in told["result"]
        assert [one["allowed"] for one in told["decisions"]] == [False]


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("127.0.0.1", "loopback"),
        ("169.254.169.254", "link-local"),
        ("::ffff:169.254.169.254", "link-local"),
        ("64:ff9b::a9fe:a9fe", "link-local"),
        ("2002:7f00:1::", "loopback"),
        ("::1", "loopback"),
        ("fd00:ec2::254", "metadata"),
        ("100.100.100.200", "metadata"),
        ("0.0.0.0", "the host itself"),
        ("224.0.0.1", "multicast"),
        ("255.255.255.255", "reserved"),
    ],
)
def test_a_listed_name_does_not_lead_to_forbidden_addresses(
    root_host: Attackable, web: int, address: str, why: str
) -> None:
    plan = {"endpoints": [jail.Endpoint("vendor.example", web)], "names": {"vendor.example": [[address]]}}
    told = root_host.attack_online("fetch", "urllib", f"http://vendor.example:{web}/x", **plan)
    assert "denied" in told["result"]
    assert why in told["decisions"][0]["reason"]


def test_a_name_that_changes_its_answer_leads_nowhere_else(host: Attackable, web: int) -> None:
    """Nothing listens at the first answer, the web server at the second: it must not be reached."""
    names = {"vendor.example": [["127.0.0.2"], ["127.0.0.1"]]}
    plan = {"endpoints": [jail.Endpoint("vendor.example", web, networks=("127.0.0.2/32",))], "names": names}
    told = host.attack_online("many_connects", "vendor.example", web, 3, **plan)
    assert sum(told["result"].values()) == 3
    assert "connected" not in told["result"]
    assert all("refused" in one["failure"] for one in told["decisions"])


def test_an_unknown_name_is_an_error_of_name_resolution(host: Attackable, web: int) -> None:
    plan = {"endpoints": [jail.Endpoint("nowhere.example", web)], "names": {}}
    told = host.attack_online("fetch", "urllib", f"http://nowhere.example:{web}/x", **plan)
    assert "gaierror" in told["result"]
    assert told["decisions"][0]["failure"]


def test_a_refused_connection_is_told_as_such(host: Attackable) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    told = host.attack_online("fetch", "urllib", f"http://vendor.example:{port}/x", **listed(port))
    assert "ConnectionRefusedError" in told["result"]


def test_too_many_connections_per_second_are_denied(host: Attackable, web: int) -> None:
    told = host.attack_online(
        "many_connects", "vendor.example", web, 12, limits=jail.JailLimits(connects=5), **listed(web)
    )["result"]
    assert told.pop("connected") >= 5
    assert sum(told.values()) > 0
    assert set(told) == {"more than 5 connections per second"}


def test_a_level_without_network_has_none(host: Attackable, web: int) -> None:
    told = host.attack_online(
        "fetch", "urllib", f"http://vendor.example:{web}/x", network=False, level="minimal", **listed(web)
    )
    assert "the security level minimal has no network" in told["result"]


def test_threads_and_the_event_loop_ask_at_the_same_time(host: Attackable, web: int) -> None:
    assert host.attack_online("connect_from_threads", "vendor.example", web, 8, **listed(web))["result"] == 16


def test_the_event_loop_goes_on_while_a_connection_is_waited_for(host: Attackable) -> None:
    """A server whose backlog is full does not answer."""
    with socket.socket() as full, contextlib.ExitStack() as held:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        for _ in range(3):
            waiting = held.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.1", port))
        told = host.attack_online("loop_while_connecting", "vendor.example", port, 1.0, **listed(port))["result"]
    assert told["how"] == "TimeoutError"
    assert told["beats"] > 10


def test_a_handed_over_socket_cannot_be_used_for_somewhere_else(host: Attackable, web: int) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        plan = {"endpoints": [jail.Endpoint("127.0.0.1", web)]}
        told = host.attack_online("reconnect", "127.0.0.1", web, other.getsockname()[1], **plan)
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            other.accept()
    assert {
        name: said for name, said in told["result"].items() if name != "disconnect" and not said.startswith("E")
    } == {}


@pytest.fixture
def echo() -> Iterator[int]:
    """A gRPC server, without and with TLS (the next port), for vendor.example."""
    grpc = pytest.importorskip("grpc")
    server = grpc.server(futures.ThreadPoolExecutor(2))
    handler = grpc.unary_unary_rpc_method_handler(lambda request, context: b"echo of " + request)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("t.Echo", {"Echo": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield port
    server.stop(None).wait()


def test_grpc_reaches_an_endpoint_through_its_relay_and_nothing_else(host: Attackable, echo: int) -> None:
    endpoint = listed(echo, kind="grpc")
    told = host.attack_online("grpc_call", "vendor.example", echo, **endpoint)
    assert told["result"] == "echo of from the jail"
    assert told["decisions"][0]["address"] == "127.0.0.1"
    assert told["relayed"] > 0
    assert (
        "is no endpoint of kind grpc"
        in host.attack_online("grpc_call", "vendor.example", echo + 1, **endpoint)["result"]
    )
    assert "UNAVAILABLE" in host.attack_online("grpc_direct", "127.0.0.1", echo, **endpoint)["result"]


def test_grpc_over_tls_checks_the_name_of_the_endpoint(root_host: Attackable) -> None:
    grpc, trustme = pytest.importorskip("grpc"), pytest.importorskip("trustme")
    authority = trustme.CA()
    leaf = authority.issue_cert("vendor.example")
    handler = grpc.unary_unary_rpc_method_handler(
        lambda request, context: dict(context.invocation_metadata()).get("x", b"echo of " + request)
    )
    server = grpc.server(futures.ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("t.Echo", {"Echo": handler}),))
    chain = b"".join(blob.bytes() for blob in leaf.cert_chain_pems)
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(leaf.private_key_pem.bytes(), chain)]))
    server.start()
    pem = authority.cert_pem.bytes().decode()
    try:
        told = root_host.attack_online("grpc_call", "vendor.example", port, pem, **listed(port, kind="grpc"))
        assert told["result"] == "echo of from the jail"
        told = root_host.attack_online(
            "grpc_call", "mallory.example", port, pem, **listed(port, "mallory.example", kind="grpc")
        )
        assert "UNAVAILABLE" in told["result"]
    finally:
        server.stop(None).wait()


def test_brokers_that_a_kafka_cluster_advertises_are_reached_within_the_patterns(host: Attackable) -> None:
    """The mock cluster of librdkafka advertises its brokers as 127.0.0.1 with other ports."""
    kafka = pytest.importorskip("confluent_kafka")
    pytest.importorskip("aiokafka")
    cluster = kafka.Producer({"test.mock.num.brokers": 3, "log_level": 0})
    brokers = sorted(str(one).split("/")[0] for one in cluster.list_topics(timeout=10).brokers.values())
    first = brokers[0]
    port = int(first.rpartition(":")[2])
    plan = {"endpoints": [jail.Endpoint("127.0.0.1", port, "kafka")]}
    told = host.attack_online("kafka", first, "t", **plan, advertised=["127.0.0.*"])
    assert told["result"] == ["from the jail"]
    assert all(one["allowed"] for one in told["decisions"])
    del cluster


@pytest.mark.parametrize("pattern", ["127.0.0.*", "kafka-*.example.net", None])
def test_a_second_broker_that_a_cluster_advertises_is_refused_outside_of_the_patterns(
    host: Attackable, pattern: str | None
) -> None:
    kafka = pytest.importorskip("confluent_kafka")
    pytest.importorskip("aiokafka")
    cluster = kafka.Producer({"test.mock.num.brokers": 2, "log_level": 0})
    first, second = (str(one).split("/")[0] for one in cluster.list_topics(timeout=10).brokers.values())
    port, other = first.rpartition(":")[2], second.rpartition(":")[2]
    told = host.attack_online(
        "kafka_brokers",
        first,
        endpoints=[jail.Endpoint("127.0.0.1", int(port), "kafka")],
        advertised=[pattern] if pattern else [],
    )
    within = pattern == "127.0.0.*"
    assert told["result"] == {port: True, other: within}
    decided = {str(one["port"]): one["allowed"] for one in told["decisions"]}
    assert decided == {port: True, other: within}, "the refusal is told, so that it is audited and counted"
    del cluster


def test_nonsense_said_to_the_broker_harms_nobody_and_is_counted(host: Attackable, web: int) -> None:
    told = host.attack_online("babble", 40, **listed(web))
    assert "not among the endpoints" in told["result"]
    reasons = [one["reason"] for one in told["decisions"]]
    assert reasons.count("not a request") == 30
    assert reasons.count("not a host name") == 10
    assert all("\n" not in one["host"] for one in told["decisions"])


def test_relay_sockets_cannot_be_used_to_keep_the_host_busy(root_host: Attackable, web: int) -> None:
    told = root_host.attack_online(
        "hammer_relay", 0, 100, limits=jail.JailLimits(connects=5, open_files=80), **listed(web, kind="grpc")
    )
    assert sum(one["allowed"] for one in told["decisions"]) <= 30
    assert {one["reason"] for one in told["decisions"] if not one["allowed"]} <= {"more than 5 connections per second"}


def test_udp_is_refused_in_words(host: Attackable, web: int) -> None:
    told = host.attack_online("udp", **listed(web))["result"]
    assert "TCP sockets only" in told


class Sink:
    """Counts the bytes of each connection and answers with the number."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                with connection:
                    count = 0
                    while data := connection.recv(1 << 18):
                        count += len(data)
                    connection.sendall(str(count).encode())

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join()


@pytest.fixture
def sink() -> Iterator[Sink]:
    with contextlib.closing(Sink()) as made:
        yield made


def test_bytes_per_second_are_limited_over_all_connections(host: Attackable, sink: Sink) -> None:
    rate = 4 << 20
    told = host.attack_online(
        "send", "vendor.example", sink.port, 2 * rate, limits=jail.JailLimits(egress_rate=rate), **listed(sink.port)
    )
    assert told["result"]["received"] == 2 * rate
    assert told["result"]["seconds"] > 0.7  # one second's worth at once, the other in a second
    assert told["relayed"] >= 2 * rate


def test_unix_sockets_of_others_are_out_of_reach(host: Attackable, short_home: Any) -> None:
    path = str(short_home / "s")
    with socket.socket(socket.AF_UNIX) as named, socket.socket(socket.AF_UNIX) as abstract:
        named.bind(path)
        (short_home / "s").chmod(0o777)
        named.listen()
        name = f"\0jail-test-{threading.get_native_id()}"
        abstract.bind(name)
        abstract.listen()
        told = host.attack("unix_sockets", path, "@" + name[1:], "/run/systemd/private", "/var/run/docker.sock")[
            "result"
        ]
    assert {address: said for address, said in told.items() if not said.startswith("E")} == {}
