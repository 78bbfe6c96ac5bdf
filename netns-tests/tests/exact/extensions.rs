//! IPv6 with chains of extension headers (RFC 8200 4), on a real wire: a flow each, by the ports behind
//! the chain, with every byte of it.

use std::net::Ipv6Addr;

use flowmon_common::{Totals, Traffic};
use netns_tests::{counted, require_root, send_frames};
use serde_json::json;

use crate::{Pair, TestResult};

const HOP_BY_HOP: u8 = 0;
const UDP: u8 = 17;
const ROUTING: u8 = 43;
const AUTHENTICATION: u8 = 51;
const DESTINATION: u8 = 60;

const LOCAL: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2);
const REMOTE: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 3);
const PORT: u16 = 4000;

/// A datagram behind these headers, from port `port`. Its destination is nobody's, so that nobody
/// answers.
fn frame(chain: &[u8], port: u16, length: usize) -> Vec<u8> {
    let mut datagram = Vec::new();
    datagram.extend(port.to_be_bytes());
    datagram.extend(PORT.to_be_bytes());
    datagram.extend(two_bytes(8 + length));
    datagram.extend([0, 0]);
    datagram.resize(8 + length, b'.');
    let mut payload = Vec::new();
    for (place, kind) in chain.iter().enumerate() {
        let next = chain.get(place + 1).copied().unwrap_or(UDP);
        payload.extend(match *kind {
            // Its length is in words of 4 bytes, less 2 (RFC 4302 2.2).
            AUTHENTICATION => {
                let mut header = vec![next, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1];
                header.resize(24, 7);
                header
            }
            // No segments left, so that it asks for nothing.
            ROUTING => vec![next, 0, 2, 0, 0, 0, 0, 0],
            // 16 bytes of options: padding (PadN).
            _ => [&[next, 1, 1, 12][..], &[0; 12]].concat(),
        });
    }
    payload.extend(datagram);
    let mut frame = vec![2, 0, 0, 0, 0, 0x99, 2, 0, 0, 0, 0, 0x42, 0x86, 0xdd];
    frame.extend([0x60, 0, 0, 0]);
    frame.extend(two_bytes(payload.len()));
    frame.extend([chain.first().copied().unwrap_or(UDP), 64]);
    frame.extend(LOCAL.octets());
    frame.extend(REMOTE.octets());
    frame.extend(payload);
    frame
}

fn two_bytes(number: usize) -> [u8; 2] {
    u16::try_from(number).unwrap_or(u16::MAX).to_be_bytes()
}

#[test]
fn chains_of_extension_headers_are_looked_through() -> TestResult {
    const TIMES: usize = 200;
    if !require_root("chains_of_extension_headers_are_looked_through") {
        return Ok(());
    }
    let chains: [&[u8]; 7] = [
        &[],
        &[HOP_BY_HOP],
        &[DESTINATION],
        &[ROUTING],
        &[AUTHENTICATION],
        &[
            HOP_BY_HOP,
            DESTINATION,
            ROUTING,
            AUTHENTICATION,
            DESTINATION,
        ],
        &[DESTINATION; 8],
    ];
    let pair = Pair::silent()?;
    let watch = pair.watch();
    let mut expected = Vec::new();
    for (number, chain) in (0u16..).zip(chains) {
        let frame = frame(chain, 1000 + number, 100 * usize::from(number));
        expected.push(Traffic {
            packets: TIMES as u64,
            bytes: (frame.len() * TIMES) as u64,
        });
        send_frames(&pair.a.namespace, "eth0", &vec![frame; TIMES]);
    }
    let ended = watch.stop();
    ended.assert_clean();
    for (number, (chain, expected)) in chains.iter().zip(expected).enumerate() {
        let flow = ended.said.one(&json!({
            "endpoint": {"ifindex": pair.a.ifindex},
            "protocol": "udp",
            "local": {"ip": LOCAL, "port": 1000 + number},
            "remote": {"ip": REMOTE, "port": PORT},
        }));
        let sent = Totals {
            tx: expected,
            rx: Traffic::default(),
        };
        assert_eq!(counted(flow), sent, "{chain:?}");
    }
    Ok(())
}
