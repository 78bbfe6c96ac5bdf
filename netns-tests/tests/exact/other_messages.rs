//! ICMP in both its roles, and ARP.

use std::io;
use std::net::{SocketAddr, UdpSocket};

use flowmon::lab::traffic::ping;
use flowmon_common::Totals;
use netns_tests::{counted, require_root};
use serde_json::{Value, json};

use crate::{Pair, TestResult, datagram_headers, flow_at, packets};

#[test]
fn pings_and_their_answers_are_one_flow() -> TestResult {
    const COUNT: u16 = 50;
    const PAYLOAD: u16 = 56;
    const ID: u16 = 4711;
    if !require_root("pings_and_their_answers_are_one_flow") {
        return Ok(());
    }
    let pair = Pair::new()?;
    let watch = pair.watch();
    for address in &pair.b.addresses {
        let answered = ping(&pair.a.namespace, address.ip(), ID, COUNT, PAYLOAD)?;
        assert_eq!(answered, COUNT);
    }
    let said = pair.end(watch);
    for (from, to) in pair.a.addresses.iter().zip(&pair.b.addresses) {
        let (protocol, kind) = if from.is_ipv4() {
            ("icmp", 8)
        } else {
            ("icmpv6", 128)
        };
        let flow = said.one(&json!({
            "endpoint": {"ifindex": pair.a.ifindex},
            "protocol": protocol,
            "direction": "egress",
            "local": {"ip": from.ip()},
            "remote": {"ip": to.ip()},
            "icmp": {"type": kind, "code": 0, "id": ID},
        }));
        let each_way = packets(
            COUNT.into(),
            datagram_headers(from.ip()) + u64::from(PAYLOAD),
        );
        let expected = Totals {
            tx: each_way,
            rx: each_way,
        };
        assert_eq!(counted(flow), expected, "{protocol}");
    }
    Ok(())
}

#[test]
fn arp_is_attributed_like_all_else() -> TestResult {
    const PAYLOAD: u16 = 56;
    const ARP: u64 = 14 + 28;
    if !require_root("arp_is_attributed_like_all_else") {
        return Ok(());
    }
    let pair = Pair::silent()?;
    let target = pair.b.ipv4().ok_or("it has one")?.into();
    let watch = pair.watch();
    assert_eq!(ping(&pair.a.namespace, target, 1, 1, PAYLOAD)?, 1);
    let said = pair.end(watch);
    for pod in [&pair.a, &pair.b] {
        let flow = said.one(&json!({
            "endpoint": {"ifindex": pod.ifindex},
            "protocol": "arp",
            "local": {"ip": Value::Null, "port": Value::Null},
            "remote": {"ip": Value::Null, "port": Value::Null},
        }));
        let each_way = packets(1, ARP);
        let expected = Totals {
            tx: each_way,
            rx: each_way,
        };
        assert_eq!(counted(flow), expected, "{}", pod.name);
    }
    // Question and answer, of ARP and of ICMP, at both ends.
    let mut each_way = packets(2, ARP);
    each_way += packets(2, datagram_headers(target) + u64::from(PAYLOAD));
    let expected = Totals {
        tx: each_way,
        rx: each_way,
    };
    assert_eq!(said.sum("totals"), expected);
    assert_eq!(said.summary.pointer("/flows"), Some(&json!(4)));
    Ok(())
}

#[test]
fn a_closed_port_shows_in_the_flow_that_asked_for_it() -> TestResult {
    const PAYLOAD: &[u8] = b"anybody in";
    if !require_root("a_closed_port_shows_in_the_flow_that_asked_for_it") {
        return Ok(());
    }
    let pair = Pair::new()?;
    let watch = pair.watch();
    let size = PAYLOAD.len() as u64;
    let mut refused = Vec::new();
    for (from, to) in pair.a.addresses.iter().zip(&pair.b.addresses) {
        let closed = SocketAddr::new(to.ip(), 9);
        let bind = || UdpSocket::bind(SocketAddr::new(from.ip(), 0));
        let socket = pair.a.namespace.run(bind)??;
        socket.connect(closed)?;
        socket.send(PAYLOAD)?;
        let error = socket.recv(&mut [0]).map_err(|error| error.kind());
        assert_eq!(error, Err(io::ErrorKind::ConnectionRefused));
        refused.push((socket.local_addr()?, closed));
    }
    let said = pair.end(watch);
    for (client, server) in refused {
        let (protocol, kind, code) = if client.is_ipv4() {
            ("icmp", 3, 3)
        } else {
            ("icmpv6", 1, 4)
        };
        let headers = datagram_headers(client.ip());
        let flow = flow_at(&said, &pair.a, "udp", client, server);
        let expected = json!({"count": 1, "last_type": kind, "last_code": code});
        assert_eq!(flow.pointer("/icmp_errors"), Some(&expected), "{flow}");
        let asked = Totals {
            tx: packets(1, headers + size),
            ..Totals::default()
        };
        assert_eq!(counted(&flow), asked);
        let error = said.one(&json!({
            "endpoint": {"ifindex": pair.a.ifindex},
            "protocol": protocol,
            "icmp": {"type": kind, "code": code},
        }));
        // It quotes the datagram from its IP header on.
        let answered = Totals {
            rx: packets(1, headers + headers - 14 + size),
            ..Totals::default()
        };
        assert_eq!(counted(error), answered);
    }
    Ok(())
}
