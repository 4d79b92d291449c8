"""Recipes for programs that fetch by POP3 or send by SMTP; as in `clients.py` each proves its effect. A sending one gets
`target.sink`, where its mail must arrive."""

import poplib
import smtplib
import socket
import uuid

from .base import wait_for
from .clients import EVERY, Client, check, context, message, quoted


def python_poplib(target):
    marker = target.deliver("to poplib")
    if target.security == "implicit":
        client = poplib.POP3_SSL(target.host, target.port, timeout=20, context=context(target))
    else:
        client = poplib.POP3(target.host, target.port, timeout=20)
        if target.security == "starttls":
            client.stls(context(target))
    client.user(target.user)
    client.pass_(target.password)
    check(client.stat()[0] == 1, "not one message")
    lines = client.retr(1)[1]
    check(b"\r\n".join(lines) + b"\r\n" == message("to poplib", marker), "the message came back changed")
    client.dele(1)
    client.quit()
    wait_for(lambda: not target.mailbox.files(), "the message is gone from the server")


def curl_pop3(target):
    marker = target.deliver("to curl")
    base = f"{target.by_security('pop3s', 'pop3', 'pop3')}://{target.host}:{target.port}/"
    settings = target.write("curlrc", f"user = {quoted(target.user + ':' + target.password)}\n")
    got = target.run(["curl", "-q", "-sS", "--noproxy", "*", "--max-time", "20", "--cacert", target.ca, "-K", settings,
                      *target.by_security([], ["--ssl-reqd"], []), base + "1"])
    check(marker.encode() in got.stdout, "the message did not come", got.stdout + got.stderr)


def fetchmail_pop3(target):
    marker = target.deliver("to fetchmail")
    secure = target.by_security(f"ssl sslcertck sslcertfile {quoted(str(target.ca))}",
                                f"sslproto \"TLS1.2+\" sslcertck sslcertfile {quoted(str(target.ca))}", "sslproto \"\"")
    spool = target.home / "spool"
    rc = target.write("fetchmailrc", f"""
poll {target.host} protocol POP3 port {target.port} timeout 15 auth password
  user {quoted(target.user)} password {quoted(target.password)} {secure}
  mda "cat >> {spool}" no keep fetchall
""")
    done = target.run(["fetchmail", "-v", "--nosyslog", "--nodetach", "-f", rc, "-i", target.home / "ids"], ok=None)
    check(spool.exists() and marker in spool.read_text(), "nothing delivered", done.stdout + done.stderr)
    wait_for(lambda: not target.mailbox.files(), "the message is gone from the server")


def tls_settings(target):
    """For mpop and msmtp, which are one family."""
    on, start = target.by_security(("on", "off"), ("on", "on"), ("off", "off"))
    trust = "" if on == "off" else f"tls_trust_file {target.ca}\n"
    return f"tls {on}\ntls_starttls {start}\n{trust}"


def mpop(target):
    marker = target.deliver("to mpop")
    inbox = target.folder("inbox")
    for part in ("cur", "new", "tmp"):
        target.folder(f"inbox/{part}")
    rc = target.write("mpoprc", f"""
account lab
host {target.host}
port {target.port}
user {target.user}
auth {target.by_security('plain', 'login', 'user')}
passwordeval cat {target.write('password', target.password)}
{tls_settings(target)}delivery maildir {inbox}
uidls_file {target.home}/uidls
keep off
""")
    done = target.run(["mpop", "-C", rc, "lab"], ok=None)
    came = any(marker.encode() in file.read_bytes() for file in inbox.rglob("*") if file.is_file())
    check(came, "nothing came", done.stdout + done.stderr)


def connect_smtp(target):
    if target.security == "implicit":
        return smtplib.SMTP_SSL(target.host, target.port, timeout=60, context=context(target))
    client = smtplib.SMTP(target.host, target.port, timeout=60)
    if target.security == "starttls":
        client.starttls(context=context(target))
    return client


def arrived(target, marker):
    return wait_for(lambda: target.sink.find(marker), "the message where the submission server sends it", 60)[0]


def python_smtplib(target):
    """A body of eight bits, and lines that begin with a dot."""
    marker = uuid.uuid4().hex
    body = f"Subject: gr\u00fc\u00dfe\r\n\r\n{marker} \u00e4\u00f6\u00fc\r\n.\r\n..\r\n".encode()
    with connect_smtp(target) as client:
        client.login(target.user, target.password)
        client.sendmail("a@lab.test", ["b@lab.test"], body, ["BODY=8BITMIME"])
    check(arrived(target, marker).endswith(body), "it arrived changed")


