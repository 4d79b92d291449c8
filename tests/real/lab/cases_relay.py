"""The device relay in front of a real Postfix that lets in by XOAUTH2 alone: everything that was taken arrives."""

import ast
import collections
import email
import email.policy
import hashlib
import json
import os
import pathlib
import random
import re
import smtplib
import socket
import threading
import time
import uuid

from .base import free_port, wait_for
from .cases import Case, need
from .postfix import Postfix, Wire, by_chance
from .proxy import app_provider

USER = "scan@lab.test"
# 1,000 messages, 50 kills and two minutes without a server take six minutes: set LAB_RELAY=full for them.
FULL = os.environ.get("LAB_RELAY") == "full"


class Relay:
    """A Postfix, the wire to it, and a mailsplice with a queue before both."""

    def __init__(self, lab, name, cut=lambda what: False, relay=None, **listener):
        self.postfix = Postfix(lab.directory.make(f"postfix-{name}"), lab.upstream, lab.dovecot.auth_port)
        self.postfix.start()
        self.wire = Wire(self.postfix.plain_port, cut)
        self.port = free_port()
        server = {"address": f"127.0.0.1:{self.wire.port}", "tls": "none"}
        provider = app_provider("lab", lab.idp, lab.secret, None, servers={"smtp": server}, sasl="xoauth2")
        quick = {"retry": ["1s", "2s"], "messages_per_minute": 100000, "recipients_per_day": 1000000}
        self.proxy = lab.proxy(f"relay-{name}", [provider], [(USER, "lab")], protocols=(), listeners=[{
            "name": "scanners", "protocol": "smtp", "bind": f"127.0.0.1:{self.port}", "tls": "none",
            "allow_from": ["127.0.0.0/8"], "login_as": USER, "delivery": "relay", **listener,
        }], relay={**quick, **(relay or {})})
        self.proxy.command("check")
        self.proxy.start()

    def stop(self):
        self.proxy.stop()
        self.postfix.stop()

    def queue(self):
        return json.loads(self.proxy.command("queue", "list", "--json").stdout)["messages"]

    def wait_empty(self, seconds=60):
        wait_for(lambda: not self.queue(), f"the queue is empty: {self.queue()[:3]}", seconds)

    def arrived(self, marker):
        return self.postfix.sink.find(marker)


def send(port, message, sender=USER, recipients=("it@lab.test",), source="127.0.0.1"):
    """As a device: no EHLO name, no AUTH, the octets as they are. Gives the last reply."""
    with socket.create_connection(("127.0.0.1", port), timeout=60, source_address=(source, 0)) as sock:
        lines = sock.makefile("rb")

        def reply():
            while (line := lines.readline())[3:4] == b"-":
                pass
            return line.decode(errors="replace").strip()

        reply()
        for command in ["HELO", f"MAIL FROM: {sender}", *(f"RCPT TO: {one}" for one in recipients), "DATA"]:
            sock.sendall(command.encode() + b"\r\n")
            answer = reply()
            if not answer.startswith(("2", "3")):
                return answer
        sock.sendall(message)
        answer = reply()
        sock.sendall(b"QUIT\r\n")
        return answer


