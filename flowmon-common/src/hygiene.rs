//! What no honest sender sends, by reason: from what the parser made of a frame, and the lengths
//! that its headers state.

use crate::{
    abi::abi,
    address::Address,
    packet::PacketSource,
    parse::{Fragment, Parsed, Refusal},
    wire::{protocol, tcp},
};

/// What is odd about a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum Oddity {
    /// It ends inside its Ethernet, IP or transport header.
    Runt = 0,
    /// A header states an impossible version or size of itself, or there are too many of them.
    BadHeader = 1,
    /// An IP, UDP or fragment length that the frame or the datagram can't have.
    BadLength = 2,
    /// TCP: opens and closes at once.
    SynFin = 3,
    /// TCP: opens and breaks off at once.
    SynRst = 4,
    /// TCP: no flag at all, as in a null scan.
    NullScan = 5,
    /// TCP: FIN, PSH and URG and no other, as in an xmas scan.
    XmasScan = 6,
    /// From itself to itself (CERT CA-1997-28, "land").
    Land = 7,
    /// From an address that no packet on a network comes from: loopback, multicast or broadcast (RFC
    /// 1122 3.2.1.3, RFC 4291 2.5.3 and 2.7); or from a group's hardware address, or none.
    BadSource = 8,
    /// From an address that is not the endpoint's. Judged only where its addresses are known.
    SpoofedSource = 9,
}

impl Oddity {
    /// How many there are.
    pub const COUNT: usize = Self::SpoofedSource as usize + 1;

    /// All of them, in the order of their index.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Runt,
        Self::BadHeader,
        Self::BadLength,
        Self::SynFin,
        Self::SynRst,
        Self::NullScan,
        Self::XmasScan,
        Self::Land,
        Self::BadSource,
        Self::SpoofedSource,
    ];

    /// The name in reports and metrics: a promise to users.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Runt => "runt",
            Self::BadHeader => "bad_header",
            Self::BadLength => "bad_length",
            Self::SynFin => "syn_fin",
            Self::SynRst => "syn_rst",
            Self::NullScan => "null_scan",
            Self::XmasScan => "xmas_scan",
            Self::Land => "land",
            Self::BadSource => "bad_source",
            Self::SpoofedSource => "spoofed_source",
        }
    }
}

/// Everything that is odd about one frame: a bit for each [`Oddity`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Oddities(u32);

impl Oddities {
    /// Adds one, where it is so.
    #[inline(always)]
    pub const fn note(&mut self, oddity: Oddity, is_so: bool) {
        self.0 |= (is_so as u32) << oddity as u32;
    }

    /// Is there none?
    #[inline(always)]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Is this one among them?
    #[inline(always)]
    pub const fn has(self, oddity: Oddity) -> bool {
        self.0 >> oddity as u32 & 1 == 1
    }
}

/// Frames of an interface by [`Oddity`].
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hygiene {
    /// By the oddity's index. A frame with several counts for each.
    pub frames: [u64; Oddity::COUNT],
}
abi!(Hygiene, size = 80, align = 8);

/// All that is odd about a frame which the parser understood as `parsed`, and whose network header
/// starts at `network`: behind any tags. Whether its source is the endpoint's own is another
/// question: [`names_sender`].
#[inline(always)]
pub fn inspect<S: PacketSource>(
    source: &S,
    network: u32,
    parsed: Result<&Parsed, Refusal>,
) -> Oddities {
    let mut odd = Oddities::default();
    let hardware = source.load::<6>(6);
    odd.note(
        Oddity::BadSource,
        hardware.is_some_and(|address| address[0] & 1 == 1 || address == [0; 6]),
    );
    match parsed {
        Err(Refusal::BadNetwork | Refusal::BadTransport | Refusal::TooManyExtensions) => {
            odd.note(Oddity::BadHeader, true);
        }
        Err(_) => odd.note(Oddity::Runt, true),
        Ok(packet) if packet.l3 != 0 => {
            odd.note(Oddity::Land, packet.source == packet.destination);
            odd.note(Oddity::BadSource, is_no_source(packet.l3, packet.source));
            odd.note(Oddity::BadLength, has_bad_length(source, network, packet));
            flags(&mut odd, packet);
        }
        Ok(_) => {}
    }
    odd
}

