//! Fields of a header. The offsets are constants: once inlined, nothing is left of the checks.

use crate::address::Address;

/// `N` bytes at `offset`.
#[inline(always)]
pub(super) fn bytes<const N: usize>(header: &[u8], offset: usize) -> Option<[u8; N]> {
    header.get(offset..)?.first_chunk().copied()
}

/// The IPv6 address at `offset`.
#[inline(always)]
pub(super) fn address(header: &[u8], offset: usize) -> Option<Address> {
    let word = |at| bytes(header, offset + at).map(u32::from_ne_bytes);
    Some(Address::v6([word(0)?, word(4)?, word(8)?, word(12)?]))
}

/// One byte.
#[inline(always)]
pub(super) fn byte(header: &[u8], offset: usize) -> Option<u8> {
    header.get(offset).copied()
}

/// Two bytes in network order.
#[inline(always)]
pub(super) fn be16(header: &[u8], offset: usize) -> Option<u16> {
    bytes(header, offset).map(u16::from_be_bytes)
}

/// Four bytes in network order.
#[inline(always)]
pub(super) fn be32(header: &[u8], offset: usize) -> Option<u32> {
    bytes(header, offset).map(u32::from_be_bytes)
}
