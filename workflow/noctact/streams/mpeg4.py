"""The pictures (VOPs) of an MPEG-4 Part 2 stream: ISO/IEC 14496-2, 6.2.3 (VOL) and 6.2.5 (VOP).

What a decoder does with them is that of FFmpeg (libavcodec, h263dec and mpeg4videodec): packed
B-VOPs, which AVI files of DivX and XviD have, wait for the turn of the packet after theirs, and
whatever that one holds takes the place in the queue. A B-VOP whose time does not lie between its
two references is dropped; here it makes the stream unproven.
"""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from noctact.streams.pictures import Bits, Picture, Structure, Unproven, require

START = b"\x00\x00\x01"
VOS, USER_DATA, GOV, VOP = 0xB0, 0xB2, 0xB3, 0xB6
VOL = range(0x20, 0x30)
# Visual object sequence, its end and the visual object may stand before a VOP, and change nothing.
HARMLESS = {VOS, 0xB5, *range(0x20)}
KIND_I, KIND_P, KIND_B = 0, 1, 2
# FFmpeg learns from the first pictures whether the encoder ends pictures as the standard says. Two
# that do are enough; from then on it reports those that do not. One that another is packed behind
# does not tell.
LEARNING, LEARNING_PACKED = 3, 8
HEADER = 16  # bytes that hold any VOP header


class Layer(NamedTuple):
    """What a VOL header says that VOP headers depend on."""

    resolution: int  # ticks a second
    low_delay: bool
    interlaced: bool


class Header(NamedTuple):
    """A VOP header."""

    kind: int
    seconds: int  # passed since the last reference's second
    ticks: int
    coded: bool


def start_codes(data: bytes, at: int = 0) -> Iterator[tuple[int, int]]:
    """(code, place) of each start code in `data` from `at` on."""
    while 0 <= (at := data.find(START, at)) <= len(data) - 4:
        yield data[at + 3], at
        at += 3


def parse_layer(data: bytes) -> Layer:
    """Read the VOL that begins at the start code `data`."""
    bits = Bits(data[4:])
    bits.u(1 + 8)
    version = 1
    if bits.u(1):
        version = bits.u(4)
        bits.u(3)
    if bits.u(4) == 15:
        bits.u(16)
    low_delay = True  # without these parameters FFmpeg guesses: unproven if B-VOPs follow
    if bits.u(1):
        bits.u(2)
        low_delay = bool(bits.u(1))
        if bits.u(1):
            bits.u(79)
    require(bits.u(2) == 0, "a shape that is no rectangle")
    bits.u(1)
    resolution = bits.u(16)
    require(resolution > 0, "a clock without ticks")
    bits.u(1)
    if bits.u(1):
        bits.u(max(1, (resolution - 1).bit_length()))
    bits.u(1 + 13 + 1 + 13 + 1)
    interlaced = bool(bits.u(1))
    bits.u(1)
    require(bits.u(1 if version == 1 else 2) == 0, "sprites")
    require(bits.u(1) == 0, "samples of other than 8 bits")
    if bits.u(1):
        for _ in range(2):
            read_matrix(bits)
    if version != 1:
        bits.u(1)
    require(bits.u(1) == 1, "complexity estimation")
    bits.u(1)
    require(bits.u(1) == 0, "data partitions")
    if version != 1:
        require(bits.u(2) == 0, "new prediction or reduced resolution")
    require(bits.u(1) == 0, "scalability")
    return Layer(resolution, low_delay, interlaced)


def read_matrix(bits: Bits) -> None:
    """Pass over a matrix of quantizers, if one is there: up to 64 numbers, or to a zero."""
    if bits.u(1):
        for _ in range(64):
            if bits.u(8) == 0:
                break


