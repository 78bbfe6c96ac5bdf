//! What follows the network header, read piece by piece; and the small rules both paths share.

use super::{
    Fragment, Parsed, Refusal, Sender,
    field::{be16, be32, byte},
};
use crate::{
    packet::PacketSource,
    wire::{protocol, tcp},
};

const TCP_MIN: u32 = 20;
const SCTP_COMMON: u32 = 12;
const DCCP_MIN: u32 = 12;

/// The VLAN identifier in tag control information (IEEE 802.1Q 9.6).
#[inline(always)]
pub(super) const fn vlan_id(tci: u16) -> u16 {
    tci & 0x0fff
}

/// Where the IP packet ends in the frame: link-layer padding may follow it, and a length of 0
/// means that it did not fit the field (BIG TCP, RFC 2675 jumbograms).
#[inline(always)]
pub(super) const fn end(frame_len: u32, network: u32, packet_len: u32) -> u32 {
    if packet_len == 0 || network + packet_len > frame_len {
        frame_len
    } else {
        network + packet_len
    }
}

/// Length of a TCP header by its data-offset byte (RFC 9293 3.1).
#[inline(always)]
pub(super) const fn tcp_header_len(offset_byte: u8) -> u32 {
    (offset_byte >> 4) as u32 * 4
}

/// Who opened a connection, by a segment's flags.
#[inline(always)]
pub(super) const fn tcp_sender(flags: u8) -> Sender {
    match flags & (tcp::SYN | tcp::ACK) {
        tcp::SYN => Sender::Opens,
        SYN_ACK => Sender::Answers,
        _ => Sender::Continues,
    }
}
const SYN_ACK: u8 = tcp::SYN | tcp::ACK;

/// Reads the transport header at `at`. An `excerpt`, as ICMP errors quote it, may end after eight
/// bytes (RFC 792).
#[inline(always)]
pub(super) fn transport<S: PacketSource>(
    source: &S,
    packet: &mut Parsed,
    at: u32,
    end: u32,
    excerpt: bool,
) -> Result<(), Refusal> {
    if at > source.frame_len() {
        return Err(Refusal::TruncatedNetwork); // inside its options or its last extension header
    }
    packet.header_len = at;
    if matches!(packet.fragment, Fragment::No) {
        packet.fragment_id = 0; // tells nothing of a whole packet (RFC 6864 4.1)
    }
    if matches!(packet.fragment, Fragment::Later) {
        packet.sender = Sender::Continues;
    } else {
        header(source, packet, at, end, excerpt)?;
    }
    if packet.header_len > source.frame_len() {
        if !excerpt && matches!(packet.fragment, Fragment::No) {
            return Err(Refusal::TruncatedTransport);
        }
        packet.header_len = source.frame_len(); // the next fragment has the rest of it
    }
    packet.payload_len = end.saturating_sub(packet.header_len);
    Ok(())
}

#[inline(always)]
fn header<S: PacketSource>(
    source: &S,
    packet: &mut Parsed,
    at: u32,
    end: u32,
    excerpt: bool,
) -> Result<(), Refusal> {
    match (packet.protocol, packet.l3) {
        (protocol::TCP, _) => {
            ports(source, packet, at)?;
            // Behind a header that was cut there may be padding, which is no header.
            let cut = matches!(packet.fragment, Fragment::First) && at + TCP_MIN > end;
            if excerpt || cut {
                packet.sender = Sender::Continues;
                return Ok(());
            }
            let rest = source
                .load::<8>(at + 8)
                .ok_or(Refusal::TruncatedTransport)?;
            tcp_rest(packet, at, &rest)
        }
        (protocol::DCCP, _) => {
            ports(source, packet, at)?;
            // Behind a header that was cut there may be padding, which is no header.
            let cut = matches!(packet.fragment, Fragment::First) && at + DCCP_MIN > end;
            if excerpt || cut {
                packet.sender = Sender::Continues;
                return Ok(());
            }
            dccp_rest(source, packet, at)
        }
        (protocol::UDP | protocol::UDP_LITE, _) => {
            packet.header_len = at + 8;
            ports(source, packet, at)
        }
        (protocol::SCTP, _) => {
            packet.header_len = at + SCTP_COMMON;
            packet.sender = match source.load::<1>(at + SCTP_COMMON) {
                Some([1]) => Sender::Opens,   // INIT, RFC 9260 3.3.2
                Some([2]) => Sender::Answers, // INIT ACK
                _ => Sender::Continues,
            };
            ports(source, packet, at)
        }
        (protocol::ICMP, 4) | (protocol::ICMPV6, 6) => icmp(source, packet, at),
        _ => Ok(()),
    }
}