#[inline(always)]
const fn flags(odd: &mut Oddities, packet: &Parsed) {
    if !packet.tcp_header {
        return;
    }
    let flags = packet.tcp_flags & tcp::ALL;
    let syn = flags & tcp::SYN != 0;
    odd.note(Oddity::SynFin, syn && flags & tcp::FIN != 0);
    odd.note(Oddity::SynRst, syn && flags & tcp::RST != 0);
    odd.note(Oddity::NullScan, flags == 0);
    odd.note(Oddity::XmasScan, flags == tcp::FIN | tcp::PSH | tcp::URG);
}

/// Can no packet on a network come from there?
#[inline(always)]
const fn is_no_source(l3: u8, address: Address) -> bool {
    let [a, b, c, d] = address.words();
    let (first, last) = (u32::from_be(a), u32::from_be(d));
    if l3 == 4 {
        return last >> 24 == 127 || last >> 28 == 0xe || last == u32::MAX;
    }
    first >> 24 == 0xff || (first == 0 && b == 0 && c == 0 && last == 1)
}

/// Does the source address claim to be somebody, who can be compared with the endpoint? Not where
/// an address is only asked for (unspecified), nor where hosts choose it themselves (link-local).
#[inline(always)]
pub const fn names_sender(l3: u8, address: Address) -> bool {
    let [a, b, c, d] = address.words();
    let first = u32::from_be(a);
    if l3 == 4 {
        return d != 0;
    }
    l3 == 6 && first >> 22 != 0xfe80 >> 6 && (first | b | c | d) != 0
}

/// A packet of this length and more states none: it would not fit the field (BIG TCP, RFC 2675).
const TOO_LONG_TO_STATE: u32 = 65_536;

#[inline(always)]
fn has_bad_length<S: PacketSource>(source: &S, network: u32, packet: &Parsed) -> bool {
    let room = source.frame_len().saturating_sub(network);
    let stated = if packet.l3 == 4 {
        stated_by_ipv4(source, network, packet)
    } else {
        stated_by_ipv6(source, network)
    };
    let length = match stated {
        Some(0) if room >= TOO_LONG_TO_STATE => room,
        Some(length) if length <= room => length,
        _ => return true,
    };
    if !matches!(packet.fragment, Fragment::No) {
        return false;
    }
    let end = network + length;
    packet.header_len > end || (packet.protocol == protocol::UDP && udp(source, packet, end))
}

/// Length of the packet, 0 where it states none; nothing where it states an impossible one.
#[inline(always)]
fn stated_by_ipv4<S: PacketSource>(source: &S, network: u32, packet: &Parsed) -> Option<u32> {
    let [ihl, _, high, low] = source.load::<4>(network)?;
    let header = u32::from(ihl & 0x0f) * 4;
    let length = u32::from(u16::from_be_bytes([high, low]));
    if length == 0 {
        return Some(0);
    }
    if matches!(packet.fragment, Fragment::Later) {
        let offset = u16::from_be_bytes(source.load::<2>(network + 6)?) & 0x1fff;
        if u32::from(offset) * 8 + length > TOO_LONG_TO_STATE - 1 + header {
            return None; // the datagram would be longer than one can be ("ping of death")
        }
    }
    (length >= header).then_some(length)
}

/// As [`stated_by_ipv4`]. A payload of nothing and one that is not stated look alike.
#[inline(always)]
fn stated_by_ipv6<S: PacketSource>(source: &S, network: u32) -> Option<u32> {
    let payload = u16::from_be_bytes(source.load::<2>(network + 4)?);
    let room = source.frame_len().saturating_sub(network);
    if payload == 0 && room >= TOO_LONG_TO_STATE {
        return Some(0);
    }
    Some(u32::from(payload) + 40)
}

/// Is the length of a UDP datagram impossible, whose IP packet ends at `end`?
#[inline(always)]
fn udp<S: PacketSource>(source: &S, packet: &Parsed, end: u32) -> bool {
    const UDP: u32 = 8;
    let Some(length) = source.load::<2>(packet.header_len - UDP + 4) else {
        return true;
    };
    let length = u32::from(u16::from_be_bytes(length));
    let most = end.saturating_sub(packet.header_len - UDP);
    if length == 0 && packet.l3 == 6 {
        return most < TOO_LONG_TO_STATE; // a jumbogram states none
    }
    length < UDP || length > most
}
