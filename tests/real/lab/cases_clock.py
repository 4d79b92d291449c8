"""The clock jumps while `serve` runs: libfaketime moves its wall clock, everything else keeps the right time."""

import glob
import time

from .base import wait_for
from .cases import IMPLICIT, Case, need
from .cases_access import need_login
from .cases_oauth import sign_in
from .proxy import user_provider

HOUR = 3600
USER = "clock@lab.test"


class FakeClock:
    """The wall clock of every process started with `environment`; timers go on as they were."""

    def __init__(self, file):
        self._file = file
        self.set(0)
        library, = glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")
        self.environment = {
            "LD_PRELOAD": library, "FAKETIME_TIMESTAMP_FILE": str(file), "FAKETIME_NO_CACHE": "1",
            "DONT_FAKE_MONOTONIC": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1",
        }

    def set(self, seconds):
        """That far from the right time."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{seconds:+d}\n")
        new.rename(self._file)


def jumps(lab, case):
    """After each jump the next login refreshes first: no token that has ended, or whose age is unknown, reaches Dovecot."""
    clock = FakeClock(lab.directory.make("clock") / "offset")
    proxy = lab.proxy("clock/proxy", [user_provider("lab-people", lab.idp, lab.imap[IMPLICIT])],
                      [(USER, "lab-people")], environment=clock.environment)
    proxy.add_password(USER)
    proxy.start()
    try:
        sign_in(lab, USER, proxy)
        target = lab.target_on(proxy, case, USER)

        def refreshes_first(count, jump):
            mark = lab.dovecot.mark()
            need_login(target)
            lab.dovecot.wait_login(USER, mark)
            need(lab.dovecot.attempts(mark) == 1, f"{jump}: {lab.dovecot.attempts(mark)} AUTHENTICATE commands, not 1")
            done = lab.idp.token_requests(account=USER, grant="refresh_token", status=200)
            need(len(done) == count, f"{jump}: {len(done)} refreshes, not {count}")

        refreshes_first(0, "no jump")
        clock.set(2 * HOUR)
        refreshes_first(1, "two hours ahead")
        refreshes_first(1, "two hours ahead, again")
        clock.set(0)
        refreshes_first(2, "two hours back")
        refreshes_first(2, "two hours back, again")

        # a token that ends in truth, while the clock says that it has just begun, or not even that
        lab.idp.set(accessTokenSeconds=10)
        clock.set(2 * HOUR)
        for back, count in [(2 * HOUR - 9, 3), (0, 4)]:
            refreshes_first(count, "short-lived")
            # the provider counts whole seconds
            end = time.monotonic() + 11
            clock.set(back)
            wait_for(lambda: time.monotonic() > end, "the end of the token's life")
        refreshes_first(5, "ended behind a clock that was set back")
        need(not lab.idp.token_requests(account=USER, status=400), "the provider refused a refresh token")
    finally:
        lab.idp.set(accessTokenSeconds=3600)
        proxy.stop()


def cases():
    return [Case("clock/jumps", jumps, program="faketime")]
