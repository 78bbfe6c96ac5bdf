//! What holds for every frame, whoever made it.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail by panicking"
)]

#[path = "support/built.rs"]
mod built;
#[path = "support/differences.rs"]
mod differences;
#[path = "support/golden.rs"]
#[expect(dead_code, reason = "here they are only the seed of other frames")]
mod golden;
#[path = "support/mutated.rs"]
mod mutated;
#[path = "support/plan.rs"]
mod plan;
#[path = "../../fuzz/properties/packet.rs"]
mod property;
#[path = "support/read.rs"]
#[expect(dead_code, reason = "the two paths are for the property")]
mod read;

use differences::differences;
use etherparse::{
    IpHeaders, Ipv4Extensions, Ipv4Header, Ipv6Extensions, Ipv6Header, PacketBuilder, ip_number,
};
use flowmon_common::{
    Address, Direction, FlowKey, Frame, Link, Parsed, Refusal, parse,
    parse::{Fragment, Sender},
};
use mutated::{GOLDEN, frames, mutated};
use plan::plans;
use proptest::{collection::vec, option, prelude::*, sample::Index};

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None, // what fails becomes a golden frame
        ..ProptestConfig::default()
    }
}

fn parse_ethernet(bytes: &[u8]) -> Result<Parsed, Refusal> {
    parse(&Frame::ethernet(bytes), Link::Ethernet)
}

/// What makes the flow of a packet.
fn identity(packet: &Parsed) -> (Address, Address, u8, u16, u16) {
    (
        packet.source,
        packet.destination,
        packet.protocol,
        packet.source_port,
        packet.destination_port,
    )
}

/// An ICMP error about the packet `quote`.
fn icmp_error(l3: u8, kind: u8, quote: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let link = PacketBuilder::ethernet2([2; 6], [4; 6]);
    if l3 == 4 {
        let header = Ipv4Header::new(0, 64, ip_number::ICMP, [10, 0, 0, 1], [10, 0, 0, 2]);
        let kind = [3, 4, 11, 12][usize::from(kind % 4)];
        link.ip(IpHeaders::Ipv4(header.unwrap(), Ipv4Extensions::default()))
            .icmpv4_raw(kind, 0, [0; 4])
            .write(&mut bytes, quote)
    } else {
        link.ip(IpHeaders::Ipv6(
            Ipv6Header::default(),
            Ipv6Extensions::default(),
        ))
        .icmpv6_raw(1 + kind % 4, 0, [0; 4])
        .write(&mut bytes, quote)
    }
    .unwrap();
    bytes
}

proptest! {
    #![proptest_config(cases(4000))]

    #[test]
    fn any_bytes_hold(
        bytes in vec(any::<u8>(), 0..200),
        ethertype in option::of(prop_oneof![Just(0x0800u16), Just(0x86dd)]),
    ) {
        let mut bytes = bytes;
        if let (Some(ethertype), Some(place)) = (ethertype, bytes.get_mut(12..14)) {
            place.copy_from_slice(&ethertype.to_be_bytes());
        }
        property::check(&bytes);
    }
}

proptest! {
    #![proptest_config(cases(frames(8000)))]

    #[test]
    fn any_mutated_frame_holds(bytes in mutated(), vlan_tci in any::<[u8; 2]>()) {
        let mut bytes = bytes;
        if let Some(place) = bytes.first_chunk_mut() {
            *place = vlan_tci;
        }
        property::check(&bytes);
    }
}