def parse_header(data: bytes, layer: Layer) -> Header:
    """Read the VOP that begins at the start code `data`.

    Raises Unproven for any value at which a decoder refuses the picture.
    """
    bits = Bits(data[4 : 4 + HEADER])
    kind = bits.u(2)
    require(kind in (KIND_I, KIND_P, KIND_B), "sprites")
    seconds = 0
    while bits.u(1):
        seconds += 1
    marker = bits.u(1)
    ticks = bits.u(max(1, (layer.resolution - 1).bit_length()))
    require(marker == bits.u(1) == 1 and ticks < layer.resolution, "a damaged time")
    if not bits.u(1):
        return Header(kind, seconds, ticks, coded=False)
    bits.u((kind == KIND_P) + 2 * layer.interlaced + 3)
    require(bits.u(5) > 0, "a damaged quantizer")
    for _ in range(kind):  # one range of motion vectors for P, two for B
        require(bits.u(3) > 0, "a damaged range of motion vectors")
    return Header(kind, seconds, ticks, coded=True)


class Clock:
    """The times of VOPs, in ticks, as a decoder counts them (14496-2, 6.3.5)."""

    def __init__(self, resolution: int) -> None:
        self.resolution = resolution
        self.second = self.second_before = 0
        self.last = self.distance = 0

    def set(self, group: bytes) -> None:
        """Go to the time code of a group header."""
        bits = Bits(group)
        hours, minutes, marker, seconds = bits.u(5), bits.u(6), bits.u(1), bits.u(6)
        require(marker == 1, "a damaged group header")
        self.second = seconds + 60 * (minutes + 60 * hours)

    def passes(self, header: Header) -> None:
        """Go on to `header`. Raises Unproven where times do not follow each other."""
        if header.kind == KIND_B:
            time = (self.second_before + header.seconds) * self.resolution + header.ticks
            before = self.last - self.distance
            # FFmpeg counts the distance in 16 bits.
            require(before < time < self.last < before + (1 << 16), "times out of order")
            return
        self.second_before = self.second
        self.second += header.seconds
        time = self.second * self.resolution + header.ticks
        self.distance = time - self.last
        self.last = time


def unpacked(data: bytes, end: int) -> bytes:
    """`data` with its second VOP, at `end`, made one that does not wait: a P.

    Cut off there instead, some pictures of XviD would not decode: a decoder looks past their end.
    """
    second = bytearray(data)
    second[end + 4] |= 1 << 6
    return bytes(second)


