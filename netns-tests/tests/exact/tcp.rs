//! TCP: super-packets by the hundred megabytes, and thousands of connections.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use flowmon::lab::Namespace;
use flowmon::lab::traffic::{tcp_connections, tcp_refused, tcp_transfer};
use flowmon_common::{Totals, Traffic};
use netns_tests::{TcpCounters, counted, interface_counters, require_root};
use serde_json::{Value, json};

use crate::{Pair, TestResult, flow_at, ip_headers, packets, seen_at, since};

/// With the timestamp option, which all but a reset have.
const TCP_HEADER: u64 = 32;
/// What a SYN has on top: maximum segment size, SACK permitted, window scale.
const SYN_OPTIONS: u64 = 8;

#[test]
fn hundreds_of_megabytes_are_counted_as_the_segments_they_become() -> TestResult {
    if !require_root("hundreds_of_megabytes_are_counted_as_the_segments_they_become") {
        return Ok(());
    }
    let pair = Pair::silent()?;
    let server = SocketAddr::new(pair.b.ipv4().ok_or("it has one")?.into(), 0);
    transfer_is_exact(&pair, server, 400_000_000)
}

#[test]
fn so_they_are_over_ipv6() -> TestResult {
    if !require_root("so_they_are_over_ipv6") {
        return Ok(());
    }
    let pair = Pair::new()?;
    let server = SocketAddr::new(pair.b.ipv6().ok_or("it has one")?.into(), 0);
    transfer_is_exact(&pair, server, 200_000_000)
}

fn transfer_is_exact(pair: &Pair, server: SocketAddr, bytes: u64) -> TestResult {
    let (a, b) = (&pair.a.namespace, &pair.b.namespace);
    let tcp_before = (TcpCounters::of(a), TcpCounters::of(b));
    let buffers_before = interface_counters(pair.lab.node(), &pair.a);
    let watch = pair.watch();
    let exchange = tcp_transfer(a, b, server, bytes, 0)?;
    let said = pair.end(watch);
    let buffers = since(buffers_before, interface_counters(pair.lab.node(), &pair.a));
    let (sent, answered) = (
        TcpCounters::of(a).since(&tcp_before.0),
        TcpCounters::of(b).since(&tcp_before.1),
    );

    let flow = flow_at(&said, &pair.a, "tcp", exchange.client, exchange.server);
    assert_eq!(flow.pointer("/tcp/state"), Some(&json!("closed")));
    let Totals { tx, rx } = counted(&flow);
    assert_eq!(
        (tx.packets, rx.packets),
        (sent.segments, answered.segments),
        "the segments that TCP says it sent"
    );
    let headers = ip_headers(server.ip()) + TCP_HEADER;
    let payload = tx.bytes - SYN_OPTIONS - headers * tx.packets;
    // Segments that overtake one another, from CPU to CPU, make TCP send some again.
    let most_again = sent.retransmitted * (1514 - headers);
    assert!(
        (bytes..=bytes + most_again).contains(&payload),
        "{payload} bytes of payload, of which at most {most_again} sent again"
    );

    let seen = seen_at(&said, &pair.a);
    assert!(
        buffers.tx.packets * 5 < seen.tx.packets,
        "this was no GSO: {buffers:?}, {seen:?}"
    );
    // Multicast listener reports may have passed between the counters' reading and the watch.
    if server.is_ipv4() {
        assert_eq!(seen.rx, buffers.rx, "acknowledgements are never merged");
        let hidden = packets(seen.tx.packets - buffers.tx.packets, headers);
        assert_eq!(
            seen.tx.bytes - buffers.tx.bytes,
            hidden.bytes,
            "a buffer of many segments has the headers of one"
        );
    }
    Ok(())
}

