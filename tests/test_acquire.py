"""`noctact acquire` against a real HTTP server, real zip files and really full disks."""

import hashlib
import io
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
import warnings
import zipfile
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import noctact
from noctact import download
from noctact.__main__ import main
from noctact.download import ATTEMPTS, CHUNK
from noctact.unpack import BrokenArchive, unpack

PYTHON_PATH = str(Path(noctact.__file__).parents[1])
CLIPS = {
    f"{label}/clip_{number}.mp4": random.Random(f"{label}{number}").randbytes(60_000)
    for label in ("Walk", "run")
    for number in range(4)
}  # incompressible, so that the archive is eight chunks long


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


ARCHIVE = zipped(CLIPS)


# --- a server like Kaggle's: the API address redirects to a link on the storage host -------------


@dataclass
class Request:
    path: str
    range: str | None
    if_range: str | None
    encoding: str | None
    sent: int = 0  # bytes of the archive


Reply = Callable[["Handler"], object]


@dataclass
class Shop:
    """What the server holds, what it shall answer next, and what it was asked."""

    archive: bytes = field(default=ARCHIVE, repr=False)
    etag: str | None = '"one"'
    api: deque[Reply] = field(default_factory=deque)
    storage: deque[Reply] = field(default_factory=deque)
    api_requests: list[Request] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)
    base: str = ""

    @property
    def ranges(self) -> list[str | None]:
        return [request.range for request in self.requests]

    @property
    def sent(self) -> list[int]:
        return [request.sent for request in self.requests]


