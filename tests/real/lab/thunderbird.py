"""Thunderbird without a screen, driven through its Marionette port (the protocol its own tests use)."""

import base64
import json
import pathlib
import re
import socket

from .base import LabError, Process, free_port, give, listening, unprivileged

PREFERENCES = """
user_pref("marionette.port", %d);
user_pref("app.update.enabled", false);
user_pref("app.donation.eoy.version.viewed", 999);
user_pref("browser.shell.checkDefaultClient", false);
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("extensions.update.enabled", false);
user_pref("mail.provider.suppress_dialog_on_startup", true);
user_pref("mail.rights.version", 1);
user_pref("mail.shell.checkDefaultClient", false);
user_pref("mail.spotlight.firstRunDone", true);
user_pref("mail.winsearch.firstRunDone", true);
user_pref("mailnews.start_page.enabled", false);
user_pref("network.captive-portal-service.enabled", false);
user_pref("network.connectivity-service.enabled", false);
user_pref("network.proxy.type", 0);
user_pref("offline.autoDetect", false);
user_pref("services.settings.server", "data:,#remote-settings-dummy/v1");
user_pref("toolkit.telemetry.server", "");
"""

PRELUDE = """
const { MailServices } = ChromeUtils.importESModule("resource:///modules/MailServices.sys.mjs");
const server = () => MailServices.accounts.accounts.map((a) => a.incomingServer).find((s) => s.type == "imap");
const inbox = () => server().rootFolder.getFolderWithFlags(Ci.nsMsgFolderFlags.Inbox);
const header = (subject) => [...inbox().messages].find((each) => each.mime2DecodedSubject == subject);
"""

TRUST = """
Cc["@mozilla.org/security/x509certdb;1"].getService(Ci.nsIX509CertDB).addCertFromBase64(arguments[0], "CTu,CTu,CTu");
"""

ADD_ACCOUNT = """
const [host, port, user, password, socketType, done] = arguments;
const login = Cc["@mozilla.org/login-manager/loginInfo;1"].createInstance(Ci.nsILoginInfo);
login.init("imap://" + host, null, "imap://" + host, user, password, "", "");
Services.logins.addLoginAsync(login).then(() => {
  const incoming = MailServices.accounts.createIncomingServer(user, host, "imap");
  incoming.port = port;
  incoming.socketType = socketType;
  incoming.authMethod = Ci.nsMsgAuthMethod.passwordCleartext;
  incoming.password = password;
  const identity = MailServices.accounts.createIdentity();
  identity.email = user;
  const account = MailServices.accounts.createAccount();
  account.addIdentity(identity);
  account.incomingServer = incoming;
  incoming.getNewMessages(incoming.rootFolder, null, null);
  done(true);
}).catch((error) => done(String(error)));
"""

LOOK = """
const folder = inbox();
if (!folder) return {};
folder.updateFolder(null);
return Object.fromEntries([...folder.messages].map((each) => [each.mime2DecodedSubject, { messageId: each.messageId }]));
"""

STAR = "inbox().markMessagesFlagged([header(arguments[0])], true);"

APPEND = """
const file = Cc["@mozilla.org/file/local;1"].createInstance(Ci.nsIFile);
file.initWithPath(arguments[0]);
MailServices.copy.copyFileMessage(file, inbox(), null, false, 0, "", null, null);
"""


class Thunderbird:
    def __init__(self, home, env):
        profile = home / "profile"
        profile.mkdir()
        self._port = free_port()
        (profile / "user.js").write_text(PREFERENCES % self._port)
        give(profile)
        give(profile / "user.js")
        argv = ["thunderbird", "--headless", "--no-remote", "--profile", profile, "--marionette",
                "--remote-allow-system-access"]
        self._process = Process(argv, home / "thunderbird.log", cwd=home,
                                env=env | {"MOZ_CRASHREPORTER_DISABLE": "1", "NO_AT_BRIDGE": "1"}, **unprivileged()[0])
        self._number = 0
        self._socket = self._stream = None

    def __enter__(self):
        try:
            self._process.wait_ready(lambda: listening("127.0.0.1", self._port), "Thunderbird's Marionette port", 40)
            self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=40)
            self._stream = self._socket.makefile("rb")
            self._receive()  # its greeting
            self._command("WebDriver:NewSession", {"capabilities": {"alwaysMatch": {"acceptInsecureCerts": False}}})
            self._command("Marionette:SetContext", {"value": "chrome"})
            self._command("WebDriver:SetTimeouts", {"script": 20000})
        except BaseException:
            self._process.stop()
            raise
        return self

    def __exit__(self, *_):
        self._socket.close()
        self._process.stop(seconds=0.5)

    def _receive(self):
        length = b""
        while not length.endswith(b":"):
            byte = self._stream.read(1)
            if not byte:
                raise LabError(f"Thunderbird hung up: {self._process.text()[-800:]}")
            length += byte
        return json.loads(self._stream.read(int(length[:-1])))

    def _command(self, name, parameters):
        self._number += 1
        text = json.dumps([0, self._number, name, parameters]).encode()
        self._socket.sendall(str(len(text)).encode() + b":" + text)
        while True:
            kind, number, error, result = self._receive()
            if (kind, number) == (1, self._number):
                break
        if error:
            raise LabError(f"Thunderbird: {name}: {error.get('error')}: {error.get('message')}")
        return result

    def _script(self, text, *arguments, wait=False):
        kind = "WebDriver:ExecuteAsyncScript" if wait else "WebDriver:ExecuteScript"
        result = self._command(kind, {"script": PRELUDE + text, "args": list(arguments), "newSandbox": True,
                                      "sandbox": "system"})
        return result["value"]

    def trust(self, ca):
        body = re.search(r"BEGIN CERTIFICATE-+(.*?)-+END", pathlib.Path(ca).read_text(), re.DOTALL).group(1)
        base64.b64decode(body)
        self._script(TRUST, "".join(body.split()))

    def add_account(self, target):
        socket_type = {"none": 0, "starttls": 2, "implicit": 3}[target.security]
        answer = self._script(ADD_ACCOUNT, target.host, target.port, target.user, target.password, socket_type, wait=True)
        if answer is not True:
            raise LabError(f"Thunderbird: account not made: {answer}")

    def inbox(self):
        """Subject to message-id of what it shows in the INBOX."""
        return self._script(LOOK)

    def star(self, subject):
        self._script(STAR, subject)

    def append(self, file):
        self._script(APPEND, str(file))
