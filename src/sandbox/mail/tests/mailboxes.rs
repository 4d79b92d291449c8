use super::*;

#[tokio::test]
async fn mailboxes() {
    let mut client = Client::signed_in(&mail()).await;
    assert_eq!(
        client.run("LIST \"\" \"\"").await[0],
        "* LIST (\\Noselect) \"/\" \"\"\r\n"
    );
    assert_eq!(
        client.run("LIST \"\" *").await[0],
        "* LIST () \"/\" \"INBOX\"\r\n"
    );
    assert_eq!(
        client.run("LSUB \"\" inbox").await[0],
        "* LSUB () \"/\" \"INBOX\"\r\n"
    );
    assert!(
        client
            .ok("NAMESPACE")
            .await
            .starts_with("* NAMESPACE ((\"\" \"/\")) NIL NIL\r\n")
    );
    assert!(
        client
            .ok("ENABLE CONDSTORE")
            .await
            .starts_with("* ENABLED\r\n")
    );
    client.ok("CREATE Archive/2026").await;
    client
        .refused("CREATE Archive/2026", "NO [ALREADYEXISTS]")
        .await;
    client.ok("UNSUBSCRIBE Archive/2026").await;
    assert!(!client.ok("LSUB \"\" *").await.contains("Archive"));
    client.ok("RENAME Archive/2026 \"Old mail\"").await;
    assert!(client.ok("LIST \"\" %").await.contains("\"Old mail\""));
    client.ok("DELETE \"Old mail\"").await;
    for command in [
        "SELECT nope",
        "DELETE nope",
        "STATUS nope (MESSAGES)",
        "DELETE INBOX",
    ] {
        client.refused(command, "NO").await;
    }
    let status = client
        .ok("STATUS INBOX (MESSAGES RECENT UIDNEXT UNSEEN)")
        .await;
    let want = "* STATUS \"INBOX\" (MESSAGES 3 RECENT 3 UIDNEXT 4 UNSEEN 3)";
    assert!(status.starts_with(want), "{status}");
}

#[tokio::test]
async fn select_and_flags() {
    let mail = mail();
    let mut client = Client::signed_in(&mail).await;
    client.refused("FETCH 1 FLAGS", "BAD").await;
    let opened = client.ok("SELECT inbox").await;
    for part in [
        "* 3 EXISTS",
        "* 3 RECENT",
        "[UNSEEN 1]",
        "[UIDVALIDITY ",
        "[UIDNEXT 4]",
        "OK [READ-WRITE]",
    ] {
        assert!(opened.contains(part), "{part} missing in {opened}");
    }
    let stored = client.run("STORE 1:2 +FLAGS (\\Seen $Later)").await;
    assert_eq!(
        stored[0],
        "* 1 FETCH (UID 1 FLAGS ($Later \\Seen \\Recent))\r\n"
    );
    assert_eq!(stored.len(), 3, "{stored:?}");
    assert_eq!(
        client.run("UID STORE 2 -FLAGS.SILENT ($Later)").await,
        ["OK stored"]
    );
    assert_eq!(client.run("STORE 9 FLAGS (\\Seen)").await, ["OK stored"]);
    let mut other = Client::signed_in(&mail).await;
    assert!(other.ok("EXAMINE INBOX").await.contains("* 0 RECENT"));
    other.refused("STORE 1 FLAGS ()", "NO [READ-ONLY]").await;
    client.ok("STORE 3 FLAGS (\\Deleted)").await;
    assert_eq!(
        other.run("NOOP").await[0],
        "* 3 FETCH (UID 3 FLAGS (\\Deleted))\r\n"
    );
    assert_eq!(client.run("EXPUNGE").await[0], "* 3 EXPUNGE\r\n");
    // Numbers stay under FETCH; the news comes with the next command that lets them move.
    assert_eq!(other.run("FETCH 3 FLAGS").await, ["OK fetched"]);
    assert_eq!(other.run("NOOP").await[0], "* 3 EXPUNGE\r\n");
    client.ok("STORE 1 +FLAGS (\\Deleted)").await;
    assert_eq!(client.run("UID EXPUNGE 2").await, ["OK expunged"]);
    assert_eq!(client.run("CLOSE").await, ["OK closed"]);
    assert!(client.ok("SELECT INBOX").await.contains("* 1 EXISTS"));
    client.ok("UNSELECT").await;
    client.refused("CHECK", "OK").await;
    client.refused("EXPUNGE", "BAD").await;
}