class Handler(BaseHTTPRequestHandler):
    shop: Shop
    request_now: Request

    def do_GET(self) -> None:
        header = self.headers.get
        self.request_now = Request(
            self.path, header("Range"), header("If-Range"), header("Accept-Encoding")
        )
        if self.path.startswith("/api/"):
            self.shop.api_requests.append(self.request_now)
            queue, usual = self.shop.api, redirect
        else:
            self.shop.requests.append(self.request_now)
            queue, usual = self.shop.storage, serve
        reply = queue.popleft() if queue else usual
        reply(self)

    def answer(self, status: int, headers: dict[str, Any], body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in {"Content-Length": len(body), **headers}.items():
            if value is not None:
                self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()
        if status in (200, 206):
            self.request_now.sent += len(body)

    def log_message(self, *_: object) -> None:
        pass


def redirect(handler: Handler) -> None:
    number = len(handler.shop.api_requests)
    handler.answer(302, {"Location": f"/storage/archive.zip?signature={number}"})


def serve(handler: Handler, length: int | None = None) -> None:
    """Answer as HTTP says; break off after `length` bytes of the body."""
    shop, asked = handler.shop, handler.request_now
    size = len(shop.archive)
    headers: dict[str, Any] = {"ETag": shop.etag, "Content-Type": "application/zip"}
    start = 0
    if asked.range and asked.if_range in (None, shop.etag):
        start = int(asked.range.removeprefix("bytes=").removesuffix("-"))
        if start >= size:
            handler.answer(416, {"Content-Range": f"bytes */{size}"})
            return
        headers["Content-Range"] = f"bytes {start}-{size - 1}/{size}"
    headers["Content-Length"] = size - start
    body = shop.archive[start:] if length is None else shop.archive[start : start + length]
    handler.answer(206 if start else 200, headers, body)


def cut(length: int) -> Reply:
    return lambda handler: serve(handler, length)


def stall(length: int) -> Reply:
    def reply(handler: Handler) -> None:
        serve(handler, length)
        handler.shop.closing.wait(20)

    return reply


def without(name: str, then: Reply = serve) -> Reply:
    """Answer as if the request had no header `name`."""

    def reply(handler: Handler) -> None:
        setattr(handler.request_now, name, None)
        then(handler)

    return reply


def status(code: int, body: bytes = b"no", **headers: Any) -> Reply:
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda handler: handler.answer(code, headers, body)


@pytest.fixture
def shop() -> Iterator[Shop]:
    shop = Shop()
    handler = type("ShopHandler", (Handler,), {"shop": shop})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        shop.base = f"http://127.0.0.1:{server.server_port}/api"
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield shop
        shop.closing.set()
        server.shutdown()


# --- running the command ------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "RETRY_WAIT", 0.001)


@dataclass
class Outcome:
    code: int
    error: str


@dataclass
class Acquire:
    """Run the command in this process; check what holds after any run."""

    clips: Path
    capture: pytest.CaptureFixture[str]

    @property
    def work(self) -> Path:
        return self.clips.with_name(f"{self.clips.name}.download")

    @property
    def part(self) -> Path:
        return self.work / "archive.zip.part"

    def __call__(self, *arguments: str) -> Outcome:
        before = contents(self.clips)
        code = main(["acquire", *arguments, "--output", str(self.clips)])
        error = complaint(self.capture.readouterr().err)
        assert bool(error) == (code != 0)
        if code:
            assert contents(self.clips) == before
        assert not list(self.clips.parent.glob(".partial-*"))
        return Outcome(code, error)

    def kaggle(self, shop: Shop, *arguments: str) -> Outcome:
        return self("kaggle", "--dataset", "owner/night", "--url", shop.base, *arguments)

    def archive(self, path: Path, *arguments: str) -> Outcome:
        return self("archive", "--path", str(path), *arguments)


def complaint(stderr: str) -> str:
    """Give the one line of stderr that is no progress bar, or nothing."""
    lines = [line for line in stderr.split("\n") if line and not line.startswith("\r")]
    assert len(lines) <= 1, lines
    assert all(line.startswith("noctact acquire: ") for line in lines)
    return "".join(lines)


@pytest.fixture
def acquire(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Acquire:
    return Acquire(tmp_path / "data" / "clips", capsys)


def command(*arguments: str) -> tuple[list[str], dict[str, str]]:
    """Give the command line, and the environment to run it in."""
    environment = {**os.environ, "PYTHONPATH": PYTHON_PATH}
    return [sys.executable, "-m", "noctact", "acquire", *arguments], environment


def run_command(
    *arguments: str, prefix: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[bytes]:
    line, environment = command(*arguments)
    return subprocess.run(
        [*prefix, *line], env=environment, capture_output=True, timeout=20, check=False
    )


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# --- downloads ----------------------------------------------------------------------------------


def test_download_follows_the_signed_link_and_leaves_only_the_clips(
    shop: Shop, acquire: Acquire
) -> None:
    assert acquire.kaggle(shop).code == 0
    assert contents(acquire.clips) == CLIPS
    assert [path.name for path in acquire.clips.parent.iterdir()] == ["clips"]
    assert [request.path for request in shop.api_requests] == ["/api/owner/night"]
    assert [request.path for request in shop.requests] == ["/storage/archive.zip?signature=1"]
    assert shop.requests[0].encoding == "identity"
    assert shop.ranges == [None]


def test_pinned_version_is_asked_for(shop: Shop, acquire: Acquire) -> None:
    assert acquire.kaggle(shop, "--version", "3").code == 0
    assert shop.api_requests[0].path == "/api/owner/night?datasetVersionNumber=3"


def test_cut_connection_asks_for_the_missing_bytes_only(shop: Shop, acquire: Acquire) -> None:
    digest = hashlib.sha256(ARCHIVE).hexdigest()
    shop.storage.append(cut(3 * CHUNK))
    assert acquire.kaggle(shop, "--sha256", digest).code == 0
    assert contents(acquire.clips) == CLIPS
    assert shop.ranges == [None, f"bytes={3 * CHUNK}-"]
    assert shop.requests[1].if_range == '"one"'
    assert sum(shop.sent) == len(ARCHIVE)
    # Each attempt has a fresh link.
    assert [request.path[-1] for request in shop.requests] == ["1", "2"]


def test_attempts_that_got_further_are_not_counted(shop: Shop, acquire: Acquire) -> None:
    shop.archive = zipped({"walk/long.mp4": random.Random(0).randbytes((ATTEMPTS + 4) * CHUNK)})
    shop.storage.extend([cut(CHUNK)] * (ATTEMPTS + 3))
    assert acquire.kaggle(shop).code == 0
    assert len(shop.requests) == ATTEMPTS + 4
    assert sum(shop.sent) == len(shop.archive)


def test_attempts_without_new_bytes_end_and_a_later_call_goes_on(
    shop: Shop, acquire: Acquire
) -> None:
    shop.storage.append(cut(2 * CHUNK))
    shop.storage.extend([cut(0)] * (ATTEMPTS - 1))
    outcome = acquire.kaggle(shop)
    assert outcome.code == 1
    assert f"{shop.base}/owner/night" in outcome.error
    assert "signature" not in outcome.error
    assert len(shop.requests) == ATTEMPTS
    assert acquire.part.read_bytes() == ARCHIVE[: 2 * CHUNK]

    assert acquire.kaggle(shop).code == 0
    assert contents(acquire.clips) == CLIPS
    assert shop.ranges[-1] == f"bytes={2 * CHUNK}-"
    assert sum(shop.sent) == len(ARCHIVE)


def test_starting_anew_over_and_over_is_no_progress(shop: Shop, acquire: Acquire) -> None:
    shop.storage.extend([without("range", cut(2 * CHUNK))] * 3 * ATTEMPTS)
    assert acquire.kaggle(shop).code == 1
    assert len(shop.requests) == ATTEMPTS


def test_killed_call_is_taken_up_by_the_next(shop: Shop, acquire: Acquire) -> None:
    shop.storage.append(stall(2 * CHUNK))
    arguments = ("--dataset", "owner/night", "--url", shop.base, "--output", str(acquire.clips))
    line, environment = command("kaggle", *arguments)
    with subprocess.Popen(line, env=environment, stderr=subprocess.DEVNULL) as process:
        wait_until(lambda: acquire.part.exists() and acquire.part.stat().st_size == 2 * CHUNK)
        process.send_signal(signal.SIGKILL)
    assert not acquire.clips.exists()

    assert acquire.kaggle(shop).code == 0
    assert contents(acquire.clips) == CLIPS
    assert shop.ranges == [None, f"bytes={2 * CHUNK}-"]
    assert not acquire.work.exists()


def break_off(shop: Shop, acquire: Acquire) -> None:
    """Leave the first two chunks on disk."""
    shop.storage.append(cut(2 * CHUNK))
    shop.api.extend([redirect, *[status(503)] * ATTEMPTS])
    assert acquire.kaggle(shop).code == 1
    assert acquire.part.stat().st_size == 2 * CHUNK
    shop.api.clear()
    shop.requests.clear()


# As long as the old ones, so that only the ETag tells the archives apart.
NEW_CLIPS = {name: random.Random(name).randbytes(60_000) for name in CLIPS}


@pytest.mark.parametrize("obeys_if_range", [True, False])
def test_changed_file_starts_anew(shop: Shop, acquire: Acquire, obeys_if_range: bool) -> None:
    break_off(shop, acquire)
    shop.archive, shop.etag = zipped(NEW_CLIPS), '"two"'
    assert len(shop.archive) == len(ARCHIVE)
    if not obeys_if_range:
        shop.storage.append(without("if_range"))
    assert acquire.kaggle(shop).code == 0
    assert contents(acquire.clips) == NEW_CLIPS
    assert shop.ranges[0] == f"bytes={2 * CHUNK}-"


def test_file_that_became_shorter_than_the_part_starts_anew(shop: Shop, acquire: Acquire) -> None:
    break_off(shop, acquire)
    shop.archive, shop.etag = zipped({"walk/short.mp4": b"short"}), '"two"'
    shop.storage.append(without("if_range"))  # answers 416
    assert acquire.kaggle(shop).code == 0
    assert contents(acquire.clips) == {"walk/short.mp4": b"short"}
    assert shop.ranges == [f"bytes={2 * CHUNK}-", None]


def test_part_that_is_the_whole_is_not_fetched_again(shop: Shop, acquire: Acquire) -> None:
    break_off(shop, acquire)
    acquire.part.write_bytes(ARCHIVE)  # as if the call had died just before the renaming
    assert acquire.kaggle(shop).code == 0
    assert contents(acquire.clips) == CLIPS
    assert shop.sent == [0]


def test_server_that_sends_another_range_is_not_trusted(shop: Shop, acquire: Acquire) -> None:
    break_off(shop, acquire)
    header = f"bytes {CHUNK}-{len(ARCHIVE) - 1}/{len(ARCHIVE)}"
    shop.storage.append(status(206, ARCHIVE[CHUNK:], Content_Range=header, ETag=shop.etag))
    assert acquire.kaggle(shop).code == 0
    assert contents(acquire.clips) == CLIPS
    assert shop.ranges == [f"bytes={2 * CHUNK}-", None]


def test_server_that_sends_less_than_the_asked_range(shop: Shop, acquire: Acquire) -> None:
    break_off(shop, acquire)
    header = f"bytes {2 * CHUNK}-{3 * CHUNK - 1}/{len(ARCHIVE)}"
    third = ARCHIVE[2 * CHUNK : 3 * CHUNK]
    shop.storage.append(status(206, third, Content_Range=header, ETag=shop.etag))
    assert acquire.kaggle(shop).code == 0
    assert contents(acquire.clips) == CLIPS
    assert shop.ranges == [f"bytes={2 * CHUNK}-", f"bytes={3 * CHUNK}-"]


def test_server_that_ignores_ranges(shop: Shop, acquire: Acquire) -> None:
    break_off(shop, acquire)
    shop.storage.append(without("range"))
    assert acquire.kaggle(shop).code == 0
    assert contents(acquire.clips) == CLIPS
    assert shop.sent == [len(ARCHIVE)]


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_no_resume_without_a_strong_etag(shop: Shop, acquire: Acquire, etag: str | None) -> None:
    shop.etag = etag
    shop.storage.append(cut(2 * CHUNK))
    assert acquire.kaggle(shop).code == 0
    assert contents(acquire.clips) == CLIPS
    assert shop.ranges == [None, None]


def test_part_of_another_version_is_not_used(shop: Shop, acquire: Acquire) -> None:
    break_off(shop, acquire)
    assert acquire.kaggle(shop, "--version", "2").code == 0
    assert contents(acquire.clips) == CLIPS
    assert shop.ranges == [None]


def test_kept_archive_is_used_for_its_own_version_only(shop: Shop, acquire: Acquire) -> None:
    break_off(shop, acquire)
    kept = acquire.part.replace(acquire.work / "archive.zip")
    kept.write_bytes(ARCHIVE)
    shop.storage.extend([cut(2 * CHUNK), *[cut(0)] * ATTEMPTS])
    assert acquire.kaggle(shop, "--version", "2").code == 1
    assert not kept.exists()  # its room is needed

    acquire.part.rename(kept)
    kept.write_bytes(ARCHIVE)
    shop.requests.clear()
    assert acquire.kaggle(shop, "--version", "2").code == 0
    assert contents(acquire.clips) == CLIPS
    assert shop.requests == []


def test_damaged_note_starts_anew(shop: Shop, acquire: Acquire) -> None:
    break_off(shop, acquire)
    (acquire.work / "archive.zip.json").write_text("{")
    assert acquire.kaggle(shop).code == 0
    assert contents(acquire.clips) == CLIPS
    assert shop.ranges == [None]


def test_body_without_a_length(shop: Shop, acquire: Acquire) -> None:
    shop.storage.append(status(200, ARCHIVE, Content_Length=None))
    assert acquire.kaggle(shop).code == 0
    assert contents(acquire.clips) == CLIPS


@pytest.mark.parametrize("code", [400, 403, 410])
def test_expired_link_is_replaced_by_a_fresh_one(shop: Shop, acquire: Acquire, code: int) -> None:
    shop.storage.extend([cut(2 * CHUNK), status(code)])
    assert acquire.kaggle(shop).code == 0
    assert contents(acquire.clips) == CLIPS
    assert [request.path[-1] for request in shop.requests] == ["1", "2", "3"]
    assert sum(shop.sent) == len(ARCHIVE)


def test_link_that_is_always_refused_is_given_up(shop: Shop, acquire: Acquire) -> None:
    shop.storage.extend([status(403)] * 100)
    outcome = acquire.kaggle(shop)
    assert outcome.code == 1
    assert "403" in outcome.error
    assert len(shop.requests) == ATTEMPTS
    assert not acquire.work.exists()


@pytest.mark.parametrize("side", ["api", "storage"])
def test_retry_after_is_honoured(shop: Shop, acquire: Acquire, side: str) -> None:
    getattr(shop, side).append(status(429, Retry_After=1))
    began = time.monotonic()
    assert acquire.kaggle(shop).code == 0
    assert 1 <= time.monotonic() - began < 5
    assert contents(acquire.clips) == CLIPS


@pytest.mark.parametrize(
    "value",
    ["100000", format_datetime(datetime.now(UTC) + timedelta(days=1), usegmt=True)],
    ids=["seconds", "date"],
)
def test_retry_after_is_capped(
    shop: Shop, acquire: Acquire, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setattr(download, "LONGEST_WAIT", 0.2)
    shop.api.append(status(429, Retry_After=value))
    began = time.monotonic()
    assert acquire.kaggle(shop).code == 0
    assert 0.2 <= time.monotonic() - began < 5


def test_unreadable_retry_after_is_ignored(shop: Shop, acquire: Acquire) -> None:
    shop.api.append(status(429, Retry_After="soon"))
    assert acquire.kaggle(shop).code == 0


@pytest.mark.parametrize("code", [500, 503])
def test_busy_server_is_asked_again(shop: Shop, acquire: Acquire, code: int) -> None:
    shop.api.append(status(code))
    shop.storage.append(status(code))
    assert acquire.kaggle(shop).code == 0
    assert contents(acquire.clips) == CLIPS


@pytest.mark.parametrize(
    ("code", "words"), [(401, "login"), (403, "not public"), (404, "no such dataset or version")]
)
def test_refusal_of_the_api_is_final(shop: Shop, acquire: Acquire, code: int, words: str) -> None:
    shop.api.append(status(code))
    outcome = acquire.kaggle(shop)
    assert outcome.code == 1
    assert words in outcome.error
    assert f"{shop.base}/owner/night" in outcome.error
    assert len(shop.api_requests) == 1
    assert not acquire.clips.parent.exists()


def test_silent_server_times_out_and_is_asked_again(
    shop: Shop, acquire: Acquire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "TIMEOUT", (1.0, 0.3))
    shop.api.append(lambda handler: handler.shop.closing.wait(20))
    shop.storage.append(stall(2 * CHUNK))
    assert acquire.kaggle(shop).code == 0
    assert contents(acquire.clips) == CLIPS
    assert len(shop.api_requests) == 3
    assert shop.ranges == [None, f"bytes={2 * CHUNK}-"]


def test_no_server(acquire: Acquire) -> None:
    outcome = acquire("kaggle", "--dataset", "owner/night", "--url", "http://127.0.0.1:9/api")
    assert outcome.code == 1
    assert "http://127.0.0.1:9/api/owner/night" in outcome.error
    assert "ConnectionError" in outcome.error


def test_address_that_is_none(acquire: Acquire) -> None:
    outcome = acquire("kaggle", "--dataset", "owner/night", "--url", "nowhere")
    assert outcome.code == 1
    assert "nowhere/owner/night" in outcome.error
    assert "check the address" in outcome.error


@pytest.mark.parametrize(
    "page",
    [
        status(200, b"Please log in", Content_Type="text/html; charset=utf-8"),
        status(200, b"\n <!DOCTYPE html><p>Please log in", Content_Type="application/zip"),
    ],
)
@pytest.mark.parametrize("side", ["api", "storage"])
def test_web_page_is_no_archive(shop: Shop, acquire: Acquire, page: Reply, side: str) -> None:
    getattr(shop, side).append(page)
    outcome = acquire.kaggle(shop)
    assert outcome.code == 1
    assert "web page" in outcome.error
    assert not acquire.clips.parent.exists()


def test_web_page_does_not_cost_what_was_downloaded(shop: Shop, acquire: Acquire) -> None:
    break_off(shop, acquire)
    shop.api.append(status(200, b"<html>", Content_Type="text/html"))
    assert acquire.kaggle(shop).code == 1
    assert acquire.kaggle(shop).code == 0
    assert shop.ranges == [f"bytes={2 * CHUNK}-"]


@pytest.mark.parametrize("broken", [ARCHIVE[:-30], ARCHIVE[: len(ARCHIVE) // 2], b"PK", b""])
def test_downloaded_archive_that_is_broken_is_deleted(
    shop: Shop, acquire: Acquire, broken: bytes
) -> None:
    shop.archive = broken
    outcome = acquire.kaggle(shop)
    assert outcome.code == 1
    assert "not a whole zip archive" in outcome.error
    assert not list(acquire.clips.parent.iterdir())


def test_downloaded_archive_with_another_sum_is_kept(shop: Shop, acquire: Acquire) -> None:
    outcome = acquire.kaggle(shop, "--sha256", "0" * 64)
    assert outcome.code == 1
    assert "0" * 64 in outcome.error
    assert hashlib.sha256(ARCHIVE).hexdigest() in outcome.error
    assert not acquire.clips.exists()
    asked = len(shop.api_requests)
    # The sum was mistyped: mended, it costs no second download.
    assert acquire.kaggle(shop, "--sha256", hashlib.sha256(ARCHIVE).hexdigest()).code == 0
    assert contents(acquire.clips) == CLIPS
    assert len(shop.api_requests) == asked


# --- local archives -----------------------------------------------------------------------------


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "archive.zip"
    path.write_bytes(ARCHIVE)
    return path


def test_archive_is_unpacked_and_not_changed(archive: Path, acquire: Acquire) -> None:
    before = archive.stat()
    assert (
        acquire.archive(archive, "--sha256", hashlib.sha256(ARCHIVE).hexdigest().upper()).code == 0
    )
    assert contents(acquire.clips) == CLIPS
    assert archive.read_bytes() == ARCHIVE
    assert archive.stat().st_mtime_ns == before.st_mtime_ns


def test_archive_with_another_sum_is_kept(archive: Path, acquire: Acquire) -> None:
    outcome = acquire.archive(archive, "--sha256", "f" * 64)
    assert outcome.code == 1
    assert "f" * 64 in outcome.error
    assert hashlib.sha256(ARCHIVE).hexdigest() in outcome.error
    assert archive.read_bytes() == ARCHIVE
    assert not acquire.clips.exists()


def test_missing_archive(tmp_path: Path, acquire: Acquire) -> None:
    outcome = acquire.archive(tmp_path / "none.zip")
    assert outcome.code == 1
    assert "none.zip" in outcome.error


def test_output_that_is_there_is_refused_and_untouched(archive: Path, acquire: Acquire) -> None:
    old = acquire.clips / "old" / "clip.mp4"
    old.parent.mkdir(parents=True)
    old.write_bytes(b"mine")
    outcome = acquire.archive(archive)
    assert outcome.code == 1
    assert f"{acquire.clips}: is there already" in outcome.error
    assert contents(acquire.clips) == {"old/clip.mp4": b"mine"}


def test_only_plain_permissions(archive: Path, acquire: Acquire) -> None:
    with zipfile.ZipFile(archive, "w") as file:
        for name, mode in {"walk/": 0o40777, "walk/a.mp4": 0o106777}.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            file.writestr(info, b"")
    assert acquire.archive(archive).code == 0
    umask = os.umask(0)
    os.umask(umask)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in acquire.clips.rglob("*")}
    assert modes == {"walk": 0o777 & ~umask, "a.mp4": 0o666 & ~umask}


def test_droppings_of_macos_are_left_out(archive: Path, acquire: Acquire) -> None:
    droppings = (
        "__MACOSX/",
        "__MACOSX/walk/._a.mp4",
        ".DS_Store",
        "walk/.DS_Store",
        "walk/._a.mp4",
    )
    archive.write_bytes(zipped({"walk/a.mp4": b"a", **dict.fromkeys(droppings, b"")}))
    assert acquire.archive(archive).code == 0
    assert contents(acquire.clips) == {"walk/a.mp4": b"a"}
    assert [path.name for path in acquire.clips.iterdir()] == ["walk"]


def with_members(*members: tuple[str, bytes], mode: int = 0) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile warns of the duplicates that we want
        archive.writestr("walk/good.mp4", b"good")
        for name, content in members:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            archive.writestr(info, content)
    return buffer.getvalue()


def patched(archive: bytes, offset: int, replacement: bytes) -> bytes:
    """Overwrite a field of the last member in the central directory, `offset` bytes into it."""
    at = archive.rindex(b"PK\x01\x02") + offset
    return archive[:at] + replacement + archive[at + len(replacement) :]


SOUND = with_members(("walk/bad.mp4", b"bad content"))
FLAGS, METHOD, SIZE, OFFSET = 8, 10, 24, 42  # fields of a central directory entry
HOSTILE = {
    "parent": (with_members(("../bad.mp4", b"")), "../bad.mp4", "outside"),
    "parent inside": (with_members(("walk/../../bad.mp4", b"")), "walk/../../bad.mp4", "outside"),
    "hidden parent": (with_members(("__MACOSX/../bad", b"")), "__MACOSX/../bad", "outside"),
    "absolute": (with_members(("/tmp/bad.mp4", b"")), "/tmp/bad.mp4", "outside"),
    "drive": (with_members(("C:bad.mp4", b"")), "C:bad.mp4", "outside"),
    "backslash": (with_members(("walk\\bad.mp4", b"")), "walk\\\\bad.mp4", "outside"),
    "nameless": (with_members((".", b"")), "'.'", "no name"),
    "symlink": (with_members(("link.mp4", b"/etc/passwd"), mode=0o120777), "link.mp4", "link"),
    "device": (with_members(("null", b""), mode=0o20666), "null", "special file"),
    "twice": (with_members(("walk/good.mp4", b"other")), "walk/good.mp4", "twice"),
    "same path": (with_members(("walk//good.mp4", b"other")), "walk//good.mp4", "twice"),
    "same in Unicode": (
        with_members(("caf\u00e9.mp4", b"1"), ("cafe\u0301.mp4", b"2")),
        "cafe\u0301.mp4",
        "twice",
    ),
    "file and folder": (
        with_members(("walk/good.mp4/bad.mp4", b"")),
        "walk/good.mp4",
        "both a file and a folder",
    ),
    "encrypted": (patched(SOUND, FLAGS, b"\x01"), "walk/bad.mp4", "encrypted"),
    "method": (patched(SOUND, METHOD, b"\x0e"), "walk/bad.mp4", "method 14"),
    "declares less": (patched(SOUND, SIZE, b"\x03"), "walk/bad.mp4", "damaged"),
    "declares more": (patched(SOUND, SIZE, b"\x63"), "walk/bad.mp4", "as it declares"),
    "astray": (patched(SOUND, OFFSET, b"\xf0\xff\xff\x7f"), "walk/bad.mp4", "outside the archive"),
    "damaged": (SOUND.replace(b"bad content", b"bad_content"), "walk/bad.mp4", "CRC"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_member_is_refused_by_name(case: str, archive: Path, acquire: Acquire) -> None:
    content, member, problem = HOSTILE[case]
    archive.write_bytes(content)
    outcome = acquire.archive(archive)
    assert outcome.code == 1
    assert str(archive) in outcome.error
    assert member in outcome.error
    assert problem in outcome.error
    assert not acquire.clips.exists()
    assert not [path for path in archive.parent.rglob("*bad*") if path.is_file()]
    assert archive.read_bytes() == content


def test_the_archive_that_the_hostile_ones_are_made_from_is_sound(
    archive: Path, acquire: Acquire
) -> None:
    archive.write_bytes(SOUND)
    assert acquire.archive(archive).code == 0
    assert contents(acquire.clips) == {"walk/good.mp4": b"good", "walk/bad.mp4": b"bad content"}


def test_archive_without_files_is_refused(archive: Path, acquire: Acquire) -> None:
    archive.write_bytes(zipped({"walk/": b"", ".DS_Store": b""}))
    outcome = acquire.archive(archive)
    assert outcome.code == 1
    assert "no files" in outcome.error


def test_no_damage_escapes_as_another_error(archive: Path, tmp_path: Path) -> None:
    """Whatever is overwritten or cut off: the folder is complete, or it is not there."""
    chance = random.Random(0)
    sound = zipped({"walk/": b"", "walk/a.mp4": b"abc" * 20, "run/\u00e9.mp4": b"xyz" * 10})
    folder = tmp_path / "clips"
    refused = 0
    for _ in range(500):
        damaged = bytearray(sound)
        at, length = chance.randrange(len(sound)), chance.choice((1, 4, 8))
        damaged[at : at + length] = chance.choice(
            (b"", b"\0" * length, b"\xff" * length, chance.randbytes(length))
        )
        archive.write_bytes(damaged[: chance.choice((None, None, chance.randrange(len(sound))))])
        try:
            unpack(archive, folder)
        except BrokenArchive as error:
            refused += 1
            assert "\n" not in str(error)
            assert not folder.exists()
        else:
            assert contents(folder)
            shutil.rmtree(folder)
        assert [path.name for path in tmp_path.iterdir()] == ["archive.zip"]
    assert 250 < refused < 500


# --- full disks ---------------------------------------------------------------------------------


@dataclass
class Disk:
    path: Path

    def enlarge(self) -> None:
        line = ["mount", "-o", "remount,size=8m,nr_inodes=64", str(self.path)]
        subprocess.run(line, check=True)

    def fill(self) -> None:
        """Leave no byte free."""
        with (self.path / "filler").open("wb", buffering=0) as file, pytest.raises(OSError):
            while True:
                file.write(b"\0" * 4096)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A disk of 1 MiB and 16 files."""
    disk = Disk(tmp_path / "disk")
    disk.path.mkdir()
    line = ["mount", "-t", "tmpfs", "-o", "size=1m,nr_inodes=16", "tmpfs", str(disk.path)]
    if subprocess.run(line, capture_output=True, check=False).returncode != 0:
        pytest.skip("a full disk needs the right to mount a tmpfs (run as root)")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk.path)], check=True)


@pytest.fixture
def acquire_on_disk(disk: Disk, capsys: pytest.CaptureFixture[str]) -> Acquire:
    return Acquire(disk.path / "clips", capsys)


def test_archive_too_big_for_the_disk_is_not_fetched(shop: Shop, acquire_on_disk: Acquire) -> None:
    shop.archive = zipped({"walk/long.mp4": random.Random(0).randbytes(2_000_000)})
    outcome = acquire_on_disk.kaggle(shop)
    assert outcome.code == 1
    assert "disk full: 2.0 MB needed" in outcome.error
    assert not acquire_on_disk.part.exists()


def test_disk_that_fills_up_during_the_download(
    shop: Shop, disk: Disk, acquire_on_disk: Acquire
) -> None:
    def fill_then_serve(handler: Handler) -> None:
        headers = {"ETag": shop.etag, "Content-Length": len(ARCHIVE)}
        handler.answer(200, headers, ARCHIVE[: 2 * CHUNK])
        wait_until(acquire_on_disk.part.exists)
        disk.fill()
        handler.wfile.write(ARCHIVE[2 * CHUNK :])

    shop.storage.append(fill_then_serve)
    outcome = acquire_on_disk.kaggle(shop)
    assert outcome.code == 1
    assert "No space left on device: 0.5 MB needed" in outcome.error
    assert len(shop.requests) == 1
    kept = acquire_on_disk.part.read_bytes()
    assert ARCHIVE.startswith(kept)

    # With room made, a later call goes on from there.
    (disk.path / "filler").unlink()
    disk.enlarge()
    assert acquire_on_disk.kaggle(shop).code == 0
    assert contents(acquire_on_disk.clips) == CLIPS
    assert shop.ranges[-1] == f"bytes={len(kept)}-"


def test_archive_is_kept_for_when_there_is_room_to_unpack_it(
    shop: Shop, disk: Disk, acquire_on_disk: Acquire
) -> None:
    clips = {"walk/a.mp4": b"\0" * 3_000_000}
    shop.archive = zipped(clips)
    outcome = acquire_on_disk.kaggle(shop)
    assert outcome.code == 1
    assert "disk full: 3.0 MB needed" in outcome.error
    assert len(shop.api_requests) == 1

    disk.enlarge()
    assert acquire_on_disk.kaggle(shop).code == 0
    assert contents(acquire_on_disk.clips) == clips
    assert len(shop.api_requests) == 1
    assert not acquire_on_disk.work.exists()


def test_disk_that_fills_up_while_unpacking(archive: Path, acquire_on_disk: Acquire) -> None:
    archive.write_bytes(zipped({f"walk/{number}.mp4": b"1" * 1000 for number in range(40)}))
    outcome = acquire_on_disk.archive(archive)  # 16 files at most
    assert outcome.code == 1
    assert "No space left on device: 0.0 MB needed" in outcome.error
    assert not list(acquire_on_disk.clips.parent.iterdir())


def test_file_size_limit_while_unpacking(archive: Path, tmp_path: Path) -> None:
    clips = tmp_path / "clips"
    limited = ("sh", "-c", 'ulimit -f 20 && exec "$@"', "sh")
    arguments = ("archive", "--path", str(archive), "--output", str(clips))
    done = run_command(*arguments, prefix=limited)
    assert done.returncode == 1
    assert "File too large: 0.5 MB needed" in complaint(done.stderr.decode())
    assert [path.name for path in tmp_path.iterdir()] == ["archive.zip"]


# --- the command line ---------------------------------------------------------------------------


def test_command_line(shop: Shop, tmp_path: Path) -> None:
    shop.storage.append(cut(CHUNK))
    arguments = ("kaggle", "--dataset", "owner/night", "--url", shop.base)
    done = run_command(*arguments, "--output", str(tmp_path / "clips"))
    assert done.returncode == 0
    assert done.stdout == b""
    assert complaint(done.stderr.decode()) == ""
    assert b"archive.zip" in done.stderr  # the progress bar
    assert contents(tmp_path / "clips") == CLIPS

    shop.api.append(status(404))
    done = run_command(*arguments, "--output", str(tmp_path / "other"))
    assert done.returncode == 1
    assert complaint(done.stderr.decode())
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["ftp"],
        ["kaggle", "--output", "clips"],
        ["kaggle", "--dataset", "night", "--output", "clips"],
        ["kaggle", "--dataset", "a/../b", "--output", "clips"],
        ["kaggle", "--dataset", "owner/night", "--version", "0", "--output", "clips"],
        ["archive", "--path", "a.zip", "--sha256", "abc", "--output", "clips"],
        ["archive", "--path", "a.zip", "--output", "."],
        ["archive", "--path", "a.zip"],
    ],
)
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["acquire", *arguments])
    assert exit_.value.code == 2
    assert "usage: noctact acquire" in capsys.readouterr().err
