"""What happens on the way, a changed file, Ctrl-C or an expired token, ends an upload with what is left."""

import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from aws.upload.bucket import content, failing, send, stored
from skyfan.aws.session import Cloud
from skyfan.errors import AwsRefusedError, InputError, RunStoppedError
from skyfan.partitions import decode_index


def test_what_changes_on_the_way_is_not_taken(checking: Cloud, survey: Path) -> None:
    path = survey / "10.safetensors"

    def change() -> None:
        path.write_bytes(b"y" * 10_000)

    failing(checking, "PutObject", lambda params: params["Key"].endswith("/10.safetensors"), change)
    with pytest.raises(InputError, match=r"10\.safetensors: was changed meanwhile.*are left.*do the same again"):
        send(checking, survey)
    assert "surveys/25MB/10.safetensors" not in stored(checking)
    assert not decode_index(content(checking, "surveys/25MB/index.json"), "index").complete


@pytest.mark.parametrize("spoil", [lambda path: path.write_bytes(b"y"), lambda path: path.unlink()])
def test_what_shrinks_or_vanishes_on_the_way_ends_it_at_once(
    cloud: Cloud, survey: Path, spoil: Callable[[Path], None]
) -> None:
    path = survey / "10.safetensors"
    failing(cloud, "PutObject", lambda params: params["Key"].endswith("/10.safetensors"), lambda: spoil(path))
    started = time.monotonic()
    with pytest.raises(InputError, match=r"10\.safetensors: (was changed meanwhile|cannot be read \(No such file)"):
        send(cloud, survey)
    assert time.monotonic() - started < 10


def test_ctrl_c_says_what_is_left_and_doing_it_again_goes_on(cloud: Cloud, survey: Path) -> None:
    once, main = iter([True]), threading.get_ident()

    def interrupt() -> None:
        if next(once, False):
            signal.pthread_kill(main, signal.SIGINT)

    def later() -> None:
        threading.Thread(target=interrupt).start()
        time.sleep(0.3)

    failing(cloud, "PutObject", lambda params: params["Key"].endswith("/10.safetensors"), later)
    with pytest.raises(RunStoppedError, match=r"upload: interrupted; \d files? of 4 are left, .*it goes on") as caught:
        send(cloud, survey, workers=1)
    assert caught.value.exit_code == 130
    assert not decode_index(content(cloud, "surveys/25MB/index.json"), "index").complete
    assert send(cloud, survey).skipped == 2
    assert decode_index(content(cloud, "surveys/25MB/index.json"), "index").complete


def test_a_token_that_expires_on_the_way(cloud: Cloud, survey: Path) -> None:
    from botocore.exceptions import ClientError

    def expire() -> None:
        raise ClientError(
            {"Error": {"Code": "ExpiredToken", "Message": "The provided token has expired."}}, "PutObject"
        )

    failing(cloud, "PutObject", lambda params: params["Key"].endswith("/10.safetensors"), expire)
    with pytest.raises(AwsRefusedError, match=r"10\.safetensors: your credentials have expired.*are left"):
        send(cloud, survey)
