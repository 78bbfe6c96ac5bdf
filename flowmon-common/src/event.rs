//! What userspace is told at once, through the ring buffer. The drain finds whatever was lost here.

use crate::{
    abi::{self, abi},
    key::FlowKey,
};

/// A flow's entry was made; with its first packet.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewFlow {
    /// [`NewFlow::KIND`]: tells this event from others to come.
    pub kind: u8,
    /// A [`crate::Direction`]: which way the first packet went.
    pub direction: u8,
    /// An [`crate::Initiator`].
    pub initiator: u8,
    /// TCP flags of the first packet.
    pub tcp_flags: u8,
    /// Wire packets of the first buffer.
    pub packets: u32,
    /// The entry's `first_ns`.
    pub first_ns: u64,
    /// Wire bytes of the first buffer.
    pub bytes: u64,
    /// Which flow.
    pub key: FlowKey,
    /// Named padding.
    pub reserved: u32,
}
abi!(NewFlow, size = 72, align = 8);

impl NewFlow {
    /// The value of `kind`.
    pub const KIND: u8 = 1;

    /// Reads a ring-buffer record; `None` when it is not of this kind or not whole.
    pub fn decode(record: &[u8]) -> Option<Self> {
        abi::read::<Self>(record).filter(|event| event.kind == Self::KIND)
    }
}

#[cfg(test)]
mod tests {
    use super::NewFlow;

    #[test]
    fn neither_short_nor_foreign_records_decode() {
        let mut record = [0u8; size_of::<NewFlow>()];
        assert_eq!(NewFlow::decode(&record), None);
        record[0] = NewFlow::KIND;
        assert!(NewFlow::decode(&record).is_some());
        for len in 0..record.len() {
            assert_eq!(record.get(..len).and_then(NewFlow::decode), None);
        }
    }
}
