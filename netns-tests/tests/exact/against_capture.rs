//! Totals against the kernel's interface counters and a packet capture of the same veth.

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use flowmon::lab::traffic::{ping, tcp_connections, tcp_refused, tcp_transfer, udp_exchange};
use flowmon::lab::{Namespace, Pod};
use flowmon_common::{Totals, Traffic};
use netns_tests::{Capture, Frame, Watch, counted, interface_counters, require_root, tool};

use crate::{Pair, TestResult, end, flow_at, packets, since};

#[test]
fn without_gso_totals_are_the_interface_counters_and_the_capture() -> TestResult {
    if !require_root("without_gso_totals_are_the_interface_counters_and_the_capture") {
        return Ok(());
    }
    let pair = Pair::silent()?;
    for pod in [&pair.a, &pair.b] {
        switch_gso_off(&pod.namespace, "eth0")?;
        switch_gso_off(pair.lab.node(), &pod.interface)?;
    }
    let totals = seen_alike_by_all(&pair, || {
        let (a, b) = (&pair.a.namespace, &pair.b.namespace);
        let at = |pod: &Pod, port| {
            pod.ipv4()
                .map(|address| SocketAddr::new(address.into(), port))
        };
        let at_b = |port| at(&pair.b, port).ok_or("it has one");
        tcp_transfer(a, b, at_b(0)?, 30_000_000, 0)?;
        tcp_transfer(a, b, at_b(0)?, 0, 30_000_000)?;
        tcp_connections(a, b, at_b(0)?, 200, 100, 10_000)?;
        tcp_refused(a, at_b(81)?)?;
        udp_exchange(a, b, at_b(0)?, 2000, 100, true)?;
        udp_exchange(a, b, at_b(0)?, 200, 8000, true)?;
        udp_exchange(b, a, at(&pair.a, 0).ok_or("it has one")?, 200, 1472, false)?;
        ping(a, at_b(0)?.ip(), 1, 100, 1000)?;
        Ok(())
    })?;
    let least = 30_000_000 / 1448;
    assert!(totals.tx.packets > least && totals.rx.packets > least);
    Ok(())
}

/// The kernel segments between the hook on the way to the pod, where flowmon works out what a
/// buffer will be, and the veth, where tcpdump sees what it has become.
#[test]
fn what_is_segmented_behind_the_hook_was_counted_as_the_segments() -> TestResult {
    if !require_root("what_is_segmented_behind_the_hook_was_counted_as_the_segments") {
        return Ok(());
    }
    let pair = Pair::silent()?;
    switch_gso_off(pair.lab.node(), &pair.a.interface)?;
    let buffers_before = interface_counters(pair.lab.node(), &pair.b);
    let totals = seen_alike_by_all(&pair, || {
        let server = SocketAddr::new(pair.b.ipv4().ok_or("it has one")?.into(), 0);
        tcp_transfer(&pair.a.namespace, &pair.b.namespace, server, 0, 100_000_000)?;
        Ok(())
    })?;
    let buffers = since(buffers_before, interface_counters(pair.lab.node(), &pair.b));
    assert!(
        buffers.tx.packets * 5 < totals.rx.packets,
        "b sent no super-packets: {buffers:?}, {totals:?}"
    );
    Ok(())
}

/// Buffers of more than 64 KB (BIG TCP), for which the stack puts a hop-by-hop header into IPv6 that
/// never goes out: the node's other port takes no buffers of segments, so they are cut behind the
/// hook.
#[test]
fn buffers_beyond_64_kilobytes_are_the_segments_they_become() -> TestResult {
    if !require_root("buffers_beyond_64_kilobytes_are_the_segments_they_become") {
        return Ok(());
    }
    let pair = Pair::new()?;
    for (namespace, interface) in [
        (&pair.b.namespace, "eth0"),
        (pair.lab.node(), pair.b.interface.as_str()),
    ] {
        let set = ["link", "set", "dev", interface, "gso_max_size", "200000"];
        tool(namespace, "ip", &set);
    }
    // So that nobody takes a smaller one whole.
    switch_gso_off(pair.lab.node(), &pair.a.interface)?;
    let server = SocketAddr::new(pair.b.ipv6().ok_or("it has one")?.into(), 0);
    let buffers_before = interface_counters(pair.lab.node(), &pair.b);
    let capture = Capture::start(pair.lab.node(), &pair.a);
    let watch = Watch::start(pair.lab.node(), &["--iface", &pair.a.interface]);
    let (a, b) = (&pair.a.namespace, &pair.b.namespace);
    let exchange = tcp_transfer(a, b, server, 0, 50_000_000)?;
    let said = end(watch);
    let flow = flow_at(&said, &pair.a, "tcp", exchange.client, exchange.server);
    // A multicast listener report may come at any time: what is compared is TCP.
    let frames = capture.stop_with_frames(&said.sum("totals"));
    let captured = Totals {
        tx: tcp_over_ipv6(&frames.tx),
        rx: tcp_over_ipv6(&frames.rx),
    };
    assert_eq!(counted(&flow), captured, "flowmon and tcpdump");
    let buffers = since(buffers_before, interface_counters(pair.lab.node(), &pair.b));
    assert!(
        buffers.tx.packets * 5 < captured.rx.packets,
        "{buffers:?}, {captured:?}"
    );
    Ok(())
}

fn tcp_over_ipv6(frames: &[Frame]) -> Traffic {
    let is_it = |frame: &&Frame| {
        let byte = |at| frame.headers.get(at).copied();
        [byte(12), byte(13), byte(20)] == [Some(0x86), Some(0xdd), Some(6)]
    };
    let mut sum = Traffic::default();
    for frame in frames.iter().filter(is_it) {
        sum += packets(1, frame.length.into());
    }
    sum
}

/// Runs the traffic while flowmon, the kernel and tcpdump count at the veth of a: they must agree.
fn seen_alike_by_all(
    pair: &Pair,
    traffic: impl FnOnce() -> TestResult,
) -> Result<Totals, Box<dyn std::error::Error>> {
    let node = pair.lab.node();
    let before = interface_counters(node, &pair.a);
    let capture = Capture::start(node, &pair.a);
    let watch = Watch::start(node, &["--iface", &pair.a.interface]);
    traffic()?;
    let totals = end(watch).sum("totals");
    let counters = since(before, interface_counters(node, &pair.a));
    let captured = capture.stop(&counters);
    assert_eq!(totals, counters, "flowmon and the interface counters");
    assert_eq!(totals, captured, "flowmon and tcpdump");
    Ok(totals)
}

/// From now on, every buffer that leaves or enters here is one frame.
fn switch_gso_off(namespace: &Namespace, interface: &str) -> TestResult {
    let mut ethtool = Command::new("ethtool");
    ethtool
        .args(["-K", interface])
        .args(["tso", "off", "gso", "off", "gro", "off"])
        .stderr(Stdio::piped());
    let output = namespace.spawn_command(&mut ethtool)?.wait_with_output()?;
    assert!(
        output.status.success(),
        "ethtool: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
