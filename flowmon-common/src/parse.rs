//! From a frame to the flow it belongs to.
//!
//! Two paths with one result: [`fast`] reads the common packet in place at constant offsets, which
//! is what the verifier and the processor like best; [`full`] reads everything else piece by
//! piece. Whatever `fast` accepts, `full` parses alike (the tests hold them to it).

mod fast;
mod field;
mod full;
mod transport;

pub use fast::fast;
pub use full::{full, quoted};

use crate::{address::Address, packet::PacketSource, stats::Traffic};

/// What a frame starts with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// An Ethernet header.
    Ethernet,
    /// The IP header: tun, `WireGuard` and tunnel devices.
    Ip,
}

/// What a packet says about who opened its flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// It is part of a connection whose opening is elsewhere.
    Continues,
    /// Its sender opens the flow: SYN, SCTP INIT, ICMP request.
    Opens,
    /// Its sender was spoken to: SYN+ACK, SCTP INIT ACK, ICMP reply.
    Answers,
    /// The protocol has no opening: who is heard first is the best evidence there is.
    Speaks,
}

/// Is the packet a piece of a larger datagram?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fragment {
    /// It is whole.
    No,
    /// The first piece, which has the transport header.
    First,
    /// Another piece: its ports are those of the first.
    Later,
}

/// What flowmon reads from a packet.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parsed {
    /// Source address; IPv4 as `::ffff:a.b.c.d`, all zero when not IP.
    pub source: Address,
    /// Destination address, alike.
    pub destination: Address,
    /// Source port, or what stands for it. ICMP requests and replies: the one who asks has the
    /// identifier for a port, the one who answers the request's type `<< 8 |` code; other ICMP
    /// messages go to "port" type `<< 8 |` code. Not IP: both are the `EtherType`, 0 for 802.3
    /// frames. Later fragments: 0.
    pub source_port: u16,
    /// Destination port, alike.
    pub destination_port: u16,
    /// Outermost VLAN identifier, 0 when untagged.
    pub vlan: u16,
    /// IP protocol number after any extension headers; 0 when not IP.
    pub protocol: u8,
    /// IP version, 4 or 6; 0 when not IP.
    pub l3: u8,
    /// Bytes of all headers up to the transport payload: what GSO repeats for each segment.
    pub header_len: u32,
    /// Bytes of transport payload, link-layer padding not included.
    pub payload_len: u32,
    /// TCP sequence number; of ICMP requests and replies theirs.
    pub sequence: u32,
    /// TCP acknowledgement number.
    pub acknowledgement: u32,
    /// TCP window, not scaled.
    pub window: u16,
    /// TCP flags.
    pub tcp_flags: u8,
    /// Are the TCP fields read? Not from a fragment or an excerpt that ends before them.
    pub tcp_header: bool,
    /// Who opened the flow, as far as this packet tells.
    pub sender: Sender,
    /// Is it a piece of a larger datagram?
    pub fragment: Fragment,
    /// Identification of that datagram; IPv4 has one for each protocol, which is in the upper half.
    pub fragment_id: u32,
    /// Is it an ICMP error, which [`quoted`] can read further?
    pub icmp_error: bool,
    /// Is its length in a hop-by-hop option (RFC 2675)? Of a buffer of segments Linux takes that
    /// header out when it cuts it (`ipv6_hopopt_jumbo_remove`, `include/net/ipv6.h`).
    pub jumbo: bool,
}

/// Length of a hop-by-hop header with nothing but the jumbo payload option.
const JUMBO_HEADER: u32 = 8;

impl Parsed {
    /// Nothing known yet; not IP.
    pub const EMPTY: Self = Self {
        source: Address::NONE,
        destination: Address::NONE,
        source_port: 0,
        destination_port: 0,
        vlan: 0,
        protocol: 0,
        l3: 0,
        header_len: 0,
        payload_len: 0,
        sequence: 0,
        acknowledgement: 0,
        window: 0,
        tcp_flags: 0,
        tcp_header: false,
        sender: Sender::Speaks,
        fragment: Fragment::No,
        fragment_id: 0,
        icmp_error: false,
        jumbo: false,
    };

    /// What the buffer that holds it is on the wire: see [`Traffic::of_buffer`].
    #[inline(always)]
    pub fn traffic(&self, len: u32, segments: u32, untagged: u32) -> Traffic {
        let inserted = if self.jumbo && segments > 1 {
            JUMBO_HEADER
        } else {
            0
        };
        Traffic::of_buffer(
            len.saturating_sub(inserted),
            segments,
            self.header_len.saturating_sub(inserted),
            untagged,
        )
    }
}

/// Why a frame belongs to no flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It ends inside its link-layer header.
    TruncatedLink,
    /// It ends inside its IP header or an extension header.
    TruncatedNetwork,
    /// Its IP version or header length is impossible.
    BadNetwork,
    /// It ends inside its transport header.
    TruncatedTransport,
    /// Its transport header states an impossible length.
    BadTransport,
    /// It has more IPv6 extension headers than are worth following.
    TooManyExtensions,
}

/// Parses a frame by whichever path fits.
pub fn parse<S: PacketSource>(source: &S, link: Link) -> Result<Parsed, Refusal> {
    let mut packet = Parsed::EMPTY;
    if link == Link::Ip || fast(source, &mut packet).is_none() {
        full(source, link, &mut packet)?;
    }
    Ok(packet)
}
