//! A port that is asked for, as people write it.

use std::str::FromStr;

use flowmon_common::wire::protocol;

/// `443`, `53/udp`, `icmp`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AskedPort {
    /// IP protocol number; TCP if not said.
    pub protocol: u8,
    /// None of a protocol without ports.
    pub number: Option<u16>,
}

impl FromStr for AskedPort {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let expected = "expected a port like 443, 53/udp or 3868/sctp, or icmp or icmpv6";
        let portless = match text {
            "icmp" => Some(protocol::ICMP),
            "icmpv6" => Some(protocol::ICMPV6),
            _ => None,
        };
        if let Some(protocol) = portless {
            let number = None;
            return Ok(Self { protocol, number });
        }
        let (number, name) = text.split_once('/').unwrap_or((text, "tcp"));
        let protocol = match name {
            "tcp" => protocol::TCP,
            "udp" => protocol::UDP,
            "sctp" => protocol::SCTP,
            _ => return Err(expected),
        };
        match number.parse() {
            Ok(number @ 1..) => Ok(Self {
                protocol,
                number: Some(number),
            }),
            _ => Err(expected),
        }
    }
}
