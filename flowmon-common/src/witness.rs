//! What the XDP program counts of an interface, apart from what the flow programs count there.

use crate::{
    abi::abi,
    packet::PacketSource,
    stats::Traffic,
    wire::{ETHERNET_LEN, VLAN_TAG_LEN, ethertype},
};

/// A row of the witness's counts: one interface on one CPU. Buffers, not wire packets: generic XDP
/// is shown a GSO super-packet as one frame.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Witness {
    /// What the endpoint sent, as it lay in the buffers.
    pub seen: Traffic,
    /// Buffers with a VLAN tag in them. XDP comes before the kernel takes the outermost one out,
    /// tc after it; but not where a device had taken out another before, which XDP is not told.
    pub tagged: u64,
    /// Connections that the endpoint asked for: TCP segments with SYN and no ACK.
    pub syns: u64,
}
abi!(Witness, size = 32, align = 8);

impl core::ops::AddAssign for Witness {
    fn add_assign(&mut self, other: Self) {
        self.seen += other.seen;
        self.tagged = self.tagged.wrapping_add(other.tagged);
        self.syns = self.syns.wrapping_add(other.syns);
    }
}

/// Is there a VLAN tag in the data of a frame?
#[inline(always)]
pub fn is_tagged<S: PacketSource>(source: &S) -> bool {
    let kind = source.head::<{ ETHERNET_LEN as usize }>();
    matches!(
        kind.map(|head| u16::from_be_bytes([head[12], head[13]])),
        Some(ethertype::VLAN | ethertype::QINQ)
    )
}

/// Tags that the parser follows, and one more.
const MAX_TAGS: u32 = 3;

/// Bytes of VLAN tags in the data of a frame.
#[inline(always)]
pub fn tag_bytes<S: PacketSource>(source: &S) -> u32 {
    let mut bytes = 0;
    for _ in 0..MAX_TAGS {
        match source
            .load::<2>(ETHERNET_LEN - 2 + bytes)
            .map(u16::from_be_bytes)
        {
            Some(ethertype::VLAN | ethertype::QINQ) => bytes += VLAN_TAG_LEN,
            _ => break,
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::{is_tagged, tag_bytes};
    use crate::packet::Frame;

    #[test]
    fn a_tag_more_in_the_data_is_four_bytes_more() {
        let mut frame = [0u8; 14].to_vec();
        for tags in 0..5 {
            let expected = tags.min(3) * 4;
            assert_eq!(tag_bytes(&Frame::ethernet(&frame)), expected);
            assert_eq!(is_tagged(&Frame::ethernet(&frame)), tags > 0);
            frame.truncate(frame.len() - 2);
            frame.extend([0x81, 0x00, 0, 7, 0x08, 0x00]);
        }
        assert_eq!(tag_bytes(&Frame::ethernet(&[0x81; 13])), 0);
    }
}
