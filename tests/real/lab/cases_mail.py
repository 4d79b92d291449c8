"""Mail goes in and comes back as it was: by imaplib, through the proxy."""

import hashlib
import random
import re
import socket
import ssl

from .base import LabError
from .cases import IMPLICIT, STARTTLS, Case, need
from .clients import connect, message

MIB = 1024 * 1024


def _session(lab, case, security=None):
    target = lab.target(case, security)
    client = connect(target, seconds=60)
    client.login(target.user, target.password)
    client.select("INBOX")
    return client


def _round_trip(lab, case, body):
    with _session(lab, case) as client:
        status, answer = client.append("INBOX", None, None, body)
        need(status == "OK", f"APPEND: {answer}")
    with _session(lab, case) as client:
        _, data = client.fetch("1", "(BODY.PEEK[])")
    back = data[0][1]
    need(len(back) == len(body), f"{len(body)} bytes went in, {len(back)} came back")
    need(hashlib.sha256(back).digest() == hashlib.sha256(body).digest(), "the message came back changed")
    need(lab.dovecot.mailbox(case.user).files(), "nothing on the server")


def _octets(number, seed):
    """Lines of every octet but NUL, CR and LF."""
    alphabet = bytes(set(range(1, 256)) - {10, 13})
    table = bytes(alphabet[i % len(alphabet)] for i in range(256))
    noise = random.Random(seed).randbytes(number).translate(table)
    return b"\r\n".join(noise[i:i + 500] for i in range(0, number, 500)) + b"\r\n"


def append(lab, case):
    head = message("octets", "append").partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    _round_trip(lab, case, head + bytes(set(range(1, 256)) - {10, 13}) + b"\r\n.\r\n..\r\n" + _octets(20_000, 1))


def append_50_mib(lab, case):
    head = message("large", "large").partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    _round_trip(lab, case, head + _octets(50 * MIB, 2))


def idle(lab, case):
    """A message appended on one connection is told on another that idles."""
    with _session(lab, case) as watcher, _session(lab, case) as writer:
        watcher.send(b"I1 IDLE\r\n")
        need(watcher.readline().startswith(b"+"), "no continuation for IDLE")
        status, answer = writer.append("INBOX", None, None, message("news", "idle"))
        need(status == "OK", f"APPEND: {answer}")
        _read_until(watcher, rb"\* 1 EXISTS")
        watcher.send(b"DONE\r\n")
        _read_until(watcher, rb"I1 OK")
        _, data = watcher.fetch("1", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
        need(b"news" in data[0][1], "the new message is not there")


def _read_until(client, pattern):
    """Lines until one matches; the connection's time limit is the deadline."""
    seen = []
    while line := client.readline():
        seen.append(line)
        if re.match(pattern, line):
            return
    raise LabError(f"connection closed, {pattern!r} did not come: {seen}")


def capabilities(lab, case):
    """Nothing is announced that the upstream lacks; STARTTLS and LOGINDISABLED only where they belong."""
    with _session(lab, case) as client:
        after = set(client.capability()[1][0].decode().upper().split())
    need({"IMAP4REV1", "IDLE", "LITERAL+", "MOVE"} <= after, f"after login: {after}")
    ours = {"SASL-IR", "ID", "AUTH=PLAIN", "AUTH=LOGIN", "STARTTLS", "LOGINDISABLED", "LOGIN-REFERRALS"}

    for security in ("implicit", "starttls", "none"):
        target = lab.target(case, security)
        with connect(target) as client:
            before = {each.upper() for each in client.capabilities}
        need("AUTH=PLAIN" in before, f"{security}: no AUTH=PLAIN in {before}")
        need(not before & {"AUTH=XOAUTH2", "AUTH=OAUTHBEARER", "LOGINDISABLED", "STARTTLS"}, f"{security}: {before}")
        need(before <= after | ours, f"{security}: announced, but not there: {before - after - ours}")


def starttls_first(lab, case):
    """Before STARTTLS no password is taken, and text sent behind STARTTLS ends the connection."""
    target = lab.target(case, "starttls")
    with socket.create_connection((target.host, target.port), timeout=20) as plain:
        stream = plain.makefile("rb")
        stream.readline()
        plain.sendall(b"a CAPABILITY\r\n")
        announced = stream.readline().upper()
        need(stream.readline().startswith(b"a OK"), "CAPABILITY refused")
        need(b" STARTTLS" in announced and b" LOGINDISABLED" in announced, f"announced: {announced}")
        plain.sendall(f'b LOGIN {target.user} "{target.password}"\r\n'.encode())
        answer = stream.readline()
        need(answer.startswith((b"b NO", b"b BAD")), f"LOGIN in the clear: {answer}")
        plain.sendall(b"c STARTTLS\r\nd CAPABILITY\r\n")
        said = stream.read()
        need(said.startswith(b"* BYE"), f"text behind STARTTLS: {said}")
    with socket.create_connection((target.host, target.port), timeout=20) as plain:
        stream = plain.makefile("rb")
        stream.readline()
        plain.sendall(b"c STARTTLS\r\n")
        need(stream.readline().startswith(b"c OK"), "STARTTLS refused")
        context = ssl.create_default_context(cafile=str(target.ca))
        with context.wrap_socket(plain, server_hostname=target.host) as secure:
            secure.sendall(f'e LOGIN {target.user} "{target.password}"\r\n'.encode())
            lines = secure.makefile("rb")
            first = lines.readline()
            while not first.startswith(b"e "):
                first = lines.readline()
                need(first, "closed before the answer to LOGIN")
            need(first.startswith(b"e OK"), f"LOGIN after STARTTLS: {first}")


def cases():
    def case(name, works, provider=IMPLICIT, security="implicit"):
        return Case(f"mail/{name}", works, f"mail-{name}@lab.test", provider, security)

    return [
        case("append", append),
        case("append-plain-starttls", append, STARTTLS, "none"),
        case("idle", idle),
        case("idle-starttls-starttls", idle, STARTTLS, "starttls"),
        case("append-50-mib", append_50_mib),
        case("append-50-mib-starttls-starttls", append_50_mib, STARTTLS, "starttls"),
    ]


def proxy_cases():
    """These hold for the proxy, not for the Dovecot that stands in for it."""
    return [
        Case("mail/capabilities", capabilities, "mail-capabilities@lab.test"),
        Case("mail/starttls-first", starttls_first, "mail-starttls-first@lab.test", STARTTLS, "starttls"),
    ]
