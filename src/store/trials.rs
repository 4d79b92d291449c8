//! The file store in a hostile world: other keys, moved and damaged records, unsafe folders.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use secrecy::{ExposeSecret, SecretString};

use super::contract::{place, record};
use super::seal::{Closed, Sealer};
use super::{FileStore, StoreError, StoreKey, TokenStore, durable, folder};

const USER: &str = "alice@contoso.com";

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

#[tokio::test]
async fn nobody_else_may_look_and_nothing_is_readable() {
    let (dir, key) = place();
    let state = dir.path().join("deep/state");
    let store = FileStore::open(&state, &key).unwrap();
    store.save(USER, &record("plainly visible")).await.unwrap();
    drop(store.lock(USER, Duration::ZERO).await.unwrap());
    for folder in [state.clone(), state.join("tokens"), state.join("locks")] {
        assert_eq!(mode(&folder), 0o700, "{}", folder.display());
    }
    let file = state.join("tokens/alice@contoso.com.token");
    assert_eq!(
        store.path("ALICE@contoso.com"),
        file.canonicalize().unwrap()
    );
    assert_eq!(mode(&file), 0o600);
    assert_eq!(mode(&state.join("locks/alice@contoso.com.lock")), 0o600);
    let sealed = fs::read(&file).unwrap();
    for word in ["plainly", "alice", "refresh"] {
        assert!(
            !sealed
                .windows(word.len())
                .any(|window| window == word.as_bytes())
        );
    }
}

#[tokio::test]
async fn a_moved_record_does_not_open() {
    let (dir, key) = place();
    let store = FileStore::open(dir.path(), &key).unwrap();
    store.save(USER, &record("1")).await.unwrap();
    fs::copy(store.path(USER), store.path("bob@contoso.com")).unwrap();
    let error = store.load("bob@contoso.com").await.unwrap_err();
    assert!(matches!(error, StoreError::OtherAccount { .. }), "{error}");
}

#[tokio::test]
async fn another_key_does_not_open_it_and_loses_nothing() {
    let (dir, key) = place();
    let (_, other) = place();
    let right = FileStore::open(dir.path(), &key).unwrap();
    right.save(USER, &record("1")).await.unwrap();
    let before = fs::read(right.path(USER)).unwrap();

    let wrong = FileStore::open(dir.path(), &other).unwrap();
    let error = wrong.load(USER).await.unwrap_err();
    assert!(
        matches!(error, StoreError::NotSealedWithThisKey { .. }),
        "{error}"
    );
    assert_eq!(fs::read(right.path(USER)).unwrap(), before);

    // A new sign-in under the other key goes through; the old record is kept beside it.
    wrong.save(USER, &record("2")).await.unwrap();
    assert!(wrong.load(USER).await.unwrap().is_some());
    let aside = dir.path().join("tokens/alice@contoso.com.token.unreadable");
    assert_eq!(fs::read(aside).unwrap(), before);
}

#[tokio::test]
async fn damage_is_told_apart_and_left_alone() {
    let (dir, key) = place();
    let store = FileStore::open(dir.path(), &key).unwrap();
    store.save(USER, &record("1")).await.unwrap();
    let path = store.path(USER);
    let whole = fs::read(&path).unwrap();
    let newer: Vec<u8> = [&whole[..4], &[2], &whole[5..]].concat();
    for (bytes, expected) in [
        (whole[..1].to_vec(), "cut short"),
        (whole[..30].to_vec(), "cut short"),
        (whole[..whole.len() - 1].to_vec(), "its seal is broken"),
        (b"{\"refresh_token\":\"plain\"}".to_vec(), "not a record"),
        (vec![0; (1 << 20) + 1], "larger than 1 MiB"),
        (newer, "format 2"),
    ] {
        fs::write(&path, &bytes).unwrap();
        let error = store.load(USER).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }
    fs::write(&path, &whole).unwrap();
    assert!(store.load(USER).await.unwrap().is_some());
}

#[tokio::test]
async fn an_empty_file_is_what_a_revocation_leaves_on_a_full_disk() {
    let (dir, key) = place();
    let store = FileStore::open(dir.path(), &key).unwrap();
    store.save(USER, &record("1")).await.unwrap();
    fs::write(store.path(USER), "").unwrap();
    let left = store.load(USER).await.unwrap().unwrap();
    assert!(left.revoked_at > 0 && left.refresh_token.is_none());
    let mut new = record("2");
    new.revoked_at = 0;
    store.save(USER, &new).await.unwrap();
    assert_eq!(store.load(USER).await.unwrap().unwrap().revoked_at, 0);
}

proptest! {
    #[test]
    fn any_changed_bit_is_noticed(at in any::<prop::sample::Index>(), bit in 0..8u8, text in ".{0,40}") {
        let key = StoreKey::from_secret(&SecretString::from("00".repeat(32))).unwrap();
        let sealer = Sealer::new(&key);
        let mut sealed = sealer.seal(USER, text.as_bytes()).unwrap();
        let opened = sealer.open(USER, &sealed).unwrap();
        prop_assert_eq!(opened.as_slice(), text.as_bytes());
        let at = at.index(sealed.len());
        sealed[at] ^= 1 << bit;
        prop_assert!(sealer.open(USER, &sealed).is_err());
    }

    #[test]
    fn any_cut_is_noticed_and_rubbish_never_panics(cut in any::<prop::sample::Index>(), rubbish in prop::collection::vec(any::<u8>(), 0..120)) {
        let key = StoreKey::from_secret(&SecretString::from("00".repeat(32))).unwrap();
        let sealer = Sealer::new(&key);
        let sealed = sealer.seal(USER, b"{}").unwrap();
        let cut = cut.index(sealed.len());
        prop_assert!(matches!(sealer.open(USER, &sealed[..cut]), Err(Closed::Damaged(_))));
        prop_assert!(sealer.open(USER, &rubbish).is_err());
    }
}

