"""A vulnerable package in a lock file is reported, and no answer is never a clean one."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from docs import advisories
from docs.advisories import IGNORED, KNOWN, LOCKS
from drainproof.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOCK = """\
alpha==1.0 \\
    --hash=sha256:00
    # via drainproof
Be_ta==2.0.1 ; sys_platform == 'win32' \\
    --hash=sha256:11
"""


def advisory(name: str, *, fixed: str = "1.1") -> dict[str, Any]:
    events = [{"introduced": "0"}, {"fixed": fixed}]
    return {
        "id": "GHSA-x",
        "aliases": ["CVE-1"],
        "affected": [
            {
                "package": {"name": name, "ecosystem": "PyPI"},
                "ranges": [{"type": "ECOSYSTEM", "events": events}],
            }
        ],
    }


class Service:
    """A list of vulnerabilities as OSV serves it, on this machine."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.known = {KNOWN: advisory(KNOWN[0])}
        self.status = 200
        self.body: bytes | None = None
        told = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:  # its name in the standard library
                query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                asked = (query["package"]["name"], query["version"])
                told.asked.append(asked)
                found = [told.known[asked]] if asked in told.known else []
                body = told.body
                if body is None:
                    body = json.dumps({"vulns": found} if found else {}).encode()
                self.send_response(told.status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def arguments(self) -> tuple[str, ...]:
        url = f"http://127.0.0.1:{self.server.server_port}/v1/query"
        return ("--vulnerability-service", "osv", "--osv-url", url)


@pytest.fixture
def service() -> Iterator[Service]:
    made = Service()
    thread = threading.Thread(target=made.server.serve_forever)
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    file = tmp_path / "some.lock"
    file.write_text(LOCK)
    return file


def ignoring(folder: Path, until: str, name: str = "CVE-1") -> Path:
    file = folder / "ignored.toml"
    file.write_text(f'[[ignored]]\nid = "{name}"\nreason = "its server only"\nuntil = {until}\n')
    return file


def test_every_pin_is_asked_about_those_of_other_systems_too(
    service: Service, lock: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert advisories.main([str(lock)], {"fake": service.arguments}) == 0
    assert sorted(service.asked) == sorted([("alpha", "1.0"), ("be-ta", "2.0.1"), KNOWN])
    assert capsys.readouterr().out == f"{lock}: no known vulnerability in 2 packages\n"


def test_a_vulnerable_pin_is_reported_with_what_fixes_it(
    service: Service, lock: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    service.known["be-ta", "2.0.1"] = advisory("be-ta", fixed="2.0.2")
    assert advisories.main([str(lock)], {"fake": service.arguments}) == 1
    assert capsys.readouterr().out == f"{lock}: be-ta 2.0.1: CVE-1, GHSA-x; fixed in 2.0.2\n"


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ((503, b""), "fake: "),
        ((200, b"<html>log in first</html>"), "fake: "),
        ((200, b"{}"), "it has no advisory on pycrypto 2.6.1"),
    ],
    ids=["down", "a portal", "one that knows nothing"],
)
def test_no_answer_is_not_a_clean_one(
    answer: tuple[int, bytes],
    why: str,
    service: Service,
    lock: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    service.status, service.body = answer
    assert advisories.main([str(lock)], {"fake": service.arguments}) == 3
    told = capsys.readouterr().out
    assert told.startswith(f"{lock}: could not tell whether it is clean: ")
    assert why in told
    assert "no known" not in told


def test_a_service_that_is_not_there_is_no_answer(
    service: Service, lock: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere = ("--vulnerability-service", "osv", "--osv-url", "http://127.0.0.1:1/v1/query")
    assert advisories.main([str(lock)], {"gone": nowhere}) == 3
    assert "could not tell whether it is clean: gone: " in capsys.readouterr().out
    assert advisories.main([str(lock)], {"gone": nowhere, "fake": service.arguments}) == 0


def test_a_package_that_nobody_knows_is_no_answer(
    monkeypatch: pytest.MonkeyPatch, lock: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = [
        {"name": "alpha", "version": "1.0", "vulns": []},
        {"name": "be-ta", "skip_reason": "not found"},
        {"name": KNOWN[0], "version": KNOWN[1], "vulns": [{"id": "A", "fix_versions": []}]},
    ]
    done = json.dumps({"dependencies": told})
    monkeypatch.setattr(advisories, "_run", lambda _words: (done, ""))
    assert advisories.main([str(lock)], {"fake": ()}) == 3
    assert "fake: it knows nothing of be-ta" in capsys.readouterr().out


def test_what_a_service_found_before_it_broke_off_counts(
    service: Service, lock: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    service.known = {("alpha", "1.0"): advisory("alpha")}
    assert advisories.main([str(lock)], {"fake": service.arguments}) == 1
    found, untold = capsys.readouterr().out.splitlines()
    assert "alpha 1.0: CVE-1, GHSA-x" in found
    assert "could not tell" in untold


def test_an_advisory_passes_until_its_date_with_its_reason_and_not_a_day_longer(
    service: Service, lock: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    service.known["alpha", "1.0"] = advisory("alpha")
    words = [str(lock), "--ignored"]
    now = ignoring(tmp_path, "9999-12-31")
    assert advisories.main([*words, str(now)], {"fake": service.arguments}) == 0
    passed, rest = capsys.readouterr().out.splitlines()
    assert passed == f"{lock}: alpha 1.0: CVE-1, GHSA-x; fixed in 1.1; ignored: its server only"
    assert rest == f"{lock}: no other known vulnerability in 2 packages"
    over = ignoring(tmp_path, "2001-01-01")
    assert advisories.main([*words, str(over)], {"fake": service.arguments}) == 1
    other = ignoring(tmp_path, "9999-12-31", "CVE-11")
    assert advisories.main([*words, str(other)], {"fake": service.arguments}) == 1


@pytest.mark.parametrize(
    "text",
    [
        "[[ignored]\n",
        '[[ignored]]\nid = "A"\nreason = ""\nuntil = 2027-01-01\n',
        '[[ignored]]\nid = "A"\nreason = "none"\n',
        '[[ignored]]\nid = "A"\nreason = "none"\nuntil = "soon"\n',
        '[[ignore]]\nid = "A"\n',
    ],
)
def test_an_ignore_without_a_reason_or_a_date_is_one_clear_error(
    text: str, lock: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "ignored.toml"
    file.write_text(text)
    assert advisories.main([str(lock), "--ignored", str(file)], {}) == 2
    told = capsys.readouterr()
    assert told.err.startswith(f"error: {file}: expected [[ignored]] with id, reason and until")
    assert told.out == ""


@pytest.mark.parametrize("text", [None, "", "alpha>=1.0\n"])
def test_a_file_without_exact_versions_is_one_clear_error(
    text: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "none.lock"
    if text is not None:
        file.write_text(text)
    assert advisories.main([str(file)], {}) == 2
    assert capsys.readouterr().err.startswith(f"error: {file}: expected ")


def test_names_from_a_service_do_not_act_on_a_terminal(
    service: Service, lock: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    service.known["alpha", "1.0"] = {**advisory("alpha"), "id": "\x1b[2J"}
    advisories.main([str(lock)], {"fake": service.arguments})
    assert "\x1b" not in capsys.readouterr().out


def test_the_repositorys_own_files_can_be_read() -> None:
    names = [{name for name, _ in advisories.pins(lock)} for lock in LOCKS]
    assert names[0] > names[1] > {"click", "pytest"}
    assert KNOWN[0] not in names[0]
    advisories.ignored(IGNORED)


def test_without_anybody_to_ask_nothing_is_told(lock: Path) -> None:
    with pytest.raises(UserError, match="nobody"):
        advisories.audited(advisories.pins(lock), {})