def python_auth_login(target):
    marker = uuid.uuid4().hex
    with connect_smtp(target) as client:
        client.ehlo()
        client.user, client.password = target.user, target.password
        client.auth("LOGIN", client.auth_login, initial_response_ok=False)
        client.sendmail("a@lab.test", ["b@lab.test"], message("by login", marker))
    check(arrived(target, marker).endswith(message("by login", marker)), "it arrived changed")


def python_large(target):
    """An attachment of 100 MB."""
    marker = uuid.uuid4().hex
    body = f"Subject: large\r\n\r\n{marker}\r\n".encode() + (b"x" * 998 + b"\r\n") * 100_000
    with connect_smtp(target) as client:
        client.login(target.user, target.password)
        client.sendmail("a@lab.test", ["b@lab.test"], body)
    check(arrived(target, marker).endswith(body), "it arrived changed")


def pipelined_bdat(target):
    """One group: login, envelope and two chunks, one of them binary."""
    import base64
    marker = uuid.uuid4().hex
    login = base64.b64encode(f"\0{target.user}\0{target.password}".encode())
    first, last = f"Subject: bdat\r\n\r\n{marker}\r\nQUIT\r\n".encode(), b"\x00\xff\r\n.\r\nend\r\n"
    plain = socket.create_connection((target.host, target.port), timeout=20)
    with context(target).wrap_socket(plain, server_hostname=target.host) as stream:
        reader = stream.makefile("rb")
        check(reader.readline().startswith(b"220"), "no greeting")
        stream.sendall(b"EHLO device\r\nAUTH PLAIN " + login + b"\r\nMAIL FROM:<a@lab.test> BODY=8BITMIME\r\n"
                       b"RCPT TO:<b@lab.test>\r\n" + b"BDAT %d\r\n" % len(first) + first
                       + b"BDAT %d LAST\r\n" % len(last) + last + b"QUIT\r\n")
        said = reader.read()
    check(said.count(b"\r\n250 ") >= 4 and b"\r\n235 " in said and b"\r\n221 " in said, "not all answered well", said)
    check(arrived(target, marker).endswith(first + last), "it arrived changed")


def curl_smtp(target):
    marker = uuid.uuid4().hex
    base = f"{target.by_security('smtps', 'smtp', 'smtp')}://{target.host}:{target.port}/device"
    settings = target.write("curlrc", f"user = {quoted(target.user + ':' + target.password)}\n")
    upload = target.write("upload.eml", message("from curl", marker).decode())
    done = target.run(["curl", "-q", "-sS", "--noproxy", "*", "--max-time", "20", "--cacert", target.ca, "-K", settings,
                       *target.by_security([], ["--ssl-reqd"], []), "--mail-from", "a@lab.test", "--mail-rcpt", "b@lab.test",
                       "-T", upload, base])
    check(target.sink.find(marker), "it did not arrive", done.stdout + done.stderr)


def msmtp(target):
    marker = uuid.uuid4().hex
    rc = target.write("msmtprc", f"""
account lab
host {target.host}
port {target.port}
from a@lab.test
user {target.user}
auth {target.by_security('plain', 'login', 'plain')}
passwordeval cat {target.write('password', target.password)}
{tls_settings(target)}""")
    done = target.run(["msmtp", "-C", rc, "-a", "lab", "b@lab.test"], data=message("from msmtp", marker), ok=None)
    check(target.sink.find(marker), "it did not arrive", done.stdout + done.stderr)


def swaks(target):
    marker = uuid.uuid4().hex
    secure = target.by_security(["--tls-on-connect"], ["--tls"], [])
    if secure:
        secure += ["--tls-verify", "--tls-ca-path", target.ca]
    done = target.run(["swaks", "--server", f"{target.host}:{target.port}", "--from", "a@lab.test", "--to", "b@lab.test",
                       "--auth", "LOGIN", "--auth-user", target.user, "--auth-password", target.password, *secure,
                       "--body", marker], ok=None)
    check(target.sink.find(marker), "it did not arrive", done.stdout + done.stderr)


POP3 = [
    Client("poplib", "python3", python_poplib, EVERY, special=True),
    Client("curl-pop3", "curl", curl_pop3, EVERY, special=True),
    Client("fetchmail-pop3", "fetchmail", fetchmail_pop3, EVERY),
    Client("mpop", "mpop", mpop, EVERY),
]
SMTP = [
    Client("smtplib", "python3", python_smtplib, EVERY, special=True),
    Client("smtplib-auth-login", "python3", python_auth_login, EVERY),
    Client("smtplib-large", "python3", python_large),
    Client("pipelined-bdat", "python3", pipelined_bdat),
    Client("curl-smtp", "curl", curl_smtp, EVERY, special=True),
    Client("msmtp", "msmtp", msmtp, EVERY),
    Client("swaks", "swaks", swaks, EVERY),
]
