//! The PROXY protocol (versions 1 and 2, as HAProxy describes them): who the client is, told by a load
//! balancer in front of the first byte.

use std::io;
use std::net::SocketAddr;

use ppp::{HeaderResult, v1, v2};
use tokio::io::AsyncReadExt;

/// How a header of version 2 begins; as long as the shortest prefix of version 1 is.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The fixed part of version 2.
const FIXED: usize = 16;
/// Most octets of addresses and further fields in version 2; balancers send some hundred.
const MOST_V2: usize = 4096;
/// The longest line of version 1, with its end.
const MOST_V1: usize = 107;

/// Reads exactly the header and gives the client's address; `None` when the balancer speaks for itself
/// (health checks: `LOCAL`, `UNKNOWN`) or for a socket that is no TCP one.
///
/// # Errors
/// When what comes is no such header. The connection must be given up then: whoever may send a header
/// must send one, or clients could choose their address.
pub async fn read_header<S>(stream: &mut S) -> io::Result<Option<SocketAddr>>
where
    S: tokio::io::AsyncRead + Unpin,
{
    let mut header = vec![0; SIGNATURE.len()];
    stream.read_exact(&mut header).await?;
    if header == SIGNATURE {
        let mut rest = [0; FIXED - SIGNATURE.len()];
        stream.read_exact(&mut rest).await?;
        let [.., high, low] = rest;
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length > MOST_V2 {
            return Err(wrong("the PROXY header is too long"));
        }
        header.extend_from_slice(&rest);
        let mut fields = vec![0; length];
        stream.read_exact(&mut fields).await?;
        header.extend_from_slice(&fields);
    } else {
        if !header.starts_with(b"PROXY ") {
            return Err(wrong("no PROXY header"));
        }
        // Octet by octet: what follows belongs to the client.
        while header.last() != Some(&b'\n') {
            if header.len() >= MOST_V1 {
                return Err(wrong("the PROXY header is too long"));
            }
            header.push(stream.read_u8().await?);
        }
    }
    source(&header)
}

fn source(header: &[u8]) -> io::Result<Option<SocketAddr>> {
    match HeaderResult::parse(header) {
        HeaderResult::V1(Ok(header)) => Ok(match header.addresses {
            v1::Addresses::Tcp4(a) => Some(SocketAddr::new(a.source_address.into(), a.source_port)),
            v1::Addresses::Tcp6(a) => Some(SocketAddr::new(a.source_address.into(), a.source_port)),
            v1::Addresses::Unknown => None,
        }),
        HeaderResult::V2(Ok(header)) => {
            if header.command == v2::Command::Local {
                return Ok(None);
            }
            Ok(match header.addresses {
                v2::Addresses::IPv4(a) => {
                    Some(SocketAddr::new(a.source_address.into(), a.source_port))
                }
                v2::Addresses::IPv6(a) => {
                    Some(SocketAddr::new(a.source_address.into(), a.source_port))
                }
                v2::Addresses::Unspecified | v2::Addresses::Unix(_) => None,
            })
        }
        HeaderResult::V1(Err(_)) | HeaderResult::V2(Err(_)) => Err(wrong("not a PROXY header")),
    }
}

fn wrong(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(bytes: &[u8]) -> (io::Result<Option<SocketAddr>>, Vec<u8>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let mut stream = bytes;
        let found = runtime.block_on(read_header(&mut stream));
        (found, stream.to_vec())
    }

    fn v2(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
        let length = u16::try_from(addresses.len()).unwrap().to_be_bytes();
        [
            &SIGNATURE[..],
            &[0x20 | command, family],
            &length,
            addresses,
        ]
        .concat()
    }

    #[test]
    fn both_versions_give_the_client_and_leave_its_bytes() {
        let v4: [u8; 12] = [192, 0, 2, 7, 192, 0, 2, 2, 0x30, 0x39, 0x03, 0xe1];
        let v6 = [
            &std::net::Ipv6Addr::LOCALHOST.octets()[..],
            &[0; 16],
            &[0, 80, 0, 1],
        ]
        .concat();
        let with_tlv = [&v4[..], &[4, 0, 2, 1, 2]].concat();
        let rows: &[(Vec<u8>, Option<&str>)] = &[
            (
                b"PROXY TCP4 192.0.2.7 192.0.2.2 12345 993\r\n".to_vec(),
                Some("192.0.2.7:12345"),
            ),
            (b"PROXY TCP6 ::1 ::2 80 1\r\n".to_vec(), Some("[::1]:80")),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN ::1 ::2 80 1\r\n".to_vec(), None),
            (v2(1, 0x11, &v4), Some("192.0.2.7:12345")),
            (v2(1, 0x11, &with_tlv), Some("192.0.2.7:12345")),
            (v2(1, 0x21, &v6), Some("[::1]:80")),
            (v2(0, 0x00, &[]), None),
        ];
        for (header, client) in rows {
            let (found, left) = read(&[&header[..], b"\x16\x03rest"].concat());
            let client = client.map(|text| text.parse().unwrap());
            assert_eq!(found.unwrap(), client, "{header:?}");
            assert_eq!(left, b"\x16\x03rest");
        }
    }

    #[test]
    fn everything_else_is_an_error() {
        let long = format!("PROXY TCP4 {}\r\n", "1".repeat(200));
        let huge = [&SIGNATURE[..], &[0x21, 0x11, 0xff, 0xff]].concat();
        for bytes in [
            &b"EHLO device.example\r\n"[..],
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00\x00\x00",
            b"PROXY TCP4 300.0.2.7 192.0.2.2 12345 993\r\n",
            b"PROXY TCP4 192.0.2.7",
            long.as_bytes(),
            &huge,
            &v2(1, 0x11, &[1, 2]),
            b"",
        ] {
            assert!(read(bytes).0.is_err(), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), version: bool) {
            let start = if version { &SIGNATURE[..] } else { b"PROXY " };
            let _ = read(&[start, &bytes].concat());
        }
    }
}
