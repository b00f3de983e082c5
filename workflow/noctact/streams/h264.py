"""The pictures of an H.264 stream, from its slice headers (ITU-T H.264, 7.3 and 8.2.1).

Every field of every slice header is read and held to the range at which a decoder (FFmpeg's
h264dec) accepts it, the numbers of the pictures must follow each other without a gap, and the
stream must say by how much it reorders them. Frames only, one in each packet; no fields, no
scalable or multi-view streams, no arbitrary slice order, no change of parameters.
"""

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

from noctact.streams.pictures import Bits, Picture, Structure, Unproven, require

SLICE, IDR, SEI, SPS, PPS, DELIMITER, FILLER = 1, 5, 6, 7, 8, 9, 12
KIND_P, KIND_B, KIND_I = 0, 1, 2
HEADER = 160  # bytes that hold any but an odd slice header
# Profiles whose SPS has the fields on chroma and depth (7.3.2.1.1).
HIGH = {100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135}


class SequenceSet(NamedTuple):
    """A sequence parameter set, as far as slice headers and the order of output depend on it."""

    chroma: bool
    depth: int  # bits of a luma sample
    frame_num_bits: int
    order_type: int
    order_bits: int
    macroblocks: int
    reorder: int | None  # pictures that may come before one that is shown earlier, if it says so


class PictureSet(NamedTuple):
    """A picture parameter set."""

    sequence: int
    cabac: bool
    bottom_order: bool
    references: tuple[int, int]
    weighted: bool
    weighted_b: int
    qp: int
    deblocking: bool
    redundant: bool


class Slice(NamedTuple):
    """A slice header, as far as the order of pictures depends on it."""

    first: int  # macroblock
    idr: bool
    reference: bool
    picture_set: int
    frame_num: int
    idr_id: int
    order: int  # pic_order_cnt_lsb
    order_bottom: int


def rbsp(unit: bytes) -> bytes:
    """The header of `unit` after its first byte, without the bytes that prevent start codes."""
    return unit[1:HEADER].replace(b"\x00\x00\x03", b"\x00\x00")


def split_lengths(packet: bytes, width: int) -> Iterator[bytes]:
    """The units of a packet where each stands behind its length, in `width` bytes (MP4, Matroska).

    Raises Unproven unless they fill the packet exactly.
    """
    at = 0
    while at < len(packet):
        end = at + width + int.from_bytes(packet[at : at + width])
        require(at + width < end <= len(packet), "lengths that do not fit the packet")
        yield packet[at + width : end]
        at = end


def split_start_codes(packet: bytes) -> Iterator[bytes]:
    """The units of a packet where each stands behind a start code (MPEG-TS, raw streams)."""
    first, *units = packet.split(b"\x00\x00\x01")
    require(not first.strip(b"\x00") and bool(units), "no start code")
    for unit in units:
        stripped = unit.rstrip(b"\x00")
        require(bool(stripped), "an empty unit")
        yield stripped


def parse_sequence(unit: bytes) -> tuple[int, SequenceSet]:
    """Read an SPS: its id, and what is needed of it (7.3.2.1.1, E.1.1)."""
    bits = Bits(unit[1:].replace(b"\x00\x00\x03", b"\x00\x00"))
    profile = bits.u(8)
    bits.u(16)
    number = bits.ue()
    chroma, depth = 1, 8
    if profile in HIGH:
        chroma = bits.ue()
        require(chroma < 3 or bits.u(1) == 0, "separate colour planes")
        depth = 8 + bits.ue()
        bits.ue()
        bits.u(1)
        if bits.u(1):
            for matrix in range(12 if chroma == 3 else 8):
                skip_matrix(bits, 16 if matrix < 6 else 64)
    frame_num_bits = bits.ue() + 4
    order_type = bits.ue()
    require(order_type in (0, 2), "an order of output that is written as a table")
    order_bits = bits.ue() + 4 if order_type == 0 else 0
    bits.ue()
    require(bits.u(1) == 0, "gaps in the numbers of pictures")
    macroblocks = (bits.ue() + 1) * (bits.ue() + 1)
    require(bits.u(1) == 1, "interlaced")
    bits.u(1)
    if bits.u(1):
        for _ in range(4):
            bits.ue()
    reorder = parse_usability(bits) if bits.u(1) else None
    return number, SequenceSet(
        chroma > 0, depth, frame_num_bits, order_type, order_bits, macroblocks, reorder
    )


