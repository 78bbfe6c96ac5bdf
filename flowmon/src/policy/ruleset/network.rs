//! Networks: one of them, or many at once.

use std::net::{IpAddr, Ipv4Addr};

use ipnetwork::{IpNetwork, Ipv4Network};

/// The address, with an IPv4-mapped IPv6 one (RFC 4291 2.5.5.2) as the IPv4 one that it is.
pub(in crate::policy) const fn normal(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// Do both have the same family?
pub(super) const fn same_family(one: IpAddr, other: IpAddr) -> bool {
    one.is_ipv4() == other.is_ipv4()
}

/// A network, for comparing. It contains addresses of its own family only.
#[derive(Debug, Clone, Copy)]
pub(super) enum Network {
    V4 { base: u32, mask: u32 },
    V6 { base: u128, mask: u128 },
}

impl Network {
    /// Contains this address?
    pub(super) fn contains(self, address: IpAddr) -> bool {
        match (self, address) {
            (Self::V4 { base, mask }, IpAddr::V4(address)) => address.to_bits() & mask == base,
            (Self::V6 { base, mask }, IpAddr::V6(address)) => address.to_bits() & mask == base,
            _ => false,
        }
    }

    /// Contains every address of this one's family?
    pub(super) const fn contains_family_of(self, address: IpAddr) -> bool {
        match self {
            Self::V4 { mask, .. } => mask == 0 && address.is_ipv4(),
            Self::V6 { mask, .. } => mask == 0 && address.is_ipv6(),
        }
    }
}

impl From<&IpNetwork> for Network {
    /// Host bits are masked.
    fn from(network: &IpNetwork) -> Self {
        match unmapped(network) {
            IpNetwork::V4(network) => {
                let mask = network.mask().to_bits();
                let base = network.ip().to_bits() & mask;
                Self::V4 { base, mask }
            }
            IpNetwork::V6(network) => {
                let mask = network.mask().to_bits();
                let base = network.ip().to_bits() & mask;
                Self::V6 { base, mask }
            }
        }
    }
}

/// `::ffff:10.0.0.0/104` is `10.0.0.0/8`.
fn unmapped(network: &IpNetwork) -> IpNetwork {
    let IpNetwork::V6(v6) = network else {
        return *network;
    };
    let v4 = |address: Ipv4Addr| Ipv4Network::new(address, v6.prefix().checked_sub(96)?).ok();
    let v4 = v6.ip().to_ipv4_mapped().and_then(v4);
    v4.map_or(*network, IpNetwork::V4)
}

/// Many networks, asked as one.
#[derive(Debug, Clone, Default)]
pub(super) struct Networks {
    /// First and last addresses of what they cover, in order, none touching another. IPv4 and IPv6
    /// don't mix: addresses compare by family first.
    ranges: Vec<(IpAddr, IpAddr)>,
}

impl Networks {
    /// Is the address in one of them?
    pub(super) fn contains(&self, address: IpAddr) -> bool {
        let after = self.ranges.partition_point(|(first, _)| *first <= address);
        let range = after.checked_sub(1).and_then(|at| self.ranges.get(at));
        range.is_some_and(|(_, last)| address <= *last)
    }
}

impl<'a> FromIterator<&'a IpNetwork> for Networks {
    fn from_iter<T: IntoIterator<Item = &'a IpNetwork>>(networks: T) -> Self {
        let range = |network: &IpNetwork| {
            let network = unmapped(network);
            (network.network(), network.broadcast())
        };
        let mut found: Vec<_> = networks.into_iter().map(range).collect();
        found.sort_unstable();
        let mut ranges: Vec<(IpAddr, IpAddr)> = Vec::new();
        for (first, last) in found {
            match ranges.last_mut() {
                // Networks are nested or apart.
                Some((_, before)) if first <= *before => *before = last.max(*before),
                _ => ranges.push((first, last)),
            }
        }
        Self { ranges }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;

    fn network(text: &str) -> IpNetwork {
        text.parse().unwrap()
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_network_contains_what_its_prefix_says() {
        let cases = [
            ("10.1.2.3/16", "10.1.255.255", true),
            ("10.1.2.3/16", "10.2.0.0", false),
            ("0.0.0.0/0", "255.255.255.255", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "10.0.0.1", false),
            ("::/0", "fd00::1", true),
            ("fd00:1::/32", "fd00:1:ffff::", true),
            ("fd00:1::/32", "fd00:2::", false),
            ("10.0.0.1/32", "10.0.0.1", true),
            ("::ffff:10.0.0.0/104", "10.3.2.1", true),
            ("::ffff:10.0.0.0/104", "11.3.2.1", false),
        ];
        for (of, tested, contained) in cases {
            let one = Network::from(&network(of));
            assert_eq!(one.contains(address(tested)), contained, "{of} {tested}");
            let all = Networks::from_iter([&network(of), &network("192.168.0.0/24")]);
            assert_eq!(all.contains(address(tested)), contained, "{of} {tested}");
        }
    }

    #[test]
    fn nested_networks_are_one() {
        let texts = ["10.0.0.0/8", "10.1.0.0/16", "fd00::/8", "10.2.0.0/16"];
        let networks: Vec<_> = texts.iter().map(|text| network(text)).collect();
        let all: Networks = networks.iter().collect();
        assert_eq!(all.ranges.len(), 2);
        assert!(all.contains(address("10.200.0.1")) && all.contains(address("fdff::")));
        assert!(!all.contains(address("11.0.0.0")) && !all.contains(address("9.255.255.255")));
    }
}