#[test]
fn each_of_thousands_of_connections_is_a_flow_of_its_own() -> TestResult {
    const COUNT: usize = 1000;
    const REQUEST: u64 = 300;
    const RESPONSE: u64 = 5000;
    if !require_root("each_of_thousands_of_connections_is_a_flow_of_its_own") {
        return Ok(());
    }
    let pair = Pair::new()?;
    let (a, b) = (&pair.a.namespace, &pair.b.namespace);
    no_tail_loss_probes(a)?;
    no_tail_loss_probes(b)?;
    let before = (TcpCounters::of(a), TcpCounters::of(b));
    let watch = pair.watch();
    let mut exchanges = Vec::new();
    for address in &pair.b.addresses {
        let server = SocketAddr::new(address.ip(), 8080);
        exchanges.extend(tcp_connections(a, b, server, COUNT, REQUEST, RESPONSE)?);
    }
    let said = pair.end(watch);
    let (sent, answered) = (
        TcpCounters::of(a).since(&before.0),
        TcpCounters::of(b).since(&before.1),
    );
    let again = (sent.retransmitted, answered.retransmitted);
    assert_eq!(again, (0, 0), "else what was sent twice is not known");

    let flows = said.matching(&json!({
        "endpoint": {"ifindex": pair.a.ifindex}, "protocol": "tcp", "direction": "egress",
    }));
    assert_eq!(flows.len(), exchanges.len());
    let by_address: BTreeMap<String, &Value> = flows
        .iter()
        .filter_map(|flow| Some((flow.pointer("/local")?.to_string(), *flow)))
        .collect();
    let mut all = Totals::default();
    for exchange in exchanges {
        let client = json!({"ip": exchange.client.ip(), "port": exchange.client.port()});
        let flow = by_address.get(&client.to_string()).ok_or("no flow")?;
        assert_eq!(flow.pointer("/tcp/state"), Some(&json!("closed")), "{flow}");
        let Totals { tx, rx } = counted(flow);
        assert_eq!(tx.bytes, on_the_wire(exchange.client.ip(), REQUEST, tx));
        assert_eq!(rx.bytes, on_the_wire(exchange.client.ip(), RESPONSE, rx));
        // SYN, its acknowledgement, request, FIN, and its acknowledgement; as many the other way.
        assert!(tx.packets >= 4 && rx.packets >= 4, "{flow}");
        all += Totals { tx, rx };
    }
    assert_eq!(
        (all.tx.packets, all.rx.packets),
        (sent.segments, answered.segments),
        "the segments that TCP says it sent"
    );
    Ok(())
}

#[test]
fn a_refused_connection_is_refused() -> TestResult {
    if !require_root("a_refused_connection_is_refused") {
        return Ok(());
    }
    let pair = Pair::new()?;
    let watch = pair.watch();
    let mut attempts = Vec::new();
    for (from, to) in pair.a.addresses.iter().zip(&pair.b.addresses) {
        let closed = SocketAddr::new(to.ip(), 81);
        let port = tcp_refused(&pair.a.namespace, closed)?.port();
        attempts.push((SocketAddr::new(from.ip(), port), closed));
    }
    let said = pair.end(watch);
    for (client, closed) in attempts {
        let flow = flow_at(&said, &pair.a, "tcp", client, closed);
        assert_eq!(flow.pointer("/tcp/state"), Some(&json!("refused")));
        assert_eq!(flow.pointer("/direction"), Some(&json!("egress")));
        let reset = ip_headers(client.ip()) + 20;
        let expected = Totals {
            tx: packets(1, ip_headers(client.ip()) + TCP_HEADER + SYN_OPTIONS),
            rx: packets(1, reset),
        };
        assert_eq!(counted(&flow), expected, "{client}");
    }
    Ok(())
}

/// Bytes of a connection's packets one way, when that much payload was sent and none of it twice.
fn on_the_wire(address: IpAddr, payload: u64, seen: Traffic) -> u64 {
    payload + SYN_OPTIONS + seen.packets * (ip_headers(address) + TCP_HEADER)
}

/// On a busy machine a peer can be late enough to be probed with what it has already (RFC 8985,
/// section 7).
fn no_tail_loss_probes(namespace: &Namespace) -> TestResult {
    Ok(namespace.set_sysctl("net/ipv4/tcp_early_retrans", "0")?)
}
