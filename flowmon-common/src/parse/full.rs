//! Everything: VLAN and `QinQ`, IPv4 options, IPv6 extension headers, fragments, ICMP, SCTP, data
//! that does not lie in place.

use super::{
    Fragment, Link, Parsed, Refusal,
    field::{address, be16, be32, byte, bytes},
    transport,
};
use crate::{
    address::Address,
    packet::PacketSource,
    wire::{ETHERNET_LEN, VLAN_TAG_LEN, ethertype, protocol},
};

/// Tags in the data; the device may have taken one more out of it.
const MAX_VLAN_TAGS: u32 = 2;
/// RFC 8200 4.1 has each header at most once, destination options twice: seven in all.
const MAX_EXTENSIONS: u32 = 8;

/// The option's type (RFC 2675 2).
const JUMBO_PAYLOAD: u8 = 0xc2;

/// Parses any frame into `packet`: the caller's, because the kernel's stack has no room for copies.
#[inline(always)]
pub fn full<S: PacketSource>(source: &S, link: Link, packet: &mut Parsed) -> Result<(), Refusal> {
    *packet = Parsed::EMPTY;
    let (kind, offset) = link_layer(source, link, packet)?;
    network(source, packet, kind, offset, false)
}

/// The packet that an ICMP error is about: as far as the error quotes it, which is the addresses,
/// the protocol and the ports. It went the other way.
#[inline(always)]
pub fn quoted<S: PacketSource>(
    source: &S,
    error: &Parsed,
    packet: &mut Parsed,
) -> Result<(), Refusal> {
    *packet = Parsed {
        vlan: error.vlan,
        ..Parsed::EMPTY
    };
    let kind = match error.l3 {
        4 => ethertype::IPV4,
        _ => ethertype::IPV6,
    };
    network(source, packet, kind, error.header_len, true)
}

#[inline(always)]
fn link_layer<S: PacketSource>(
    source: &S,
    link: Link,
    packet: &mut Parsed,
) -> Result<(u16, u32), Refusal> {
    if matches!(link, Link::Ip) {
        return Ok((source.ethertype(), 0));
    }
    let header = source.load::<2>(12).ok_or(Refusal::TruncatedLink)?;
    let mut kind = u16::from_be_bytes(header);
    let mut offset = ETHERNET_LEN;
    let mut tagged = false;
    if let Some(tci) = source.vlan_tci() {
        packet.vlan = transport::vlan_id(tci);
        tagged = true;
    }
    for _ in 0..MAX_VLAN_TAGS {
        if kind != ethertype::VLAN && kind != ethertype::QINQ {
            break;
        }
        let tag = source.load::<4>(offset).ok_or(Refusal::TruncatedLink)?;
        if !tagged {
            packet.vlan = transport::vlan_id(be16(&tag, 0).unwrap_or(0));
            tagged = true;
        }
        kind = be16(&tag, 2).unwrap_or(0);
        offset += VLAN_TAG_LEN;
    }
    Ok((kind, offset))
}

#[inline(always)]
fn network<S: PacketSource>(
    source: &S,
    packet: &mut Parsed,
    kind: u16,
    offset: u32,
    excerpt: bool,
) -> Result<(), Refusal> {
    let next = match kind {
        ethertype::IPV4 => ipv4(source, packet, offset)?,
        ethertype::IPV6 => ipv6(source, packet, offset)?,
        other => {
            let kind = if other < ethertype::FIRST { 0 } else { other };
            packet.source_port = kind;
            packet.destination_port = kind;
            packet.header_len = offset;
            packet.payload_len = source.frame_len().saturating_sub(offset);
            return Ok(());
        }
    };
    let at = extensions(source, packet, next.protocol, next.at)?;
    transport::transport(source, packet, at, next.end, excerpt)
}

/// What follows the IP header.
struct Next {
    protocol: u8,
    /// Where it starts in the frame.
    at: u32,
    /// Where the IP packet ends.
    end: u32,
}

