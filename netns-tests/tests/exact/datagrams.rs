//! UDP: small, larger than the MTU, and cut into datagrams by the kernel (UDP GSO).

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd as _;

use flowmon::lab::traffic::udp_exchange;
use flowmon_common::{Totals, Traffic};
use netns_tests::{counted, interface_counters, require_root};
use nix::libc;
use serde_json::Value;

use crate::{Pair, TestResult, datagram_headers, flow_at, ip_headers, packets};

#[test]
fn small_datagrams_are_counted_one_by_one() -> TestResult {
    const COUNT: u32 = 300;
    if !require_root("small_datagrams_are_counted_one_by_one") {
        return Ok(());
    }
    let pair = Pair::new()?;
    let watch = pair.watch();
    let mut exchanges = Vec::new();
    for address in &pair.b.addresses {
        let server = SocketAddr::new(address.ip(), 0);
        for size in [0, 1, 1452] {
            let (from, to) = (&pair.a.namespace, &pair.b.namespace);
            let exchange = udp_exchange(from, to, server, COUNT, size, true)?;
            exchanges.push((exchange, u64::from(size)));
        }
    }
    let said = pair.end(watch);
    for (exchange, size) in exchanges {
        let flow = flow_at(&said, &pair.a, "udp", exchange.client, exchange.server);
        let each_way = packets(COUNT.into(), datagram_headers(exchange.client.ip()) + size);
        let expected = Totals {
            tx: each_way,
            rx: each_way,
        };
        assert_eq!(counted(&flow), expected, "{exchange:?}");
    }
    Ok(())
}

#[test]
fn a_fragmented_datagram_is_all_its_fragments_in_one_flow() -> TestResult {
    const COUNT: u32 = 100;
    const SIZE: u16 = 8000;
    if !require_root("a_fragmented_datagram_is_all_its_fragments_in_one_flow") {
        return Ok(());
    }
    let pair = Pair::new()?;
    let watch = pair.watch();
    let mut exchanges = Vec::new();
    for address in &pair.b.addresses {
        let server = SocketAddr::new(address.ip(), 0);
        let (from, to) = (&pair.a.namespace, &pair.b.namespace);
        exchanges.push(udp_exchange(from, to, server, COUNT, SIZE, true)?);
    }
    let said = pair.end(watch);
    for exchange in exchanges {
        let flow = flow_at(&said, &pair.a, "udp", exchange.client, exchange.server);
        // What is cut up is the UDP header, too. An IPv4 fragment has room for 1480 bytes of it
        // and an IPv6 fragment, which needs a header of 8 bytes more, for 1448.
        let (room, extension) = if exchange.client.is_ipv4() {
            (1480, 0)
        } else {
            (1448, 8)
        };
        let datagram = u64::from(SIZE) + 8;
        let fragments = datagram.div_ceil(room);
        assert_eq!(fragments, 6);
        let headers = ip_headers(exchange.client.ip()) + extension;
        let each_way = Traffic {
            packets: fragments * u64::from(COUNT),
            bytes: (datagram + fragments * headers) * u64::from(COUNT),
        };
        let expected = Totals {
            tx: each_way,
            rx: each_way,
        };
        assert_eq!(counted(&flow), expected, "{exchange:?}");
    }
    let portless = said
        .flows()
        .into_iter()
        .find(|flow| is_udp(flow) && flow.pointer("/local/port").is_none());
    assert_eq!(portless, None, "each fragment has found its flow");
    Ok(())
}

#[test]
fn datagrams_that_leave_as_one_buffer_are_counted_one_by_one() -> TestResult {
    const BUFFERS: u64 = 200;
    const DATAGRAMS: u64 = 60;
    const SIZE: u16 = 1000;
    if !require_root("datagrams_that_leave_as_one_buffer_are_counted_one_by_one") {
        return Ok(());
    }
    let pair = Pair::new()?;
    let watch = pair.watch();
    let mut flows = Vec::new();
    let before = interface_counters(pair.lab.node(), &pair.a);
    for (from, to) in pair.a.addresses.iter().zip(&pair.b.addresses) {
        let bound = |address| move || UdpSocket::bind(SocketAddr::new(address, 0));
        let far = pair.b.namespace.run(bound(to.ip()))??;
        let near = pair.a.namespace.run(bound(from.ip()))??;
        near.connect(far.local_addr()?)?;
        cut_into(&near, SIZE)?;
        // One more byte is one more datagram.
        let buffer = vec![b'.'; usize::from(SIZE) * usize::try_from(DATAGRAMS - 1)? + 1];
        for _ in 0..BUFFERS {
            near.send(&buffer)?;
        }
        flows.push((near.local_addr()?, far.local_addr()?));
    }
    let buffers = interface_counters(pair.lab.node(), &pair.a).tx.packets - before.tx.packets;
    let said = pair.end(watch);
    for &(client, server) in &flows {
        let flow = flow_at(&said, &pair.a, "udp", client, server);
        let sent = packets(
            BUFFERS * (DATAGRAMS - 1),
            datagram_headers(client.ip()) + u64::from(SIZE),
        );
        let last = packets(BUFFERS, datagram_headers(client.ip()) + 1);
        let mut expected = Totals::default();
        expected.tx += sent;
        expected.tx += last;
        assert_eq!(counted(&flow), expected, "{client}");
    }
    // Else it was no GSO, and this test shows nothing.
    let neighbour_discovery = 10;
    assert!(buffers < 2 * BUFFERS + neighbour_discovery, "{buffers}");
    Ok(())
}

fn is_udp(flow: &Value) -> bool {
    flow.pointer("/protocol").and_then(Value::as_str) == Some("udp")
}

/// Has what is sent cut into datagrams of that many bytes, as late as possible (`udp(7)`).
fn cut_into(socket: &UdpSocket, size: u16) -> io::Result<()> {
    let size = libc::c_int::from(size);
    let length = u32::try_from(size_of_val(&size)).map_err(io::Error::other)?;
    // SAFETY: the option's value is an int, which lives until the call returns.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_UDP,
            libc::UDP_SEGMENT,
            (&raw const size).cast(),
            length,
        )
    };
    if result == 0 {
        return Ok(());
    }
    Err(io::Error::last_os_error())
}
