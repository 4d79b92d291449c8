"""Who gets in, and what a login costs upstream and at the identity provider."""

import base64
import concurrent.futures
import imaplib

from . import certs
from .base import wait_for
from .cases import IMPLICIT, Case, need
from .clients import connect
from .proxy import app_provider


def login(target, user=None, password=None, seconds=30):
    """LOGIN on a connection of its own; the status word and the text."""
    with connect(target, seconds) as client:
        return attempt(client, user or target.user, password or target.password)


def attempt(client, user, password):
    """LOGIN on an open connection, without imaplib's exceptions."""
    status, data = client._simple_command("LOGIN", user, client._quote(password))
    if status == "OK":
        client.state = "AUTH"
    return status, b" ".join(each for each in data if each).decode(errors="replace")


def need_login(target, count=1):
    for _ in range(count):
        status, text = login(target)
        need(status == "OK", f"LOGIN: {status} {text}")


def need_refusal(target, code, password=None, user=None):
    """A `NO` with this response code; returns the words."""
    status, text = login(target, user, password)
    need(status == "NO" and text.upper().startswith(f"[{code}]"), f"LOGIN: {status} {text}, not NO [{code}]")
    return text


def wrong_password(lab, case):
    """Refused without an AUTHENTICATE upstream and without a token request, on a cold account; then the right one works."""
    target = lab.target(case)
    mark, requests = lab.dovecot.mark(), len(lab.idp.token_requests())
    words = {
        need_refusal(target, "AUTHENTICATIONFAILED", password="not-the-password"),
        need_refusal(target, "AUTHENTICATIONFAILED", user="nobody-known@lab.test"),
    }
    need(len(words) == 1, f"a wrong user and a wrong password are told apart: {words}")
    wrong = base64.b64encode(f"\0{target.user}\0wrong".encode()).decode()
    with connect(target) as client:
        try:
            client.authenticate("PLAIN", lambda _: base64.b64decode(wrong))
            need(False, "AUTHENTICATE PLAIN with a wrong password: OK")
        except imaplib.IMAP4.error as error:
            need("AUTHENTICATIONFAILED" in str(error), f"AUTHENTICATE PLAIN: {error}")
    need(len(lab.idp.token_requests()) == requests, "a wrong password caused a token request")

    need_login(target)
    lab.dovecot.wait_login(case.user, mark)
    need(lab.dovecot.attempts(mark) == 1, f"{lab.dovecot.attempts(mark)} AUTHENTICATE commands upstream, not 1")


def user_case(lab, case):
    """User names match without case; the upstream gets the account's own spelling."""
    target = lab.target(case)
    status, text = login(target, user=case.user.upper())
    need(status == "OK", f"LOGIN: {status} {text}")
    lab.dovecot.wait_login(case.user)


def cold_parallel(lab, case):
    """Fifty logins at once on an account without a token: one token request."""
    target = lab.target(case)
    before = len(lab.idp.token_requests())
    mark = lab.dovecot.mark()
    with concurrent.futures.ThreadPoolExecutor(50) as pool:
        connections = list(pool.map(lambda _: connect(target, 60), range(50)))
        results = list(pool.map(lambda client: attempt(client, target.user, target.password), connections))
        list(pool.map(lambda client: client.logout(), connections))
    refused = [result for result in results if result[0] != "OK"]
    need(not refused, f"{len(refused)} of 50 refused, the first: {refused[:1]}")
    after = len(lab.idp.token_requests())
    need(after - before == 1, f"{after - before} token requests, not 1")
    wait_for(lambda: len(lab.dovecot.logins(case.user, mark)) == 50, "50 logins in Dovecot's log")


def untrusted_upstream(lab, case):
    """An upstream whose certificate no trusted CA signed gets no token."""
    stranger = certs.make(lab.directory.make("stranger"), "stranger", ["DNS:localhost"])
    proxy = lab.proxy("untrusting", [app_provider(IMPLICIT, lab.idp, lab.secret, lab.imap[IMPLICIT])],
                      [(case.user, IMPLICIT)], upstream_ca=stranger.ca)
    target = lab.target(case)
    target.password = proxy.add_password(case.user)
    target.port = proxy.ports["implicit"]
    proxy.start()
    mark = lab.dovecot.mark()
    status, text = login(target)
    need(status == "NO" and text.startswith("["), f"LOGIN: {status} {text}")
    need(lab.dovecot.attempts(mark) == 0, "AUTHENTICATE reached an upstream that is not trusted")
    proxy.stop()


def catch_all(lab, case):
    """One account for a whole domain: each user by a password of its own, in its own mailbox, by one token for all."""
    proxy = lab.proxy("catch-all", [app_provider(IMPLICIT, lab.idp, lab.secret, lab.imap[IMPLICIT])],
                      [("*@lab.test", IMPLICIT)])
    proxy.command("check")
    target = lab.target(case)
    users = ["access-catch-all-one@lab.test", "access-catch-all-two@lab.test"]
    passwords = {user: proxy.add_password(user) for user in users}
    target.port = proxy.ports["implicit"]
    proxy.start()
    mark, requests = lab.dovecot.mark(), len(lab.idp.token_requests())
    for user in users:
        with connect(target) as client:
            status, text = attempt(client, user, passwords[user])
            need(status == "OK", f"LOGIN of {user}: {status} {text}")
            status, _ = client.append("INBOX", None, None, f"Subject: for {user}\r\n\r\nx\r\n".encode())
            need(status == "OK", f"APPEND by {user}: {status}")
        lab.dovecot.wait_login(user, mark)
    for user in users:
        with connect(target) as client:
            attempt(client, user, passwords[user])
            client.select()
            _, data = client.fetch("1:*", "(BODY.PEEK[HEADER])")
            subjects = [part[1] for part in data if isinstance(part, tuple)]
            need(len(subjects) == 1 and f"for {user}".encode() in subjects[0], f"{user} finds {subjects}")
    need(len(lab.idp.token_requests()) - requests == 1, "the domain's users do not share one token")
    tried = lab.dovecot.attempts(mark)
    for user, password in [(users[0], passwords[users[1]]), ("access-catch-all-three@lab.test", passwords[users[0]]),
                           ("*@lab.test", passwords[users[0]]), ("one@other.test", passwords[users[0]])]:
        need_refusal(target, "AUTHENTICATIONFAILED", password=password, user=user)
    need(lab.dovecot.attempts(mark) == tried, "a refused login reached Dovecot")
    proxy.stop()


def cases():
    def case(name, works, **more):
        return Case(f"access/{name}", works, f"access-{name}@lab.test", **more)

    return [
        case("wrong-password", wrong_password),
        # with one upstream for all, the connection to it is there before the password is
        case("wrong-password-one-upstream", wrong_password, oauth=True, provider="lab-app"),
        case("user-case", user_case),
        case("cold-parallel", cold_parallel),
        case("cold-parallel-one-upstream", cold_parallel, oauth=True, provider="lab-app"),
        case("untrusted-upstream", untrusted_upstream),
        case("catch-all", catch_all),
    ]
