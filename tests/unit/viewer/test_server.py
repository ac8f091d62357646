"""What the viewer serves, to whom, and what an export writes."""

from __future__ import annotations

import gzip
import http.client
import importlib.metadata
import json
import threading
from contextlib import contextmanager

import nibabel as nib
import numpy as np
import pytest

from softseg.cli import view as view_command
from softseg.core.errors import UserError
from softseg.viewer import niivue
from softseg.viewer.scans import viewed_scans
from softseg.viewer.server import ViewerServer
from softseg.viewer.site import build_site
from tests.support import makers
from tests.support.command import command
from tests.support.viewer import HOSTILE, SHAPE, no_niivue, predictions

__all__ = ["no_niivue"]
pytestmark = pytest.mark.usefixtures("no_niivue")


@contextmanager
def serving(site):
    with ViewerServer(site) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def server(tmp_path):
    out = predictions(tmp_path, "p1", HOSTILE)
    with serving(build_site(HOSTILE, viewed_scans(out, "test"))) as started:
        yield started


def ask(server, path, method="GET", host=None):
    """The status, headers and body of the answer; `path` is sent as it is."""
    port = server.server_address[1]
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.putrequest(method, path, skip_host=True)
    if host != "":
        connection.putheader("Host", host or f"127.0.0.1:{port}")
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, dict(answer.getheaders()), body


def get(server, name, **how):
    return ask(server, f"/{server.token}/{name}", **how)


def test_the_page_and_all_its_files_are_served_under_the_token(server):
    assert server.address.startswith("http://127.0.0.1:")
    for name, resource in server.site.items():
        status, headers, body = get(server, name)
        assert (status, body) == (200, resource.read())
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert headers["Cache-Control"] == "no-store"
    assert get(server, "")[2] == get(server, "index.html")[2]


def test_volumes_are_what_softseg_reads_without_the_rest_of_their_header(server):
    listed = json.loads(get(server, "scans.json")[2])
    assert listed["title"] == HOSTILE
    [scan] = [scan for scan in listed["scans"] if scan["name"] == "p1"]
    _, _, body = get(server, scan["images"][0]["url"])
    image = nib.Nifti1Image.from_bytes(body)
    np.testing.assert_array_equal(image.get_fdata(), makers.scan(0, SHAPE))
    assert image.header["descrip"] == b""
    soft = nib.Nifti1Image.from_bytes(get(server, scan["targets"][0]["soft"])[2])
    assert soft.get_data_dtype() == np.float32


def test_addresses_contain_no_names(server):
    listed = json.dumps(json.loads(get(server, "scans.json")[2])["scans"])
    urls = [name for name in server.site if name.startswith("volumes/")]
    assert len(urls) == 2 * 3  # an image and two targets each
    assert all(url.split("/")[1].removesuffix(".nii").isdigit() for url in urls)
    assert all(url in listed for url in urls)


@pytest.mark.parametrize(
    "path", ["/", "/wrong/", "/wrong/scans.json", "/favicon.ico", "//", "/../"]
)
def test_without_the_token_nothing_is_served(path, server):
    status, _, body = ask(server, path)
    assert status == 403
    assert b"softseg view printed" in body


@pytest.mark.parametrize(
    "name",
    ["other", "volumes/", "volumes/999.nii", "../scans.json", "..%2f..%2fetc/passwd", "/etc/passwd",
     "volumes/../../../../etc/passwd", "viewer.py", "volumes/0.nii/", "<script>"],
)  # fmt: skip
def test_other_paths_do_not_exist(name, server):
    status, headers, body = get(server, name)
    assert (status, body) == (404, b"there is no such file")
    assert headers["Content-Type"].startswith("text/plain")


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "", "127.0.0.1.evil.example",
                                  "[::1]:80"])  # fmt: skip
def test_a_page_of_another_site_whose_name_points_here_gets_nothing(host, server):
    assert get(server, "scans.json", host=host)[0] == 403


def test_localhost_and_another_port_of_a_tunnel_are_served(server):
    assert get(server, "scans.json", host="localhost:1234")[0] == 200
    assert get(server, "scans.json", host="localhost")[0] == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "BREW"])
def test_only_get_is_served(method, server):
    status, headers, _ = get(server, "scans.json", method=method)
    assert status == 405
    assert headers["Allow"] == "GET"


