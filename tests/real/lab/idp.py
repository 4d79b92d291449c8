"""The practice identity provider (provider.mjs): starting it, asking what it saw, and signing in at its pages."""

import html.parser
import http.cookiejar
import json
import pathlib
import re
import urllib.error
import urllib.parse
import urllib.request

from .base import LabError, Process, free_port

PROVIDER = pathlib.Path(__file__).resolve().parent.parent / "provider.mjs"


class IdentityProvider:
    app_client = ("lab-app", "lab-app-secret")
    public_client = "lab-public"
    certificate_client = "lab-certificate"
    _dovecot_client = ("lab-dovecot", "lab-dovecot-secret")

    def __init__(self, folder, **settings):
        self._folder = folder
        self._settings = {"port": free_port(), **settings}
        self.issuer = f"http://127.0.0.1:{self._settings['port']}"
        base = f"{self.issuer}/common/oauth2/v2.0"
        self.authorization_url = f"{base}/authorize"
        self.token_url = f"{base}/token"
        self.device_url = f"{base}/devicecode"
        self.revocation_url = f"{base}/revoke"
        name, secret = self._dovecot_client
        self.introspection_url = f"{base}/introspect".replace("://", f"://{name}:{secret}@")
        self._process = None
        self._secrets = {}

    def start(self):
        """On the same port every time; a restart has forgotten every token."""
        log = self._folder / "idp.log"
        log.unlink(missing_ok=True)
        self._process = Process(["node", PROVIDER, json.dumps(self._settings)], log)
        self._process.wait_ready(lambda: "\nready " in "\n" + self._process.text(), "the identity provider listens")

    def stop(self):
        self.secrets()
        self._process.stop()

    def secrets(self):
        """Every code, verifier and token so far, also from before a restart, and what each is."""
        self._secrets |= self._control("/lab/secrets")
        return self._secrets

    def log(self):
        return self._process.text()

    def set(self, **settings):
        """accessTokenSeconds, rotateRefreshToken, faults, ... as in provider.mjs."""
        self._control("/lab/settings", settings)

    def token_requests(self, **wanted):
        """What came to the token endpoint so far: grant, client, account, status, error, rotations."""
        every = self._control("/lab/stats")["tokenRequests"]
        return [each for each in every if all(each[key] == value for key, value in wanted.items())]

    def _control(self, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(self.issuer + path, data, timeout=10) as answer:
            return json.load(answer)

    def app_token(self):
        """An app-only token, for talking to the mail server without the proxy."""
        client, secret = self.app_client
        form = {"grant_type": "client_credentials", "client_id": client, "client_secret": secret, "scope": "mail"}
        with urllib.request.urlopen(self.token_url, urllib.parse.urlencode(form).encode(), timeout=10) as answer:
            return json.load(answer)["access_token"]


class _Forms(html.parser.HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.action, self.fields = None, {}
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        if tag == "form" and self.action is None:
            self.action = values.get("action")
        elif tag == "input" and values.get("name"):
            self.fields[values["name"]] = values.get("value") or ""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


class Browser:
    """Signs `user` in at the provider's real pages: forms, cookies and redirects, without scripts."""

    def __init__(self, idp, user):
        self._idp = idp
        self._user = user
        self._opener = urllib.request.build_opener(
            urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()), _NoRedirect,
            urllib.request.ProxyHandler({}))

    def _get(self, url, form=None):
        """The status, the address a redirect leads to, and the page."""
        data = None if form is None else urllib.parse.urlencode(form).encode()
        try:
            answer = self._opener.open(url, data, timeout=10)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            location = answer.headers.get("location")
            return answer.status, location and urllib.parse.urljoin(url, location), answer.read().decode(errors="replace")

    def _walk(self, url, form=None):
        """Goes on until an address outside the provider, or a page without a form to fill; gives (address, page)."""
        for _ in range(20):
            status, location, page = self._get(url, form)
            form = None
            if location:
                if not location.startswith(self._idp.issuer + "/"):
                    return location, ""
                url = location
                continue
            if status >= 400:
                raise LabError(f"sign-in page {url.partition('?')[0]} answers {status}: {_words(page)}")
            found = _Forms(page)
            if found.action is None:
                return None, page
            url, form = urllib.parse.urljoin(url, found.action), found.fields
            if "login" in form:
                form |= {"login": self._user, "password": "any"}
        raise LabError("the sign-in pages lead nowhere")

    def authorize(self, url):
        """Signs in and consents; returns the address the provider sends the browser back to, not visited."""
        location, page = self._walk(url)
        if location is None:
            raise LabError(f"no way back from the sign-in pages: {_words(page)}")
        return location

    def visit(self, url):
        """Opens an address (the program's own loopback page) and returns its status and page."""
        status, _, page = self._get(url)
        return status, page

    def approve_device(self, url, code):
        """Types a device code in and approves it."""
        _, _, page = self._get(url)
        form = _Forms(page)
        fields = form.fields | {"user_code": code}
        _, page = self._walk(urllib.parse.urljoin(url, form.action), fields)
        if "Success" not in page:
            raise LabError(f"device code not taken: {_words(page)}")


def _words(page):
    text = re.sub(r"<(style|script).*?</\1>", " ", page, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]*>", " ", text).split())[:400]
