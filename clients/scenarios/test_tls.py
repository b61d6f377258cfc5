"""TLS between each client and the server: whom they trust, and what they show of themselves."""

import asyncio
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from conftest import Stage
from stage.agent import Failed
from stage.each import each_language
from stage.server import Server


@dataclass(frozen=True)
class Authority:
    """A CA, and the directory in which it keeps what it signs."""

    directory: Path

    @classmethod
    def make(cls, directory: Path) -> "Authority":
        directory.mkdir()
        authority = cls(directory)
        authority._openssl(*NEW, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=ca")
        return authority

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self.directory, check=True, capture_output=True)

    @property
    def ca(self) -> str:
        return str(self.directory / "ca.pem")

    def sign(self, name: str) -> dict[str, str]:
        """Make a certificate for localhost, as the parameters `cert` and `key`."""
        self._openssl(
            *(*NEW, "-keyout", f"{name}.key", "-out", f"{name}.pem", "-subj", f"/CN={name}"),
            *("-addext", "subjectAltName=DNS:localhost"),
            *("-addext", "basicConstraints=critical,CA:FALSE"),
            *("-CA", "ca.pem", "-CAkey", "ca.key"),
        )
        return {
            "cert": str(self.directory / f"{name}.pem"),
            "key": str(self.directory / f"{name}.key"),
        }


NEW = (
    *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
    *("-nodes", "-days", "2"),
)


@dataclass(frozen=True)
class Site:
    """Servers that speak TLS, and what there is to show to them."""

    plain: Server
    """One that lets everybody in."""
    mutual: Server
    """One that wants certificates of its CA."""
    tokens: Server
    """One that wants an API token as well."""
    token: str
    ca: str
    own: dict[str, str]
    """The parameters of a client with the right CA and a certificate of it."""
    other_ca: str
    strange: dict[str, str]
    """Those of one with a certificate of another CA."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    there = tmp_path_factory.mktemp("tls")
    authority, stranger = (Authority.make(there / name) for name in ("authority", "stranger"))
    certificate = authority.sign("server")
    served = ("--tls-cert", certificate["cert"], "--tls-key", certificate["key"])
    mutual = (*served, "--tls-client-ca", authority.ca)
    servers = {}
    try:
        for name, options in (("plain", served), ("mutual", mutual), ("tokens", mutual)):
            (there / name).mkdir()
            servers[name] = Server(there / name, *options)
        token = servers["tokens"].command("token", "create", "--namespace", "ci")
        own = {"ca": authority.ca, **authority.sign("client")}
        servers["tokens"].settle_tokens(own)
        strange = {"ca": authority.ca, **stranger.sign("client")}
        yield Site(
            **servers, token=token, ca=authority.ca, own=own, other_ca=stranger.ca, strange=strange
        )
    finally:
        for server in servers.values():
            server.kill()


async def works(stage: Stage, language: str, server: Server, **options: Any) -> None:
    """A lock, a turn, an item and a value, each over its own kind of call."""
    agent = await stage.agent(language, server.tls_address, **options)
    acquire = agent.tell("acquire", lock=stage.name, wait=20)
    await acquire.done()
    await agent.ask("release", of=acquire.number)
    await agent.ask("create_fifo", fifo=stage.name, accept=20, done=20)
    turn = agent.tell("turn", fifo=stage.name)
    await turn.event("took")
    await turn.end()
    await agent.ask("push", queue=stage.name, value="item")
    assert (await agent.ask("pop", queue=stage.name))["value"] == "item"
    assert (await agent.ask("add", value=stage.name))["sum"] == 1
    stage.tally.add("worked over TLS", language)


async def refused(stage: Stage, language: str, address: str, **options: Any) -> str:
    """Return how it is refused to connect, or to take a lock."""
    agent = await stage.idle(language)
    with pytest.raises(Failed) as failed:
        await agent.connect(address, ttl=4, timeout=1, **options)
        await agent.ask("acquire", lock="x", wait=0)
    stage.tally.add("refused over TLS", language)
    return failed.value.kind


@each_language
async def test_tls_with_a_ca_of_ones_own(stage: Stage, site: Site, language: str) -> None:
    address = site.plain.tls_address
    await works(stage, language, site.plain, ca=site.ca)
    # It is known to its own CA only, and by its own names only, and it speaks nothing but TLS.
    kinds = await asyncio.gather(
        refused(stage, language, address, ca=site.other_ca),
        refused(stage, language, address),
        refused(stage, language, f"https://{site.plain.address}", ca=site.ca),
        refused(stage, language, site.plain.address),
    )
    assert [*kinds] == ["unavailable"] * 4


@each_language
async def test_tls_with_certificates_of_clients(stage: Stage, site: Site, language: str) -> None:
    address = site.mutual.tls_address
    await works(stage, language, site.mutual, **site.own)
    kinds = await asyncio.gather(
        refused(stage, language, address, ca=site.ca),
        refused(stage, language, address, **site.strange),
    )
    assert [*kinds] == ["unavailable"] * 2


@each_language
async def test_tls_with_tokens_on_top(stage: Stage, site: Site, language: str) -> None:
    address = site.tokens.tls_address
    await works(stage, language, site.tokens, token=site.token, **site.own)
    kinds = await asyncio.gather(
        refused(stage, language, address, **site.own),
        refused(stage, language, address, token="none", **site.own),
        refused(stage, language, address, token=site.token, ca=site.ca),
    )
    assert [*kinds] == ["unauthenticated", "unauthenticated", "unavailable"]
