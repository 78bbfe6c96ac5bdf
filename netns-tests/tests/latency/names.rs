//! DNS: what was asked, what came back, and how long it took.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use flowmon::lab::traffic::{dns_lookup, ping};
use netns_tests::require_root;
use serde_json::{Value, json};

use crate::{PATIENCE, Pair, TestResult, end, flow_at, number};

/// A recursive query for `api.lab`, as RFC 1035 lays it out.
const QUERY: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03api\x03lab\0\0\x01\0\x01";

#[test]
fn a_name_that_is_found_takes_a_round_trip_to_the_server() -> TestResult {
    if !require_root("a_name_that_is_found_takes_a_round_trip_to_the_server") {
        return Ok(());
    }
    let pair = Pair::close()?;
    let watch = pair.watch();
    let (near, far) = (&pair.near.namespace, &pair.far.namespace);
    let mut exchanges = Vec::new();
    for (from, to) in pair.near.addresses.iter().zip(&pair.far.addresses) {
        let server = SocketAddr::new(to.ip(), 53);
        let answer = [10, 77, 0, 9].into();
        let port = dns_lookup(near, far, server, "api.lab", answer)?
            .client
            .port();
        exchanges.push((SocketAddr::new(from.ip(), port), server));
    }
    let said = end(watch);
    let dns = json!({"queries": 1, "answers": 1, "timeouts": 0, "rcodes": ["NOERROR"]});
    for (client, server) in exchanges {
        for (pod, local, remote, side, other) in [
            (&pair.near, client, server, "network", "container"),
            (&pair.far, server, client, "container", "network"),
        ] {
            let flow = flow_at(&said, pod, "udp", local, remote);
            assert_eq!(flow.pointer("/dns"), Some(&dns), "{flow}");
            assert_eq!(timed(flow, side), Some(&json!(1)), "{flow}");
            assert_eq!(timed(flow, other), None, "{flow}");
            assert!(number(flow, &format!("/rtt/{side}/avg_us"))? > 0.0);
        }
        // The way from the client's veth contains that from the server's.
        let at = |pod, local, remote| flow_at(&said, pod, "udp", local, remote);
        let whole = number(at(&pair.near, client, server), "/rtt/network/max_us")?;
        let part = number(at(&pair.far, server, client), "/rtt/container/max_us")?;
        assert!(part <= whole, "{part} µs of {whole} µs");
    }
    Ok(())
}

#[test]
fn what_a_name_server_refuses_shows() -> TestResult {
    const RCODES: [(u8, &str); 3] = [(2, "SERVFAIL"), (3, "NXDOMAIN"), (5, "REFUSED")];
    if !require_root("what_a_name_server_refuses_shows") {
        return Ok(());
    }
    let pair = Pair::close()?;
    let (client, server) = sockets(&pair)?;
    // The interfaces have been in use: nobody knows what was under way, but a question is one.
    assert_eq!(
        ping(&pair.near.namespace, server.local_addr()?.ip(), 1, 1, 0)?,
        1
    );
    let watch = pair.watch();
    for (rcode, _) in RCODES {
        client.send(QUERY)?;
        let mut message = [0; 512];
        let (length, from) = server.recv_from(&mut message)?;
        // It is a response, recursion was available, and the code.
        for (byte, value) in message.iter_mut().skip(2).zip([0x81, 0x80 | rcode]) {
            *byte = value;
        }
        server.send_to(message.get(..length).ok_or("a message")?, from)?;
        client.recv(&mut message)?;
    }
    let said = end(watch);
    let names = RCODES.map(|(_, name)| name);
    let dns = json!({"queries": 3, "answers": 3, "timeouts": 0, "rcodes": names});
    let (local, remote) = (client.local_addr()?, server.local_addr()?);
    let flow = flow_at(&said, &pair.near, "udp", local, remote);
    assert_eq!(flow.pointer("/dns"), Some(&dns));
    assert_eq!(flow.pointer("/direction"), Some(&json!("egress")));
    assert_eq!(timed(flow, "network"), Some(&json!(3)), "{flow}");
    let flow = flow_at(&said, &pair.far, "udp", remote, local);
    assert_eq!(flow.pointer("/dns"), Some(&dns));
    assert_eq!(timed(flow, "container"), Some(&json!(3)), "{flow}");
    Ok(())
}

#[test]
fn a_query_that_nobody_answers_times_nothing() -> TestResult {
    if !require_root("a_query_that_nobody_answers_times_nothing") {
        return Ok(());
    }
    let pair = Pair::close()?;
    let (client, server) = sockets(&pair)?;
    let mut watch = pair.watch();
    client.send(QUERY)?;
    server.recv(&mut [0; 512])?;
    watch.wait_for_record(|record| record.pointer("/dns/queries") == Some(&json!(1)));
    let said = end(watch);
    let (local, remote) = (client.local_addr()?, server.local_addr()?);
    for (pod, local, remote) in [(&pair.near, local, remote), (&pair.far, remote, local)] {
        let flow = flow_at(&said, pod, "udp", local, remote);
        let dns = json!({"queries": 1, "answers": 0, "timeouts": 0, "rcodes": []});
        assert_eq!(flow.pointer("/dns"), Some(&dns), "{flow}");
        assert_eq!(flow.pointer("/rtt"), None, "{flow}");
    }
    Ok(())
}

/// As resolvers do: it waits for an answer, asks again, and gives up at last.
#[test]
fn queries_without_an_answer_in_time_are_counted() -> TestResult {
    /// Longer than flowmon's 2 s.
    const RESOLVER_TIMEOUT: Duration = Duration::from_millis(2100);
    if !require_root("queries_without_an_answer_in_time_are_counted") {
        return Ok(());
    }
    let pair = Pair::close()?;
    let (client, server) = sockets(&pair)?;
    client.set_read_timeout(Some(RESOLVER_TIMEOUT))?;
    let watch = pair.watch();
    let mut message = [0; 512];
    for is_answered in [false, true, false] {
        client.send(QUERY)?;
        let (length, from) = server.recv_from(&mut message)?;
        if is_answered {
            for (byte, value) in message.iter_mut().skip(2).zip([0x81, 0x80]) {
                *byte = value;
            }
            server.send_to(message.get(..length).ok_or("a message")?, from)?;
        }
        assert_eq!(client.recv(&mut message).is_ok(), is_answered);
    }
    let said = end(watch);
    let (local, remote) = (client.local_addr()?, server.local_addr()?);
    let dns = json!({"queries": 3, "answers": 1, "timeouts": 2, "rcodes": ["NOERROR"]});
    for (pod, local, remote) in [(&pair.near, local, remote), (&pair.far, remote, local)] {
        let flow = flow_at(&said, pod, "udp", local, remote);
        assert_eq!(flow.pointer("/dns"), Some(&dns), "{flow}");
    }
    Ok(())
}

/// The client's, and the name server's.
fn sockets(pair: &Pair) -> Result<(UdpSocket, UdpSocket), Box<dyn std::error::Error>> {
    let bound = |address| move || UdpSocket::bind(address);
    let server = bound(crate::port_of(&pair.far, 53)?);
    let server = pair.far.namespace.run(server)??;
    let client = bound(crate::port_of(&pair.near, 0)?);
    let client = pair.near.namespace.run(client)??;
    client.connect(server.local_addr()?)?;
    for socket in [&client, &server] {
        socket.set_read_timeout(Some(PATIENCE))?;
    }
    Ok((client, server))
}

fn timed<'a>(flow: &'a Value, side: &str) -> Option<&'a Value> {
    flow.pointer(&format!("/rtt/{side}/samples"))
}