def scan(marker, octets=20_000):
    body = hashlib.shake_256(marker.encode()).hexdigest(octets // 2)
    lines = "\r\n".join(body[at:at + 76] for at in range(0, len(body), 76))
    text = f"From: Scanner <{USER}>\r\nTo: it@lab.test\r\nSubject: Scan {marker}\r\n\r\n{lines}\r\n.\r\n"
    return text.encode(), lines.encode()


def through_postfix(lab, _case):
    """A broken message arrives mended through a Postfix that takes neither bare line feeds nor passwords."""
    relay = Relay(lab, "plain", sender="rewrite")
    marker = uuid.uuid4().hex
    broken = b"From: Hall <hall@printer.local>\nSubject: Gescannt f\xfcr Sie\n\n" + marker.encode() + b"\n.\n"
    said = send(relay.port, broken, sender="hall@printer.local")
    need(said.startswith("250"), said)
    [mail] = wait_for(lambda: relay.arrived(marker), "the mail arrives")
    head, _, body = mail.partition(b"\r\n\r\n")
    need(body == marker.encode() + b"\r\n", body)
    for part in (rb"\r\nSubject: Gescannt =\?utf-8\?", rb"\r\nDate: ", rb"\r\nMessage-ID: <", rb"\r\nReply-To: [^\r]*hall@printer.local",
                 rb"\r\nFrom: [^\r]*<scan@lab.test>"):
        need(re.search(part, head, re.I), f"{part} is not in {head}")
    need(set(relay.postfix.logins()) == {"XOAUTH2"}, relay.postfix.logins())
    relay.wait_empty()
    relay.stop()


def storm(lab, _case):
    """Devices send while the server refuses by chance, breaks connections, also behind the final dot, and is away,
    and while serve is killed over and over. What got 250 arrives, whole; what arrives twice is counted."""
    messages, devices, kills, away = (1000, 20, 50, 120) if FULL else (120, 8, 6, 5)
    cuts = {what: by_chance(seed, {True: chance})
            for seed, (what, chance) in enumerate([("connect", .05), ("data", .02), ("dot", .03)])}
    relay = Relay(lab, "storm", cut=lambda what: cuts[what]() is True, relay={"max_messages": 100000})
    refusals = by_chance(7, {"432 4.3.2 too many": .03, "451 4.7.0 later": .05, "421 4.7.0 closing": .02})
    relay.postfix.policy.choose = lambda stage, asked: refusals() or "DUNNO"
    taken, refused, lock = {}, collections.Counter(), threading.Lock()
    todo = iter(range(messages))

    def device(number):
        while True:
            with lock:
                if next(todo, None) is None:
                    return
            while True:
                marker = uuid.uuid4().hex
                message, body = scan(marker)
                try:
                    said = send(relay.port, message, source=f"127.0.1.{number + 1}")
                except OSError as error:
                    said = type(error).__name__
                if said.startswith("250"):
                    with lock:
                        taken[marker] = body
                    break
                with lock:
                    refused[said[:3]] += 1
                time.sleep(0.1)

    threads = [threading.Thread(target=device, args=(number,), daemon=True) for number in range(devices)]
    for thread in threads:
        thread.start()
    chance = random.Random(5)
    absent = threading.Thread(target=relay.wire.away, args=(away,), daemon=True)
    for kill in range(kills):
        time.sleep(chance.uniform(0.1, 0.8))
        relay.proxy.kill()
        relay.proxy.start()
        if kill == kills // 2:
            absent.start()
    for thread in threads:
        thread.join(300)
        need(not thread.is_alive(), "a device is still sending")
    absent.join()
    need(len(taken) == messages, f"{len(taken)} taken")
    relay.wait_empty(900)
    wait_for(lambda: all(relay.arrived(marker) for marker in taken), "all that was taken arrives", 60)
    twice = 0
    for marker, body in taken.items():
        arrived = relay.arrived(marker)
        twice += len(arrived) - 1
        for mail in arrived:
            need(mail.partition(b"\r\n\r\n")[2].rstrip() == body, f"{marker} is not whole")
            need(len(re.findall(rb"(?im)^message-id:", mail.partition(b"\r\n\r\n")[0])) == 1, "one Message-ID")
    # Behind a broken answer to the dot, or a kill while up to three messages are on their way.
    window = relay.wire.cuts["dot"] + 3 * kills + 3
    need(twice <= window, f"{twice} arrived twice, with {window} chances")
    # Those of a process that was just killed may still be seen.
    need(relay.wire.most <= 6, f"{relay.wire.most} connections at a time")
    print(f"   {messages} taken and arrived, {twice} of them twice ({relay.wire.cuts['dot']} answers lost, "
          f"{kills} kills); refused to devices: {dict(refused)}; cuts: {relay.wire.cuts}")
    relay.stop()


def paced(lab, _case):
    """Three devices send bursts: no more than the set messages a minute and sessions reach the server, and a flood of
    one device holds up nobody else."""
    relay = Relay(lab, "paced", relay={"messages_per_minute": 30, "sessions": 2})
    seen = []
    relay.postfix.policy.choose = lambda stage, asked: seen.append(time.monotonic()) or "DUNNO" \
        if stage == "END-OF-MESSAGE" else "DUNNO"
    for number in range(40):
        need(send(relay.port, scan(f"flood-{number}-")[0], source="127.0.1.1").startswith("250"), "flood")
    for device in ("127.0.1.2", "127.0.1.3"):
        need(send(relay.port, scan(f"few-{device}-")[0], source=device).startswith("250"), device)
    for device in ("127.0.1.2", "127.0.1.3"):
        wait_for(lambda: relay.arrived(f"few-{device}-"), f"the mail of {device} is not behind the flood", 30)
    wait_for(lambda: len(seen) >= 30, "thirty are sent", 60)
    time.sleep(2)
    need(len(seen) == 30, f"{len(seen)} in the first minute")
    need(relay.wire.most <= 2, f"{relay.wire.most} sessions")
    waiting = relay.queue()
    need(len(waiting) == 12 and all("30 messages a minute" in one["why"] for one in waiting), waiting[:2])
    if not FULL:
        relay.stop()
        return
    wait_for(lambda: not relay.queue(), "the rest is sent a minute later", 90)
    for at, first in enumerate(seen):
        need(sum(first <= other < first + 60 for other in seen[at:]) <= 30, "more than 30 in some 60 seconds")
    relay.stop()


def commands(lab, _case):
    """Commands while serve runs: a message that is refused for good is kept, told, and sent again on demand."""
    relay = Relay(lab, "commands", sender="keep")
    denied = "554 5.2.252 SendAsDenied; scan@lab.test not allowed to send as x@y.test"
    relay.postfix.policy.choose = lambda stage, asked: denied if stage == "END-OF-MESSAGE" else "DUNNO"
    marker = uuid.uuid4().hex
    need(send(relay.port, scan(marker)[0]).startswith("250"), "taken")
    [message] = wait_for(lambda: [one for one in relay.queue() if one["state"] == "failed"], "it is given up")
    need("sender: rewrite" in message["why"], message)
    shown = json.loads(relay.proxy.command("queue", "show", message["id"], "--json").stdout)
    need(any("5.2.252" in step["reply"] for step in shown["trace"]), shown)
    octets = relay.proxy.command("queue", "export", message["id"]).stdout
    need(marker.encode() in octets and b"\r\nSubject: " in octets, octets[:200])
    relay.postfix.policy.choose = lambda stage, asked: "DUNNO"
    relay.proxy.command("queue", "retry", message["id"])
    wait_for(lambda: relay.arrived(marker), "it arrives after all")
    relay.wait_empty()
    unknown = relay.proxy.command("queue", "drop", message["id"], ok=(1,))
    need(message["id"] in unknown.stderr.decode(), unknown.stderr)
    relay.stop()


def smtplib_sends(lab, _case):
    """Python's smtplib with a login and PIPELINING off, several messages in a session."""
    relay = Relay(lab, "smtplib")
    markers = [uuid.uuid4().hex for _ in range(3)]
    with smtplib.SMTP("127.0.0.1", relay.port, timeout=30) as client:
        for marker in markers:
            client.sendmail(USER, ["it@lab.test", "audit@lab.test"], f"Subject: {marker}\r\n\r\nhello\r\n")
    wait_for(lambda: all(relay.arrived(marker) for marker in markers), "all arrive")
    relay.stop()


# The table of broken messages that the unit tests have, and what its letters stand for.
DEVICES = pathlib.Path(__file__).resolve().parents[3] / "src/message/tests/devices.rs"
LETTERS = re.compile(r'b"([A-Z])" => b"([^"]*)"')
MESSAGE = re.compile(r'\(\s*"([^"]*)",\s*(b"(?:[^"\\]|\\.)*"),\s*b"', re.S)


def corpus():
    """The name and the octets of each broken message."""
    source = DEVICES.read_text()
    letters = {letter.encode(): line.encode() for letter, line in LETTERS.findall(source)}
    for name, literal in MESSAGE.findall(source):
        lines = ast.literal_eval(re.sub(r"\\\n\s*", "", literal)).split(b"|")
        yield name, b"\r\n".join(letters.get(line, line) for line in lines)


def devices(lab, _case):
    """Every broken message of the table gets through a Postfix that rejects bare line feeds, and arrives such that a
    strict reader finds nothing wrong with its header."""
    relay = Relay(lab, "devices")
    messages = list(corpus())
    need(len(messages) >= 40, f"{len(messages)} messages in the table")
    for number, (name, octets) in enumerate(messages):
        stuffed = re.sub(rb"(?m)^\.", b"..", octets)
        said = send(relay.port, stuffed + b"\r\n.\r\n", recipients=[f"device-{number}@lab.test"])
        need(said.startswith("250"), f"{name}: {said}")
    relay.wait_empty()
    for number, (name, _) in enumerate(messages):
        [mail] = wait_for(lambda: relay.arrived(f"for <device-{number}@lab.test>"), f"{name}: it arrives once")
        need(not re.search(rb"\0|\r(?!\n)|(?<!\r)\n", mail), f"{name}: NUL, bare CR or bare LF")
        need(max(map(len, mail.split(b"\r\n"))) <= 998, f"{name}: a long line")
        header = mail.partition(b"\r\n\r\n")[0]
        signed = re.search(rb"(?im)^(dkim-signature|content-type: *multipart/signed)", header)
        parsed = email.message_from_bytes(mail, policy=email.policy.SMTP)
        if signed:
            continue
        need(header.isascii(), f"{name}: raw octets in {header}")
        for field in ("From", "Date", "Message-ID"):
            need(len(parsed.get_all(field, [])) == 1, f"{name}: {field}: {header}")
        need(len(parsed["From"].addresses) == 1 and parsed["Date"].datetime, f"{name}: {header}")
        ours = [parsed[field] for field in ("From", "Date", "Message-ID")]
        need(not parsed.defects and not any(field.defects for field in ours), f"{name}: {parsed.defects} {header}")
    print(f"   {len(messages)} broken messages arrived")
    relay.stop()


def cases():
    every = [("through-postfix", through_postfix), ("storm", storm), ("paced", paced), ("devices", devices), ("commands", commands),
             ("smtplib", smtplib_sends)]
    return [Case(f"relay/{name}", works, program="postfix") for name, works in every]
