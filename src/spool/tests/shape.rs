//! What a file looks like, and that no other file looks like one.

use proptest::prelude::*;

use super::super::format::{
    Damage, END_LENGTH, LONGEST_HEADER, header_end, read_header, read_whole, write_header,
    write_whole,
};
use super::super::{Address, Attempt, Envelope, Fate, Header, Repair, State};
use super::{envelope, message};

fn header() -> Header {
    Header {
        id: "0193a7b2c4d5-0000-1f2e3d4c".parse().unwrap(),
        received_ms: 1_795_858_860_123,
        envelope: envelope("2nd floor"),
    }
}

fn repairs() -> Vec<Repair> {
    vec![Repair {
        what: "bare-lf".into(),
        count: 3,
    }]
}

#[test]
fn a_file_is_text_around_the_message() {
    let file = write_whole(&header(), b"Subject: Scan\r\n\r\nHello\r\n", &repairs());
    let text = String::from_utf8(file).unwrap();
    let (text, digest) = text.split_at(text.len() - 65);
    assert_eq!(
        text,
        "mailsplice-spool: 1\n\
         id: 0193a7b2c4d5-0000-1f2e3d4c\n\
         received: 2026-11-28T09:41:00.123Z\n\
         account: scan@contoso.com\n\
         listener: scanners\n\
         device: 2nd floor\n\
         sender: scan@contoso.com\n\
         recipient: alice@contoso.com\n\
         recipient: bob@contoso.com\n\
         trace: from 192.0.2.7\n\
         \n\
         Subject: Scan\r\n\r\nHello\r\n\
         \n\
         repair: 3 bare-lf\n\
         mailsplice-end: 0193a7b2c4d5-0000-1f2e3d4c 00000000000000000024 "
    );
    assert!(digest.ends_with('\n') && digest.trim_end().bytes().all(|b| b.is_ascii_hexdigit()));
}

/// Also of a message that holds a whole file, last line and all.
#[test]
fn no_beginning_of_a_file_is_a_file() {
    let mut other = header();
    other.id = "0193a7b2c4d5-0000-1f2e3d4d".parse().unwrap();
    let inner = write_whole(&other, b"inner\r\n", &repairs());
    for message in [&b""[..], b"\n", b"no line end", &message(1, 3000), &inner] {
        for repairs in [vec![], repairs()] {
            let file = write_whole(&header(), message, &repairs);
            for length in 0..file.len() {
                assert!(read_whole(&file[..length]).is_err(), "{length} octets");
            }
            let (read, at, mended) = read_whole(&file).unwrap();
            assert_eq!((&file[at], &read, mended), (message, &header(), repairs));
            assert!(read_whole(&[&file[..], b"\n"].concat()).is_err());
            assert!(read_whole(&[b"\n", &file[..]].concat()).is_err());
        }
    }
}

#[test]
fn every_flipped_bit_is_found() {
    let file = write_whole(&header(), &message(1, 300), &repairs());
    for at in 0..file.len() {
        for bit in 0..8 {
            let mut other = file.clone();
            other[at] ^= 1 << bit;
            assert!(read_whole(&other).is_err(), "bit {bit} of octet {at}");
        }
    }
}

/// Zeros are what some file systems leave of data that never came to the disk.
#[test]
fn zeros_in_place_of_any_end_are_found() {
    let file = write_whole(&header(), &message(1, 3000), &[]);
    for from in 0..file.len() {
        let mut other = file.clone();
        other[from..].fill(0);
        assert!(read_whole(&other).is_err(), "from {from}");
    }
}

