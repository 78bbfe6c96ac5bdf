//! An IP address as keys hold it.

use core::net::{Ipv4Addr, Ipv6Addr};

/// An IPv6 address, or an IPv4 one as `::ffff:a.b.c.d` (RFC 4291 2.5.5.2); all zero is none.
///
/// Words in network order: the kernel side moves it by words, and a byte array by bytes.
#[repr(transparent)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Address([u32; 4]);

impl Address {
    /// None.
    pub const NONE: Self = Self([0; 4]);

    /// From the four bytes of an IPv4 header.
    #[inline(always)]
    pub const fn v4(bytes: [u8; 4]) -> Self {
        Self([0, 0, 0xffff_u32.to_be(), u32::from_ne_bytes(bytes)])
    }

    /// From four words of an IPv6 header, each as it lies in memory.
    #[inline(always)]
    pub const fn v6(words: [u32; 4]) -> Self {
        Self(words)
    }

    /// The four words, each as it lies in memory.
    #[inline(always)]
    pub const fn words(self) -> [u32; 4] {
        self.0
    }

    /// The sixteen bytes in the order of the wire.
    pub const fn octets(self) -> [u8; 16] {
        let [a, b, c, d] = self.0;
        let (a, b, c, d) = (
            a.to_ne_bytes(),
            b.to_ne_bytes(),
            c.to_ne_bytes(),
            d.to_ne_bytes(),
        );
        [
            a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3], //
            c[0], c[1], c[2], c[3], d[0], d[1], d[2], d[3],
        ]
    }
}

impl From<Address> for Ipv6Addr {
    fn from(address: Address) -> Self {
        Self::from(address.octets())
    }
}

impl From<Ipv6Addr> for Address {
    fn from(address: Ipv6Addr) -> Self {
        let words = address.to_bits().to_be_bytes();
        let word = |at: usize| {
            let mut bytes = [0; 4];
            bytes.copy_from_slice(words.get(at..at + 4).unwrap_or(&[0; 4]));
            u32::from_ne_bytes(bytes)
        };
        Self([word(0), word(4), word(8), word(12)])
    }
}

impl From<Ipv4Addr> for Address {
    fn from(address: Ipv4Addr) -> Self {
        Self::v4(address.octets())
    }
}

#[cfg(test)]
mod tests {
    use super::Address;
    use core::net::{Ipv4Addr, Ipv6Addr};

    #[test]
    fn keeps_the_order_of_the_wire() {
        let v6 = Ipv6Addr::new(0xfd77, 1, 2, 3, 4, 5, 6, 0x789a);
        assert_eq!(Address::from(v6).octets(), v6.octets());
        assert_eq!(Ipv6Addr::from(Address::from(v6)), v6);
        let v4 = Ipv4Addr::new(10, 77, 0, 1);
        assert_eq!(Ipv6Addr::from(Address::from(v4)), v4.to_ipv6_mapped());
    }
}