#[tokio::test]
async fn append_copy_move() {
    let mail = mail();
    let mut client = Client::signed_in(&mail).await;
    let message = "Subject: 8-bit\r\n\r\nGr\u{fc}\u{df}e\r\n";
    let n = message.len();
    client.ok("SELECT INBOX").await;
    let added = client
        .run(&format!(
            "APPEND INBOX (\\Seen) \"01-Feb-2026 10:00:00 +0100\" {{{n}+}}\r\n{message}"
        ))
        .await;
    assert_eq!(added[0], "* 4 EXISTS\r\n");
    assert!(
        added.last().unwrap().starts_with("OK [APPENDUID "),
        "{added:?}"
    );
    let back = client.ok("FETCH 4 (INTERNALDATE FLAGS BODY[])").await;
    assert!(
        back.contains(&format!("BODY[] {{{n}}}\r\n{message})\r\n")),
        "{back}"
    );
    assert!(
        back.contains("INTERNALDATE \" 1-Feb-2026 09:00:00 +0000\" FLAGS (\\Seen \\Recent)"),
        "{back}"
    );
    client
        .send(format!("s APPEND INBOX {{{n}}}\r\n").as_bytes())
        .await;
    assert!(client.line().await.starts_with("+ "));
    client.send(format!("{message}\r\n").as_bytes()).await;
    assert_eq!(client.line().await, "* 5 EXISTS\r\n");
    client.line().await;
    assert!(client.line().await.starts_with("s OK [APPENDUID"));
    client
        .refused(
            &format!("APPEND nope {{{n}+}}\r\n{message}"),
            "NO [TRYCREATE]",
        )
        .await;
    client.refused("COPY 1 nope", "NO [TRYCREATE]").await;
    client
        .refused("APPEND INBOX {99999999}", "NO [TOOBIG]")
        .await;
    client.ok("CREATE Done").await;
    let copied = client.run("UID COPY 1,4:* Done").await;
    assert!(copied[0].contains(" 1,4,5 1,2,3] copied"), "{copied:?}");
    let moved = client.run("MOVE 2 Done").await;
    assert!(
        moved[0].starts_with("* OK [COPYUID ") && moved[1] == "* 2 EXPUNGE\r\n",
        "{moved:?}"
    );
    assert!(
        client
            .ok("STATUS Done (MESSAGES)")
            .await
            .contains("MESSAGES 4")
    );
}

#[tokio::test]
async fn idle_tells_of_new_mail() {
    let mail = mail();
    let mut client = Client::signed_in(&mail).await;
    client.ok("SELECT INBOX").await;
    client.send(b"i IDLE\r\n").await;
    assert_eq!(client.line().await, "+ idling\r\n");
    assert!(mail.deliver(Bytes::from_static(b"Subject: news\r\n\r\nhello\r\n")));
    assert_eq!(client.line().await, "* 4 EXISTS\r\n");
    assert_eq!(client.line().await, "* 4 RECENT\r\n");
    let mut other = Client::signed_in(&mail).await;
    other.ok("SELECT INBOX").await;
    other.ok("STORE 1 FLAGS.SILENT (\\Deleted)").await;
    assert_eq!(
        client.line().await,
        "* 1 FETCH (UID 1 FLAGS (\\Deleted \\Recent))\r\n"
    );
    other.ok("EXPUNGE").await;
    assert_eq!(client.line().await, "* 1 EXPUNGE\r\n");
    client.send(b"done\r\n").await;
    assert_eq!(client.line().await, "i OK done\r\n");
    client.send(b"j IDLE\r\nnonsense\r\n").await;
    assert_eq!(client.line().await, "+ idling\r\n");
    assert!(client.line().await.starts_with("j BAD"));
}
