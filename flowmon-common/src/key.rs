//! What makes two packets belong to one flow.

use crate::{abi::abi, address::Address, parse::Parsed};

/// Which way a packet goes, seen from the endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Direction {
    /// The endpoint sent it.
    Tx = 0,
    /// The endpoint receives it.
    Rx = 1,
}

impl Direction {
    /// The other way.
    #[must_use]
    #[inline(always)]
    pub const fn reversed(self) -> Self {
        match self {
            Self::Tx => Self::Rx,
            Self::Rx => Self::Tx,
        }
    }
}

/// One bidirectional flow at one endpoint.
///
/// *Local* is the endpoint's side, which the hook knows: nothing is sorted or compared, and a
/// flow between two watched endpoints is rightly two entries, one for each one's policies.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct FlowKey {
    /// Interface the endpoint is attached by.
    pub ifindex: u32,
    /// The endpoint's address; IPv4 as `::ffff:a.b.c.d`, all zero when not IP.
    pub local: Address,
    /// The peer's address, alike.
    pub remote: Address,
    /// The endpoint's port. See [`Parsed::source_port`] for protocols without ports.
    pub local_port: u16,
    /// The peer's port.
    pub remote_port: u16,
    /// IP protocol number; 0 when not IP.
    pub protocol: u8,
    /// IP version, 4 or 6; 0 when not IP.
    pub l3: u8,
    /// Outermost VLAN identifier, 0 when untagged.
    pub vlan: u16,
}
abi!(FlowKey, size = 44, align = 4);

impl FlowKey {
    /// The flow that a packet going `direction` at `ifindex` belongs to.
    #[inline(always)]
    pub fn new(ifindex: u32, direction: Direction, packet: &Parsed) -> Self {
        let (local, remote, local_port, remote_port) = match direction {
            Direction::Tx => (
                packet.source,
                packet.destination,
                packet.source_port,
                packet.destination_port,
            ),
            Direction::Rx => (
                packet.destination,
                packet.source,
                packet.destination_port,
                packet.source_port,
            ),
        };
        Self {
            ifindex,
            local,
            remote,
            local_port,
            remote_port,
            protocol: packet.protocol,
            l3: packet.l3,
            vlan: packet.vlan,
        }
    }
}
