"""`mailsplice doctor` against the real Dovecot and the real provider: all is well, or the right step with its mend."""

import json
import urllib.parse

from . import certs
from .base import free_port
from .cases import IMPLICIT, STARTTLS, Case, need
from .cases_oauth import paste_login, sign_in
from .dovecot import Dovecot
from .proxy import app_provider, user_provider

COMMON = ["token", "scopes", "identity", "sasl", "command", "passwords", "listeners"]
STEPS = {
    "implicit": ["configuration", "dns", "tcp", "tls", "greeting", *COMMON],
    "starttls": ["configuration", "dns", "tcp", "starttls", "tls", "greeting", *COMMON],
}


def _examine(lab, proxy, user, status):
    """The report as data and as words; both must end with `status` and hold no secret."""
    found = [proxy.command("doctor", user, *more, ok=None) for more in (["--json"], [])]
    secrets = lab.idp.secrets() | {lab.idp.app_client[1]: "client_secret"}
    secrets |= {password: "device password" for password in proxy.passwords.values()}
    for each in found:
        said = (each.stdout + each.stderr).decode()
        need(each.returncode == status, f"exit status {each.returncode}, not {status}: {said}")
        leaked = {what for secret, what in secrets.items() if secret in said}
        need(not leaked, f"doctor printed: {', '.join(sorted(leaked))}")
    report = json.loads(found[0].stdout)
    need(report["version"] == 1 and report["account"] == user, f"{report}")
    need(report["ok"] == (status == 0), f"ok: {report['ok']}")
    return report, found[1].stdout.decode()


def _well(lab, proxy, user, security="implicit"):
    report, words = _examine(lab, proxy, user, 0)
    steps = [each["step"] for each in report["steps"]]
    need(steps == STEPS[security], f"steps: {steps}")
    doubtful = [each for each in report["steps"] if each["outcome"] != "ok"]
    need(not doubtful, f"not ok: {doubtful}")
    need("All is well" in words, words)
    return report


def _fails(lab, proxy, user, step, *mend):
    """It fails at `step` alone, nothing after it is tried, and the mend holds all of `mend`."""
    report, words = _examine(lab, proxy, user, 1)
    outcomes = [(each["step"], each["outcome"]) for each in report["steps"]]
    at = STEPS["implicit"].index(step)
    need([name for name, _ in outcomes] == STEPS["implicit"], f"{outcomes}")
    need(outcomes[at][1] == "failed", f"{step} did not fail: {outcomes}\n{words}")
    need(all(outcome in ("ok", "warning") for _, outcome in outcomes[:at]), f"{outcomes}")
    need(all(outcome == "skipped" for _, outcome in outcomes[at + 1:]), f"{outcomes}")
    lines = "\n".join(report["steps"][at]["mend"])
    for part in mend:
        need(part in lines and part in words, f"{part!r} is not in the mend of {step}:\n{lines}")
    return report["steps"][at]


def _app_proxy(lab, case, imap=None, **more):
    """A proxy of its own that does not serve: doctor needs none."""
    provider = app_provider(IMPLICIT, lab.idp, lab.secret, imap or lab.imap[IMPLICIT])
    return lab.proxy(case.name.replace("/", "-"), [provider], [(case.user, IMPLICIT)], **more)


def well(lab, case):
    """App-only, TLS, XOAUTH2, beside a running serve."""
    report = _well(lab, lab.people, case.user)
    listeners = report["steps"][-1]["text"]
    need(all(f"127.0.0.1:{port}" in listeners for port in lab.people.ports.values()), listeners)
    lab.dovecot.wait_login(case.user)


def well_starttls(lab, case):
    """STARTTLS, OAUTHBEARER."""
    _well(lab, lab.clients, case.user, "starttls")


def well_signed_in(lab, case):
    """Somebody who signed in; the token serves both doctor and serve."""
    _fails(lab, lab.people, case.user, "token", f"mailsplice login {case.user}")
    sign_in(lab, case.user)
    report = _well(lab, lab.people, case.user)
    identity = report["steps"][STEPS["implicit"].index("identity")]
    need(identity["details"]["identity"] == case.user, f"{identity}")
    need(len(lab.idp.token_requests(account=case.user)) == 1, "a good token was renewed")


