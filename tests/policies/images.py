"""A registry with images in it, some signed as cosign signs them; nothing leaves the machine."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_SIGNED = "application/vnd.dev.cosign.simplesigning.v1+json"


class Key:
    """A pair of keys, made by openssl."""

    def __init__(self, folder: Path, name: str) -> None:
        self._file = folder / f"{name}.key"
        self._run("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(self._file))
        self.public = self._run("ec", "-in", str(self._file), "-pubout").decode()

    def sign(self, said: bytes) -> str:
        """Return the signature of what is said, as cosign writes it."""
        signed = self._run("dgst", "-sha256", "-sign", str(self._file), said=said)
        return base64.b64encode(signed).decode()

    def _run(self, *words: str, said: bytes = b"") -> bytes:
        ran = subprocess.run(["openssl", *words], input=said, capture_output=True, check=True)
        return ran.stdout


class Registry:
    """A registry on this machine that can be read."""

    def __init__(self) -> None:
        self._blobs: dict[str, bytes] = {}
        self._manifests: dict[str, bytes] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.address = f"127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        """Stop it."""
        self._server.shutdown()
        self._server.server_close()

    def add(self, name: str, signed_by: Key | None = None) -> str:
        """Put an image there, and its signature if there is a key; return how it is called."""
        config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers"}}
        digest = self._manifest(name, "v1", {**config, "author": name}, _CONFIG, [])
        reference = f"{self.address}/{name}"
        if signed_by is not None:
            said = {
                "critical": {
                    "identity": {"docker-reference": reference},
                    "image": {"docker-manifest-digest": digest},
                    "type": "cosign container image signature",
                },
                "optional": None,
            }
            payload = json.dumps(said).encode()
            signature = {"dev.cosignproject.cosign/signature": signed_by.sign(payload)}
            layer = {**self._blob(payload, _SIGNED), "annotations": signature}
            self._manifest(name, f"{digest.replace(':', '-')}.sig", config, _CONFIG, [layer])
        return f"{reference}:v1"

    def _manifest(
        self, name: str, tag: str, config: dict[str, Any], kind: str, layers: list[dict[str, Any]]
    ) -> str:
        found = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self._blob(json.dumps(config).encode(), kind),
            "layers": layers,
        }
        text = json.dumps(found).encode()
        digest = _digest(text)
        self._manifests[f"/v2/{name}/manifests/{tag}"] = text
        self._manifests[f"/v2/{name}/manifests/{digest}"] = text
        return digest

    def _blob(self, content: bytes, kind: str) -> dict[str, Any]:
        digest = _digest(content)
        self._blobs[digest] = content
        return {"mediaType": kind, "digest": digest, "size": len(content)}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer()

            def do_HEAD(self) -> None:
                self._answer()

            def _answer(self) -> None:
                found, kind = registry.found(self.path)
                self.send_response(404 if found is None else 200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(found or b"")))
                self.send_header("Docker-Content-Digest", _digest(found or b""))
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(found or b"")

            def log_message(self, *_: object) -> None:
                """Say nothing of what is asked."""

        return Handler

    def found(self, path: str) -> tuple[bytes | None, str]:
        """Return what there is at a path, and what it is."""
        if path == "/v2/":
            return b"{}", "application/json"
        if path in self._manifests:
            return self._manifests[path], MANIFEST
        return self._blobs.get(path.rpartition("/")[2]), "application/octet-stream"


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