#[test]
fn headers_are_read_by_name() {
    let text = write_header(&header());
    let read = |text: &str| read_header(text.as_bytes());
    let later = text.replace("device:", "colour: blue\ndevice:");
    assert_eq!(read(&later), Ok(header()), "an unknown name");
    let moved = text.replace("\nsender: scan@contoso.com", "");
    let moved = moved.replace("trace:", "sender: scan@contoso.com\ntrace:");
    assert_eq!(read(&moved), Ok(header()), "another order");
    for (from, to, damage) in [
        ("spool: 1", "spool: 2", Damage::TooNew(2)),
        ("spool: 1", "spool: 0", Damage::NotOurs),
        ("spool: 1", "spool: +1", Damage::NotOurs),
        ("mailsplice", "Mailsplice", Damage::NotOurs),
        ("\ndevice: 2nd floor", "", Damage::Line("device")),
        ("device:", "device: a\ndevice:", Damage::Line("device")),
        ("device: ", "device ", Damage::Line("name: value")),
        ("device: ", "device: %x", Damage::Line("name: value")),
        ("device: ", "device: %ff", Damage::Line("name: value")),
        ("recipient:", "to:", Damage::Line("recipient")),
        ("2026-11-28", "2026-11-31", Damage::Line("received")),
        ("2026-11-28", "1926-11-28", Damage::Line("received")),
        ("id: 01", "id: 0A", Damage::Line("id")),
        ("trace:", "needs: telepathy\ntrace:", Damage::Line("needs")),
    ] {
        assert_eq!(
            read(&text.replace(from, to)),
            Err(damage),
            "{from:?} {to:?}"
        );
    }
    assert_eq!(read(text.trim_end()), Err(Damage::Header));
}

#[test]
fn a_state_is_whole_or_nothing() {
    let mut state = State::new(&header());
    state.attempts = 2;
    state.recipients[0].state = Fate::Delivered;
    for number in 0..150 {
        state.note(Attempt {
            time_ms: number,
            ..Attempt::default()
        });
    }
    assert_eq!(state.trace.len(), 100);
    assert_eq!(state.trace[0].time_ms, 50);
    let file = state.write();
    assert_eq!(State::read(&file), Some(state));
    for length in 0..file.len() {
        assert_eq!(State::read(&file[..length]), None, "{length} octets");
    }
    for at in 0..file.len() {
        let mut other = file.clone();
        other[at] ^= 1;
        assert_eq!(State::read(&other), None, "octet {at}");
    }
}

#[test]
fn addresses_stay_out_of_logs() {
    let shown = format!("{:?} {:?}", header(), State::new(&header()));
    assert!(!shown.contains("alice"), "{shown}");
}

prop_compose! {
    fn envelopes()(
        words in prop::collection::vec(any::<String>(), 4),
        recipients in prop::collection::vec(any::<String>(), 1..5),
        trace in prop::collection::vec(any::<String>(), 0..4),
        smtputf8 in any::<bool>(),
        eight_bit in any::<bool>(),
    ) -> Envelope {
        let [account, listener, device, sender] = words.try_into().unwrap();
        Envelope {
            account,
            listener,
            device,
            sender: Address::new(sender),
            recipients: recipients.into_iter().map(Address::new).collect(),
            smtputf8,
            eight_bit,
            trace,
        }
    }
}

proptest! {
    /// Whatever was put in comes out.
    #[test]
    fn what_is_written_is_read(
        envelope in envelopes(),
        received_ms in 0..253_402_300_800_000_u64,
        message in prop::collection::vec(any::<u8>(), 0..500),
        mended in prop::collection::vec((any::<String>(), any::<u64>()), 0..4),
    ) {
        let header = Header { received_ms, envelope, ..header() };
        let repairs: Vec<_> = mended.into_iter().map(|(what, count)| Repair { what, count }).collect();
        let file = write_whole(&header, &message, &repairs);
        let end = header_end(&file).unwrap();
        prop_assert!(end < LONGEST_HEADER && file.len() > end + END_LENGTH);
        // Lines of text: nothing in them moves a terminal's cursor.
        let text = std::str::from_utf8(&file[..end]).unwrap();
        prop_assert!(!text.chars().any(|char| char.is_control() && char != '\n'));
        let (read, at, mended) = read_whole(&file).unwrap();
        prop_assert_eq!(read, header);
        prop_assert_eq!(&file[at], &message[..]);
        prop_assert_eq!(mended, repairs);
        let half = file.len() / 2;
        prop_assert!(read_whole(&file[..half]).is_err());
    }

    /// Whatever stands in a file, reading it ends, and not by a panic.
    #[test]
    fn anything_can_be_read(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        lines in prop::collection::vec("(id|sender|needs|recipient|trace|received): [ -~]{0,30}", 0..9),
    ) {
        let _ = read_whole(&bytes);
        let _ = State::read(&bytes);
        let text = format!("mailsplice-spool: 1\n{}\n\n", lines.join("\n"));
        let _ = read_header(text.as_bytes());
    }
}
