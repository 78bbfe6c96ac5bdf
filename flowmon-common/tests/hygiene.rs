//! What is odd about frames.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail by panicking"
)]

#[path = "support/built.rs"]
#[expect(dead_code, reason = "what is read from them is for the parser's tests")]
mod built;
#[path = "support/golden.rs"]
#[expect(dead_code, reason = "only the frames are asked for")]
mod golden;
#[path = "support/mutated.rs"]
mod mutated;
#[path = "support/plan.rs"]
#[expect(dead_code, reason = "no frame is answered here")]
mod plan;

use flowmon_common::{
    Address, Frame, Link, Oddity, Refusal,
    hygiene::{inspect, names_sender},
    parse,
    witness::tag_bytes,
};
use golden::load;
use mutated::{frames, mutated};
use plan::plans;
use proptest::prelude::*;

/// The golden frames whose headers state more than there is. Those that stand for packets too long
/// to state their length are cut, and so state none without being that long.
const BAD_LENGTH: [&str; 6] = [
    "ipv4-big-tcp",
    "ipv4-total-length-beyond-frame",
    "ipv6-big-tcp",
    "ipv6-big-tcp-hop-by-hop",
    "ipv6-jumbogram",
    "ipv6-payload-length-beyond-frame",
];

fn odd(bytes: &[u8]) -> Vec<Oddity> {
    let frame = Frame::ethernet(bytes);
    let parsed = parse(&frame, Link::Ethernet);
    let network = 14 + tag_bytes(&frame);
    let odd = inspect(&frame, network, parsed.as_ref().map_err(|refusal| *refusal));
    Oddity::ALL
        .into_iter()
        .filter(|&oddity| odd.has(oddity))
        .collect()
}

#[test]
fn golden_frames_are_as_odd_as_they_are_broken() {
    for golden in load() {
        let expected = match golden.expected {
            Err(Refusal::BadNetwork | Refusal::BadTransport | Refusal::TooManyExtensions) => {
                vec![Oddity::BadHeader]
            }
            Err(_) => vec![Oddity::Runt],
            Ok(_) if BAD_LENGTH.contains(&&*golden.name) => vec![Oddity::BadLength],
            Ok(_) => vec![],
        };
        assert_eq!(odd(&golden.bytes), expected, "{}", golden.name);
    }
}

/// Ethernet, IPv4 and what follows, of 10.77.0.2 to 10.77.0.3, whose lengths are right.
fn ipv4(protocol: u8, transport: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0];
    frame.extend(u16::try_from(20 + transport.len()).unwrap().to_be_bytes());
    frame.extend([0, 0, 0x40, 0, 64, protocol, 0, 0]);
    frame.extend([10, 77, 0, 2, 10, 77, 0, 3]);
    frame.extend(transport);
    frame
}

fn tcp(flags: u8) -> Vec<u8> {
    let mut header = [0u8; 20];
    header[12] = 0x50;
    header[13] = flags;
    ipv4(6, &header)
}

fn udp(length: u16) -> Vec<u8> {
    let [high, low] = length.to_be_bytes();
    ipv4(17, &[0, 1, 0, 2, high, low, 0, 0, b'.', b'.'])
}

#[test]
fn flags_that_no_connection_has() {
    const FIN: u8 = 1;
    const SYN: u8 = 2;
    const RST: u8 = 4;
    const PSH: u8 = 8;
    const ACK: u8 = 16;
    const URG: u8 = 32;
    const ECE_CWR: u8 = 0xc0;
    for (flags, expected) in [
        (SYN, vec![]),
        (SYN | ECE_CWR, vec![]),
        (SYN | ACK, vec![]),
        (FIN | ACK, vec![]),
        (FIN, vec![]), // RFC 9293 wants an ACK, but this much is seen from honest stacks
        (RST, vec![]),
        (FIN | PSH | URG | ACK, vec![]),
        (SYN | FIN, vec![Oddity::SynFin]),
        (SYN | FIN | ACK, vec![Oddity::SynFin]),
        (SYN | RST, vec![Oddity::SynRst]),
        (0, vec![Oddity::NullScan]),
        (ECE_CWR, vec![Oddity::NullScan]),
        (FIN | PSH | URG, vec![Oddity::XmasScan]),
        (0xff, vec![Oddity::SynFin, Oddity::SynRst]),
    ] {
        assert_eq!(odd(&tcp(flags)), expected, "{flags:#04x}");
    }
}

