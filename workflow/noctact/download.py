"""Download one big file over HTTP; go on where an earlier attempt or call broke off."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from itertools import chain
from pathlib import Path
from typing import Any

import requests
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_exception,
    wait_exponential,
)
from tqdm import tqdm

from noctact.atomic import discard, replacing
from noctact.errors import NoctactError
from noctact.unpack import room_for

ATTEMPTS = 6  # in a row that bring no new bytes
RETRY_WAIT = 2.0  # seconds after the first of them; doubles from one to the next
LONGEST_WAIT = 120.0  # seconds, whatever the server asks for
TIMEOUT = (10.0, 60.0)  # seconds to connect, seconds without a byte
CHUNK = 1 << 16  # bytes; the most that a broken connection loses

REFUSALS = {
    401: "it needs a login or is not public; check the name, or download it by hand",
    403: "it needs a login or is not public; check the name, or download it by hand",
    404: "there is no such dataset or version; check both",
}


class Interrupted(NoctactError):
    """An attempt failed in a way that the next one may not.

    `wait` is how long the server asked to be left alone, in seconds.
    """

    def __init__(self, message: str, wait: float = 0.0) -> None:
        super().__init__(message)
        self.wait = min(wait, LONGEST_WAIT)


def download(url: str, file: Path) -> None:
    """Fetch `url` as `file`, which appears when complete; do nothing if it is there already.

    Until then the bytes are in `<file>.part`, and `<file>.json` notes what they are part of, so
    that a later call asks for the rest only. Each attempt starts at `url`, because the link that
    it redirects to expires.

    Raises Interrupted when ATTEMPTS in a row brought nothing new, and NoctactError for what
    another attempt would not mend: no such file, a web page in its place, a full disk.
    """
    transfer = _Transfer(url, file)
    if transfer.is_complete():
        return
    attempts = Retrying(
        retry=retry_if_exception_type(Interrupted),
        after=transfer.forgive_if_longer,
        stop=stop_after_attempt(ATTEMPTS),
        wait=wait_exponential(multiplier=RETRY_WAIT, max=LONGEST_WAIT)
        + wait_exception(lambda error: getattr(error, "wait", 0.0)),
        reraise=True,
    )
    try:
        attempts(transfer.attempt)
    except requests.RequestException as error:
        raise NoctactError(f"{url}: {error}; check the address") from error


class _Transfer:
    """A download under way: its files on disk and the attempts at completing them."""

    def __init__(self, url: str, file: Path) -> None:
        self.url = url
        self.file = file
        self.part = file.with_name(f"{file.name}.part")
        self.note = file.with_name(f"{file.name}.json")
        self.noted = self._read_note()
        self.longest = 0

    def is_complete(self) -> bool:
        return self.file.exists() and bool(self.noted)

    def forgive_if_longer(self, state: RetryCallState) -> None:
        """Count attempts anew after one that got further than any before it."""
        if self._length() > self.longest:
            self.longest = self._length()
            state.attempt_number = 1

    def attempt(self) -> None:
        """Ask for the missing bytes once; raise Interrupted when another attempt may do better."""
        # Without a strong ETag nothing tells whether the part still belongs to the whole.
        if not self.noted.get("etag"):
            discard(self.part)
        start = self._length()
        headers = {"Accept-Encoding": "identity"}
        if start:
            headers |= {"Range": f"bytes={start}-", "If-Range": self.noted["etag"]}
        try:
            with requests.get(self.url, headers=headers, stream=True, timeout=TIMEOUT) as response:
                self._receive(response, start)
        except (
            requests.ConnectionError,
            requests.Timeout,
            requests.exceptions.ChunkedEncodingError,
        ) as error:
            # Only its kind: its text holds the signed link.
            raise self._interrupted(f"the connection broke ({type(error).__name__})") from error
        self.part.replace(self.file)

    def _receive(self, response: requests.Response, start: int) -> None:
        """Take in what came in answer to a request for the bytes from `start` on."""
        is_whole = start and response.headers.get("Content-Range") == f"bytes */{start}"
        match response.status_code:
            case 206 if start and self._is_rest(response, start):
                self._append(response.iter_content(CHUNK))
            case 200:
                self._start_anew(response)
            case 416 if is_whole:
                pass
            case 206 | 416:
                discard(self.part)
                raise self._interrupted("the file is another one now")
            case status:
                raise self._refused(response, status)

    def _is_rest(self, response: requests.Response, start: int) -> bool:
        begins = response.headers.get("Content-Range", "").startswith(f"bytes {start}-")
        return begins and response.headers.get("ETag", self.noted["etag"]) == self.noted["etag"]

    def _start_anew(self, response: requests.Response) -> None:
        body = response.iter_content(CHUNK)
        first = next(body, b"")
        if "html" in response.headers.get("Content-Type", "") or first.lstrip().startswith(b"<"):
            raise NoctactError(
                f"{self.url}: a web page came in place of the archive; "
                "open the address in a browser to see why (a login, a proxy)"
            )
        etag = response.headers.get("ETag", "")
        length = response.headers.get("Content-Length", "")
        self.noted = {
            "url": self.url,
            "etag": etag if etag.startswith('"') else None,
            "size": int(length) if length.isdecimal() else None,
        }
        self.file.parent.mkdir(parents=True, exist_ok=True)
        discard(self.file)
        # Before the new note, so that a call that dies here leaves no bytes under a wrong one.
        discard(self.part)
        self._append(chain([first], body))

    def _append(self, body: Iterator[bytes]) -> None:
        start, size = self._length(), self.noted["size"]
        missing = size - start if size else 0
        with room_for(missing, self.part.parent):
            with replacing(self.note) as partial:
                partial.write_text(json.dumps(self.noted))
            with (
                self.part.open("ab") as part,
                tqdm(
                    desc=self.file.name,
                    initial=start,
                    total=size,
                    unit="B",
                    unit_scale=True,
                    mininterval=1,
                ) as bar,
            ):
                for chunk in body:
                    part.write(chunk)
                    bar.update(len(chunk))
        if size not in (None, self._length()):
            raise self._interrupted(f"{self._length()} of {size} bytes came")

    def _refused(self, response: requests.Response, status: int) -> NoctactError:
        """Tell the answers that may change from those that are final."""
        if status == 429 or status >= 500:
            return self._interrupted(f"the server is busy (HTTP {status})", _asked_wait(response))
        if response.history:
            return self._interrupted(f"the link that it gave is refused (HTTP {status})")
        return NoctactError(
            f"{self.url}: HTTP {status}: {REFUSALS.get(status, 'check the address')}"
        )

    def _interrupted(self, problem: str, wait: float = 0.0) -> Interrupted:
        return Interrupted(f"{self.url}: {problem}; run again to go on", wait)

    def _length(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _read_note(self) -> dict[str, Any]:
        """Read the url, strong ETag and size in bytes of what is on disk, if it is of our url."""
        try:
            noted = json.loads(self.note.read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return noted if isinstance(noted, dict) and noted.get("url") == self.url else {}


def _asked_wait(response: requests.Response) -> float:
    """Read `Retry-After`: seconds, or the date to come back at."""
    value = response.headers.get("Retry-After", "0")
    if value.isdecimal():
        return float(value)
    try:
        date = parsedate_to_datetime(value).astimezone(UTC)
    except ValueError:
        return 0.0
    return max(0.0, (date - datetime.now(UTC)).total_seconds())
