"""What is fetched for somebody leads nowhere inside: spellings, redirects, changing names."""

import http.server
import ipaddress
import random
import socket
import ssl
import threading
import time

import pytest
from embedkit_cli import main
from helpers import make_different

from embedkit import fetch as fetching
from embedkit.errors import FetchError
from embedkit.fetch import PrivateAddress, allow_private, fetch, is_public
from embedkit.pipeline import embed

# Ways to write addresses that lead to this machine, to networks behind it, or to nobody.
_SPELLINGS = """
    127.0.0.1 127.1 127.0.1 0 0.0.0.0 2130706433 0x7f000001 0x7f.1 0177.0.0.1 017700000001
    127.000.0.1
    127.255.255.254 localhost 10.0.0.1 0xa.0.0.1 012.0.0.1 172.16.0.1 172.31.255.255 192.168.0.1
    3232235521 0xc0a80001 169.254.169.254 2852039166 0xa9fea9fe 0251.0376.0251.0376 100.64.0.1
    192.0.0.8 192.0.0.170 192.0.2.1 198.18.0.1 198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.250
    240.0.0.1 255.255.255.255 [::1] [::] [::ffff:127.0.0.1] [::ffff:7f00:1] [::ffff:10.0.0.1]
    [::127.0.0.1] [64:ff9b::7f00:1] [64:ff9b::169.254.169.254] [64:ff9b:1::1] [2002:7f00:1::]
    [2002:c0a8:1::1] [2001::1] [2001:db8::1] [fe80::1] [fe80::1%25lo] [fc00::1] [fd00:ec2::254]
    [ff02::1] [100::1] [5f00::1] [3fff::1] ①②⑦.⓪.⓪.① 127。0。0。1
"""
FULL_WIDTH = "".join(chr(ord(one) + 0xFEE0) for one in "127.0.0.1")
SPELLINGS = (*_SPELLINGS.split(), FULL_WIDTH)


class Canary(http.server.BaseHTTPRequestHandler):
    """A service of this machine that says what it should not, and counts who asked."""

    hits: list[str]

    def do_GET(self):
        self.hits.append(self.path)
        self.send_response(200)
        self.send_header("Content-Length", "6")
        self.end_headers()
        self.wfile.write(b"secret")

    def log_message(self, *_):
        pass


@pytest.fixture
def canary(monkeypatch):
    """Let the canary's port count as one of the web's, so that only its address is in the way."""
    Canary.hits = []
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Canary)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    monkeypatch.setattr(fetching, "PORTS", (80, 443, running.server_port))
    yield running.server_port
    running.shutdown()
    running.server_close()


@pytest.fixture
def names(monkeypatch):
    """A resolver of our own: names to lists of answers, the last one kept for good."""
    known: dict[str, list[str]] = {}
    real = socket.getaddrinfo
    asked: list[str] = []

    def resolve(host, port, *args, **kwargs):
        if host not in known:
            return real(host, port, *args, **kwargs)
        asked.append(host)
        answers = known[host]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        family = socket.AF_INET6 if ":" in answer else socket.AF_INET
        return [(family, socket.SOCK_STREAM, 6, "", (answer, port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    known["asked"] = asked
    return known


def test_no_spelling_of_an_inner_address_reaches_it(canary, monkeypatch, figure):
    monkeypatch.setattr(fetching, "SECONDS", 2.0)
    refused = 0
    for place, spelling in enumerate(SPELLINGS):
        with pytest.raises(FetchError) as caught:
            fetch(f"{('http', 'https')[place % 2]}://{spelling}:{canary}/picture.png")
        refused += "--allow-private" in str(caught.value)
    assert refused > len(SPELLINGS) // 2  # the others are no addresses here at all
    assert Canary.hits == []
    assert fetch(PrivateAddress(f"http://127.0.0.1:{canary}/")) == b"secret"
    figure("H5", f"{len(SPELLINGS)} spellings of addresses that are not public: 0 connections")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_inwards_is_refused(status, canary, names, monkeypatch):
    """From a server that counts as public: only the second address is in the way."""

    class Moves(Canary):
        def do_GET(self):
            self.send_response(status)
            self.send_header("Location", f"http://127.0.0.2:{canary}/inner")
            self.send_header("Content-Length", "0")
            self.end_headers()

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Moves)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(fetching, "PORTS", (canary, server.server_port))
    monkeypatch.setattr(fetching, "is_public", lambda ip: ip == "127.0.0.1")
    with pytest.raises(FetchError, match=r"127\.0\.0\.2, which is not public"):
        fetch(f"http://127.0.0.1:{server.server_port}/")
    server.shutdown()
    server.server_close()
    assert Canary.hits == []


@pytest.mark.parametrize(
    "place", ["file:///etc/passwd", "ftp://127.0.0.1/", "gopher://127.0.0.1/", "//127.0.0.1/"]
)
def test_a_redirect_to_another_protocol_or_inwards_without_one_is_refused(
    place, names, monkeypatch
):
    monkeypatch.setattr(fetching, "_get", answers_once(fetching._get, place))
    with pytest.raises(FetchError, match="only http|not public"):
        fetch("http://example.org/")


def answers_once(real, place):
    given = iter([(302, place, b"")])
    return lambda *arguments: next(given, None) or real(*arguments)


def test_a_name_that_changes_its_address_is_looked_up_once_and_asked_at_what_was_checked(
    canary, names, monkeypatch
):
    """Rebinding: public when it is checked, this machine when it is connected to."""
    names["rebinding.test"] = ["93.184.215.14", "127.0.0.1"]
    connected = []

    def connect(self, place):
        connected.append(place[0])
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(socket.socket, "connect", connect)
    with pytest.raises(FetchError, match="Connection refused"):
        fetch(f"http://rebinding.test:{canary}/")
    assert connected == ["93.184.215.14"]
    assert names["asked"] == ["rebinding.test"]
    assert Canary.hits == []


def test_one_inner_address_among_public_ones_is_enough_to_refuse(canary, monkeypatch):
    answers = [
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, canary))
        for ip in ("93.184.215.14", "127.0.0.1")
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answers)
    with pytest.raises(FetchError, match="not public"):
        fetch(f"http://mixed.test:{canary}/")
    assert Canary.hits == []


