//! What userspace itself counted and must find again after it was killed. No program reads it.

use crate::{abi::abi, stats::Totals};

/// What flows had that have left the map: a row of `ENDED` for each row of the totals.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ended {
    /// All of it.
    pub traffic: Totals,
    /// How many they were.
    pub flows: u64,
}
abi!(Ended, size = 40, align = 8);

impl core::ops::AddAssign for Ended {
    fn add_assign(&mut self, other: Self) {
        self.traffic += other.traffic;
        self.flows = self.flows.wrapping_add(other.flows);
    }
}

/// The account of all interfaces that left, and how far userspace has come: the only row of `LEDGER`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ledger {
    /// What crossed them.
    pub totals: Totals,
    /// What of it was in flows.
    pub ended: Ended,
    /// All entries made before this moment (`CLOCK_MONOTONIC`, ns) have been read.
    pub drained_ns: u64,
    /// The wall clock less `CLOCK_MONOTONIC`, ns, by which times were told; 0 if none were. It can't be
    /// read twice alike, and a flow has one beginning.
    pub clock_offset_ns: i64,
    /// When entries were last evicted (`CLOCK_MONOTONIC`, ns); 0 if none were.
    pub evicted_ns: u64,
    /// How many interfaces they were.
    pub interfaces: u32,
    /// The last of them, as long as its row has not been given to another; 0 is none. So it is known
    /// whether an interface was added, wherever userspace was stopped.
    pub last: u32,
}
abi!(Ledger, size = 104, align = 8);
