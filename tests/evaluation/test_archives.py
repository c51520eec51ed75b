# SPDX-License-Identifier: Apache-2.0
import os
import resource
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from dbnet_trt.cli.app import main
from dbnet_trt.evaluation.archives import read_files

LINE = "0,0,100,0,100,30,0,30,a\n"


def is_text(name: str) -> bool:
    return name.endswith(".txt")


def pack(path: Path, *contents: bytes, method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for number, content in enumerate(contents, start=1):
            archive.writestr(f"deep/img_{number}.txt", content)
        archive.writestr("deep/readme.md", "no text")
    return path


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED, zipfile.ZIP_LZMA])
def test_archives_and_folders_are_read_alike(tmp_path: Path, method: int) -> None:
    archive = pack(tmp_path / "a.zip", b"one", b"two", method=method)
    for name, content in (("img_1.txt", b"one"), ("img_2.txt", b"two"), ("other", b"")):
        (tmp_path / "files").mkdir(exist_ok=True)
        (tmp_path / "files" / name).write_bytes(content)
    expected = [("img_1.txt", b"one"), ("img_2.txt", b"two")]
    assert list(read_files(archive, is_text)) == expected
    assert list(read_files(tmp_path / "files", is_text)) == expected


def test_entries_without_a_name_are_left_out(tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("img_1.txt", "one")
        opened.writestr("@.txt", "no name, as names end at a NUL")
    archive.write_bytes(archive.read_bytes().replace(b"@.txt", b"\0.txt"))
    with zipfile.ZipFile(archive) as opened:
        assert opened.namelist() == ["img_1.txt", ""]
    assert list(read_files(archive, is_text)) == [("img_1.txt", b"one")]


def test_limits_are_on_what_is_unpacked(tmp_path: Path) -> None:
    archive = pack(tmp_path / "a.zip", b"x" * 1000, b"y" * 1000)
    assert len(list(read_files(archive, is_text, max_file_bytes=1000, max_total_bytes=2000))) == 2
    with pytest.raises(ValueError, match=r"img_1\.txt has more than 999 bytes"):
        list(read_files(archive, is_text, max_file_bytes=999))
    with pytest.raises(ValueError, match=r"a\.zip unpacks to more than 1999 bytes"):
        list(read_files(archive, is_text, max_total_bytes=1999))
    (tmp_path / "b.txt").write_bytes(b"z" * 1000)
    with pytest.raises(ValueError, match=r"b\.txt has more than 999 bytes"):
        list(read_files(tmp_path, is_text, max_file_bytes=999))


def damage(data: bytearray, kind: str) -> bytes:
    entry = data.find(b"PK\x01\x02")
    if kind == "encrypted":
        data[6] |= 1
        data[entry + 8] |= 1
    elif kind == "unknown method":
        data[8] = data[entry + 10] = 99
    elif kind == "damaged stream":
        data[50:53] = b"\xff\xff\xff"
    elif kind == "size that lies":
        data[entry + 24 : entry + 28] = b"\x01\x00\x00\x00"
    elif kind == "cut off":
        del data[len(data) // 2 :]
    return bytes(data)


@pytest.mark.parametrize(
    "kind", ["encrypted", "unknown method", "damaged stream", "size that lies", "cut off"]
)
def test_archives_that_cannot_be_unpacked(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    good = pack(tmp_path / "good.zip", LINE.encode() * 20)
    bad = tmp_path / "bad.zip"
    bad.write_bytes(damage(bytearray(good.read_bytes()), kind))
    with pytest.raises(ValueError, match=r"bad\.zip"):
        list(read_files(bad, is_text))
    assert main(["score", str(good), str(bad), "--protocol", "icdar2015"]) == 2
    printed = capsys.readouterr().err
    assert "bad.zip" in printed.replace("\n", "")
    assert "Traceback" not in printed


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_AS"), reason="no limit on memory here")
def test_an_archive_that_unpacks_to_400_mb_takes_little_memory(tmp_path: Path) -> None:
    good = pack(tmp_path / "good.zip", LINE.encode())
    bomb = tmp_path / "bomb.zip"
    with (
        zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("res_img_1.txt", "w") as file,
    ):
        for _ in range(400):
            file.write(b"\n" * (1 << 20))
    program = (
        "import resource; from dbnet_trt.cli.app import main; "
        "import dbnet_trt.evaluation.submissions, shapely, scipy.io; "
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; "
        f"code = main(['score', {str(good)!r}, {str(bomb)!r}, '--protocol', 'icdar2015']); "
        "after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; "
        "print(code, (after - before) // 1024)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=os.environ, check=True
    )
    code, grown_mb = map(int, done.stdout.split())
    assert code == 2
    assert grown_mb < 100
    assert "too many for annotations" in " ".join(done.stderr.split())


def test_the_limit_can_be_raised(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = pack(tmp_path / "good.zip", LINE.encode())
    large = pack(tmp_path / "large.zip", LINE.encode() + b"\n" * (1 << 20))
    run = ["score", str(good), str(large), "--protocol", "icdar2015", "--max-unpacked-mb"]
    assert main([*run, "31"]) == 2
    assert "--max-unpacked-mb" in capsys.readouterr().err
    assert main([*run, "64"]) == 0
    assert "F 1.00000" in capsys.readouterr().out
    assert main([*run, "0"]) == 2
