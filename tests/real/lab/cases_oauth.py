"""Signing in, rotation, and an identity provider that is away. All on the proxy with one upstream."""

import base64
import concurrent.futures
import hashlib
import re
import time
import urllib.parse

from .base import LabError, wait_for
from .cases import Case, need
from .cases_access import login, need_login, need_refusal
from .idp import Browser


def _authorization_url(lab, command):
    url = command.wait_for(re.escape(lab.idp.authorization_url) + r"\?\S+")
    asked = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(url).query))
    need(asked.get("code_challenge_method") == "S256" and asked.get("code_challenge"), "no PKCE S256 in the address")
    need(len(asked.get("state", "")) >= 16, "no state in the address, or a short one")
    return url


def paste_login(lab, user, *options, sign_in_as=None, change=lambda url: url, proxy=None):
    """`login --paste` as a person does it; the exit status and what it said."""
    with (proxy or lab.people).login(user, "--paste", *options) as command:
        back = Browser(lab.idp, sign_in_as or user).authorize(_authorization_url(lab, command))
        command.type(change(back))
        return command.finish(), command.said()


def sign_in(lab, user, proxy=None):
    status, said = paste_login(lab, user, proxy=proxy)
    need(status == 0, f"login --paste: status {status}: {said}")


def _tokens(lab, user, **wanted):
    return lab.idp.token_requests(account=user, **wanted)


def paste(lab, case):
    """Before the sign-in a login is refused; after it the running proxy lets it in."""
    target = lab.target(case)
    status, text = login(target)
    need(status == "NO", f"LOGIN before the sign-in: {status} {text}")
    sign_in(lab, case.user)
    need_login(target)
    lab.dovecot.wait_login(case.user)
    need(len(_tokens(lab, case.user)) == 1, f"{_tokens(lab, case.user)}")


def paste_wrong_state(lab, case):
    target = lab.target(case)
    status, said = paste_login(lab, case.user, change=lambda url: re.sub(r"([?&]state=)[^&]*", r"\1forged-state-0123", url))
    need(status not in (0, None), f"a forged state was taken: {said}")
    need(not _tokens(lab, case.user), "the code was redeemed in spite of a forged state")
    need(login(target)[0] == "NO", "LOGIN works after a refused sign-in")


def loopback(lab, case):
    """The default: a listener on loopback, which stray requests do not disturb."""
    target = lab.target(case)
    with lab.people.login(case.user) as command:
        browser = Browser(lab.idp, case.user)
        url = _authorization_url(lab, command)
        redirect = urllib.parse.parse_qs(urllib.parse.urlsplit(url).query)["redirect_uri"][0]
        browser.visit(urllib.parse.urljoin(redirect, "/favicon.ico"))
        status, page = browser.visit(browser.authorize(url))
        need(status == 200, f"the program's page answers {status}: {page[:200]}")
        status = command.finish()
        need(status == 0, f"login: status {status}: {command.said()}")
    need_login(target)
    lab.dovecot.wait_login(case.user)


def device(lab, case):
    target = lab.target(case)
    with lab.people.login(case.user, "--device") as command:
        url = command.wait_for(re.escape(lab.idp.issuer) + r"/common/oauth2/deviceauth[^\s<>\"]*")
        code = command.wait_for(r"\b[A-Z]{4}-[A-Z]{4}\b")
        Browser(lab.idp, case.user).approve_device(url.partition("?")[0], code)
        status = command.finish()
        need(status == 0, f"login --device: status {status}: {command.said()}")
    need_login(target)
    lab.dovecot.wait_login(case.user)