#[inline(always)]
fn ipv4<S: PacketSource>(source: &S, packet: &mut Parsed, offset: u32) -> Result<Next, Refusal> {
    let header = source.load::<20>(offset).ok_or(Refusal::TruncatedNetwork)?;
    let version_ihl = byte(&header, 0).unwrap_or(0);
    let header_len = u32::from(version_ihl & 0x0f) * 4;
    if version_ihl >> 4 != 4 || header_len < 20 {
        return Err(Refusal::BadNetwork);
    }
    let flags_offset = be16(&header, 6).unwrap_or(0);
    packet.l3 = 4;
    packet.source = Address::v4(bytes(&header, 12).unwrap_or_default());
    packet.destination = Address::v4(bytes(&header, 16).unwrap_or_default());
    packet.fragment = match (flags_offset & 0x1fff, flags_offset & 0x2000) {
        (0, 0) => Fragment::No,
        (0, _) => Fragment::First,
        _ => Fragment::Later,
    };
    // The protocol as the header has it, which is alike in all fragments (RFC 791 3.2); what is
    // behind an authentication header only the first one knows.
    let protocol = byte(&header, 9).unwrap_or(0);
    packet.fragment_id = u32::from(protocol) << 16 | u32::from(be16(&header, 4).unwrap_or(0));
    let length = be16(&header, 2).unwrap_or(0);
    Ok(Next {
        protocol,
        at: offset + header_len,
        end: transport::end(source.frame_len(), offset, length.into()),
    })
}

#[inline(always)]
fn ipv6<S: PacketSource>(source: &S, packet: &mut Parsed, offset: u32) -> Result<Next, Refusal> {
    let header = source.load::<40>(offset).ok_or(Refusal::TruncatedNetwork)?;
    if byte(&header, 0).unwrap_or(0) >> 4 != 6 {
        return Err(Refusal::BadNetwork);
    }
    packet.l3 = 6;
    packet.source = address(&header, 8).unwrap_or_default();
    packet.destination = address(&header, 24).unwrap_or_default();
    let payload = u32::from(be16(&header, 4).unwrap_or(0));
    let length = if payload == 0 { 0 } else { payload + 40 };
    Ok(Next {
        protocol: byte(&header, 6).unwrap_or(0),
        at: offset + 40,
        end: transport::end(source.frame_len(), offset, length),
    })
}

/// Follows the headers between network and transport, from a first one of type `next` at `at`;
/// sets the protocol and returns where its header starts. IPv4 has only the authentication header.
#[inline(always)]
fn extensions<S: PacketSource>(
    source: &S,
    packet: &mut Parsed,
    mut next: u8,
    mut at: u32,
) -> Result<u32, Refusal> {
    for _ in 0..=MAX_EXTENSIONS {
        if !is_extension(packet.l3, next) || matches!(packet.fragment, Fragment::Later) {
            packet.protocol = next;
            return Ok(at);
        }
        let header = source.load::<8>(at).ok_or(Refusal::TruncatedNetwork)?;
        let length = byte(&header, 1).unwrap_or(0);
        if next == protocol::HOP_BY_HOP && length == 0 && byte(&header, 2) == Some(JUMBO_PAYLOAD) {
            packet.jumbo = true;
        }
        at += match next {
            protocol::FRAGMENT => {
                let offset_more = be16(&header, 2).unwrap_or(0);
                packet.fragment = match (offset_more & 0xfff8, offset_more & 1) {
                    (0, 0) => packet.fragment, // an atomic fragment is whole (RFC 6946)
                    (0, _) => Fragment::First,
                    _ => Fragment::Later,
                };
                packet.fragment_id = be32(&header, 4).unwrap_or(0);
                8
            }
            protocol::AH => (u32::from(length) + 2) * 4, // RFC 4302 2.2
            _ => (u32::from(length) + 1) * 8,            // RFC 8200 4.3
        };
        next = byte(&header, 0).unwrap_or(0);
    }
    Err(Refusal::TooManyExtensions)
}

#[inline(always)]
const fn is_extension(l3: u8, next: u8) -> bool {
    match next {
        protocol::AH => true,
        protocol::HOP_BY_HOP
        | protocol::ROUTING
        | protocol::FRAGMENT
        | protocol::DESTINATION_OPTIONS
        | protocol::MOBILITY
        | protocol::HIP
        | protocol::SHIM6 => l3 == 6,
        _ => false,
    }
}
