"""Files that readers' code asks for: found again, verified, kept whole, unpacked."""

import hashlib
import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from d2l_utils import downloads
from d2l_utils.fetching import FetchError
from d2l_utils.sources import DataError

CONTENT = b"a,b\n1,2\n"
SHA1 = hashlib.sha1(CONTENT).hexdigest()
URL = "http://example.org/some/data.csv?version=2"


@pytest.fixture
def server(tmp_path, monkeypatch):
    """What is fetched, {url: bytes}; the list of what was asked; in tmp_path/work."""
    sent, asked = {URL: CONTENT}, []

    def fetch(url, largest):
        asked.append(url)
        if url not in sent:
            raise FetchError("404 Client Error")
        return sent[url]

    monkeypatch.setattr(downloads, "fetch", fetch)
    monkeypatch.setattr(downloads, "DATA_HUB", {"one": (URL, SHA1)})
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return sent, asked


@pytest.mark.parametrize("arguments, folder", [
    (("one",), "../data"),
    ((URL, "here", SHA1), "here"),
    ((URL, "here/and/there", SHA1), "here/and/there"),
])  # fmt: skip
def test_a_file_is_downloaded_once(server, arguments, folder):
    path = downloads.download(*arguments)
    assert Path(path) == Path(folder, "data.csv") and isinstance(path, str)
    assert Path(path).read_bytes() == CONTENT
    assert downloads.download(*arguments) == path and server[1] == [URL]
    Path(path).write_bytes(b"damaged")
    downloads.download(*arguments)
    assert Path(path).read_bytes() == CONTENT and len(server[1]) == 2


def test_as_the_edition_before_calls_it(server):
    assert Path(downloads.download("one", cache_dir="kept")) == Path("kept/data.csv")
    downloads.download_all()
    assert Path("../data/data.csv").read_bytes() == CONTENT


def test_without_a_hash_it_is_downloaded_each_time(server):
    for content in (b"1", b"2"):
        server[0][URL] = content
        assert Path(downloads.download(URL, ".")).read_bytes() == content


@pytest.mark.parametrize("url, sha1, words", [
    (URL, "0" * 40, f"{URL} sent does not have the SHA-1 0000"),
    ("http://example.org/none", None, "none could not be downloaded: 404"),
])  # fmt: skip
def test_nothing_is_kept_of_a_download_that_fails(server, url, sha1, words):
    with pytest.raises(DataError) as caught:
        downloads.download(url, ".", sha1)
    assert words in str(caught.value).replace("?", "?") and not list(Path().iterdir())


def test_an_unknown_name(server):
    with pytest.raises(KeyError, match="'two' is not in DATA_HUB, which has one"):
        downloads.download("two")


def test_the_textbooks_files_have_an_address_and_a_hash():
    for address, sha1 in downloads.DATA_HUB.values():
        assert address.startswith(downloads.DATA_URL) and len(sha1) == 40


def packed(kind, names):
    """A zip or tar file with some files, as bytes."""
    buffer = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(buffer, "w") as archive:
            for name in names:
                archive.writestr(name, name)
    else:
        mode = "w:gz" if kind == "tar.gz" else "w"
        with tarfile.open(fileobj=buffer, mode=mode) as archive:
            for name in names:
                info = tarfile.TarInfo(name)
                info.size = len(name)
                archive.addfile(info, io.BytesIO(name.encode()))
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_archives_are_unpacked_beside_themselves(server, kind):
    url = f"http://example.org/pets.{kind}"
    server[0][url] = packed(kind, ["pets/cat.txt", "pets/dog.txt"])
    downloads.DATA_HUB["pets"] = (url, hashlib.sha1(server[0][url]).hexdigest())
    folder = downloads.download_extract("pets", "pets")
    assert Path(folder) == Path("../data/pets")
    assert Path(folder, "dog.txt").read_text() == "pets/dog.txt"
    if kind != "tar.gz":
        assert downloads.download_extract("pets") == folder
    downloads.extract(f"../data/pets.{kind}", "elsewhere")
    assert Path("elsewhere/pets/cat.txt").exists()


@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.parametrize("name", ["../escaped", "{}/escaped", "a/../../escaped"])
def test_nothing_is_written_outside_of_the_folder(tmp_path, kind, name):
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "a.bin").write_bytes(packed(kind, [name.format(tmp_path)]))
    try:
        downloads.extract(str(inside / "a.bin"))
    except tarfile.FilterError:
        assert kind == "tar"
    assert [p.name for p in tmp_path.iterdir()] == ["inside"]


def test_what_is_no_archive(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"<html>")
    with pytest.raises(ValueError, match="neither a zip nor a tar"):
        downloads.extract(str(tmp_path / "a.zip"))