class Reader:
    """Follows the packets as a decoder does, and collects the pictures."""

    def __init__(self, extradata: bytes) -> None:
        self.layer_data = b""
        self.layer: Layer | None = None
        self.clock = Clock(1)
        self.packed = self.known_encoder = False
        self.waiting = b""  # a packed VOP, until the turn of the next packet
        self.pictures: list[Picture] = []
        self.output: list[int] = []
        self.references: list[int] = []  # places
        self.not_coded: int | None = None  # the last packet, if its VOP is not coded
        self.gap = 0  # place in `references` of the first after the last VOP that is not coded
        self.names: set[bytes] = set()
        self.headers(extradata)

    def headers(self, data: bytes) -> int:
        """Take in what stands before the first VOP; return where that begins, or -1."""
        for code, begin in start_codes(data):
            if code == VOP:
                return begin
            end = data.find(START, begin + 3)
            end = len(data) if end < 0 else end
            if code in VOL:
                self.take_layer(data[begin:end].rstrip(b"\x00"))
            elif code == USER_DATA:
                self.take_name(data[begin + 4 : end])
            elif code == GOV:
                self.clock.set(data[begin + 4 : end])
            else:
                require(code in HARMLESS, f"start code {code:#x}")
        return -1

    def take_layer(self, data: bytes) -> None:
        """A VOL header; another one than before makes the stream unproven."""
        require(data == self.layer_data or not self.layer_data, "a second layer")
        if not self.layer_data:
            self.layer_data, self.layer = data, parse_layer(data)
            self.clock = Clock(self.layer.resolution)

    def take_name(self, data: bytes) -> None:
        """The encoder's name, by which decoders allow for its faults.

        DivX's ends in p where B-VOPs are packed. A new one in mid-stream makes it unproven.
        """
        require(data in self.names or not self.pictures, "a change of encoder")
        self.names.add(data)
        found = re.match(rb"DivX\d+(?:b|Build)\d+(p?)", data)
        self.packed |= bool(found and found[1])
        self.known_encoder |= bool(found) or data.startswith(b"XviD")

    def packet(self, number: int, data: bytes) -> None:
        """Take in packet `number`."""
        if self.waiting:
            vop, self.waiting = self.waiting, b""
            self.picture(number, vop, vop)
            self.waiting = self.packed_vop(data, 0)
            return
        if len(data) == 1 and self.known_encoder:
            return  # a place holder that gives no frame
        begin = self.headers(data)
        require(begin >= 0, "a packet without a picture")
        # In a stream that is not packed, decoders take the first picture and no other.
        following = next(start_codes(data, begin + 4), None) if self.packed else None
        if following is None:
            self.picture(number, data[begin:], None)
        else:
            require(following[0] == VOP, "several pictures wait")
            # A decoder looks for the second from where it ends with the first.
            if self.picture(number, data[begin:], unpacked(data, following[1]), telling=True):
                self.waiting = self.packed_vop(data, following[1])

    def packed_vop(self, data: bytes, begin: int) -> bytes:
        """The VOP from `begin` on if it is one that waits, an I or B; else nothing."""
        codes = list(start_codes(data, begin))
        require([code for code, _ in codes] in ([VOP], []), "several pictures wait")
        for _, at in codes:
            vop = data[at:]
            if len(vop) > 4 and vop[4] >> 6 in (KIND_I, KIND_B):
                require(len(vop) > 7, "a picture too short to wait")
                return vop
        return b""

    def picture(self, number: int, vop: bytes, data: bytes | None, telling: bool = False) -> bool:
        """Take in a VOP; False for one that is not coded, and gives no frame."""
        if self.layer is None:
            raise Unproven("a picture before its layer")
        header = parse_header(vop, self.layer)
        self.clock.passes(header)
        self.not_coded = None if header.coded else number
        if not header.coded:
            self.gap = len(self.references)
            return False
        place = len(self.pictures)
        if header.kind == KIND_B:
            require(not self.layer.low_delay, "B-VOPs in a stream of low delay")
            require(not self.layer.interlaced, "B-VOPs of fields")  # the first after a VOL tells
            # Their motion is scaled by the times since, and a VOP without a picture has one too.
            require(len(self.references) - self.gap > 1, "B-VOPs without two references")
            since = self.pictures[self.references[-2]].since
            self.output.append(place)
        else:
            require(header.kind == KIND_I or place > 0, "no I-VOP at the start")
            since = place if header.kind == KIND_I else self.pictures[self.references[-1]].since
            if self.references and not self.layer.low_delay:
                self.output.append(self.references[-1])
            self.references.append(place)
            if self.layer.low_delay:
                self.output.append(place)
        telling |= place < (LEARNING_PACKED if self.packed else LEARNING)
        self.pictures.append(Picture(number, number, header.kind != KIND_B, telling, since, data))
        return True

    def end(self) -> Structure:
        """The structure, when all packets were taken in."""
        require(bool(self.references), "no picture")
        if self.layer and not self.layer.low_delay:
            last = self.references[-1]
            self.output.append(last)
            if self.not_coded is not None:  # then the last frame has the time of that packet
                self.pictures[last] = self.pictures[last]._replace(stamp=self.not_coded)
        return Structure(self.pictures, self.output)


def structure(extradata: bytes, packets: Iterable[bytes]) -> Structure:
    """The pictures of `packets`. Raises Unproven when they can't be told for certain."""
    reader = Reader(extradata)
    for number, data in enumerate(packets):
        reader.packet(number, data)
    return reader.end()