def test_a_scan_that_cannot_be_read_is_one_message_and_the_server_lives_on(
    server, tmp_path, caplog
):
    (tmp_path / "p1.nii.gz").write_bytes(b"damaged")
    listed = json.loads(get(server, "scans.json")[2])
    [scan] = [scan for scan in listed["scans"] if scan["name"] == "p1"]
    status, headers, body = get(server, scan["images"][0]["url"])
    assert status == 500
    assert headers["Content-Type"].startswith("text/plain")
    assert b"p1.nii.gz" in body
    assert get(server, "scans.json")[0] == 200


def test_each_server_has_a_token_of_its_own(server):
    with ViewerServer(server.site) as other:
        assert other.token != server.token
        assert len(other.token) >= 32


def test_a_used_port_is_one_message(server):
    with pytest.raises(UserError, match="choose another --port"):
        ViewerServer(server.site, server.server_address[1])


def test_the_script_never_writes_text_as_markup(server):
    script = server.site["viewer.js"].read().decode()
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
        assert word not in script
    page = server.site["index.html"].read().decode()
    assert "<script>" not in page  # none inline, as the content security policy demands
    assert "style=" not in page
    assert "default-src 'none'" in page


def test_export_writes_the_same_page_with_packed_volumes(tmp_path, monkeypatch, capsys):
    out = predictions(tmp_path, "p1")
    folder = tmp_path / "site"
    assert command(monkeypatch, "view", str(out), "--export", str(folder)) == 0
    printed = capsys.readouterr().out
    assert "warning: the folder holds the scans" in printed
    listed = json.loads((folder / "scans.json").read_text())
    url = listed["scans"][0]["images"][0]["url"]
    image = nib.Nifti1Image.from_bytes(gzip.decompress((folder / url).read_bytes()))
    np.testing.assert_array_equal(image.get_fdata(), makers.scan(0, SHAPE))
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert names >= {"index.html", "viewer.js", "viewer.css", "niivue.js", "niivue-license.txt"}
    assert len(names) == 6 + 3
    assert command(monkeypatch, "view", str(out), "--export", str(folder)) == 2
    assert "not empty" in capsys.readouterr().err


def test_export_of_a_damaged_scan_writes_no_page(tmp_path, monkeypatch, capsys):
    out = predictions(tmp_path, "p1")
    (tmp_path / "p1.nii.gz").write_bytes(b"damaged")
    assert command(monkeypatch, "view", str(out), "--export", str(tmp_path / "site")) == 2
    assert "p1.nii.gz" in capsys.readouterr().err
    assert not (tmp_path / "site/index.html").exists()


def test_the_command_prints_the_address_and_ends_with_ctrl_c(tmp_path, monkeypatch, capsys):
    opened = []

    def interrupt(server):
        assert get_once(server)
        raise KeyboardInterrupt

    def get_once(server):
        opened.append(server.address)
        return True

    monkeypatch.setattr(ViewerServer, "serve_forever", interrupt)
    monkeypatch.setattr("webbrowser.open", lambda address: opened.append(f"browser {address}"))
    out = predictions(tmp_path, "p1")
    assert command(monkeypatch, "view", str(out), "--no-browser") == 0
    assert opened[0] in capsys.readouterr().out
    assert command(monkeypatch, "view", str(out)) == 0
    assert opened[1] == f"browser {opened[2]}"


def test_without_the_extra_the_command_says_what_to_install(tmp_path, monkeypatch, capsys):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(niivue, "distribution", missing)
    monkeypatch.setattr("softseg.viewer.site.read_niivue", niivue.read_niivue)
    out = predictions(tmp_path, "p1")
    assert command(monkeypatch, "view", str(out), "--no-browser") == 2
    assert "pip install 'softseg[view]'" in capsys.readouterr().err
    assert command(monkeypatch, "view", str(out), "--export", str(tmp_path / "site")) == 2
    assert not (tmp_path / "site").exists()


def test_export_and_port_exclude_each_other(monkeypatch, capsys):
    assert view_command.view
    assert command(monkeypatch, "view", "x", "--export", "y", "--port", "80") == 2
    assert "--export serves nothing" in capsys.readouterr().err