def skip_matrix(bits: Bits, size: int) -> None:
    """Pass over a scaling list, if one is there (7.3.2.1.1.1)."""
    if not bits.u(1):
        return
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.se()) % 256
        last = following or last


def parse_usability(bits: Bits) -> int | None:
    """Read the VUI: by how many pictures the output is reordered, if it says so (E.1.1)."""
    if bits.u(1) and bits.u(8) == 255:
        bits.u(32)
    if bits.u(1):
        bits.u(1)
    if bits.u(1):
        bits.u(4)
        if bits.u(1):
            bits.u(24)
    if bits.u(1):
        bits.ue()
        bits.ue()
    if bits.u(1):
        bits.u(65)
    buffers = [bits.u(1) and skip_buffer(bits) for _ in range(2)]
    if any(buffers):
        bits.u(1)
    bits.u(1)
    if not bits.u(1):
        return None
    bits.u(1)
    for _ in range(4):
        bits.ue()
    return bits.ue()


def skip_buffer(bits: Bits) -> bool:
    """Pass over the parameters of a hypothetical decoder (E.1.2)."""
    count = bits.ue() + 1
    bits.u(8)
    for _ in range(count):
        bits.ue()
        bits.ue()
        bits.u(1)
    bits.u(20)
    return True


def parse_picture_set(unit: bytes) -> tuple[int, PictureSet]:
    """Read a PPS: its id, and what is needed of it (7.3.2.2)."""
    bits = Bits(rbsp(unit))
    number, sequence = bits.ue(), bits.ue()
    cabac, bottom_order = bool(bits.u(1)), bool(bits.u(1))
    require(bits.ue() == 0, "groups of slices")
    references = (bits.ue() + 1, bits.ue() + 1)
    weighted, weighted_b = bool(bits.u(1)), bits.u(2)
    qp = 26 + bits.se()
    bits.se()
    bits.se()
    deblocking = bool(bits.u(1))
    bits.u(1)
    redundant = bool(bits.u(1))
    return number, PictureSet(
        sequence, cabac, bottom_order, references, weighted, weighted_b, qp, deblocking, redundant
    )


def parse_slice(
    unit: bytes, sequences: dict[int, SequenceSet], picture_sets: dict[int, PictureSet]
) -> Slice:
    """Read a slice header (7.3.3).

    Raises Unproven for any value at which a decoder refuses the slice.
    """
    bits = Bits(rbsp(unit))
    idr, reference = unit[0] & 31 == IDR, unit[0] & 0x60 != 0
    first, kind, number = bits.ue(), bits.ue(), bits.ue()
    require(
        kind < 10 and kind % 5 in (KIND_P, KIND_B, KIND_I), "a kind of slice that no decoder reads"
    )
    kind %= 5
    require(number in picture_sets, "a slice without its parameters")
    pps = picture_sets[number]
    require(pps.sequence in sequences, "a slice without its parameters")
    sps = sequences[pps.sequence]
    require(first < sps.macroblocks, "a slice outside the picture")
    frame_num = bits.u(sps.frame_num_bits)
    idr_id = bits.ue() if idr else 0
    require(
        idr_id < 1 << 16 and (kind == KIND_I or not idr) and (reference or not idr), "a damaged key"
    )
    order = order_bottom = 0
    if sps.order_type == 0:
        order = bits.u(sps.order_bits)
        order_bottom = bits.se() if pps.bottom_order else 0
    require(not pps.redundant or bits.ue() == 0, "redundant pictures")
    if kind == KIND_B:
        bits.u(1)
    read_references(bits, kind, sps, pps)
    if reference:
        read_marking(bits, idr)
    if pps.cabac and kind != KIND_I:
        require(bits.ue() <= 2, "a damaged table number")
    require(6 * (8 - sps.depth) <= pps.qp + bits.se() <= 51, "a damaged quantizer")
    if pps.deblocking:
        mode = bits.ue()
        require(mode <= 2, "a damaged deblocking mode")
        require(mode == 1 or max(abs(bits.se()), abs(bits.se())) <= 6, "a damaged deblocking mode")
    return Slice(first, idr, reference, number, frame_num, idr_id, order, order_bottom)


