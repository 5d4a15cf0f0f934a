"""The command: what it prints, how it stops, what a wrong argument gets."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf import empty_pb2
from voltha_protos import voltha_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COMMAND = [sys.executable, "-m", "dotmac_voltha_simulator._cli"]
EMPTY = empty_pb2.Empty()


@pytest.fixture
def started() -> Iterator[Any]:
    """``started(*arguments)``: a running command and its one JSON line; all are ended after the test."""
    running: list[subprocess.Popen[str]] = []

    def start(*arguments: str, **environment: str) -> tuple[subprocess.Popen[str], dict[str, Any]]:
        process = subprocess.Popen(
            [*COMMAND, "--listen", "127.0.0.1:0", "--json", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        running.append(process)
        assert process.stdout is not None
        return process, json.loads(process.stdout.readline())

    yield start
    for process in running:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_prints_where_it_listens_and_stops_cleanly_on_a_signal(started: Any, number: signal.Signals) -> None:
    process, found = started("--olts", "2", "--pons", "4", "--onus", "8")
    assert found["olts"] == ["127.0.0.1:9191", "127.0.0.1:9192"]
    assert (found["onus"], found["kafka"]) == (64, None)
    with grpc.insecure_channel(found["grpc"]) as channel:
        assert list(voltha_pb2_grpc.VolthaServiceStub(channel).ListDevices(EMPTY).items) == []
    process.send_signal(number)
    out, err = process.communicate(timeout=10)
    assert (process.returncode, out, err) == (0, "", "")


def test_the_password_comes_from_the_environment(started: Any) -> None:
    _, found = started("--username", "operator", DOTMAC_VOLTHA_SIMULATOR_PASSWORD="made-up")
    with grpc.insecure_channel(found["grpc"]) as channel, pytest.raises(grpc.RpcError) as caught:
        voltha_pb2_grpc.VolthaServiceStub(channel).ListDevices(EMPTY)
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_it_runs_a_kafka_broker_and_prints_its_address(started: Any) -> None:
    pytest.importorskip("confluent_kafka", reason="confluent-kafka is not installed")
    _, found = started("--kafka")
    host, port = found["kafka"].rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=5):
        pass


def test_a_taken_port_ends_it_with_an_error_that_helps() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        ended = subprocess.run([*COMMAND, "--listen", where], capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 1
    assert ended.stderr == (
        f"dotmac-voltha-simulator: cannot listen on {where}: the port is taken or the address is not of this machine;"
        " choose another, or port 0 for a free one\n"
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--pons", "99"], "pons must be between 1 and 16, not 99"),
        (["--listen", "nowhere"], "'nowhere' is not host:port"),
        (["--time-factor", "0"], "the time factor must be above 0"),
        (["--username", "operator"], "username and password belong together"),
        (["--tls-certificate", "nowhere.pem"], "TLS needs a certificate and its key"),
        (["--tls-certificate", "no.pem", "--tls-key", "no.key"], "certificate no.pem with key no.key cannot be used"),
    ],
)
def test_a_wrong_argument_ends_it_with_what_would_be_right(arguments: list[str], words: str) -> None:
    ended = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 2
    assert words in ended.stderr


def test_a_running_simulator_is_told_to_misbehave_over_its_control_socket(started: Any, tmp_path: Path) -> None:
    path = str(tmp_path / "c.sock")
    _, found = started("--control", path, "--time-factor", "0.01")

    def control(*words: str) -> tuple[int, str]:
        done = subprocess.run([*COMMAND, "control", path, *words], capture_output=True, text=True, check=False)
        return done.returncode, done.stderr

    assert control("lose-answers", "ListDevices", "1") == (0, "")
    with grpc.insecure_channel(found["grpc"]) as channel:
        stub = voltha_pb2_grpc.VolthaServiceStub(channel)
        with pytest.raises(grpc.RpcError) as lost:
            stub.ListDevices(EMPTY)
        assert lost.value.code() is grpc.StatusCode.UNAVAILABLE
        assert list(stub.ListDevices(EMPTY).items) == []
    for words, said in (
        (["explode"], "'explode' is not known; there are raise_alarm"),
        (["power-off"], "power_off takes 1 words (SERIAL), not 0"),
        (["power-off", "XXXX00000000"], "no ONU 'XXXX00000000' is simulated"),
        (["stop-adapter", "gpon"], "no adapter 'gpon'"),
    ):
        code, text = control(*words)
        assert code == 1
        assert said in text
    code, text = control("restart-core")
    assert (code, text) == (0, "")
    missing = subprocess.run(
        [*COMMAND, "control", str(tmp_path / "none"), "restart-core"], capture_output=True, text=True, check=False
    )
    assert missing.returncode == 1
    assert "no simulator listens at" in missing.stderr
