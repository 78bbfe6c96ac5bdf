//! What userspace tells the kernel side.

use crate::{abi::abi, address::Address};

/// A watched interface: the value of its entry in `ENDPOINTS`, by ifindex.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint {
    /// From this moment (`CLOCK_MONOTONIC`, ns), who is seen speaking first in a connectionless
    /// protocol is taken to have opened the flow; before it, the flow may have been under way.
    pub settled_ns: u64,
    /// Row of the interface in the totals.
    pub slot: u16,
    /// IP versions of which all the endpoint's addresses are in `OWNED`: bit `n` is version `n`.
    pub owned: u16,
    /// Named padding.
    pub reserved: u32,
}
abi!(Endpoint, size = 16, align = 8);

/// An address that belongs to the endpoint behind an interface: a key of `OWNED`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owned {
    /// The interface.
    pub ifindex: u32,
    /// The address.
    pub address: Address,
}
abi!(Owned, size = 20, align = 4);

/// The kernel's two clocks at one moment.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Clocks {
    /// `CLOCK_MONOTONIC`, ns.
    pub monotonic_ns: u64,
    /// `jiffies_64`.
    pub jiffies: u64,
}
abi!(Clocks, size = 16, align = 8);

/// Entries of the flow map unless userspace says otherwise.
pub const MAX_FLOWS: u32 = 65_536;
/// Interfaces that can be watched at once.
pub const MAX_ENDPOINTS: u16 = 1024;
/// Addresses that can be known to be somebody's, of all interfaces together.
pub const MAX_OWNED: u32 = 16_384;
/// Datagrams that can be in pieces at once.
pub const MAX_FRAGMENTS: u32 = 8192;
/// Size of the event ring: a power of two, in whole pages.
pub const EVENTS_BYTES: u32 = 4 << 20;