proptest! {
    #![proptest_config(cases(2000))]

    #[test]
    fn a_built_frame_parses_back_to_what_went_in(plan in plans()) {
        let built = plan.build();
        match parse_ethernet(&built.bytes) {
            Ok(found) => prop_assert!(found == built.expected, "{}", differences(&built.expected, &found)),
            Err(refusal) => prop_assert!(false, "refused: {refusal:?}"),
        }
    }

    #[test]
    fn a_tag_by_metadata_is_a_tag_in_the_data(plan in plans(), vlan_tci in any::<u16>()) {
        let mut plan = plan;
        plan.vlans.truncate(1);
        let built = plan.build();
        let frame = Frame { vlan_tci: Some(vlan_tci), ..Frame::ethernet(&built.bytes) };
        let expected = Parsed { vlan: vlan_tci & 0x0fff, ..built.expected };
        prop_assert_eq!(parse(&frame, Link::Ethernet), Ok(expected));
    }

    #[test]
    fn a_packet_going_back_belongs_to_the_same_flow(
        plan in plans(),
        ifindex in any::<u32>(),
        sent in any::<bool>(),
    ) {
        let direction = if sent { Direction::Tx } else { Direction::Rx };
        let there = parse_ethernet(&plan.build().bytes).unwrap();
        let back = parse_ethernet(&plan.reversed().build().bytes).unwrap();
        let key = FlowKey::new(ifindex, direction, &there);
        prop_assert_eq!(key, FlowKey::new(ifindex, direction.reversed(), &back));
        let (local, port) = match direction {
            Direction::Tx => (there.source, there.source_port),
            Direction::Rx => (there.destination, there.destination_port),
        };
        prop_assert_eq!((key.local, key.local_port), (local, port));
    }

    #[test]
    fn an_icmp_error_tells_the_flow_it_is_about(
        plan in plans(),
        kind in any::<u8>(),
        cut in any::<Index>(),
        filled_up in any::<bool>(),
    ) {
        let built = plan.build();
        // At least eight bytes behind the IP header (RFC 792); filled up with zeros when there
        // are extensions behind (RFC 4884 4).
        let least = built.transport_at + 8;
        let end = least + cut.index(built.bytes.len() - least + 1);
        let mut quote = built.bytes[built.network_at..end].to_vec();
        if filled_up {
            quote.resize(quote.len().max(128), 0);
        }
        let error = icmp_error(built.expected.l3, kind, &quote);
        let frame = Frame::ethernet(&error);
        let packet = parse_ethernet(&error).unwrap();
        prop_assert!(packet.icmp_error);
        let quoted = read::quoted(&frame, &packet);
        prop_assert_eq!(quoted.map(|quoted| identity(&quoted)), Ok(identity(&built.expected)));
    }

    #[test]
    fn a_cut_frame_is_refused_or_of_the_same_flow(plan in plans(), cuts in vec(any::<Index>(), 8)) {
        let built = plan.build();
        for cut in cuts {
            let cut = &built.bytes[..cut.index(built.bytes.len())];
            match parse_ethernet(cut) {
                Ok(found) => prop_assert_eq!(identity(&found), identity(&built.expected)),
                Err(refusal) => prop_assert!(is_truncation(refusal), "{refusal:?}"),
            }
        }
    }
}

fn is_truncation(refusal: Refusal) -> bool {
    matches!(
        refusal,
        Refusal::TruncatedLink | Refusal::TruncatedNetwork | Refusal::TruncatedTransport
    )
}

#[test]
fn every_prefix_of_a_golden_frame_is_refused_or_of_the_same_flow() {
    for golden in GOLDEN.iter() {
        let Ok(whole) = parse(&golden.frame(), Link::Ethernet) else {
            continue;
        };
        for len in 0..golden.bytes.len() {
            let frame = Frame {
                bytes: &golden.bytes[..len],
                ..golden.frame()
            };
            match parse(&frame, Link::Ethernet) {
                Ok(found) => {
                    assert_eq!(
                        identity(&found),
                        identity(&whole),
                        "{} at {len}",
                        golden.name
                    );
                    assert!(found.fragment == whole.fragment && found.vlan == whole.vlan);
                }
                Err(refusal) => assert!(
                    is_truncation(refusal),
                    "{} at {len}: {refusal:?}",
                    golden.name
                ),
            }
        }
    }
}

#[test]
fn an_icmp_error_about_a_golden_frame_tells_its_flow() {
    let mut errors = 0;
    for golden in GOLDEN.iter() {
        let Ok(whole) = parse(&golden.frame(), Link::Ethernet) else {
            continue;
        };
        if whole.l3 == 0 {
            continue;
        }
        let tags = golden.bytes[12..].chunks_exact(4);
        let tags = tags.take_while(|tag| matches!(tag[..2], [0x81, 0x00] | [0x88, 0xa8]));
        let quote = &golden.bytes[14 + 4 * tags.count()..];
        let error = icmp_error(whole.l3, 0, quote);
        let packet = parse_ethernet(&error).unwrap();
        let quoted = read::quoted(&Frame::ethernet(&error), &packet)
            .unwrap_or_else(|refusal| panic!("{}: {refusal:?}", golden.name));
        assert_eq!(identity(&quoted), identity(&whole), "{}", golden.name);
        if whole.fragment == Fragment::Later {
            assert_eq!(quoted.sender, Sender::Continues);
        }
        errors += 1;
    }
    assert!(errors > 50, "only {errors}");
}
