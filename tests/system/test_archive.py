"""Versions of several files in one request: a tar archive."""

import hashlib
import io
import json
import random
import subprocess
import tarfile

import numpy as np
import pytest

from test_files import SIZE, checked, external

TAR = {"Content-Type": "application/x-tar"}


def member(name, data=b"1", kind=tarfile.REGTYPE, **more):
    info = tarfile.TarInfo(name)
    info.size, info.type = len(data), kind
    for key, value in more.items():
        setattr(info, key, value)
    return info, data


def pack(*members, form=tarfile.PAX_FORMAT):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def send(api, body, query="", model="m", **headers):
    return api.request("POST", f"/api/models/{model}/versions{query}", body, {**TAR, **headers})


def digests(version):
    return {f["name"]: f["digest"] for f in version["files"]}


def sha(data):
    return hashlib.sha256(data).hexdigest()


def test_an_archive_becomes_a_version(suite, tmp_path):
    main, weights, answer = external(tmp_path)
    files = {"labels.txt": b"a\nb\n", "weights.bin": weights, "model.onnx": main}
    body = pack(*(member(n, d, mtime=1.5) for n, d in files.items()))  # 1.5: a pax header for each
    status, _, done = send(suite.api, body, '?description=packed&tags={"team":"blue"}')
    assert status == 201 and (done["version"], done["digest"], done["size"]) == ("1", sha(main), len(main))
    shown = checked(suite, "m", 1)
    assert shown["check"] == "passed", shown["reason"]
    assert (shown["description"], shown["tags"]) == ("packed", {"team": "blue"})
    assert digests(shown) == {n: sha(d) for n, d in files.items()}
    assert shown["files"][0]["name"] == "model.onnx"
    suite.deploy("m", "1")
    rows = [[1.0] * SIZE]
    got = suite.api.call("POST", "/predict", {"model": "m", "inputs": rows})
    assert np.allclose(got["outputs"], answer(rows), atol=1e-2)


@pytest.mark.parametrize("form", ["ustar", "gnu", "pax"])
def test_as_tar_packs_a_folder(fake_suite, tmp_path, form):
    folder = tmp_path / "folder"
    folder.mkdir()
    longest = {"ustar": 100, "gnu": 90, "pax": 128}[form]
    files = {"model.onnx": b"fake", "n" * longest: b"x", "large.bin": random.Random(1).randbytes(3 << 20)}
    for name, data in files.items():
        (folder / name).write_bytes(data)
    url = f"{fake_suite.url}/api/models/m/versions?format=fake"
    script = f"tar --format {form} -c . | curl -sS -T - -X POST -H 'Content-Type: application/x-tar' '{url}'"
    answer = subprocess.run(script, shell=True, cwd=folder, check=True, capture_output=True).stdout
    assert json.loads(answer).get("version") == "1", answer
    shown = checked(fake_suite, "m", 1)
    assert shown["check"] == "passed" and digests(shown) == {n: sha(d) for n, d in files.items()}


def test_which_file_is_the_model(fake_suite):
    api = fake_suite.api
    two = pack(member("a.bin", b"fake a"), member("b.bin", b"fake b"))
    status, _, answer = send(api, two, "?format=fake")
    assert status == 400 and "no file 'model.onnx'; ?name= says" in answer["error"]
    status, _, answer = send(api, two, "?format=fake&name=c.bin")
    assert status == 400 and "no file 'c.bin'" in answer["error"]
    status, _, done = send(api, two, "?format=fake&name=b.bin")
    assert status == 201 and done["digest"] == sha(b"fake b")
    status, _, done = send(api, pack(member("a.bin", b"fake a")), "?format=fake")
    assert status == 201 and done["digest"] == sha(b"fake a")
    assert [f["name"] for f in checked(fake_suite, "m", 2)["files"]] == ["a.bin"]


def test_a_repeated_archive_is_one_version(fake_suite):
    body = pack(member("model.onnx", b"fake"), member("x", b"1"))
    for _ in range(2):
        status, _, done = send(fake_suite.api, body, "?format=fake", **{"Idempotency-Key": "once"})
        assert status == 201 and done["version"] == "1"


@pytest.mark.parametrize(
    "members, says",
    [
        ([member("model.onnx"), member("../x")], "'../x' in the archive"),
        ([member("model.onnx"), member("folder/x")], "'folder/x' in the archive"),
        ([member("model.onnx"), member("/etc/passwd")], "'/etc/passwd' in the archive"),
        ([member("model.onnx"), member(".files")], "'.files' in the archive"),
        ([member("model.onnx"), member("link", b"", tarfile.SYMTYPE, linkname="/etc/passwd")], "'link'"),
        ([member("model.onnx"), member("hard", b"", tarfile.LNKTYPE, linkname="model.onnx")], "'hard'"),
        ([member("model.onnx"), member("pipe", b"", tarfile.FIFOTYPE)], "'pipe'"),
        ([member("model.onnx"), member("model.onnx")], "two files 'model.onnx'"),
        ([member("model.onnx"), member("nothing", b"")], "'nothing' in the archive is empty"),
        ([member(f"f{i}") for i in range(65)], "'f64' in the archive: a version has at most 64 files"),
        ([member("x" * 129)], "in the archive"),
        ([member("x" * 300)], "256 bytes"),
        ([member("model.onnx"), member("warmup.json", b" " * ((8 << 20) + 1))], "warmup.json may have"),
        ([member("warmup.json", b"{}")], "the main file is another"),
        ([], "no files"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_archives_that_are_refused(api_only, members, says):
    status, _, answer = send(api_only, pack(*members), "?format=fake")
    assert status == 400 and says in answer["error"], answer
    assert api_only.request("GET", "/api/models/m")[0] == 404


def test_bodies_that_are_no_archives(api_only):
    whole = pack(member("model.onnx", b"fake"), member("x", b"1" * 5000))
    for body, says in [
        (b"x" * 5000, "no tar archive"),
        (whole[:6656], "cut off"),
        (whole[:2500], "cut off"),
        (b"", "empty"),
    ]:
        status, _, answer = send(api_only, body, "?format=fake")
        assert status == 400 and says in answer["error"], answer
    assert send(api_only, whole, "?format=fake&name=" + "n" * 129)[0] == 400
    assert send(api_only, whole, "?format=pickle")[0] == 415
    assert api_only.request("GET", "/api/models/m")[0] == 404


@pytest.fixture(scope="module")
def shared_suite():
    from conftest import TestSuite

    suite = TestSuite(options={"worker": ["--allow-fake"]}).start()
    yield suite
    suite.finish()


@pytest.fixture
def api_only(shared_suite):
    """A client of a suite that several tests share: they leave nothing behind."""
    client = shared_suite.client()
    yield client
    client.close()
