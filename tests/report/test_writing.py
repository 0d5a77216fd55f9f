"""A report as a whole: what it says of good runs and bad ones, and that nothing a run says gets out of its place."""

import base64
import json
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import skyfan
from skyfan.errors import InputError, UnknownRunError
from skyfan.report.document import (
    Card,
    Code,
    Document,
    Facts,
    Figure,
    Gallery,
    Grid,
    Heading,
    Notice,
    Section,
    Terms,
    Text,
    Verdict,
)
from skyfan.report.html import to_html
from skyfan.report.markdown import escaped, to_markdown
from skyfan.report.record import read_record
from skyfan.report.writing import write_report
from skyfan.storage import Store
from skyfan.task import Report

HOSTILE = "</style></title><script>alert('x')</script>\"><img src=x onerror=alert(1)>|`]("


class Page(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if "style" not in self._open:
            self.text += f" {data.strip()}"


def check_harmless(text: str) -> Page:
    """Check that a page runs nothing and asks for nothing from elsewhere."""
    page = Page(text)
    for tag, attributes in page.tags:
        assert tag not in {"script", "iframe", "object", "embed", "link", "form", "base"}
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href"):
            assert (attributes.get(name) or "#").startswith(("#", "data:image/"))
        if tag == "img":
            assert attributes["alt"]
    policy = next(attributes["content"] for tag, attributes in page.tags if "http-equiv" in attributes)
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    assert re.search(r"url\(|@import", text) is None
    return page


def made(run: skyfan.Run, root: Path, out: Path, **options: Any) -> str:
    write_report([run], Store(str(root)), out, **options)
    return out.read_text()


def test_the_report_of_a_good_run_has_every_section(finished: skyfan.Run, root: Path, tmp_path: Path) -> None:
    page = check_harmless(made(finished, root, tmp_path / "r.html"))
    ids = [attributes["id"] for tag, attributes in page.tags if tag == "section"]
    assert ids == [
        "verdict", "workflow", "execution", "completeness", "numbers", "scaling", "science", "sources", "words",
    ]  # fmt: skip
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h\d", tag)]
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    summary = finished.summary
    assert summary is not None
    assert summary.model is not None
    for said in (
        "Complete",
        "4 of 4 tasks done; 34 rows read = 34 rows in the catalogue",
        f"{summary.drive.run_wall_s:.2f} s",
        summary.model.sha256,
        "rows/s",
        '"data_prefix": "25MB"',
        "skyfan verify sky/results/one",
        "InferAll",
        "No task that is done needed a second attempt",
    ):
        assert said in page.text, said
    part = next(finished.reports()).part
    assert part is not None
    assert part.sha256 in page.text


def test_a_proof_is_made_if_asked_for_and_a_broken_part_found(finished: skyfan.Run, root: Path, tmp_path: Path) -> None:
    assert "Complete, and proven so" in made(finished, root, tmp_path / "r.html", verify=True)
    part = root / "sky" / "results" / "one" / "predictions" / "part-00001.parquet"
    data = bytearray(part.read_bytes())
    data[40] ^= 1
    part.write_bytes(data)
    assert write_report([finished], Store(str(root)), tmp_path / "r.html", verify=True) is False
    page = check_harmless((tmp_path / "r.html").read_text())
    assert "NOT COMPLETE: A CHECK FAILED" in page.text
    assert "the report says" in page.text
    assert "The catalogue could not be read" in page.text


def test_a_failed_run_says_so_loudly_with_what_to_do(root: Path, asked: dict[str, Any], tmp_path: Path) -> None:
    (root / "sky" / "25MB" / "2.safetensors").write_bytes(b"broken")
    run = skyfan.run(asked | {"tolerated_failure_count": 1}, store=root, workers=1)
    assert write_report([run], Store(str(root)), tmp_path / "r.html") is False
    page = check_harmless((tmp_path / "r.html").read_text())
    for said in (
        "NOT COMPLETE",
        "1 of 4 tasks failed (task 1); mend what its message says",
        "PartitionError",
        "differ",
    ):
        assert said in page.text, said
    assert page.text.index("NOT COMPLETE") < page.text.index("Workflow")


def test_a_run_without_summary_or_plan_is_reported_as_interrupted(
    finished: skyfan.Run, root: Path, tmp_path: Path
) -> None:
    folder = root / "sky" / "results" / "one"
    (folder / "summary.json").unlink()
    page = check_harmless(made(finished, root, tmp_path / "r.html"))
    assert "INTERRUPTED, NOT COMPLETE" in page.text
    assert "its driver is gone: run the same payload again" in page.text
    assert "34 of 34 rows in the catalogue so far" in page.text or "34 rows in the catalogue so far" in page.text
    (folder / "manifest.json").unlink()
    page = check_harmless(made(finished, root, tmp_path / "r.html"))
    assert "the run has no task" in page.text


def test_a_report_that_was_deleted_after_the_summary_is_missed(
    finished: skyfan.Run, root: Path, tmp_path: Path
) -> None:
    (root / "sky" / "results" / "one" / "reports" / "00002.json").unlink()
    assert write_report([finished], Store(str(root)), tmp_path / "r.html") is False
    assert "1 of 4 tasks without a valid report or part (task 2)" in Page((tmp_path / "r.html").read_text()).text


def change_reports(root: Path, **changes: Any) -> None:
    for path in (root / "sky" / "results" / "one" / "reports").glob("*.json"):
        report = msgspec.json.decode(path.read_bytes(), type=Report)
        path.write_bytes(msgspec.structs.replace(report, **changes).encode())


def test_reports_without_times_are_counted_and_not_drawn(finished: skyfan.Run, root: Path, tmp_path: Path) -> None:
    change_reports(root, started_at="", ended_at="yesterday")
    page = check_harmless(made(finished, root, tmp_path / "r.html"))
    assert "4 tasks without times" in page.text
    assert "There is nothing to draw" in page.text


def test_attempts_are_told(finished: skyfan.Run, root: Path, tmp_path: Path) -> None:
    change_reports(root, attempt=3)
    page = check_harmless(made(finished, root, tmp_path / "r.html"))
    assert "attempt 3" in page.text
    assert "4 tasks that needed more than one attempt" in page.text


def test_hostile_text_stays_text(finished: skyfan.Run, root: Path, tmp_path: Path) -> None:
    change_reports(root, worker=HOSTILE)
    folder = root / "sky" / "results" / "one"
    payload = json.loads((folder / "payload.json").read_text()) | {"script": HOSTILE.replace("/", "")}
    (folder / "payload.json").write_text(json.dumps(payload))
    summary = json.loads((folder / "summary.json").read_text())
    summary |= {"machines": [HOSTILE], "versions": {HOSTILE: [HOSTILE]}, "warnings": [HOSTILE], "problems": [HOSTILE]}
    summary |= {"complete": False, "flags": {HOSTILE: 3}, "model": {"name": HOSTILE, "sha256": HOSTILE}}
    (folder / "summary.json").write_text(json.dumps(summary))
    page = check_harmless(made(finished, root, tmp_path / "r.html"))
    assert page.text.count(HOSTILE) >= 5
    write_report([finished], Store(str(root)), tmp_path / "r.md", "md")
    text = (tmp_path / "r.md").read_text()
    outside = re.sub(r"^(`{3,})\w+\n.*?^\1$", "", text, flags=re.DOTALL | re.MULTILINE)
    assert re.search(r"(?<!\\)<(?!!-- skyfan report -->)", outside) is None
    for svg in (tmp_path / "r_files").glob("*.svg"):
        assert "<script" not in svg.read_text()


texts = st.text(max_size=40) | st.just(HOSTILE)


@given(texts, st.sampled_from(["svg", "png"]))
def test_no_text_of_any_block_gets_out_of_its_place(text: str, kind: Any) -> None:
    blocks = (
        Text(text), Heading(text), Notice("bad", text, (text,)), Facts(((text, text, text),)),
        Grid((text, text), ((text, text),), text, (text,), (0,), (1,), (0,)),
        Figure("name", text.encode(errors="replace"), kind, text or "figure", text), Code(text, "json", text),
        Gallery("g", (Card(text, (text,), b"png", text or "image"), Card(text, (), None, "", text))),
        Terms(((text, text),)),
    )  # fmt: skip
    verdict = Verdict(text, False, text, text, (text,), ((text, text, text),))
    document = Document(text, text, (verdict, verdict), text, (Section("one", text, text, blocks),))
    check_harmless(to_html(document).encode(errors="replace").decode())
    page, files = to_markdown(document, "r_files")
    assert set(files) == {f"name.{kind}", "g-1.png"}
    assert page.startswith("<!-- skyfan report -->\n")


@given(st.text())
def test_escaped_text_is_one_line_without_a_bare_sign(text: str) -> None:
    found = escaped(text)
    assert len(found.splitlines()) <= 1
    assert re.search(r"(?<!\\)[<>|`*_\[\]]", re.sub(r"\\\\", "", found)) is None


def test_runs_of_different_models_share_a_report_that_says_so(
    finished: skyfan.Run, root: Path, asked: dict[str, Any], tmp_path: Path
) -> None:
    from factories import tiny_model

    tiny_model(root / "sky" / "models" / "other.onnx", metadata={"version": "2"})
    other = skyfan.run(asked | {"model": "models/other.onnx", "result_path": "results/two"}, store=root, workers=1)
    assert write_report([finished, other], Store(str(root)), tmp_path / "r.html")
    page = check_harmless((tmp_path / "r.html").read_text())
    assert "2 different models" in page.text
    assert "Report of 2 runs" in page.text
    assert "Both runs are complete." in page.text
    assert page.text.count('"result_path": "results/two"') == 1


def test_markdown_has_its_figures_beside_it(finished: skyfan.Run, root: Path, tmp_path: Path) -> None:
    text = made(finished, root, tmp_path / "my report.md", format="md")
    wanted = re.findall(r"!\[[^\]]*\]\(([^)]*)\)", text)
    assert wanted
    for name in wanted:
        assert name.startswith("my%20report_files/")
        assert (tmp_path / name.replace("%20", " ")).is_file()
    assert "| Rows | 34 |" in text


def test_images_of_the_page_are_in_it(finished: skyfan.Run, root: Path, tmp_path: Path) -> None:
    page = Page(made(finished, root, tmp_path / "r.html"))
    images = [attributes["src"] or "" for tag, attributes in page.tags if tag == "img"]
    pngs = [image for image in images if image.startswith("data:image/png;base64,")]
    assert len(pngs) == 3  # redshifts, residuals, n(z); the tiny model's PDF has no bins
    assert all(base64.b64decode(image.partition(",")[2]).startswith(b"\x89PNG") for image in pngs)


def test_a_file_that_is_not_ours_is_left_alone(finished: skyfan.Run, root: Path, tmp_path: Path) -> None:
    out = tmp_path / "r.html"
    out.write_text("<p>mine</p>")
    with pytest.raises(InputError, match=r"is there already, and no report of skyfan's; .* --overwrite"):
        made(finished, root, out)
    assert out.read_text() == "<p>mine</p>"
    made(finished, root, out, overwrite=True)
    made(finished, root, out)  # ours may be made anew
    with pytest.raises(InputError, match="is a folder"):
        made(finished, root, tmp_path)
    with pytest.raises(InputError, match="there is no folder"):
        made(finished, root, tmp_path / "nowhere" / "r.html")
    assert [path.name for path in tmp_path.glob(".*")] == []


def test_a_missing_extra_is_named(finished: skyfan.Run, root: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("skyfan.report.writing.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"jinja2 and matplotlib is not installed.*pip install '\.\[plots\]'"):
        made(finished, root, tmp_path / "r.html")


def test_an_unknown_run_is_an_error(root: Path) -> None:
    store = Store(str(root))
    with pytest.raises(UnknownRunError):
        read_record(skyfan.Run(store, "sky", "results/none"), store)


def test_a_good_run_stands_as_its_status_says(finished: skyfan.Run, root: Path) -> None:
    assert read_record(finished, Store(str(root))).standing == finished.status()
