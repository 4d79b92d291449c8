//! Whose name a message carries, and what keeps its header untouched.

use super::devices::check;
use super::{Rules, rules};

#[test]
fn rewriting() {
    let rewrite = Rules {
        rewrite: true,
        ..rules()
    };
    check(
        &rewrite,
        &[
            (
                "a sender of the device's own",
                b"From: \"MFP, 3\" <mfp@device.local>|Sender: root@device.local|T|D|I||x|",
                b"From: \"MFP, 3\" <scan@contoso.com>|T|D|I|Reply-To: mfp@device.local||x|",
                "from-rewritten sender-removed",
            ),
            (
                "an existing Reply-To stays",
                b"From: mfp@device.local|Reply-To: it@contoso.com|T|D|I||x|",
                b"F|Reply-To: it@contoso.com|T|D|I||x|",
                "from-rewritten",
            ),
            (
                "the mailbox",
                b"From: Scan@Contoso.com|T|D|I||x|",
                b"From: Scan@Contoso.com|T|D|I||x|",
                "",
            ),
        ],
    );
    let only = Rules {
        headers: false,
        ..rewrite
    };
    check(
        &only,
        &[(
            "nothing else",
            b"From: a@b <a@b>|Subject: \xfc|Subject: 2|Date: now||x\n",
            b"From: \"a@b\" <scan@contoso.com>|Subject: \xfc|Subject: 2|Date: now|Reply-To: a@b||x|",
            "bare-lf from-rewritten unquoted-at",
        )],
    );
}

#[test]
fn what_is_signed_keeps_its_header() {
    let rewrite = Rules {
        rewrite: true,
        ..rules()
    };
    check(
        &rewrite,
        &[
            (
                "DKIM",
                b"dkim-signature: v=1; b=x|From: a@b <a@b>|Bcc: c@d|Subject: \xfc|Subject: 2||x |",
                b"dkim-signature: v=1; b=x|From: a@b <a@b>|Bcc: c@d|Subject: \xfc|Subject: 2||x |",
                "",
            ),
            (
                "S/MIME, and what SMTP can't carry",
                b"Content-Type:| Multipart/Signed; boundary=b|From: a@b <a@b>\n||\0x\n",
                b"Content-Type:| Multipart/Signed; boundary=b|From: a@b <a@b>|||x|",
                "bare-lf*2 nul",
            ),
        ],
    );
    let transport = Rules {
        headers: false,
        ..rules()
    };
    check(
        &transport,
        &[(
            "switched off",
            b"Subject: \xfc\n\nx",
            b"Subject: \xfc||x|",
            "bare-lf*2 unended-line",
        )],
    );
}
