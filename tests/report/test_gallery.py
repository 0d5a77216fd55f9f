"""The most anomalous images: found in a catalogue, read back, shown in colour."""

import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import skyfan
from factories import UNUSUAL_ABOVE, doubtful_model, doubtful_rows, write_partition
from skyfan.report.catalogue import Row, glance, top_rows
from skyfan.report.colour import choose_bands, encode_png, stretched
from skyfan.report.document import Block, Gallery, Text
from skyfan.report.gallery import gallery
from skyfan.report.record import read_record
from skyfan.storage import Store


def decode_png(data: bytes) -> np.ndarray:
    """Decode what `encode_png` writes, and check each chunk's sum."""
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    place, chunks = 8, {}
    while place < len(data):
        (length,) = struct.unpack(">I", data[place : place + 4])
        kind, body = data[place + 4 : place + 8], data[place + 8 : place + 8 + length]
        assert struct.unpack(">I", data[place + 8 + length : place + 12 + length])[0] == zlib.crc32(kind + body)
        chunks[kind], place = body, place + 12 + length
    width, height, depth, colour = struct.unpack(">IIBB", chunks[b"IHDR"][:10])
    assert depth == 8
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, -1)
    assert not rows[:, 0].any()
    return rows[:, 1:].reshape(height, width, 3 if colour == 2 else 1)


@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3]))))
def test_a_png_holds_the_pixels_that_it_was_made_of(pixels: np.ndarray) -> None:
    assert (decode_png(encode_png(pixels)) == pixels).all()


@given(hnp.arrays(np.float32, st.tuples(st.sampled_from([1, 3]), st.integers(2, 8), st.integers(2, 8))))
def test_any_image_can_be_stretched(image: np.ndarray) -> None:
    assert stretched(image).shape == (*image.shape[1:], image.shape[0])


def test_the_stretch_keeps_colours_and_brings_out_what_is_faint() -> None:
    image = np.zeros((3, 9, 9))
    image[:, 4, 4] = [300.0, 200.0, 100.0]
    image[:, 4, 6] = [3.0, 2.0, 1.0]
    shown = stretched(image, balance=(1.0, 1.0, 1.0)).astype(float)
    assert shown[4, 4, 0] == 255
    assert shown[4, 4] / shown[4, 4, 0] == pytest.approx([1, 2 / 3, 1 / 3], abs=0.01)
    assert shown[4, 6] / shown[4, 6, 0] == pytest.approx([1, 2 / 3, 1 / 3], abs=0.02)
    assert shown[4, 6, 0] > 5 * 255 * 3 / 300
    assert not shown[0].any()


@pytest.mark.parametrize(
    ("names", "count", "bands"),
    [
        (list("ugriz"), 5, (3, 2, 1)),
        (["DES-G", "DES-R", "DES-I"], 3, (2, 1, 0)),
        ([], 5, (4, 2, 0)),
        (["J", "H"], 2, (0,)),
        (list("gri"), 5, (4, 2, 0)),
    ],
)
def test_bands_are_chosen_by_name_or_said(names: list[str], count: int, bands: tuple[int, ...]) -> None:
    chosen, said = choose_bands(names, count)
    assert chosen == bands
    assert "band" in said


@pytest.fixture
def scored(root: Path, asked: dict[str, Any]) -> skyfan.Run:
    """A run of three partitions with a score, some of them null."""
    (root / "sky" / "models" / "doubtful.onnx").write_bytes(
        doubtful_model(unusual_above=json.dumps({"anomaly_score": UNUSUAL_ABOVE}))
    )
    for number in range(1, 4):
        write_partition(root / "sky" / "odd" / f"{number}.safetensors", arrays=doubtful_rows(seed=number))
    return skyfan.run(
        asked | {"model": "models/doubtful.onnx", "data_prefix": "odd", "result_path": "results/odd"},
        store=root,
        workers=1,
    )


def rows_of(run: skyfan.Run, most: int) -> list[Row]:
    best: list[Row] = []
    for batch in run.predictions():
        best = top_rows(best, batch, most)
    return best


def test_the_top_rows_are_those_with_the_highest_score(scored: skyfan.Run) -> None:
    rows = rows_of(scored, 5)
    table = scored.predictions().read_all()
    scores = [value for value in table.column("anomaly_score").to_pylist() if value is not None]
    assert [row["anomaly_score"] for row in rows] == sorted(scores, reverse=True)[:5]
    assert {(row["source"], row["row"]) for row in rows[:3]} == {(f"odd/{n}.safetensors", 5) for n in (1, 2, 3)}
    assert "pdf" not in rows[0]
    assert len(rows_of(scored, 1000)) == len(scores)


def shown(run: skyfan.Run, root: Path, most: int = 4) -> list[Block]:
    store = Store(str(root))
    record = read_record(run, store)
    return gallery(record, glance(record, most, compared=True), "run1-image")


def test_images_are_those_of_their_partition_and_row(scored: skyfan.Run, root: Path) -> None:
    _, found = shown(scored, root)
    assert isinstance(found, Gallery)
    card = found.cards[0]
    number = int(next(line for line in card.lines if "safetensors" in line).split(".")[0])
    image = doubtful_rows(seed=number)["image"][5]
    assert card.png is not None
    assert (decode_png(card.png) == stretched(image[[4, 2, 0]])).all()
    assert card.title == f"object {1000 * number + 5}"
    assert "flags: unusual_output" in card.lines
    assert card.lines[0] == "score 99"


def test_a_partition_that_is_gone_or_changed_is_said_not_failed(scored: skyfan.Run, root: Path) -> None:
    (root / "sky" / "odd" / "1.safetensors").unlink()
    write_partition(root / "sky" / "odd" / "2.safetensors", rows=3)
    text, found = shown(scored, root)
    assert isinstance(found, Gallery)
    assert isinstance(text, Text)
    assert {card.problem for card in found.cards if card.png is None} == {
        "the partition is no longer there",
        "the partition has been changed since the run",
    }
    assert "could not be read back" in text.text
    assert any(card.png for card in found.cards)


def test_a_model_without_a_score_has_no_gallery(finished: skyfan.Run, root: Path) -> None:
    (text,) = shown(finished, root)
    assert isinstance(text, Text)
    assert "no output 'anomaly_score'" in text.text
