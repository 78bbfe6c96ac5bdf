//! The one door to the bytes of a frame in XDP.

use core::hint::black_box;

use aya_ebpf::programs::XdpContext;
use flowmon_common::PacketSource;

use crate::scratch;

/// A frame before it becomes a socket buffer, or, with generic XDP, what looks like one. All of it
/// lies in place.
///
/// What the verifier knows of an offset that bytes are loaded from multiplies what it has to walk
/// through, by ten where headers follow one another. So it is made to forget it, unless the
/// offsets are `FIXED`, or nearly.
pub(crate) struct XdpFrame<'a, const FIXED: bool>(pub(crate) &'a XdpContext);

impl<const FIXED: bool> XdpFrame<'_, FIXED> {
    #[inline(always)]
    fn offset(offset: usize) -> Option<usize> {
        if FIXED {
            return Some(black_box(offset));
        }
        let room = scratch::offset()?;
        room.write(offset);
        // SAFETY: it was written just before. Volatile, for the compiler forgets nothing.
        Some(unsafe { room.as_ptr().read_volatile() })
    }
}

impl<const FIXED: bool> PacketSource for XdpFrame<'_, FIXED> {
    #[inline(always)]
    fn frame_len(&self) -> u32 {
        (self.0.data_end() - self.0.data()) as u32
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
        const MOST: usize = 0x7fff;
        let offset = Self::offset(offset as usize)?;
        // The verifier has to see the bound, which the compiler would take for granted; and what is
        // read must be the very pointer that was checked, which the compiler would work out twice.
        let start = black_box(self.0.data() + (black_box(offset) & MOST));
        if start + N > self.0.data_end() {
            return None;
        }
        // SAFETY: as in `head`: the check above is of this very pointer.
        Some(unsafe { *(start as *const [u8; N]) })
    }

    /// What a device took out of the frame, XDP is not told.
    #[inline(always)]
    fn vlan_tci(&self) -> Option<u16> {
        None
    }

    #[inline(always)]
    fn ethertype(&self) -> u16 {
        0
    }
}