def well_without_serve(lab, case):
    """Warnings only: nothing listens, and there is no device password."""
    report, _ = _examine(lab, _app_proxy(lab, case), case.user, 0)
    warned = {each["step"] for each in report["steps"] if each["outcome"] == "warning"}
    need(warned == {"passwords", "listeners"}, f"{warned}")


def dns(lab, case):
    proxy = _app_proxy(lab, case, {"address": "imap.lab.invalid:993", "tls": "implicit"})
    _fails(lab, proxy, case.user, "dns", "imap.lab.invalid", f"provider {IMPLICIT} in {proxy.config}")


def port(lab, case):
    closed = free_port()
    proxy = _app_proxy(lab, case, {"address": f"127.0.0.1:{closed}", "tls": "implicit"})
    _fails(lab, proxy, case.user, "tcp", f"127.0.0.1 port {closed}", "firewall")


def certificate(lab, case):
    """A Dovecot whose trusted certificate is for another host, then one that nobody trusts."""
    other = certs.make(lab.directory.make("doctor-other"), "other", ["DNS:mail.elsewhere.test"])
    dovecot = Dovecot(lab.directory.make("doctor-dovecot"), other, lab.idp)
    dovecot.start()
    imap = {"address": f"127.0.0.1:{dovecot.tls_port}", "tls": "implicit"}
    proxy = _app_proxy(lab, case, imap, upstream_ca=other.ca)
    _fails(lab, proxy, case.user, "tls", "mail.elsewhere.test, not for 127.0.0.1", "TLS inspection", str(other.ca))
    need(dovecot.attempts() == 0, "a token went to a server with another name")

    proxy = _app_proxy(lab, case, upstream_ca=other.ca)
    _fails(lab, proxy, case.user, "tls", "mailsplice lab upstream CA", "ca-certificates")


def secret(lab, case):
    """The provider says what Microsoft says of an expired client secret."""
    proxy = _app_proxy(lab, case)
    body = json.dumps({"error": "invalid_client", "error_codes": [7000222], "correlation_id": "lab-0001"})
    lab.idp.set(faults=[{"path": urllib.parse.urlsplit(lab.idp.token_url).path, "times": 100, "status": 400,
                         "headers": {"content-type": "application/json"}, "body": body}])
    try:
        step = _fails(lab, proxy, case.user, "token", lab.idp.app_client[0], str(lab.secret), "New client secret")
    finally:
        lab.idp.set(faults=[])
    need(step["code"] == "AADSTS7000222" and "lab-0001" in step["details"]["detail"], f"{step}")
    _examine(lab, proxy, case.user, 0)


def wrong_identity(lab, case):
    """Somebody else signed in on purpose, and Dovecot opens this mailbox for the owner only."""
    other = "somebody-else@lab.test"
    status, said = paste_login(lab, case.user, "--as", other, sign_in_as=other)
    need(status == 0, f"login --as: status {status}: {said}")
    step = _fails(lab, lab.people, case.user, "identity", f"mailsplice login {case.user}", other)
    need(f"{other} signed in" in step["text"], step["text"])
    sign_in(lab, case.user)
    _well(lab, lab.people, case.user)


def scope(lab, case):
    """A scope that was asked for and that the provider does not grant."""
    name = "doctor-scope"
    provider = user_provider(name, lab.idp, lab.imap[IMPLICIT])
    provider["scopes"] = [*provider["scopes"], "mail.everything"]
    proxy = lab.proxy(name, [provider], [(case.user, name)])
    status, said = paste_login(lab, case.user, proxy=proxy)
    need(status == 0, f"login --paste: status {status}: {said}")
    step = _fails(lab, proxy, case.user, "scopes", "mail.everything", f"mailsplice login {case.user}")
    need(step["details"]["missing"] == "mail.everything", f"{step}")


def cases():
    def case(name, works, provider="lab-app", **more):
        return Case(f"doctor/{name}", works, f"doctor-{name}@lab.test", provider, **{"oauth": True, **more})

    return [
        case("well", well),
        case("well-starttls", well_starttls, STARTTLS, oauth=False),
        case("well-signed-in", well_signed_in, "lab-people"),
        case("well-without-serve", well_without_serve),
        case("dns", dns),
        case("port", port),
        case("certificate", certificate),
        case("secret", secret),
        case("wrong-identity", wrong_identity, "lab-people"),
        case("scope", scope, "lab-people"),
    ]
