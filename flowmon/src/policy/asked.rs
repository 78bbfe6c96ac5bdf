//! A connection as people ask for it.

use std::{fmt, net::IpAddr, str::FromStr};

use flowmon_common::wire::protocol;

use super::{Connection, Inventory, inventory::PodId, verdict::End};

/// `443`, `53/udp`, `icmp`
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
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

impl fmt::Display for AskedPort {
    /// `443/tcp`, `icmp`
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(number) = self.number {
            write!(out, "{number}/")?;
        }
        match self.protocol {
            protocol::TCP => out.write_str("tcp"),
            protocol::UDP => out.write_str("udp"),
            protocol::SCTP => out.write_str("sctp"),
            protocol::ICMP => out.write_str("icmp"),
            protocol::ICMPV6 => out.write_str("icmpv6"),
            other => other.fmt(out),
        }
    }
}

/// The connection that is asked for, between addresses of the same family.
///
/// # Errors
/// An end that the inventory does not have, or whose addresses do not fit.
pub fn connection(
    inventory: &Inventory,
    initiator_name: &str,
    responder_name: &str,
    port: AskedPort,
) -> Result<Connection, String> {
    let all = connections(inventory, initiator_name, responder_name, port)?;
    all.into_iter().next().ok_or_else(|| {
        let family = match port.protocol {
            protocol::ICMP => "IPv4, as icmp needs",
            protocol::ICMPV6 => "IPv6, as icmpv6 needs",
            _ => "the same family",
        };
        format!("{initiator_name} and {responder_name} have no addresses of {family}")
    })
}

/// The connections that are asked for: one of each family that both ends have addresses of and that
/// the protocol is spoken over.
///
/// # Errors
/// An end that the inventory does not have, or that has no address.
pub fn connections(
    inventory: &Inventory,
    initiator_name: &str,
    responder_name: &str,
    port: AskedPort,
) -> Result<Vec<Connection>, String> {
    let from = ends(inventory, initiator_name, false)?;
    let to = ends(inventory, responder_name, true)?;
    let is_v4 = |end: &End| end.address.to_canonical().is_ipv4();
    // ICMP is another protocol for each version of IP.
    let speaks = |end: &End| match port.protocol {
        protocol::ICMP => is_v4(end),
        protocol::ICMPV6 => !is_v4(end),
        _ => true,
    };
    let mut found: Vec<Connection> = Vec::new();
    for (initiator, responder) in from
        .iter()
        .flat_map(|from| to.iter().map(move |to| (from, to)))
    {
        let is_there = |it: &Connection| is_v4(&it.initiator) == is_v4(initiator);
        if is_v4(initiator) == is_v4(responder) && speaks(initiator) && !found.iter().any(is_there)
        {
            found.push(Connection {
                initiator: initiator.clone(),
                responder: responder.clone(),
                protocol: port.protocol,
                port: port.number,
            });
        }
    }
    Ok(found)
}

/// Everything that an end's name can stand for: its addresses.
fn ends(inventory: &Inventory, text: &str, may_be_service: bool) -> Result<Vec<End>, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(vec![End { address, pod: None }]);
    }
    let Some((namespace, name)) = text.split_once('/') else {
        return Err(format!("{text} is neither an address nor NAMESPACE/NAME"));
    };
    let id = PodId {
        namespace: namespace.into(),
        name: name.into(),
    };
    let (addresses, pod) = if let Some(pod) = inventory.pods.get(&id) {
        (&pod.addresses, Some(id))
    } else if let Some(service) = inventory.services.get(&id).filter(|_| may_be_service) {
        (&service.addresses, None)
    } else {
        let what = if may_be_service {
            "pod or service"
        } else {
            "pod"
        };
        return Err(format!("the inventory has no {what} {text}"));
    };
    if addresses.is_empty() {
        return Err(format!("{text} has no address"));
    }
    let end = |address: &IpAddr| End {
        address: *address,
        pod: pod.clone(),
    };
    Ok(addresses.iter().map(end).collect())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;
    use crate::policy::inventory::{Pod, Service};

    #[test]
    fn ports_have_protocols() {
        let port = |text: &str| {
            text.parse::<AskedPort>()
                .map(|port| (port.protocol, port.number))
        };
        assert_eq!(port("443"), Ok((6, Some(443))));
        assert_eq!(port("53/udp"), Ok((17, Some(53))));
        assert_eq!(port("icmp"), Ok((1, None)));
        for wrong in ["", "0", "65536", "443/", "443/http", "tcp", "-1", "443/TCP"] {
            assert!(port(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_port_is_read_as_it_is_written() {
        for text in ["443/tcp", "53/udp", "3868/sctp", "icmp", "icmpv6"] {
            let port = text.parse::<AskedPort>();
            assert_eq!(port.map(|port| port.to_string()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn ends_are_pods_services_and_addresses() {
        let mut inventory = Inventory::default();
        let id = |name: &str| PodId {
            namespace: "shop".into(),
            name: name.into(),
        };
        let pod = Pod {
            addresses: vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()],
            ..Pod::default()
        };
        let service = Service {
            addresses: vec!["fd96::1".parse().unwrap()],
            ..Service::default()
        };
        inventory.pods.insert(id("cart"), pod);
        inventory.pods.insert(id("done"), Pod::default());
        inventory.services.insert(id("redis"), service);
        let ask = |from: &str, to: &str| connection(&inventory, from, to, "443".parse().unwrap());
        // Of its two addresses the one that the service can be reached from.
        let found = ask("shop/cart", "shop/redis").unwrap();
        assert_eq!(found.initiator.address.to_string(), "fd00::1");
        assert_eq!(found.initiator.pod, Some(id("cart")));
        assert_eq!(found.responder.pod, None);
        // And the one that the protocol is spoken over.
        for (protocol, address) in [("icmp", "10.0.0.1"), ("icmpv6", "fd00::1")] {
            let port = protocol.parse().unwrap();
            let found = connection(&inventory, "shop/cart", "shop/cart", port).unwrap();
            assert_eq!(found.responder.address.to_string(), address);
        }
        assert_eq!((found.protocol, found.port), (6, Some(443)));
        assert!(ask("8.8.8.8", "shop/cart").is_ok());
        for (from, to, why) in [
            (
                "shop/redis",
                "shop/cart",
                "the inventory has no pod shop/redis",
            ),
            (
                "shop/cart",
                "shop/gone",
                "the inventory has no pod or service shop/gone",
            ),
            ("shop/done", "shop/cart", "shop/done has no address"),
            (
                "cart",
                "shop/cart",
                "cart is neither an address nor NAMESPACE/NAME",
            ),
            (
                "8.8.8.8",
                "shop/redis",
                "8.8.8.8 and shop/redis have no addresses of the same family",
            ),
        ] {
            assert_eq!(ask(from, to), Err(why.to_owned()));
        }
    }
}
