"""What the packets of a stream decode to, told from their headers alone.

Decoding only the pictures that are wanted, and those they are made from, gives the frames of a
whole decode where three things are known of every picture: which frame it comes out as, whether
others refer to it, and from where on nothing older is referred to. A module for each codec reads
them; where it meets anything that it does not know for certain what a whole decode would do with
(damage, rare features), it raises Unproven, and the stream is decoded whole.

    h264   ITU-T H.264: the slice headers of all pictures
    mpeg4  ISO/IEC 14496-2 (XviD, DivX): the VOP headers, packed B-VOPs included
"""

from collections.abc import Callable, Iterable, Sequence

from noctact.streams import h264, mpeg4
from noctact.streams.pictures import Picture, Structure, Unproven, require

__all__ = ["Picture", "Structure", "Unproven", "needed", "require", "structure"]

PARSERS: dict[str, Callable[[bytes, Iterable[bytes]], Structure]] = {
    "h264": h264.structure,
    "mpeg4": mpeg4.structure,
}


def structure(codec: str, extradata: bytes, packets: Iterable[bytes]) -> Structure:
    """The pictures in all of `packets`, the data of each; `codec` is FFmpeg's name of the decoder.

    Raises Unproven, with the reason, when they can't be told for certain.
    """
    if codec not in PARSERS:
        raise Unproven(f"codec {codec}")
    return PARSERS[codec](extradata, packets)


def needed(pictures: Sequence[Picture], wanted: Iterable[int]) -> list[int]:
    """Places, in decoding order, of the `wanted` and telling pictures and all they may refer to."""
    places = set()
    telling = (place for place, picture in enumerate(pictures) if picture.telling)
    for place in {*wanted, *telling}:
        first = pictures[place].since
        places.add(place)
        places.update(ref for ref in range(first, place) if pictures[ref].reference)
    return sorted(places)