#[test]
fn folders_are_tightened_or_refused() {
    let (dir, key) = place();
    let open = |state: &Path| FileStore::open(state, &key).map(|_| ());
    let wide = dir.path().join("wide");
    fs::create_dir(&wide).unwrap();
    fs::set_permissions(&wide, Permissions::from_mode(0o777)).unwrap();
    open(&wide).unwrap();
    assert_eq!(mode(&wide), 0o700);

    // systemd's DynamicUser= makes the state folder a link.
    let link = dir.path().join("link");
    symlink(&wide, &link).unwrap();
    open(&link).unwrap();

    // But inside it, a link could lead anywhere.
    fs::remove_dir(wide.join("tokens")).unwrap();
    symlink(dir.path(), wide.join("tokens")).unwrap();
    assert!(matches!(open(&wide), Err(StoreError::UnsafeFolder { .. })));

    let file = dir.path().join("file");
    fs::write(&file, "x").unwrap();
    assert!(matches!(open(&file), Err(StoreError::UnsafeFolder { .. })));
    assert!(folder::private(&file, "tokens").is_err());
}

#[test]
fn only_our_old_temporary_files_are_cleared() {
    let (dir, key) = place();
    FileStore::open(dir.path(), &key).unwrap();
    let tokens = dir.path().join("tokens");
    let long_ago = SystemTime::now() - Duration::from_secs(120);
    for (name, old) in [
        (".mailsplice-abc.tmp", true),
        (".mailsplice-new.tmp", false),
        (".other-abc.tmp", true),
        ("alice.token", true),
    ] {
        let file = fs::File::create(tokens.join(name)).unwrap();
        if old {
            file.set_modified(long_ago).unwrap();
        }
    }
    FileStore::open(dir.path(), &key).unwrap();
    assert!(!tokens.join(".mailsplice-abc.tmp").exists());
    for kept in [".mailsplice-new.tmp", ".other-abc.tmp", "alice.token"] {
        assert!(tokens.join(kept).exists(), "{kept}");
    }
}

#[test]
fn a_file_is_replaced_whole() {
    let (dir, _) = place();
    let path = dir.path().join("file");
    durable::replace(&path, b"one", 0o644).unwrap();
    assert_eq!(mode(&path), 0o644);
    durable::replace(&path, b"two", 0o600).unwrap();
    assert_eq!(
        (mode(&path), fs::read(&path).unwrap()),
        (0o600, b"two".to_vec())
    );
    // Where it cannot be put in place, nothing is left lying about.
    let folder = dir.path().join("folder");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("inside"), "x").unwrap();
    assert!(durable::replace(&folder, b"three", 0o600).is_err());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    assert!(!durable::create_new(&path, b"four", 0o600).unwrap());
    assert_eq!(fs::read(&path).unwrap(), b"two");
}

#[test]
fn forms_of_the_key() {
    let derive = |text: &str| {
        let key = StoreKey::from_secret(&SecretString::from(text)).map_err(|e| e.to_string())?;
        Ok::<_, String>(*key.derive("test").as_bytes())
    };
    let hex = derive(&"fb".repeat(32)).unwrap();
    assert_eq!(derive(&format!("  {}\r\n", "FB".repeat(32))).unwrap(), hex);
    // The same 32 octets in both alphabets, with and without padding.
    let base64 = "+/v7".replace("+/v7", "+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/s");
    let same = derive(&base64).unwrap();
    assert_eq!(derive(&format!("{base64}=")).unwrap(), same);
    assert_eq!(
        derive(&base64.replace('+', "-").replace('/', "_")).unwrap(),
        same
    );

    let phrase = derive("correct horse battery staple").unwrap();
    assert_eq!(derive("correct horse battery staple\n").unwrap(), phrase);
    assert_ne!(derive("correct horse battery stapler").unwrap(), phrase);
    let long = "x".repeat(5000);
    for bad in [
        "",
        " \n",
        "too short, secret",
        "two\nlines of a passphrase here",
        long.as_str(),
    ] {
        let error = derive(bad).unwrap_err();
        assert!(
            bad.trim().is_empty() || !error.contains(bad.trim()),
            "{error}"
        );
    }
}

#[test]
fn derived_keys_are_apart() {
    let (_, key) = place();
    let (_, other) = place();
    assert_eq!(key.derive("a").as_bytes(), key.derive("a").as_bytes());
    assert_ne!(key.derive("a").as_bytes(), key.derive("b").as_bytes());
    assert_ne!(key.derive("a").as_bytes(), other.derive("a").as_bytes());
    let derived = key.derive("a");
    assert_ne!(derived.mac(&[b"ab", b"c"]), derived.mac(&[b"a", b"bc"]));
}

#[test]
fn the_key_file_is_made_once() {
    let (dir, _) = place();
    let path = dir.path().join("new/store.key");
    StoreKey::create_file(&path).unwrap();
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    let first = fs::read_to_string(&path).unwrap();
    assert_eq!(first.trim().len(), 64);
    StoreKey::create_file(&path).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), first);
    StoreKey::from_secret(&SecretString::from(first)).unwrap();
    let (one, two) = (StoreKey::generate().unwrap(), StoreKey::generate().unwrap());
    assert_ne!(one.expose_secret(), two.expose_secret());
}
