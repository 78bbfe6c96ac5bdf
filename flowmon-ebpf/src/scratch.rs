//! Room that the 512-byte stack does not have: this CPU's own, as tc programs do not interrupt one
//! another.

use core::mem::MaybeUninit;

use aya_ebpf::{macros::map, maps::PerCpuArray};
use flowmon_common::{FlowStats, Parsed};

struct Room {
    packet: MaybeUninit<Parsed>,
    quoted: MaybeUninit<Parsed>,
    stats: MaybeUninit<FlowStats>,
    offset: MaybeUninit<usize>,
}

#[map]
static SCRATCH: PerCpuArray<Room> = PerCpuArray::with_max_entries(1, 0);

/// For the packet at hand, when it takes the full parser.
#[inline(always)]
pub(crate) fn packet() -> Option<&'static mut MaybeUninit<Parsed>> {
    let room = SCRATCH.get_ptr_mut(0)?;
    // SAFETY: this CPU's own, and the only reference to this part while one program runs.
    Some(unsafe { &mut (*room).packet })
}

/// For the packet that an ICMP error quotes.
#[inline(always)]
pub(crate) fn quoted() -> Option<&'static mut MaybeUninit<Parsed>> {
    let room = SCRATCH.get_ptr_mut(0)?;
    // SAFETY: as above.
    Some(unsafe { &mut (*room).quoted })
}

/// For the entry of a new flow.
#[inline(always)]
pub(crate) fn stats() -> Option<&'static mut MaybeUninit<FlowStats>> {
    let room = SCRATCH.get_ptr_mut(0)?;
    // SAFETY: as above.
    Some(unsafe { &mut (*room).stats })
}

/// For an offset that the verifier is to forget.
#[inline(always)]
pub(crate) fn offset() -> Option<&'static mut MaybeUninit<usize>> {
    let room = SCRATCH.get_ptr_mut(0)?;
    // SAFETY: as above.
    Some(unsafe { &mut (*room).offset })
}