#[test]
fn lengths_that_can_not_be() {
    let changed = |frame: &[u8], at: usize, value: u16| {
        let mut frame = frame.to_vec();
        frame[at..at + 2].copy_from_slice(&value.to_be_bytes());
        odd(&frame)
    };
    let bad = vec![Oddity::BadLength];
    let good = udp(10);
    assert_eq!(odd(&good), vec![]);
    // The IP packet: none stated, less than its header, less than UDP's, more than there is.
    for length in [0, 19, 27, 31] {
        assert_eq!(changed(&good, 16, length), bad, "IPv4 {length}");
    }
    // The datagram: none stated, less than its header, more than the packet has room for.
    for length in [0, 7, 11] {
        assert_eq!(odd(&udp(length)), bad, "UDP {length}");
    }
    assert_eq!(odd(&udp(8)), vec![]);
    // Padding is no length.
    let padded: Vec<u8> = good.iter().copied().chain([0; 18]).collect();
    assert_eq!(odd(&padded), vec![]);
    // A last fragment that ends beyond what a datagram can be ("ping of death").
    let fragment = ipv4(1, &[0; 100]);
    assert_eq!(changed(&fragment, 20, 8178), vec![]);
    assert_eq!(changed(&fragment, 20, 8180), bad);
}

#[test]
fn a_packet_too_long_to_state_its_length() {
    let mut frame = ipv4(6, &[0; 20]);
    frame[14 + 20 + 12] = 0x50;
    frame[14 + 20 + 13] = 0x10;
    frame[16..18].copy_from_slice(&[0, 0]);
    frame.resize(14 + 65_536, 0);
    assert_eq!(odd(&frame), vec![]);
    frame.resize(14 + 65_535, 0);
    assert_eq!(odd(&frame), vec![Oddity::BadLength]);
}

#[test]
fn sources_that_nobody_has() {
    let from = |source: [u8; 4]| {
        let mut frame = udp(10);
        frame[26..30].copy_from_slice(&source);
        odd(&frame)
    };
    for source in [[127, 0, 0, 1], [224, 0, 0, 1], [239, 9, 9, 9], [255; 4]] {
        assert_eq!(from(source), vec![Oddity::BadSource], "{source:?}");
    }
    // 240.0.0.0/4 is reserved, and in use in clouds all the same.
    for source in [[0; 4], [8, 8, 8, 8], [223, 1, 1, 1], [240, 10, 0, 1]] {
        assert_eq!(from(source), vec![], "{source:?}");
    }
    assert_eq!(from([10, 77, 0, 3]), vec![Oddity::Land]);
    for hardware in [[0; 6], [3, 0, 0, 0, 0, 1], [0xff; 6]] {
        let mut frame = udp(10);
        frame[6..12].copy_from_slice(&hardware);
        assert_eq!(odd(&frame), vec![Oddity::BadSource], "{hardware:?}");
    }
}

#[test]
fn some_sources_name_nobody() {
    let v6 = |text: &str| Address::from(text.parse::<std::net::Ipv6Addr>().unwrap());
    for (source, names) in [
        ("::", false),
        ("fe80::1", false),
        ("febf::1", false),
        ("fec0::1", true),
        ("fd77::2", true),
        ("2001:db8::1", true),
    ] {
        assert_eq!(names_sender(6, v6(source)), names, "{source}");
    }
    assert!(!names_sender(4, Address::v4([0; 4])));
    assert!(names_sender(4, Address::v4([169, 254, 0, 1])));
    assert!(!names_sender(0, Address::NONE));
}

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases(frames(2000)))]

    #[test]
    fn well_made_frames_are_never_malformed(plan in plans()) {
        for oddity in odd(&plan.build().bytes) {
            let malformed = [Oddity::Runt, Oddity::BadHeader, Oddity::BadLength];
            prop_assert!(!malformed.contains(&oddity), "{oddity:?}: {plan:?}");
        }
    }

    #[test]
    fn what_the_parser_refuses_is_malformed_and_nothing_more(bytes in mutated()) {
        let frame = Frame::ethernet(&bytes);
        let found = odd(&bytes);
        match parse(&frame, Link::Ethernet) {
            Ok(_) => prop_assert!(!found.contains(&Oddity::Runt)),
            Err(_) => prop_assert!(found.contains(&Oddity::Runt) != found.contains(&Oddity::BadHeader)),
        }
        prop_assert!(!found.contains(&Oddity::SpoofedSource));
    }
}
