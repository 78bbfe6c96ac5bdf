//! The golden frames: each is what its file says it is.
#![expect(clippy::panic, reason = "a test may fail by panicking")]

#[path = "support/differences.rs"]
mod differences;
#[path = "support/golden.rs"]
#[expect(
    dead_code,
    reason = "which frames the kernel takes is for the kernel's tests"
)]
mod golden;
#[path = "support/read.rs"]
mod read;

use differences::differences;
use flowmon_common::{
    Direction, FlowKey, FragmentKey, FragmentOwner, Frame, Link, Parsed, parse, wire::ETHERNET_LEN,
};
use golden::{Golden, Quote, load};

fn named(name: &str) -> Golden {
    let mut all = load().into_iter();
    all.find(|golden| golden.name == name)
        .unwrap_or_else(|| panic!("no golden frame {name}"))
}

/// The packet of a frame that is expected to belong to a flow.
fn packet(golden: &Golden) -> Parsed {
    parse(&golden.frame(), Link::Ethernet)
        .unwrap_or_else(|refusal| panic!("{}: refused: {refusal:?}", golden.name))
}

/// Fails with all the `complaints` there are, so that one run tells all.
fn assert_none(complaints: impl Iterator<Item = String>) {
    let complaints: Vec<_> = complaints.collect();
    assert!(
        complaints.is_empty(),
        "{} frames:\n{}",
        complaints.len(),
        complaints.join("\n")
    );
}

#[test]
fn every_frame_is_what_its_file_says() {
    assert_none(load().iter().filter_map(|golden| {
        let expected = golden
            .expected
            .as_ref()
            .map(|flow| flow.packet)
            .map_err(|e| *e);
        let found = parse(&golden.frame(), Link::Ethernet);
        let difference = match (expected, found) {
            (Ok(expected), Ok(found)) => differences(&expected, &found),
            (Err(expected), Err(found)) if expected == found => String::new(),
            (Err(expected), found) => format!("  expected {expected:?}, found {found:?}\n"),
            (Ok(_), Err(refusal)) => format!("  expected a flow, found {refusal:?}\n"),
        };
        (!difference.is_empty()).then(|| format!("{}:\n{difference}", golden.name))
    }));
}

#[test]
fn what_the_fast_path_accepts_the_full_path_parses_alike() {
    assert_none(load().iter().filter_map(|golden| {
        let by_fast = read::fast(&golden.frame())?;
        match read::full(&golden.frame()) {
            Ok(by_full) if by_full == by_fast => None,
            Ok(by_full) => Some(format!(
                "{}:\n{}",
                golden.name,
                differences(&by_full, &by_fast)
            )),
            Err(refusal) => Some(format!("{}: full refuses: {refusal:?}", golden.name)),
        }
    }));
}

#[test]
fn the_common_packet_takes_the_fast_path() {
    for name in [
        "ipv4-tcp-syn",
        "ipv4-tcp-padded-to-60",
        "ipv4-udp-empty",
        "ipv6-tcp-syn",
        "ipv6-udp-empty",
        "vlan-by-metadata",
        "ipv4-big-tcp",
        "ipv6-big-tcp",
    ] {
        assert!(read::fast(&named(name).frame()).is_some(), "{name}");
    }
}

#[test]
fn a_frame_without_ethernet_header_parses_like_the_one_with_it() {
    assert_none(load().iter().filter_map(|golden| {
        let (ethernet, bytes) = golden.bytes.split_first_chunk::<14>()?;
        let expected = golden.expected.as_ref().ok()?.packet;
        if golden.vlan_tci.is_some() || expected.vlan != 0 {
            return None;
        }
        let frame = Frame {
            bytes,
            vlan_tci: None,
            ethertype: u16::from_be_bytes([ethernet[12], ethernet[13]]),
        };
        if frame.ethertype == flowmon_common::wire::ethertype::VLAN {
            return None;
        }
        let expected = Parsed {
            header_len: expected.header_len - ETHERNET_LEN,
            ..expected
        };
        let found = parse(&frame, Link::Ip);
        (found != Ok(expected)).then(|| format!("{}: found {found:?}", golden.name))
    }));
}

#[test]
fn an_answer_belongs_to_the_flow_of_what_it_answers() {
    let mut pairs = 0;
    for answer in load() {
        let Some(request) = &answer.answers else {
            continue;
        };
        let request = FlowKey::new(7, Direction::Tx, &packet(&named(request)));
        let answered = FlowKey::new(7, Direction::Rx, &packet(&answer));
        assert_eq!(request, answered, "{}", answer.name);
        pairs += 1;
    }
    assert!(pairs >= 8, "only {pairs} pairs");
}

#[test]
fn an_icmp_error_tells_of_the_packet_it_quotes() {
    assert_none(load().iter().filter_map(|golden| {
        let expected = golden.expected.as_ref().ok()?;
        if !expected.packet.icmp_error {
            return None;
        }
        let found = read::quoted(&golden.frame(), &packet(golden)).map(|packet| Quote {
            source: packet.source,
            destination: packet.destination,
            protocol: packet.protocol,
            ports: (packet.source_port, packet.destination_port),
        });
        (found.ok() != expected.quotes).then(|| {
            format!(
                "{}: expected {:?}, found {found:?}",
                golden.name, expected.quotes
            )
        })
    }));
}

#[test]
fn a_buffer_counts_as_the_frames_it_stands_for() {
    for golden in load() {
        let Ok(expected) = &golden.expected else {
            continue;
        };
        let untagged = if golden.vlan_tci.is_some() { 4 } else { 0 };
        let len = u32::try_from(golden.bytes.len()).unwrap_or(u32::MAX);
        let found = packet(&golden).traffic(len, golden.segments, untagged);
        assert_eq!(found, expected.traffic, "{}", golden.name);
    }
}

#[test]
fn later_fragments_find_the_flow_of_their_first() {
    for (first, later) in [
        ("ipv4-fragment-first", "ipv4-fragment-middle"),
        ("ipv4-fragment-first", "ipv4-fragment-last"),
        ("ipv6-hop-by-hop-fragment-tcp", "ipv6-fragment-later"),
        (
            "ipv6-hop-by-hop-fragment-tcp",
            "ipv6-fragment-later-is-not-followed",
        ),
    ] {
        let (first, later) = (packet(&named(first)), packet(&named(later)));
        for direction in [Direction::Tx, Direction::Rx] {
            let flow = FlowKey::new(7, direction, &first);
            let mut found = FlowKey::new(7, direction, &later);
            assert_eq!(
                FragmentKey::new(&flow, &first),
                FragmentKey::new(&found, &later)
            );
            FragmentOwner::of(&flow).complete(&mut found);
            assert_eq!(flow, found);
        }
    }
}