def test_the_name_that_was_asked_for_is_what_the_server_is_told(names, monkeypatch):
    told = []

    class Virtual(Canary):
        def do_GET(self):
            told.append(self.headers["Host"])
            super().do_GET()

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Virtual)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    names["shop.test"] = ["127.0.0.1"]
    fetch(PrivateAddress(f"http://shop.test:{server.server_port}/"))
    server.shutdown()
    server.server_close()
    assert told == [f"shop.test:{server.server_port}"]


def test_a_certificate_has_to_be_of_the_name_that_was_asked_for(names, monkeypatch):
    wanted = []

    class Context:
        def wrap_socket(self, sock, server_hostname):
            wanted.append(server_hostname)
            raise ssl.SSLCertVerificationError("certificate is of another name")

    listening = socket.create_server(("127.0.0.1", 0))
    monkeypatch.setattr(ssl, "create_default_context", Context)
    names["shop.test"] = ["127.0.0.1"]
    with pytest.raises(FetchError, match="certificate"):
        fetch(PrivateAddress(f"https://shop.test:{listening.getsockname()[1]}/"))
    listening.close()
    assert wanted == ["shop.test"]


def test_a_port_that_is_not_the_webs_is_refused():
    for port in (22, 25, 6379, 8080):
        with pytest.raises(FetchError, match="not the web's"):
            fetch(f"http://example.org:{port}/")


def test_looking_up_a_name_counts_towards_the_time(monkeypatch):
    monkeypatch.setattr(fetching, "SECONDS", 0.3)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: time.sleep(3) or [])
    began = time.monotonic()
    with pytest.raises(FetchError, match="longer than"):
        fetch("http://slow.test/")
    assert time.monotonic() - began < 2.5


def test_what_is_sent_packed_is_refused(monkeypatch):
    class Packed(Canary):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Encoding", "gzip")
            self.send_header("Content-Length", "6")
            self.end_headers()
            self.wfile.write(b"secret")

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Packed)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with pytest.raises(FetchError, match="packed"):
        fetch(PrivateAddress(f"http://127.0.0.1:{server.server_port}/"))
    server.shutdown()
    server.server_close()


def test_only_addresses_that_both_python_and_the_list_call_public_are(thorough, figure):
    generator = random.Random(9)
    n = 100_000 if thorough else 5_000
    public = 0
    for _ in range(n):
        four = generator.random() < 0.5
        number = generator.getrandbits(32 if four else 128)
        if not four and generator.random() < 0.7:  # where addresses are given out
            number = number >> 3 | 1 << 125
        ip = ipaddress.IPv4Address(number) if four else ipaddress.IPv6Address(number)
        if is_public(str(ip)):
            public += 1
            assert ip.is_global
            assert not ip.is_multicast
    assert public > n // 4
    figure("H5", f"{n} random addresses: 0 called public that are not")


def test_everyday_addresses_are_public():
    for ip in ("1.1.1.1", "8.8.8.8", "93.184.215.14", "2606:4700:4700::1111", "2a00:1450::8a"):
        assert is_public(ip)


def test_the_command_line_refuses_and_can_be_told(canary, tmp_path, capsys):
    make_different(tmp_path / "few", *(f"{one}/{n}.png" for one in "ab" for n in range(4)))
    embed(tmp_path / "few", tmp_path / "store", backbone="pixels")
    command = ["search", str(tmp_path / "store"), f"http://127.0.0.1:{canary}/x.png"]
    assert main(command) == 3
    assert "--allow-private" in capsys.readouterr().err
    assert Canary.hits == []
    assert main([*command, "--allow-private"]) != 0
    assert Canary.hits == ["/x.png"]
    assert "not a picture" in capsys.readouterr().err


def test_only_addresses_become_private_ones():
    given = allow_private(["a.png", "http://127.0.0.1/"])
    assert [type(one) for one in given] == [str, PrivateAddress]