def wrong_identity(lab, case):
    """Signed in as somebody else: refused, and an earlier sign-in stays what it was."""
    target = lab.target(case)
    status, said = paste_login(lab, case.user, sign_in_as="somebody-else@lab.test")
    need(status not in (0, None), f"the wrong identity was taken: {said}")
    need("somebody-else@lab.test" in said, f"it does not say who signed in: {said}")
    need(login(target)[0] == "NO", "LOGIN works with somebody else's token")

    sign_in(lab, case.user)
    need_login(target)
    status, said = paste_login(lab, case.user, sign_in_as="somebody-else@lab.test")
    need(status not in (0, None), f"the wrong identity was taken: {said}")
    mark = lab.dovecot.mark()
    need_login(target)
    lab.dovecot.wait_login(case.user, mark)


def rotation(lab, case):
    """Tokens of two seconds: many logins later, some at once, the refresh token has rotated and none was used twice."""
    target = lab.target(case)
    lab.idp.set(accessTokenSeconds=2)
    try:
        sign_in(lab, case.user)
        deadline = time.monotonic() + 20
        while len(_tokens(lab, case.user, grant="refresh_token", status=200)) < 3:
            if time.monotonic() > deadline:
                raise LabError(f"no three refreshes: {_tokens(lab, case.user)}")
            need_login(target)
        with concurrent.futures.ThreadPoolExecutor(10) as pool:
            for status, text in pool.map(lambda _: login(target), range(20)):
                need(status == "OK", f"LOGIN, ten at once: {status} {text}")
    finally:
        lab.idp.set(accessTokenSeconds=3600)
    refreshes = lab.idp.token_requests(grant="refresh_token")
    need(not [each for each in refreshes if each["error"]], f"a refresh was refused: {refreshes}")
    rotations = [each["rotations"] for each in refreshes if each["account"] == case.user]
    need(rotations == list(range(1, len(rotations) + 1)), f"not one chain of refresh tokens: {rotations}")


def restart(lab, case):
    """A sign-in survives the end of `serve`."""
    target = lab.target(case)
    sign_in(lab, case.user)
    lab.people.stop()
    lab.people.start()
    need_login(target)
    need(len(_tokens(lab, case.user, grant="authorization_code")) == 1, "signed in again")


def _fails_temporarily(lab, case, fault):
    """The token endpoint has this fault: UNAVAILABLE; without it the next login works, and the token was kept."""
    target = lab.target(case)
    lab.idp.set(accessTokenSeconds=1)
    try:
        sign_in(lab, case.user)
        # the provider counts whole seconds
        end = time.time() + 1.1
        wait_for(lambda: time.time() > end, "the end of the token's life")
        lab.idp.set(faults=[{"path": urllib.parse.urlsplit(lab.idp.token_url).path, "times": 100, **fault}])
        need_refusal(target, "UNAVAILABLE")
    finally:
        lab.idp.set(faults=[], accessTokenSeconds=3600)
    wait_for(lambda: login(target)[0] == "OK", "LOGIN works again after the fault", 30)
    need(len(_tokens(lab, case.user, grant="authorization_code")) == 1, "signed in again")


def endpoint_503(lab, case):
    _fails_temporarily(lab, case, {"status": 503, "headers": {"retry-after": "1"}, "body": "<html>busy</html>"})


def endpoint_html(lab, case):
    _fails_temporarily(lab, case, {"status": 200, "headers": {"content-type": "text/html"}, "body": "<html>hello</html>"})


def endpoint_temporarily(lab, case):
    _fails_temporarily(lab, case, {"status": 400, "headers": {"content-type": "application/json"},
                                   "body": '{"error":"temporarily_unavailable"}'})


def idp_stopped(lab, case):
    """Away: UNAVAILABLE, for a cold account. Back, with every token forgotten: works, also for the warm one."""
    cold = lab.target(case)
    lab.idp.stop()
    try:
        need_refusal(cold, "UNAVAILABLE")
    finally:
        lab.idp.start()
    wait_for(lambda: login(cold)[0] == "OK", "LOGIN works again after the identity provider is back", 30)


