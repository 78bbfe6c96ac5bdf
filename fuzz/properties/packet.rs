//! What holds of any bytes that come as a frame.

use std::net::Ipv6Addr;

use flowmon_common::{
    Address, Direction, FlowKey, FragmentKey, FragmentOwner, Frame, Link, Parsed, Refusal, Traffic,
    parse,
    parse::{Fragment, fast, full, quoted},
    wire::ETHERNET_LEN,
};

/// Reads `bytes` in every way there is. The first two, which no parser reads, serve as the tag that
/// a device took out of the frame.
pub(crate) fn check(bytes: &[u8]) {
    let frame = Frame::ethernet(bytes);
    check_parse(&frame, Link::Ethernet);
    check_prefixes(bytes);
    if let Some([first, second, ..]) = bytes.first_chunk::<2>() {
        let vlan_tci = Some(u16::from_be_bytes([*first, *second]));
        let tagged = Frame { vlan_tci, ..frame };
        check_parse(&tagged, Link::Ethernet);
    }
    if let Some((header, packet)) = bytes.split_first_chunk::<{ ETHERNET_LEN as usize }>() {
        let [.., first, second] = *header;
        let packet = Frame {
            bytes: packet,
            vlan_tci: None,
            ethertype: u16::from_be_bytes([first, second]),
        };
        check_parse(&packet, Link::Ip);
    }
}

fn check_parse(frame: &Frame<'_>, link: Link) {
    let parsed = parse(frame, link);
    let mut by_full = Parsed::EMPTY;
    let outcome = full(frame, link, &mut by_full);
    assert_eq!(outcome.map(|()| by_full), parsed, "the full path differs");
    let mut by_fast = Parsed::EMPTY;
    if link == Link::Ethernet && fast(frame, &mut by_fast).is_some() {
        assert_eq!(parsed, Ok(by_fast), "the fast path differs");
    }
    let Ok(packet) = parsed else { return };
    check_packet(frame, &packet);
    check_key(&packet);
    check_traffic(frame, &packet);
    let mut about = Parsed::EMPTY;
    if packet.icmp_error && quoted(frame, &packet, &mut about).is_ok() {
        assert_eq!((about.l3, about.vlan), (packet.l3, packet.vlan));
        check_packet(frame, &about);
        check_key(&about);
    }
}

fn check_packet(frame: &Frame<'_>, packet: &Parsed) {
    let length = u64::from(packet.header_len) + u64::from(packet.payload_len);
    assert!(
        length <= frame.bytes.len() as u64,
        "longer than its frame: {packet:?}"
    );
    assert!(packet.vlan < 1 << 12, "no VLAN identifier: {packet:?}");
    match packet.l3 {
        0 => {
            let of_ip = (packet.source, packet.destination, packet.protocol);
            assert_eq!(of_ip, (Address::NONE, Address::NONE, 0));
            assert_eq!(
                packet.source_port, packet.destination_port,
                "the EtherType is both"
            );
            assert_eq!(packet.fragment, Fragment::No);
        }
        4 => {
            for address in [packet.source, packet.destination] {
                let mapped = Ipv6Addr::from(address).to_ipv4_mapped();
                assert!(mapped.is_some(), "not an IPv4 address: {packet:?}");
            }
        }
        6 => {}
        _ => panic!("no IP version: {packet:?}"),
    }
    if packet.fragment == Fragment::Later {
        assert_eq!((packet.source_port, packet.destination_port), (0, 0));
    }
    if packet.fragment == Fragment::No {
        assert_eq!(packet.fragment_id, 0);
    }
    if !packet.tcp_header {
        let of_tcp = (packet.acknowledgement, packet.window, packet.tcp_flags);
        assert_eq!(
            of_tcp,
            (0, 0, 0),
            "TCP's, but without its header: {packet:?}"
        );
    }
}

/// Whichever end it is seen from, a packet and its answer have one key.
fn check_key(packet: &Parsed) {
    let key = FlowKey::new(7, Direction::Tx, packet);
    let answer = Parsed {
        source: packet.destination,
        destination: packet.source,
        source_port: packet.destination_port,
        destination_port: packet.source_port,
        ..*packet
    };
    assert_eq!(FlowKey::new(7, Direction::Rx, &answer), key);
    if packet.fragment == Fragment::First {
        let later = Parsed {
            source_port: 0,
            destination_port: 0,
            fragment: Fragment::Later,
            ..*packet
        };
        let mut found = FlowKey::new(7, Direction::Tx, &later);
        assert_eq!(
            FragmentKey::new(&found, &later),
            FragmentKey::new(&key, packet)
        );
        FragmentOwner::of(&key).complete(&mut found);
        assert_eq!(found, key, "later fragments find another flow");
    }
}

fn check_traffic(frame: &Frame<'_>, packet: &Parsed) {
    let len = u32::try_from(frame.bytes.len()).unwrap_or(u32::MAX);
    let untagged = if frame.vlan_tci.is_some() { 4 } else { 0 };
    let one = Traffic::of_buffer(len, 0, packet.header_len, untagged);
    assert_eq!((one.packets, one.bytes), (1, u64::from(len + untagged)));
    let most = Traffic::of_buffer(len, u32::MAX, packet.header_len, untagged);
    assert_eq!(most.packets, u64::from(u32::MAX));
}

/// As a frame gets longer it may be refused for another reason, but never become another flow.
fn check_prefixes(bytes: &[u8]) {
    const LONGEST: usize = 128;
    let Ok(whole) = parse(&Frame::ethernet(bytes), Link::Ethernet) else {
        return;
    };
    for len in 0..bytes.len().min(LONGEST) {
        let prefix = bytes.get(..len).unwrap_or_default();
        match parse(&Frame::ethernet(prefix), Link::Ethernet) {
            Ok(packet) => assert_eq!(
                FlowKey::new(7, Direction::Tx, &packet),
                FlowKey::new(7, Direction::Tx, &whole),
                "another flow after {len} bytes"
            ),
            Err(
                Refusal::TruncatedLink | Refusal::TruncatedNetwork | Refusal::TruncatedTransport,
            ) => {}
            Err(refusal) => panic!("{refusal:?} after {len} bytes, but whole it is {whole:?}"),
        }
    }
}
