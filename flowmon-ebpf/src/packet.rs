//! The one door to a packet's bytes.

use aya_ebpf::{EbpfContext as _, helpers::generated::bpf_skb_load_bytes, programs::TcContext};
use flowmon_common::PacketSource;

/// A socket buffer on its way through tc.
pub(crate) struct Skb<'a>(pub(crate) &'a TcContext);

impl Skb<'_> {
    /// Interface the hook is on.
    #[inline(always)]
    pub(crate) fn ifindex(&self) -> u32 {
        // SAFETY: the context is valid while the program runs.
        unsafe { (*self.0.skb.skb).ifindex }
    }

    /// Wire packets the buffer stands for; 0 when it is not a GSO buffer.
    #[inline(always)]
    pub(crate) fn segments(&self) -> u32 {
        // SAFETY: the context is valid while the program runs.
        unsafe { (*self.0.skb.skb).gso_segs }
    }
}

impl PacketSource for Skb<'_> {
    #[inline(always)]
    fn frame_len(&self) -> u32 {
        self.0.len()
    }

    #[inline(always)]
    fn head<const N: usize>(&self) -> Option<&[u8; N]> {
        let start = self.0.data();
        if start + N > self.0.data_end() {
            return None;
        }
        // SAFETY: the verifier holds us to the check above, the bytes stay put while no helper
        // changes the packet (none here does), and a byte array needs no alignment.
        Some(unsafe { &*(start as *const [u8; N]) })
    }

    #[inline(always)]
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        let mut bytes = [0u8; N];
        // SAFETY: the helper writes exactly `N` bytes to `bytes` or fails.
        let result = unsafe {
            bpf_skb_load_bytes(self.0.as_ptr(), offset, bytes.as_mut_ptr().cast(), N as u32)
        };
        (result == 0).then_some(bytes)
    }

    #[inline(always)]
    fn vlan_tci(&self) -> Option<u16> {
        // SAFETY: the context is valid while the program runs.
        let present = unsafe { (*self.0.skb.skb).vlan_present };
        // SAFETY: as above.
        (present != 0).then(|| unsafe { (*self.0.skb.skb).vlan_tci } as u16)
    }

    #[inline(always)]
    fn ethertype(&self) -> u16 {
        // SAFETY: the context is valid while the program runs.
        u16::from_be(unsafe { (*self.0.skb.skb).protocol } as u16)
    }
}