def idp_forgot(lab, case):
    """The provider forgot its tokens. The cached one is refused upstream: one refresh, one retry, and the login works."""
    target = lab.target(case)
    need_login(target)
    lab.idp.stop()
    lab.idp.start()
    mark = lab.dovecot.mark()
    need_login(target)
    lab.dovecot.wait_login(case.user, mark)
    need(lab.dovecot.attempts(mark) == 2, f"{lab.dovecot.attempts(mark)} AUTHENTICATE commands, not refused + retry")
    need(len(lab.idp.token_requests()) == 1, f"{len(lab.idp.token_requests())} token requests, not 1")


def consent_revoked(lab, case):
    """The provider forgot a sign-in: a refusal that names `login`, and after a new sign-in all is well."""
    target = lab.target(case)
    sign_in(lab, case.user)
    need_login(target)
    lab.idp.stop()
    lab.idp.start()
    status, text = login(target)
    need(status == "NO" and not text.upper().startswith("[UNAVAILABLE]"), f"LOGIN: {status} {text}")
    need("login" in text.lower(), f"the refusal does not say what to do: {text}")
    sign_in(lab, case.user)
    need_login(target)


def _thumbprint(certificate):
    der = base64.b64decode("".join(certificate.read_text().split("-----")[2].split()))
    return base64.urlsafe_b64encode(hashlib.sha256(der).digest()).decode().rstrip("=")


def client_certificate(lab, case):
    """A signed assertion instead of a secret; a certified provider checks it."""
    before = len(lab.idp.token_requests(client=lab.idp.certificate_client))
    target = lab.target(case)
    need_login(target)
    lab.dovecot.wait_login(case.user)
    asked = lab.idp.token_requests(client=lab.idp.certificate_client)[before:]
    need(len(asked) == 1 and asked[0]["status"] == 200, f"{asked}")
    need(asked[0]["thumbprint"] == _thumbprint(lab.first_pair[0]), f"another certificate's thumbprint: {asked}")


def client_certificate_renewed(lab, case):
    """The files are replaced under the running proxy: the next request is signed with the new key."""
    lab.use_pair(lab.renewed_pair)
    need_login(lab.target(case))
    last = lab.idp.token_requests(client=lab.idp.certificate_client)[-1]
    need(last["status"] == 200 and last["thumbprint"] == _thumbprint(lab.renewed_pair[0]), f"{last}")


def no_secrets(lab, case):
    """Last: no proxy wrote a password, token, code or client secret into its log, not even at `trace` or in base64."""
    secrets = lab.idp.secrets() | {lab.idp.app_client[1]: "client_secret"}
    for proxy in lab.proxies():
        secrets |= {password: "device password" for password in proxy.passwords.values()}
    for proxy in lab.proxies():
        text = proxy.logs()
        need(text, f"{proxy.folder.name}: the log is empty")
        encoded = set(re.findall(r"[A-Za-z0-9+/]{24,}", text))
        text = "\n".join([text, *(base64.b64decode(each[:len(each) // 4 * 4]).decode("latin-1") for each in encoded)])
        found = {what for secret, what in secrets.items() if secret in text}
        need(not found, f"{proxy.folder.name}: in the log: {', '.join(sorted(found))}")


def cases():
    def case(name, works, provider="lab-people"):
        return Case(f"oauth/{name}", works, f"oauth-{name}@lab.test", provider, oauth=True)

    return [
        case("paste", paste),
        case("paste-wrong-state", paste_wrong_state),
        case("loopback", loopback),
        case("device", device),
        case("wrong-identity", wrong_identity),
        case("rotation", rotation),
        case("restart", restart),
        case("endpoint-503", endpoint_503),
        case("endpoint-html", endpoint_html),
        case("endpoint-temporarily-unavailable", endpoint_temporarily),
        case("client-certificate", client_certificate, "lab-certificate"),
        case("client-certificate-renewed", client_certificate_renewed, "lab-certificate"),
        # these restart the identity provider, which forgets every token
        case("idp-stopped", idp_stopped, "lab-app"),
        case("idp-forgot", idp_forgot, "lab-app"),
        case("consent-revoked", consent_revoked),
        case("no-secrets", no_secrets),
    ]