def read_references(bits: Bits, kind: int, sps: SequenceSet, pps: PictureSet) -> None:
    """Pass over the lists of references, their order and weights (7.3.3.1, 7.3.3.2)."""
    if kind == KIND_I:
        return
    counts = list(pps.references)
    if bits.u(1):
        counts[0] = bits.ue() + 1
        if kind == KIND_B:
            counts[1] = bits.ue() + 1
    counts = counts[: kind + 1]
    require(max(counts) <= 16, "too many references")
    for count in counts:
        if bits.u(1):
            changes = 0
            while (change := bits.ue()) != 3:
                changes += 1
                require(change < 3 and changes <= count, "a damaged order of references")
                bits.ue()
    if (pps.weighted and kind == KIND_P) or (pps.weighted_b == 1 and kind == KIND_B):
        read_weights(bits, counts, sps.chroma)


def read_weights(bits: Bits, counts: list[int], chroma: bool) -> None:
    """Pass over the weights of the references (7.3.3.2)."""
    require(bits.ue() <= 7, "damaged weights")
    require(not chroma or bits.ue() <= 7, "damaged weights")
    for count in counts:
        for _ in range(count):
            for numbers in (2, 4)[: 1 + chroma]:
                if bits.u(1):
                    weights = [bits.se() for _ in range(numbers)]
                    require(min(weights) >= -128 and max(weights) <= 127, "damaged weights")


def read_marking(bits: Bits, idr: bool) -> None:
    """Pass over what becomes of the references (7.3.3.3)."""
    if idr:
        require(bits.u(2) == 0, "pictures that are dropped unseen, or kept for long")
    elif bits.u(1):
        while operation := bits.ue():
            require(operation in (1, 2, 3, 4, 6), "references that are all given up")
            bits.ue()
            if operation == 3:
                bits.ue()


