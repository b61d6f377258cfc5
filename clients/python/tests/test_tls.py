"""TLS: a stand-in for the server that wants to know who calls."""

import subprocess
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

import holdfast
from holdfast import aio
from holdfast.v1.value_service_pb2 import GetValueRequest, GetValueResponse, Value
from holdfast.v1.value_service_pb2_grpc import (
    ValueServiceServicer,
    add_ValueServiceServicer_to_server,
)


class Values(ValueServiceServicer):  # type: ignore[misc,unused-ignore]
    async def GetValue(self, request: GetValueRequest, context: Any) -> GetValueResponse:  # noqa: N802
        sent = dict(context.invocation_metadata())
        return GetValueResponse(
            value=Value(key=request.key, value=sent["authorization"].encode(), revision=1)
        )


def _openssl(directory: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True)


def _certificates(directory: Path) -> None:
    new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    _openssl(
        directory, "req", "-x509", *new, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=ca"
    )
    for name in ("server", "client"):
        _openssl(
            directory,
            *("req", "-x509", *new, "-keyout", f"{name}.key", "-out", f"{name}.pem"),
            *("-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost"),
            *("-addext", "basicConstraints=critical,CA:FALSE"),
            *("-CA", "ca.pem", "-CAkey", "ca.key"),
        )


async def test_both_sides_show_certificates(tmp_path: Path) -> None:
    _certificates(tmp_path)
    ca, cert, key = (tmp_path / name for name in ("ca.pem", "client.pem", "client.key"))
    pair = ((tmp_path / "server.key").read_bytes(), (tmp_path / "server.pem").read_bytes())
    server = grpc.aio.server()
    add_ValueServiceServicer_to_server(Values(), server)
    credentials = grpc.ssl_server_credentials([pair], ca.read_bytes(), require_client_auth=True)
    port = server.add_secure_port("localhost:0", credentials)
    await server.start()
    address = f"localhost:{port}"
    try:
        client = aio.connect(
            f"https://{address}", token="t", ca=ca.read_bytes(), cert=cert, key=key
        )
        told = await client.value("key").get()
        assert told is not None and told.value == b"Bearer t"
        await client.close()
        for refused in (
            aio.connect(address, token="t", ca=ca, timeout=0.5),
            aio.connect(address, token="t", tls=True, cert=cert, key=key, timeout=0.5),
            aio.connect(address, token="t", timeout=0.5),
        ):
            with pytest.raises(holdfast.Unavailable):
                await refused.value("key").get()
            await refused.close()
    finally:
        await server.stop(None)
