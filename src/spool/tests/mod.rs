//! The spool on good disks and bad ones.

mod crash;
mod faults;
pub(crate) mod layer;
mod ownership;
mod promises;
mod queue;
mod shape;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::{Address, Entry, Envelope, Id, Limits, Opened, Spool, SpoolError};

/// Limits under which nothing is refused, wherever tests run.
fn limits() -> Limits {
    Limits {
        reserve_bytes: 0,
        reserve_inodes: 0,
        ..Limits::default()
    }
}

async fn open(dir: &Path) -> Opened {
    Spool::open(dir, limits()).await.unwrap()
}

fn envelope(device: &str) -> Envelope {
    Envelope {
        account: "scan@contoso.com".into(),
        listener: "scanners".into(),
        device: device.into(),
        sender: Address::new("scan@contoso.com"),
        recipients: ["alice@contoso.com", "bob@contoso.com"]
            .map(Address::new)
            .to_vec(),
        trace: vec!["from 192.0.2.7".into()],
        ..Envelope::default()
    }
}

/// Puts a message in, in pieces of some KiB.
async fn put(spool: &Spool, device: &str, message: &[u8]) -> Result<Entry, SpoolError> {
    let mut incoming = spool.receive(envelope(device), None).await?;
    for piece in message.chunks(5000) {
        incoming.write(piece).await?;
    }
    incoming.commit().await
}

/// Octets that tell by their first ones which message it is, and all by what follows from them.
fn message(number: u32, length: usize) -> Vec<u8> {
    let mut state = u64::from(number) + 1;
    let mut bytes = format!("Subject: {number}\r\n\r\n").into_bytes();
    while bytes.len() < length {
        state = state.wrapping_mul(6_364_136_223_846_793_005);
        bytes.extend_from_slice(&state.to_be_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes
}

async fn read(spool: &Spool, id: Id) -> Result<Vec<u8>, SpoolError> {
    let mut message = spool.read(id).await?;
    let mut bytes = Vec::new();
    while let Some(piece) = message.next().await? {
        assert!(!piece.is_empty());
        bytes.extend_from_slice(&piece);
    }
    assert!(message.next().await?.is_none());
    assert_eq!(message.size(), bytes.len() as u64);
    Ok(bytes)
}

/// Asserts that these octets are what [`message`] makes, whole.
fn assert_whole(bytes: &[u8]) {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]).into_owned();
    let number = text.strip_prefix("Subject: ").unwrap();
    let number = number.split("\r\n").next().unwrap().parse().unwrap();
    let length = bytes.len() - 2;
    assert!(message(number, length) == bytes, "{text}");
}

/// All files below a folder, with their octets.
pub(crate) fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for folder in ["tmp", "queue", "failed", "corrupt"] {
        for entry in fs::read_dir(dir.join(folder)).unwrap() {
            let entry = entry.unwrap();
            let name = format!("{folder}/{}", entry.file_name().to_str().unwrap());
            files.insert(name, fs::read(entry.path()).unwrap());
        }
    }
    files
}
