//! Two packets compared in a way that a person can read.

use std::net::Ipv6Addr;

use flowmon_common::{Address, Parsed};

/// The fields in which two packets differ, a line each.
pub(crate) fn differences(expected: &Parsed, found: &Parsed) -> String {
    let lines = describe(expected).into_iter().zip(describe(found));
    let lines: Vec<_> = lines
        .filter(|(expected, found)| expected != found)
        .map(|((name, expected), (_, found))| {
            format!("  {name}: expected {expected}, found {found}\n")
        })
        .collect();
    lines.concat()
}

fn describe(packet: &Parsed) -> [(&'static str, String); 19] {
    [
        ("source", address(packet.source)),
        ("destination", address(packet.destination)),
        ("source_port", packet.source_port.to_string()),
        ("destination_port", packet.destination_port.to_string()),
        ("vlan", packet.vlan.to_string()),
        ("protocol", packet.protocol.to_string()),
        ("l3", packet.l3.to_string()),
        ("header_len", packet.header_len.to_string()),
        ("payload_len", packet.payload_len.to_string()),
        ("sequence", packet.sequence.to_string()),
        ("acknowledgement", packet.acknowledgement.to_string()),
        ("window", packet.window.to_string()),
        ("tcp_flags", format!("{:#04x}", packet.tcp_flags)),
        ("tcp_header", packet.tcp_header.to_string()),
        ("sender", format!("{:?}", packet.sender)),
        ("fragment", format!("{:?}", packet.fragment)),
        ("fragment_id", format!("{:#x}", packet.fragment_id)),
        ("icmp_error", packet.icmp_error.to_string()),
        ("jumbo", packet.jumbo.to_string()),
    ]
}

fn address(address: Address) -> String {
    Ipv6Addr::from(address).to_canonical().to_string()
}
