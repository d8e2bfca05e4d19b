"""A reverse proxy with TLS in front of a service: Debian's nginx or HAProxy, unpacked in the
virtual environment, with the configuration of docs/operate.md."""

import datetime
import ipaddress
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from order_service.stack.packages import libraries, unpack
from order_service.stack.programs import cache
from order_service.stack.servers import free_port
from tests.support.documentation.page import DOCS, blocks
from tests.support.http.raw_http import connected
from tests.support.waiting import eventually

_NGINX = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{block}
}}
"""


def _nginx(folder: Path, block: str, port: int) -> list[str]:
    block = block.replace("listen 443", f"listen 127.0.0.1:{port}")
    (folder / "nginx.conf").write_text(_NGINX.format(folder=folder, block=block))
    return ["usr/sbin/nginx", "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "stderr"]


def _haproxy(folder: Path, block: str, port: int) -> list[str]:
    block = block.replace("bind :443", f"bind 127.0.0.1:{port}")
    (folder / "haproxy.cfg").write_text(block)
    return ["usr/sbin/haproxy", "-db", "-f", str(folder / "haproxy.cfg")]


PROXIES: dict[str, Callable[[Path, str, int], list[str]]] = {"nginx": _nginx, "haproxy": _haproxy}


@asynccontextmanager
async def reverse_proxy(name: str, folder: Path, service: str) -> AsyncIterator[int]:
    """The port on loopback at which the proxy serves `service`, an address with its port."""
    port = free_port()
    running = _start(name, folder, service, port)
    try:
        await eventually(lambda: running.poll() is not None or connected(port))
        assert running.poll() is None, f"{name} did not start"
        yield port
    finally:
        running.terminate()
        running.wait()


def _start(name: str, folder: Path, service: str, port: int) -> subprocess.Popen[bytes]:
    unpacked = unpack(name, cache() / name, lambda text: print(text, file=sys.stderr))
    certificate, key = _self_signed(folder)
    block = next(b.text for b in blocks(DOCS / "operate.md") if b.language == name)
    for shown, used in (
        ("127.0.0.1:8000", service),
        ("/etc/ssl/shop.example.pem", certificate),
        ("/etc/ssl/shop.example.key", key),
    ):
        block = block.replace(shown, str(used))
    program, *arguments = PROXIES[name](folder, block, port)
    env = {"PATH": os.defpath, "LD_LIBRARY_PATH": ":".join(map(str, libraries(unpacked)))}
    return subprocess.Popen([str(unpacked / program), *arguments], env=env, cwd=folder)


def _self_signed(folder: Path) -> tuple[Path, Path]:
    """The files of a certificate for shop.example and 127.0.0.1, with its key behind it, and of the
    key alone."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "shop.example")])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName("shop.example"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (folder / "cert.pem").write_bytes(certificate + secret)
    (folder / "key.pem").write_bytes(secret)
    return folder / "cert.pem", folder / "key.pem"