#[inline(always)]
fn ports<S: PacketSource>(source: &S, packet: &mut Parsed, at: u32) -> Result<(), Refusal> {
    let header = source.load::<8>(at).ok_or(Refusal::TruncatedTransport)?;
    packet.source_port = be16(&header, 0).unwrap_or(0);
    packet.destination_port = be16(&header, 2).unwrap_or(0);
    packet.sequence = if packet.protocol == protocol::TCP {
        be32(&header, 4).unwrap_or(0)
    } else {
        0
    };
    Ok(())
}

#[inline(always)]
fn tcp_rest(packet: &mut Parsed, at: u32, rest: &[u8; 8]) -> Result<(), Refusal> {
    packet.acknowledgement = be32(rest, 0).unwrap_or(0);
    packet.tcp_flags = byte(rest, 5).unwrap_or(0);
    packet.window = be16(rest, 6).unwrap_or(0);
    packet.tcp_header = true;
    packet.sender = tcp_sender(packet.tcp_flags);
    let length = tcp_header_len(byte(rest, 4).unwrap_or(0));
    packet.header_len = at + length;
    if length < TCP_MIN {
        return Err(Refusal::BadTransport);
    }
    Ok(())
}

/// DCCP's header ends by its data offset; sequence numbers are short or long by its X bit (RFC 4340
/// 5.1).
#[inline(always)]
fn dccp_rest<S: PacketSource>(source: &S, packet: &mut Parsed, at: u32) -> Result<(), Refusal> {
    let rest = source
        .load::<8>(at + 4)
        .ok_or(Refusal::TruncatedTransport)?;
    let kind_x = byte(&rest, 4).unwrap_or(0);
    packet.sender = match kind_x >> 1 & 0x0f {
        0 => Sender::Opens,   // Request
        1 => Sender::Answers, // Response
        _ => Sender::Continues,
    };
    let length = u32::from(byte(&rest, 0).unwrap_or(0)) * 4;
    let least = if kind_x & 1 == 0 {
        DCCP_MIN
    } else {
        DCCP_MIN + 4
    };
    packet.header_len = at + length;
    if length < least {
        return Err(Refusal::BadTransport);
    }
    Ok(())
}

/// ICMP (RFC 792, RFC 4443). Messages that come in pairs are one flow, named by the request.
#[inline(always)]
fn icmp<S: PacketSource>(source: &S, packet: &mut Parsed, at: u32) -> Result<(), Refusal> {
    let header = source.load::<8>(at).ok_or(Refusal::TruncatedTransport)?;
    let message = be16(&header, 0).unwrap_or(0);
    let identifier = be16(&header, 4).unwrap_or(0);
    packet.header_len = at + 8;
    let (request, sender) = match (packet.l3, message >> 8) {
        (4, 8 | 13 | 15 | 17) | (6, 128) => (message, Sender::Opens),
        (4, 0) => (message | 8 << 8, Sender::Answers),
        (4, 14 | 16 | 18) | (6, 129) => (message.wrapping_sub(1 << 8), Sender::Answers),
        _ => (message, Sender::Speaks),
    };
    packet.sender = sender;
    if !matches!(sender, Sender::Speaks) {
        packet.sequence = be16(&header, 6).unwrap_or(0).into();
    }
    (packet.source_port, packet.destination_port) = match sender {
        Sender::Opens => (identifier, request),
        Sender::Answers => (request, identifier),
        _ => (0, message),
    };
    packet.icmp_error = match packet.l3 {
        4 => matches!(message >> 8, 3 | 4 | 11 | 12),
        _ => (1..=4).contains(&(message >> 8)),
    };
    Ok(())
}
