//! Adding to what other CPUs add to.

use core::intrinsics::{AtomicOrdering, atomic_xadd};

/// `*counter += value`, losing nothing to other CPUs.
///
/// `AtomicU64::fetch_add` does not exist on this target; this compiles to the one instruction
/// (`BPF_XADD`) that every supported kernel has.
///
/// # Safety
///
/// `counter` is valid and aligned.
#[inline(always)]
pub(crate) unsafe fn add(counter: *mut u64, value: u64) {
    // SAFETY: the caller's.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(counter, value) };
}
