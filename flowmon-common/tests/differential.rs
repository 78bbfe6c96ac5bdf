//! flowmon's parser and etherparse, which nobody here wrote, agree on what they both understand.
//!
//! They rightly differ, so that the comparison leaves these out:
//!
//! - Where etherparse stops and flowmon does not: etherparse ends the packet where its IP header
//!   says, flowmon takes the frame's word when the header's is impossible; etherparse minds the
//!   UDP length and an authentication header of length 0; it does not follow mobility, HIP and
//!   Shim6 headers, nor hop-by-hop options but first.
//! - [`follows_other_links`]: etherparse follows three tags, the old `QinQ` type 0x9100 and `MACsec`,
//!   flowmon two tags of the types that IEEE 802.1Q has now.
//! - [`Refusal::TooManyExtensions`]: etherparse follows any number.
//! - Read laxly, etherparse goes by the IP version in the header when the `EtherType` says another
//!   one; to flowmon that is [`Refusal::BadNetwork`].
//! - Fragments: etherparse reads no ports from a first one.
#![expect(clippy::panic, reason = "a test may fail by panicking")]

#[path = "support/built.rs"]
#[expect(dead_code, reason = "here only the bytes count")]
mod built;
#[path = "support/golden.rs"]
#[expect(dead_code, reason = "here they are only the seed of other frames")]
mod golden;
#[path = "support/mutated.rs"]
mod mutated;
#[path = "support/plan.rs"]
#[expect(dead_code, reason = "here nothing goes back")]
mod plan;

use std::cell::Cell;

use etherparse::{
    LaxLinkExtSlice, LaxNetSlice, LaxSlicedPacket, SlicedPacket, TransportSlice, ether_type,
};
use flowmon_common::{Address, Frame, Link, Parsed, Refusal, parse, parse::Fragment};
use mutated::{frames, mutated};
use proptest::{prelude::*, test_runner::TestRunner};

/// Addresses, protocol and ports.
type Identity = (Address, Address, u8, u16, u16);

fn identity(packet: &Parsed) -> Identity {
    (
        packet.source,
        packet.destination,
        packet.protocol,
        packet.source_port,
        packet.destination_port,
    )
}

/// What etherparse reads from a whole TCP segment or UDP datagram.
fn their_identity(packet: &LaxSlicedPacket<'_>) -> Option<Identity> {
    let (source, destination) = match packet.net.as_ref()? {
        LaxNetSlice::Ipv4(ip) => {
            let header = ip.header();
            (
                header.source_addr().into(),
                header.destination_addr().into(),
            )
        }
        LaxNetSlice::Ipv6(ip) => (
            ip.header().source_addr().into(),
            ip.header().destination_addr().into(),
        ),
        LaxNetSlice::Arp(_) => return None,
    };
    match packet.transport.as_ref()? {
        TransportSlice::Tcp(tcp) => Some((
            source,
            destination,
            6,
            tcp.source_port(),
            tcp.destination_port(),
        )),
        TransportSlice::Udp(udp) => Some((
            source,
            destination,
            17,
            udp.source_port(),
            udp.destination_port(),
        )),
        _ => None,
    }
}

fn follows_other_links(bytes: &[u8], packet: &LaxSlicedPacket<'_>) -> bool {
    let old_qinq = ether_type::VLAN_DOUBLE_TAGGED_FRAME.0.to_be_bytes();
    packet.link_exts.len() > 2
        || packet
            .link_exts
            .iter()
            .any(|link| matches!(link, LaxLinkExtSlice::Macsec(_)))
        || [12, 16]
            .iter()
            .any(|&at| bytes.get(at..at + 2) == Some(&old_qinq))
}

/// The IP version is that of the `EtherType`.
fn version_fits(packet: &LaxSlicedPacket<'_>) -> bool {
    let kind = packet.ether_payload().map(|payload| payload.ether_type);
    match packet.net {
        Some(LaxNetSlice::Ipv4(_)) => kind == Some(ether_type::IPV4),
        Some(LaxNetSlice::Ipv6(_)) => kind == Some(ether_type::IPV6),
        _ => false,
    }
}

#[test]
fn what_etherparse_reads_laxly_is_what_flowmon_reads() {
    let compared = Cell::new(0);
    let frames = frames(8000);
    let mut runner = runner(frames);
    let outcome = runner.run(&mutated(), |bytes| {
        let Ok(theirs) = LaxSlicedPacket::from_ethernet(&bytes) else {
            return Ok(());
        };
        let Some(expected) = their_identity(&theirs) else {
            return Ok(());
        };
        if follows_other_links(&bytes, &theirs) || !version_fits(&theirs) {
            return Ok(());
        }
        let ours = parse(&Frame::ethernet(&bytes), Link::Ethernet);
        if ours == Err(Refusal::TooManyExtensions) {
            return Ok(());
        }
        compared.set(compared.get() + 1);
        let vlan = theirs.vlan_ids().first().map_or(0, |id| id.value());
        prop_assert_eq!(
            ours.map(|packet| (identity(&packet), packet.vlan)),
            Ok((expected, vlan))
        );
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
    assert!(
        compared.get() > frames / 5,
        "only {} compared",
        compared.get()
    );
}

#[test]
fn what_etherparse_measures_strictly_is_what_flowmon_measures() {
    let compared = Cell::new(0);
    let frames = frames(8000);
    let mut runner = runner(frames);
    let outcome = runner.run(&mutated(), |bytes| {
        let Ok(theirs) = SlicedPacket::from_ethernet(&bytes) else {
            return Ok(());
        };
        // UDP has a length of its own, which flowmon does not read.
        let Some(TransportSlice::Tcp(tcp)) = &theirs.transport else {
            return Ok(());
        };
        let Ok(ours) = parse(&Frame::ethernet(&bytes), Link::Ethernet) else {
            return Ok(()); // compared by the other test
        };
        if ours.l3 == 0 {
            return Ok(()); // likewise
        }
        compared.set(compared.get() + 1);
        prop_assert_eq!(ours.fragment, Fragment::No);
        let header_len = tcp.payload().as_ptr().addr() - bytes.as_ptr().addr();
        prop_assert_eq!(ours.header_len as usize, header_len);
        prop_assert_eq!(ours.payload_len as usize, tcp.payload().len());
        prop_assert_eq!(ours.sequence, tcp.sequence_number());
        prop_assert_eq!(ours.acknowledgement, tcp.acknowledgment_number());
        prop_assert_eq!(ours.window, tcp.window_size());
        prop_assert_eq!(Some(&ours.tcp_flags), tcp.header_slice().get(13));
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
    assert!(
        compared.get() > frames / 10,
        "only {} compared",
        compared.get()
    );
}

fn runner(cases: u32) -> TestRunner {
    TestRunner::new(ProptestConfig {
        cases,
        failure_persistence: None, // what fails becomes a golden frame
        ..ProptestConfig::default()
    })
}