class Reader:
    """Follows the packets as a decoder does, and collects the pictures."""

    def __init__(self, extradata: bytes) -> None:
        self.width = 0  # of the lengths; 0 where start codes divide the units
        self.units: dict[tuple[int, int], bytes] = {}  # parameter sets by kind and id
        self.sequences: dict[int, SequenceSet] = {}
        self.picture_sets: dict[int, PictureSet] = {}
        self.pictures: list[Picture] = []
        self.orders: list[tuple[int, int]] = []  # (number of the key before it, order) of each
        self.frame_num = self.key = 0
        self.keys = -1
        self.last_order = (0, 0)  # (lsb, high part) of the last reference
        if extradata[:1] == b"\x01":
            self.take_configuration(extradata)
        elif extradata:
            for unit in split_start_codes(extradata):
                self.take_parameters(unit)

    def take_configuration(self, data: bytes) -> None:
        """The parameter sets in front of an MP4 or Matroska stream (ISO/IEC 14496-15, 5.3.3.1)."""
        require(len(data) > 6, "damaged parameters")
        self.width = (data[4] & 3) + 1
        at = 5
        for mask in (31, 255):
            require(at < len(data), "damaged parameters")
            count = data[at] & mask
            at += 1
            for _ in range(count):
                end = at + 2 + int.from_bytes(data[at : at + 2])
                require(at + 2 < end <= len(data), "damaged parameters")
                self.take_parameters(data[at + 2 : end])
                at = end

    def take_parameters(self, unit: bytes) -> None:
        """An SPS or PPS; one that changes another, or comes late, makes the stream unproven."""
        unit = unit.rstrip(b"\x00")
        kind = unit[0] & 31 if unit else 0
        if kind == SPS:
            number, sequence = parse_sequence(unit)
            self.sequences.setdefault(number, sequence)
        elif kind == PPS:
            number, picture_set = parse_picture_set(unit)
            self.picture_sets.setdefault(number, picture_set)
        else:
            return
        known = self.units.setdefault((kind, number), unit)
        require(known == unit, "a change of parameters")

    def packet(self, number: int, data: bytes) -> None:
        """Take in packet `number`: one picture."""
        slices = []
        for unit in split_lengths(data, self.width) if self.width else split_start_codes(data):
            kind = unit[0] & 31
            require(unit[0] < 128, "a damaged unit")
            if kind in (SLICE, IDR):
                slices.append(parse_slice(unit, self.sequences, self.picture_sets))
            elif kind in (SPS, PPS):
                known = len(self.units)
                self.take_parameters(unit)
                require(known == len(self.units) or not self.pictures, "a change of parameters")
            else:
                require(kind in (SEI, DELIMITER, FILLER), f"unit {kind}")
        require(bool(slices), "a packet without a picture")
        require(slices[0].first == 0, "a picture without its first slice")
        for one, following in pairwise(slices):
            same = following._replace(first=one.first) == one
            require(same and following.first > one.first, "several pictures in a packet")
        self.picture(number, slices[0])

    def picture(self, number: int, head: Slice) -> None:
        """Take in the picture whose first slice is `head`."""
        place = len(self.pictures)
        sps = self.sequences[self.picture_sets[head.picture_set].sequence]
        modulus = 1 << sps.frame_num_bits
        if head.idr:
            require(head.frame_num == 0, "a damaged key")
            self.keys += 1
            self.key, self.last_order = place, (0, 0)
        else:
            require(place > 0, "no key picture at the start")
            require(head.frame_num == self.frame_num, "a gap in the numbers of pictures")
        self.orders.append((self.keys, self.order(head, sps, place)))
        # What follows a reference has the next number; what follows another, the same.
        self.frame_num = (head.frame_num + head.reference) % modulus
        # The first has the encoder's name beside it: decoders know the faults of some.
        self.pictures.append(Picture(number, number, head.reference, place == 0, self.key))

    def order(self, head: Slice, sps: SequenceSet, place: int) -> int:
        """The place of a picture in the output after its key (8.2.1)."""
        if sps.order_type == 2:
            return place - self.key
        low, high = self.last_order
        period = 1 << sps.order_bits
        if head.order < low and low - head.order >= period // 2:
            high += period
        elif head.order > low and head.order - low > period // 2:
            high -= period
        if head.reference:
            self.last_order = (head.order, high)
        return high + head.order + min(0, head.order_bottom)

    def end(self) -> Structure:
        """The structure, when all packets were taken in."""
        require(bool(self.pictures), "no picture")
        require(len(set(self.orders)) == len(self.orders), "two pictures at one time")
        output = sorted(range(len(self.orders)), key=self.orders.__getitem__)
        if depth := reordering(output):
            for sps in self.sequences.values():
                if sps.reorder is None:
                    raise Unproven("an order of output that the stream does not tell")
                require(depth <= sps.reorder, "an order of output that breaks its rule")
        return Structure(self.pictures, output)


def reordering(output: list[int]) -> int:
    """The most pictures that wait at once for one that is decoded later and comes out earlier."""
    ranks = {place: rank for rank, place in enumerate(output)}
    waiting: set[int] = set()
    depth = following = 0
    for place in range(len(output)):
        waiting.add(ranks[place])
        while following in waiting:
            waiting.remove(following)
            following += 1
        depth = max(depth, len(waiting))
    return depth


def structure(extradata: bytes, packets: Iterable[bytes]) -> Structure:
    """The pictures of `packets`. Raises Unproven when they can't be told for certain."""
    reader = Reader(extradata)
    for number, data in enumerate(packets):
        reader.packet(number, data)
    return reader.end()
