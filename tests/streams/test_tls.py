"""Streams over TLS: an authority that the settings name is trusted, any other is not."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
from typing import TYPE_CHECKING

import pytest

from drainproof.judge.streams import Outcome, StreamVerdict, judge_streams
from drainproof.streams import history
from drainproof.streams.client import StreamClient
from drainproof.streams.recorder import Recorder
from tests.streams.bodies import answer
from tests.streams.raw import Peer, serving, settings

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="openssl is not installed, and makes the certificate"
)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate of 127.0.0.1 that signs itself, in one PEM file."""
    file = tmp_path_factory.mktemp("tls") / "server.pem"
    command = ["openssl", "req", "-x509", "-nodes", "-subj", "/CN=test", "-days", "1"]
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    where = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(file), "-out", f"{file}.crt"]
    subprocess.run([*command, *key, *where], check=True, capture_output=True)
    file.write_bytes(file.read_bytes() + file.with_name("server.pem.crt").read_bytes())
    return file


async def whole(peer: Peer) -> None:
    await peer.head()
    await peer.chunks(*answer())
    await peer.last_chunk()
    await peer.until_closed()


def over_tls(certificate: Path, folder: Path, **changes: object) -> StreamVerdict:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    async def run() -> None:
        async with serving(whole, context) as port:
            load = settings(port, url=f"https://127.0.0.1:{port}", **changes)
            await StreamClient(load, Recorder(file.fileno())).run()

    path = folder / "records.jsonl"
    with path.open("wb") as file:
        asyncio.run(run())
    lines = path.read_bytes().splitlines()
    (verdict,) = judge_streams(history.from_line(line) for line in lines)
    return verdict


def test_a_stream_over_tls_is_judged_like_any_other(certificate: Path, tmp_path: Path) -> None:
    verdict = over_tls(certificate, tmp_path, ca_file=f"{certificate}.crt")
    assert verdict.outcome is Outcome.COMPLETE, verdict


def test_a_certificate_that_nobody_vouches_for_is_no_connection(
    certificate: Path, tmp_path: Path
) -> None:
    verdict = over_tls(certificate, tmp_path)
    assert (verdict.outcome, "certificate verify failed" in verdict.detail) == (
        Outcome.REFUSED,
        True,
    )
