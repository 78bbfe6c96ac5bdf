//! The common packet: Ethernet without a tag in the data, IPv4 without options or IPv6 without
//! extension headers, TCP or UDP, whole and in place.
#![expect(
    clippy::cast_possible_truncation,
    reason = "offsets inside one frame's headers"
)]

use super::{
    Parsed, Sender,
    field::{address, be16, be32, byte, bytes},
    transport,
};
use crate::{
    address::Address,
    packet::PacketSource,
    wire::{ETHERNET_LEN, ethertype, protocol},
};

const IPV4: usize = ETHERNET_LEN as usize;
const IPV4_TRANSPORT: usize = IPV4 + 20;
const IPV6: usize = ETHERNET_LEN as usize;
const IPV6_TRANSPORT: usize = IPV6 + 40;
const UDP_LEN: usize = 8;
const TCP_LEN: usize = 20;

/// Parses the common packet into `packet`. `None` means "not so common", never "malformed":
/// [`super::full`] is to look at it.
#[inline(always)]
pub fn fast<S: PacketSource>(source: &S, packet: &mut Parsed) -> Option<()> {
    let head = source.head::<{ IPV4_TRANSPORT + UDP_LEN }>()?;
    *packet = Parsed::EMPTY;
    packet.vlan = source.vlan_tci().map_or(0, transport::vlan_id);
    match be16(head, 12)? {
        ethertype::IPV4 => ipv4(source, packet, head),
        ethertype::IPV6 => ipv6(source, packet),
        _ => None,
    }
}

#[inline(always)]
fn ipv4<S: PacketSource>(source: &S, packet: &mut Parsed, head: &[u8]) -> Option<()> {
    const VERSION_4_LENGTH_20: u8 = 0x45;
    const MORE_FRAGMENTS_OR_OFFSET: u16 = 0x3fff;
    if byte(head, IPV4)? != VERSION_4_LENGTH_20
        || be16(head, IPV4 + 6)? & MORE_FRAGMENTS_OR_OFFSET != 0
    {
        return None;
    }
    packet.l3 = 4;
    packet.protocol = byte(head, IPV4 + 9)?;
    packet.source = Address::v4(bytes(head, IPV4 + 12)?);
    packet.destination = Address::v4(bytes(head, IPV4 + 16)?);
    let end = transport::end(
        source.frame_len(),
        ETHERNET_LEN,
        be16(head, IPV4 + 2)?.into(),
    );
    match packet.protocol {
        protocol::UDP => udp(packet, head, IPV4_TRANSPORT, end),
        protocol::TCP => {
            let head = source.head::<{ IPV4_TRANSPORT + TCP_LEN }>()?;
            tcp(packet, head, IPV4_TRANSPORT, end, source.frame_len())
        }
        _ => None,
    }
}

#[inline(always)]
fn ipv6<S: PacketSource>(source: &S, packet: &mut Parsed) -> Option<()> {
    let head = source.head::<{ IPV6_TRANSPORT + UDP_LEN }>()?;
    if byte(head, IPV6)? >> 4 != 6 {
        return None;
    }
    packet.l3 = 6;
    packet.protocol = byte(head, IPV6 + 6)?;
    packet.source = address(head, IPV6 + 8)?;
    packet.destination = address(head, IPV6 + 24)?;
    let payload = u32::from(be16(head, IPV6 + 4)?);
    let length = if payload == 0 { 0 } else { payload + 40 };
    let end = transport::end(source.frame_len(), ETHERNET_LEN, length);
    match packet.protocol {
        protocol::UDP => udp(packet, head, IPV6_TRANSPORT, end),
        protocol::TCP => {
            let head = source.head::<{ IPV6_TRANSPORT + TCP_LEN }>()?;
            tcp(packet, head, IPV6_TRANSPORT, end, source.frame_len())
        }
        _ => None,
    }
}

#[inline(always)]
fn udp(packet: &mut Parsed, head: &[u8], at: usize, end: u32) -> Option<()> {
    packet.source_port = be16(head, at)?;
    packet.destination_port = be16(head, at + 2)?;
    packet.sender = Sender::Speaks;
    packet.header_len = at as u32 + UDP_LEN as u32;
    packet.payload_len = end.saturating_sub(packet.header_len);
    Some(())
}

#[inline(always)]
fn tcp(packet: &mut Parsed, head: &[u8], at: usize, end: u32, frame_len: u32) -> Option<()> {
    let tcp_len = transport::tcp_header_len(byte(head, at + 12)?);
    packet.header_len = at as u32 + tcp_len;
    if tcp_len < TCP_LEN as u32 || packet.header_len > frame_len {
        return None;
    }
    packet.source_port = be16(head, at)?;
    packet.destination_port = be16(head, at + 2)?;
    packet.sequence = be32(head, at + 4)?;
    packet.acknowledgement = be32(head, at + 8)?;
    packet.tcp_flags = byte(head, at + 13)?;
    packet.window = be16(head, at + 14)?;
    packet.tcp_header = true;
    packet.sender = transport::tcp_sender(packet.tcp_flags);
    packet.payload_len = end.saturating_sub(packet.header_len);
    Some(())
}
