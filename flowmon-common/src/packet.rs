//! Where the parser reads from: an skb, an XDP buffer, or bytes in a test.

/// The bytes of one frame and what its device said about it.
pub trait PacketSource {
    /// Length of the whole frame in bytes, readable in place or not.
    fn frame_len(&self) -> u32;

    /// The first `N` bytes, when they can be read in place: cheap, and enough for most packets.
    fn head<const N: usize>(&self) -> Option<&[u8; N]>;

    /// `N` bytes at `offset`, wherever they lie; `None` beyond the end of the frame.
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]>;

    /// The VLAN tag control information that the device took out of the frame, if it did.
    fn vlan_tci(&self) -> Option<u16>;

    /// The `EtherType` that goes with a frame which has no Ethernet header of its own.
    fn ethertype(&self) -> u16;
}

/// A frame in memory.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    /// The frame.
    pub bytes: &'a [u8],
    /// See [`PacketSource::vlan_tci`].
    pub vlan_tci: Option<u16>,
    /// See [`PacketSource::ethertype`].
    pub ethertype: u16,
}

impl<'a> Frame<'a> {
    /// An Ethernet frame as it is on the wire.
    pub const fn ethernet(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            vlan_tci: None,
            ethertype: 0,
        }
    }
}

impl PacketSource for Frame<'_> {
    fn frame_len(&self) -> u32 {
        u32::try_from(self.bytes.len()).unwrap_or(u32::MAX)
    }

    fn head<const N: usize>(&self) -> Option<&[u8; N]> {
        self.bytes.first_chunk()
    }

    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        self.bytes.get(offset as usize..)?.first_chunk().copied()
    }

    fn vlan_tci(&self) -> Option<u16> {
        self.vlan_tci
    }

    fn ethertype(&self) -> u16 {
        self.ethertype
    }
}
