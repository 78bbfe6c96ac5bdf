//! What time it is.

use aya_ebpf::helpers::{bpf_jiffies64, bpf_ktime_get_ns};
use flowmon_common::Clocks;

use crate::maps::CLOCKS;

/// `CLOCK_MONOTONIC`, ns. Costs as much as finding a flow: for what is rare.
#[inline(always)]
pub(crate) fn monotonic_ns() -> u64 {
    // SAFETY: takes nothing, returns a number.
    unsafe { bpf_ktime_get_ns() }
}

/// Ticks of the kernel's timer: for every packet.
#[inline(always)]
pub(crate) fn jiffies() -> u64 {
    // SAFETY: takes nothing, returns a number.
    unsafe { bpf_jiffies64() }
}

/// Leaves both in `CLOCKS`, so that userspace can tell one by the other.
#[inline(always)]
pub(crate) fn read() {
    if let Some(clocks) = CLOCKS.get_ptr_mut(0) {
        let now = Clocks {
            monotonic_ns: monotonic_ns(),
            jiffies: jiffies(),
        };
        // SAFETY: a pointer to the map's one entry, which only this program writes.
        unsafe { clocks.write(now) };
    }
}
