"""The words that the parsers of all codecs share."""

from typing import NamedTuple


class Unproven(Exception):
    """It can't be told from headers which frames the stream decodes to; the text says why."""


class Picture(NamedTuple):
    """One coded picture, in decoding order."""

    packet: int  # number of the packet that holds it
    stamp: int  # number of the packet whose time stamp its frame has
    reference: bool  # others may be made from it
    telling: bool  # it has to be decoded: what is found in it bears on pictures not made from it
    since: int  # it is made from references at this place or later, all of them before it
    data: bytes | None = None  # what to decode, where that is not the whole packet


class Structure(NamedTuple):
    """`output[i]` is the place of the picture that comes out as frame i."""

    pictures: list[Picture]
    output: list[int]


class Bits:
    """Reads numbers from the bits of a header, first bit first.

    The bits are a text of 0 and 1, whose searches and conversions are the fastest that Python has.
    """

    __slots__ = ("at", "text")

    def __init__(self, data: bytes) -> None:
        self.text = f"{int.from_bytes(data):0{8 * len(data)}b}" if data else ""
        self.at = 0

    def u(self, n: int) -> int:
        """An unsigned number of `n` bits, at least 1. Raises Unproven past the end."""
        at = self.at
        self.at = end = at + n
        if end > len(self.text):
            raise Unproven("a header longer than expected")
        return int(self.text[at:end], 2)

    def ue(self) -> int:
        """An unsigned Exp-Golomb number (ITU-T H.264, 9.1)."""
        one = self.text.find("1", self.at)
        zeros = one - self.at
        if not 0 <= zeros <= 31:
            raise Unproven("a number longer than the standard has")
        self.at = one
        return self.u(zeros + 1) - 1

    def se(self) -> int:
        """A signed Exp-Golomb number (9.1.1)."""
        code = self.ue()
        return (code + 1) // 2 if code % 2 else -(code // 2)


def require(condition: bool, reason: str) -> None:
    """Raise Unproven with `reason` unless `condition`."""
    if not condition:
        raise Unproven(reason)
