"""Near-duplicates: pairs of clips made from one recording, told by their signatures.

Two steps. Candidates are the nearest clips by the spectra of their windows, found through an index
(faiss), not by looking at all pairs. Then each candidate is verified: one clip is laid over the
other, mirrored or not, in the scale and place where they agree best, and along the time path on
which their motion agrees best. Four correlations tell how alike they are; the similarity is their
mean.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import faiss
import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from noctact.calls import end_with_parent
from noctact.signatures import HEIGHT, MOMENTS, WAVES, WIDTH, Signatures, normal, strength

Floats = NDArray[np.float32]

# The table in docs/splits.md, made by benchmarks/duplicates.py, is where these figures come from.
NEIGHBOURS = 20  # candidates of a clip, at most
NEAR = 0.75  # least cosine of the spectra of two candidates
FAILURES = 2  # candidates of a clip that are no siblings before no further one is tried
ALIGNED = 0.75  # least mean of that cosine and of the agreement of looks to compare the motion
SEARCHED_WHOLE = 20_000  # spectra, at most, that need no index
FEW = 2000  # candidates that are verified in the time that a process takes to start
JOINED = 0.8  # least similarity of two clips of one recording
DOUBTFUL = 0.7  # least similarity worth a look by the user

SCALES = (0.8, 0.85, 0.9, 0.95, 1, 1.055, 1.11, 1.18, 1.25)
MIDDLE = 0.66  # share of height and width that two clips cropped to 85 % surely have in common
ALIGNMENTS = 2  # of the best, tried with the motion
LEAST_COMMON = 0.3  # share of the area that two clips must have in common
STEP = 4  # moments between which changes are compared


Candidate = tuple[int, int, float]  # places of two clips, cosine of their nearest spectra


class Alignment(NamedTuple):
    """Where one clip lies in another: their agreement, and what is done to the one to get there."""

    agreement: float  # correlation of look and strength of motion
    mirrored: bool
    matrix: Floats  # (2, 3): from its pixels to those of the other


class Pair(NamedTuple):
    """Two clips, by their place among the signatures, and their similarity (-1 to 1)."""

    one: int
    other: int
    similarity: float


def time_paths() -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.bool_]]:
    """Which half moment of one clip meets which moment of the other, on each path; and where it is
    one at all: three arrays (paths, MOMENTS).

    Of a clip trimmed to 80 % a moment takes 0.8 of one; a path has at least 62 % of the moments.
    """
    moments = np.arange(MOMENTS)
    paces = (0.8, 0.84, 0.88, 0.92, 0.96, 1, 1.04, 1.09, 1.14, 1.19, 1.25)
    starts = np.arange(-8, 8.1, 0.5)
    halves = np.rint(2 * np.add.outer(np.multiply.outer(paces, moments), starts)).astype(int)
    halves = halves.swapaxes(1, 2).reshape(-1, MOMENTS)
    inside = (halves >= 0) & (halves <= 2 * (MOMENTS - 1))
    long = inside.sum(axis=1) >= 0.62 * MOMENTS
    meets = np.broadcast_to(moments, halves.shape)
    return np.where(inside, halves, 0)[long], meets[long], inside[long]


HALVES, MEETS, INSIDE = time_paths()


def halved(motion: Floats) -> Floats:
    """`motion` with a moment in between each two."""
    result = np.empty((2 * len(motion) - 1, *motion.shape[1:]), np.float32)
    result[::2] = motion
    result[1::2] = (motion[1:] + motion[:-1]) / 2
    return result


def alignments(one: Floats, other: Floats) -> list[Alignment]:
    """The best ways to lay the middle of `other` over `one`; both (HEIGHT, WIDTH, 2): look and
    strength of motion.
    """
    height, width = int(HEIGHT * MIDDLE), int(WIDTH * MIDDLE)
    top, left = (HEIGHT - height) // 2, (WIDTH - width) // 2
    found = []
    for mirrored in (False, True):
        turned = other[:, ::-1] if mirrored else other
        middle = np.ascontiguousarray(turned[top : top + height, left : left + width])
        for scale in SCALES:
            size = (round(width * scale), round(height * scale))
            method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
            template = cv2.resize(middle, size, interpolation=method)
            agreement = cv2.matchTemplate(one, template, cv2.TM_CCOEFF_NORMED)
            _, best, _, (x, y) = cv2.minMaxLoc(agreement)
            matrix = np.array([[scale, 0, x - scale * left], [0, scale, y - scale * top]])
            found.append(Alignment(best, mirrored, matrix.astype(np.float32)))
    return sorted(found, key=lambda alignment: -alignment.agreement)[:ALIGNMENTS]


def correlation(one: Floats, other: Floats) -> float:
    """Cosine of the angle between two arrays of numbers around 0; 0 where one is all 0."""
    norms = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(np.vdot(one, other)) / norms if norms else 0.0


def compare_motion(one: Floats, other: Floats, alignment: Alignment) -> tuple[float, float, float]:
    """How alike the motion of `one` and `other` (moments, HEIGHT, WIDTH) is, laid over each other.

    Three correlations on the best time path: of the motion; of the motion around its mean on that
    path; and of its changes over STEP moments, which two people who stand alike do not share.
    """
    turned = other[:, :, ::-1] if alignment.mirrored else other
    size = (WIDTH, HEIGHT)
    moved = cv2.warpAffine(np.ascontiguousarray(turned.transpose(1, 2, 0)), alignment.matrix, size)
    common = cv2.warpAffine(np.ones((HEIGHT, WIDTH), np.float32), alignment.matrix, size) > 0.9
    if common.mean() < LEAST_COMMON:
        return 0.0, 0.0, 0.0
    first, second = halved(one)[:, common], moved[common].T
    products = first @ second.T
    energies = np.square(first).sum(axis=1), np.square(second).sum(axis=1)
    sums = (
        (values * INSIDE).sum(axis=1)
        for values in (products[HALVES, MEETS], energies[0][HALVES], energies[1][MEETS])
    )
    product, energy, other_energy = sums
    agreement = product / (np.sqrt(energy * other_energy) + 1e-6)
    best = int(agreement.argmax())
    inside = INSIDE[best]
    first, second = first[HALVES[best][inside]], second[MEETS[best][inside]]
    return (
        float(agreement[best]),
        correlation(first - first.mean(axis=0), second - second.mean(axis=0)),
        correlation(first[STEP:] - first[:-STEP], second[STEP:] - second[:-STEP]),
    )


def similarity(one: tuple[Floats, Floats], other: tuple[Floats, Floats], nearness: float) -> float:
    """How alike two clips are, by look and motion of each: the mean of four correlations.

    They are `nearness`, that of the spectra; that of look and strength of motion, laid over each
    other; that of the motion around its mean; and that of its changes.
    """
    layers = [np.dstack([normal(look), normal(strength(motion))]) for look, motion in (one, other)]
    places = alignments(*layers)
    if nearness + places[0].agreement < 2 * ALIGNED:  # no siblings, whatever the motion: be quick
        return float(np.mean([nearness, places[0].agreement, 0, 0]))
    found = max(
        (*compare_motion(one[1], other[1], alignment), alignment.agreement) for alignment in places
    )
    return float(np.mean([nearness, *found[1:]]))


def candidates(windows: Floats, threads: int = 1) -> list[Candidate]:
    """Pairs of clips worth to be verified: (place, larger place, cosine of their nearest spectra).

    `windows` are those of all clips, (clips, windows, 2, WAVES, WAVES), each part of norm 1. A pair
    is one where the whole of either is among the NEIGHBOURS nearest to a window of the other,
    mirrored or not.
    """
    clips, per_clip = windows.shape[:2]
    spectra = windows.reshape(clips * per_clip, -1) / np.float32(np.sqrt(2))
    odd = np.broadcast_to(np.arange(WAVES) % 2 == 1, windows.shape[2:])
    mirror = np.where(odd, -1, 1).astype(np.float32).ravel()
    faiss.omp_set_num_threads(threads)
    # As many cells as the square root of what they hold, and as many again.
    cells = int(2 * np.sqrt(len(spectra))) if len(spectra) > SEARCHED_WHOLE else 1
    quantizer = faiss.IndexFlatIP(spectra.shape[1])
    index = faiss.IndexIVFFlat(quantizer, spectra.shape[1], cells, faiss.METRIC_INNER_PRODUCT)
    index.cp.seed = 1
    index.train(spectra)
    index.add(spectra)
    index.nprobe = min(cells, 16)
    # Only the whole of a clip is looked up, among the windows of all: ten times as fast as to look
    # up each window, and what it loses are the pairs of two clips that were both cropped.
    wholes = spectra[::per_clip]
    batch = 10_000
    parts = [
        nearest(index, wholes[start : start + batch], mirror, start, per_clip)
        for start in range(0, clips, batch)
    ]
    ones, others, cosines = map(np.concatenate, zip(*parts, strict=True))
    ones, others = np.minimum(ones, others), np.maximum(ones, others)
    ones, others, cosines = first_of_each(ones, others, cosines)
    return list(zip(ones.tolist(), others.tolist(), cosines.tolist(), strict=True))


def first_of_each(*found: NDArray[Any]) -> tuple[NDArray[Any], ...]:
    """Of each pair in `found`, places and cosines, the largest cosine; ordered by the pairs."""
    ones, others, cosines = found
    order = np.lexsort((-cosines, others, ones))
    ones, others, cosines = ones[order], others[order], cosines[order]
    first = np.ones(len(ones), bool)
    first[1:] = (np.diff(ones) != 0) | (np.diff(others) != 0)
    return ones[first], others[first], cosines[first]


def nearest(
    index: faiss.IndexIVFFlat, wholes: Floats, mirror: Floats, start: int, per_clip: int
) -> tuple[NDArray[Any], ...]:
    """For each clip of a batch, of which the first is the one at `start`, its NEIGHBOURS nearest
    others: places, places of the others, cosines.
    """
    # Several windows of one clip are found at once.
    results = [index.search(turned, 5 * NEIGHBOURS) for turned in (wholes, wholes * mirror)]
    cosines, rows = (np.hstack(parts) for parts in zip(*results, strict=True))
    ones = np.repeat(start + np.arange(len(wholes)), rows.shape[1])
    others, cosines = rows.ravel() // per_clip, cosines.ravel()
    good = (rows.ravel() >= 0) & (others != ones) & (cosines >= NEAR)
    ones, others, cosines = first_of_each(ones[good], others[good], cosines[good])
    order = np.lexsort((others, -cosines, ones))
    ones, others, cosines = ones[order], others[order], cosines[order]
    rank = np.arange(len(ones)) - np.searchsorted(ones, ones)
    near = rank < NEIGHBOURS
    return ones[near], others[near], cosines[near]


class Verifier:
    """Tells the similarity of candidates, with the signatures open in its own process."""

    def __init__(self, files: Sequence[Path]) -> None:
        """Open the signatures in `files`."""
        cv2.setNumThreads(1)
        # The matrices are small: several threads on each would only wait for each other.
        self._one_thread = threadpool_limits(1, "blas")
        signatures = Signatures(files)
        # A clip is a candidate of several others in a row.
        self.read = lru_cache(maxsize=64)(signatures.read)

    def __call__(self, candidate: Candidate) -> Pair:
        """The Pair of a candidate."""
        one, other, nearness = candidate
        return Pair(one, other, similarity(self.read(one), self.read(other), nearness))


_verifiers: list[Verifier] = []


def _open(files: Sequence[Path]) -> None:
    end_with_parent()
    _verifiers.append(Verifier(files))


def _verify(candidate: Candidate) -> Pair:
    return _verifiers[0](candidate)


def verified(
    found: Sequence[Candidate], verify: Callable[[list[Candidate]], Iterable[Pair]]
) -> list[Pair]:
    """The Pairs of similarity DOUBTFUL or more among the candidates `found`.

    Each clip tries its candidates from the nearest on, until FAILURES of them were no siblings: the
    nearest ones of a clip without any are many, and verifying takes most of the time. All clips
    take a step at a time, so that the outcome does not depend on who verifies, or when.
    """
    waiting: dict[int, list[int]] = defaultdict(list)
    for number in sorted(range(len(found)), key=lambda number: found[number][2]):
        for clip in found[number][:2]:
            waiting[clip].append(number)  # the nearest is the last
    known: dict[int, Pair] = {}
    failures = dict.fromkeys(waiting, 0)
    while waiting:
        tried = {clip: numbers.pop() for clip, numbers in waiting.items()}
        new = sorted({*tried.values()} - known.keys())
        known |= zip(new, verify([found[number] for number in new]), strict=True)
        for clip, number in tried.items():
            failures[clip] += known[number].similarity < DOUBTFUL
            if failures[clip] == FAILURES or not waiting[clip]:
                del waiting[clip]
    return [known[number] for number in sorted(known) if known[number].similarity >= DOUBTFUL]


def near_duplicates(files: Sequence[Path], threads: int = 1) -> tuple[list[str], list[Pair]]:
    """The video_id of each signature in `files`, and the pairs of similarity DOUBTFUL or more.

    Raises NoctactError for a file that holds no signatures.
    """
    signatures = Signatures(files)
    found = candidates(signatures.windows, threads)
    if threads == 1 or len(found) < FEW:
        verifier = Verifier(files)
        return signatures.video_ids, verified(found, lambda some: map(verifier, some))
    context = get_context("spawn")
    with ProcessPoolExecutor(threads, context, _open, (files,)) as pool:
        pairs = verified(found, lambda some: pool.map(_verify, some, chunksize=50))
    return signatures.video_ids, pairs
