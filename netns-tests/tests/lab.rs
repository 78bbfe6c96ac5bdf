//! A lab is what it says.

use std::error::Error;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use flowmon::lab::{self, DemoNetwork, Lab, Namespace, Pod, traffic};
use flowmon::model::Interface;
use flowmon::netlink;
use netns_tests::{Said, flowmon, require_root};
use serde_json::{Value, json};

type TestResult = Result<(), Box<dyn Error>>;

fn pair(lab: &Lab) -> Result<(Pod, Pod), lab::Error> {
    Ok((
        lab.add_pod("a", &lab.host(2))?,
        lab.add_pod("b", &lab.host(3))?,
    ))
}

fn interfaces(namespace: &Namespace) -> Result<Vec<Interface>, lab::Error> {
    Ok(namespace.block_on(netlink::list)??)
}

fn find<'a>(interfaces: &'a [Interface], name: &str) -> Result<&'a Interface, String> {
    let found = interfaces.iter().find(|interface| interface.name == name);
    found.ok_or_else(|| format!("{name} is not among {interfaces:#?}"))
}

#[test]
fn pods_reach_one_another_over_both_families() -> TestResult {
    if !require_root("pods_reach_one_another_over_both_families") {
        return Ok(());
    }
    let lab = Lab::new("cni0")?;
    let (a, b) = pair(&lab)?;
    let (from, to) = (&a.namespace, &b.namespace);
    for address in &b.addresses {
        let at = |port| SocketAddr::new(address.ip(), port);
        let transfer = traffic::tcp_transfer(from, to, at(8080), 3_000_000, 0)?;
        assert_eq!(
            (transfer.server, transfer.sent, transfer.received),
            (at(8080), 3_000_000, 0)
        );
        assert!(
            a.addresses
                .iter()
                .any(|own| own.ip() == transfer.client.ip()),
            "{transfer:?}"
        );
        assert_eq!(
            traffic::tcp_transfer(from, to, at(8080), 1, 3_000_000)?.received,
            3_000_000
        );

        let connections = traffic::tcp_connections(from, to, at(0), 50, 100, 1000)?;
        let mut ports: Vec<_> = connections.iter().map(|one| one.client.port()).collect();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 50, "each connection has a port of its own");

        assert_ne!(traffic::tcp_refused(from, at(1))?.port(), 0);
        assert_eq!(
            traffic::udp_exchange(from, to, at(0), 500, 200, true)?.received,
            100_000
        );
        assert_eq!(
            traffic::udp_exchange(from, to, at(0), 3, 8000, false)?.sent,
            24_000
        );
        let answer = Ipv4Addr::new(10, 77, 0, 9);
        assert_eq!(
            traffic::dns_lookup(from, to, at(53), "api.lab", answer)?.sent,
            25
        );
        assert_eq!(traffic::ping(from, address.ip(), 7, 3, 56)?, 3);
    }
    for gateway in ["10.77.0.1", "fd77::1"] {
        assert_eq!(traffic::ping(from, gateway.parse()?, 8, 1, 0)?, 1);
    }
    Ok(())
}

#[test]
fn what_cannot_be_reached_is_an_error() -> TestResult {
    if !require_root("what_cannot_be_reached_is_an_error") {
        return Ok(());
    }
    let lab = Lab::new("cni0")?;
    let (a, b) = pair(&lab)?;
    let nobodys: SocketAddr = "10.78.0.1:80".parse()?;
    let error = traffic::tcp_transfer(&a.namespace, &b.namespace, nobodys, 1, 1);
    let message = error
        .err()
        .map(|error| error.to_string())
        .unwrap_or_default();
    assert!(
        message.starts_with("TCP from a to 10.78.0.1:80 failed: "),
        "{message}"
    );
    Ok(())
}

#[test]
fn ports_are_on_the_bridge() -> TestResult {
    if !require_root("ports_are_on_the_bridge") {
        return Ok(());
    }
    let lab = Lab::new("cni0")?;
    let a = lab.add_pod("a", &lab.host(2))?;
    let b = lab.add_pod_at("b", "vethb", &lab.host(3))?;
    assert_eq!(a.interface.len(), "veth".len() + 8);
    let interfaces = interfaces(lab.node())?;
    let bridge = find(&interfaces, "cni0")?;
    assert!(bridge.is_bridge() && bridge.up);
    assert_eq!(bridge.ifindex, lab.bridge_ifindex());
    for pod in [&a, &b] {
        let port = find(&interfaces, &pod.interface)?;
        assert_eq!(
            (port.ifindex, port.master),
            (pod.ifindex, Some(bridge.ifindex))
        );
        assert!(port.up && port.leads_to_endpoint());
        let eth0 = find(&self::interfaces(&pod.namespace)?, "eth0")?.clone();
        let peer = port.peer.ok_or("a veth has a peer")?;
        assert_eq!(peer.ifindex, eth0.ifindex);
        assert!(peer.netnsid.is_some(), "the peer is in another namespace");
    }
    let lo = find(&interfaces, "lo")?;
    assert!(lo.up && lo.kind.is_none() && lo.peer.is_none());
    Ok(())
}

#[test]
fn nobody_speaks_unasked() -> TestResult {
    if !require_root("nobody_speaks_unasked") {
        return Ok(());
    }
    let lab = Lab::with_gateways("cni0", &["10.77.0.1/24".parse()?])?;
    let (a, b) = pair(&lab)?;
    let listed = interfaces(lab.node())?;
    for pod in [&a, &b] {
        let counters = find(&listed, &pod.interface)?.counters;
        assert_eq!(
            (counters.rx_packets, counters.tx_packets),
            (0, 0),
            "{}",
            pod.name
        );
    }
    assert!(a.ipv6().is_none());
    Ok(())
}

#[test]
fn settings_are_made_in_the_namespace_only() -> TestResult {
    if !require_root("settings_are_made_in_the_namespace_only") {
        return Ok(());
    }
    let (one, other) = (Namespace::new("one")?, Namespace::new("other")?);
    let ttl = || fs::read_to_string("/proc/sys/net/ipv4/ip_default_ttl");
    let before = (ttl()?, other.run(ttl)??);
    one.set_sysctl("net/ipv4/ip_default_ttl", "42")?;
    assert_eq!(one.run(ttl)??.trim(), "42");
    assert_eq!((ttl()?, other.run(ttl)??), before);
    let error = one.set_sysctl("net/ipv4/ip_default_ttl", "x").err();
    let message = error.map(|error| error.to_string()).unwrap_or_default();
    assert!(
        message.starts_with("cannot set /proc/sys/net/ipv4/ip_default_ttl to x"),
        "{message}"
    );
    Ok(())
}

#[test]
fn commands_and_threads_run_in_the_namespace() -> TestResult {
    if !require_root("commands_and_threads_run_in_the_namespace") {
        return Ok(());
    }
    let namespace = Namespace::new("here")?;
    let own = || fs::read_link("/proc/thread-self/ns/net");
    let expected = fs::read_link(namespace.path())?;
    assert_ne!(own()?, expected);
    assert_eq!(namespace.run(own)??, expected);
    assert_eq!(
        namespace.spawn(own)?.join().map_err(|_| "panic")??,
        expected
    );

    let mut readlink = Command::new("readlink");
    readlink.arg("/proc/self/ns/net").stdout(Stdio::piped());
    let output = namespace.spawn_command(&mut readlink)?.wait_with_output()?;
    assert_eq!(
        String::from_utf8(output.stdout)?.trim(),
        expected.to_string_lossy()
    );

    let net = format!("--net={}", namespace.path().display());
    let output = Command::new("nsenter")
        .args([&net, "readlink", "/proc/self/ns/net"])
        .output()?;
    assert_eq!(
        String::from_utf8(output.stdout)?.trim(),
        expected.to_string_lossy()
    );
    Ok(())
}

#[test]
fn a_hundred_pods_are_made_quickly() -> TestResult {
    if !require_root("a_hundred_pods_are_made_quickly") {
        return Ok(());
    }
    let lab = Lab::new("cni0")?;
    let begin = Instant::now();
    let pods = (0..100)
        .map(|number| lab.add_pod(&format!("pod{number}"), &lab.host(number + 2)))
        .collect::<Result<Vec<_>, _>>()?;
    let took = begin.elapsed();
    report(&format!("100 pods in {took:?}"));
    let (first, last) = (pods.first().ok_or("none")?, pods.last().ok_or("none")?);
    let target = last.ipv4().map(IpAddr::from).ok_or("no address")?;
    assert_eq!(traffic::ping(&first.namespace, target, 1, 1, 0)?, 1);
    assert_eq!(interfaces(lab.node())?.len(), 102);
    Ok(())
}

#[test]
fn demo_traffic_flows_until_it_is_stopped() -> TestResult {
    if !require_root("demo_traffic_flows_until_it_is_stopped") {
        return Ok(());
    }
    let demo = DemoNetwork::new()?;
    assert_eq!(
        demo.pods().map(|pod| pod.name.as_str()),
        ["web", "api", "cache", "dns"]
    );
    let traffic = demo.start_traffic()?;
    let (_open, never) = mpsc::channel::<()>();
    assert!(never.recv_timeout(Duration::from_millis(1500)).is_err());
    let begin = Instant::now();
    let rounds = traffic.stop();
    let took = begin.elapsed();
    report(&format!("{rounds} rounds in 1.5 s, stopped in {took:?}"));
    assert!(rounds >= 2, "{rounds} rounds");
    assert!(took < Duration::from_secs(1), "{took:?}");
    Ok(())
}

/// Whatever the pods do there is allowed, but for one thing; only what Kubernetes leaves open, or was
/// under way before, is undecided.
#[test]
fn the_demo_names_its_pods_and_judges_them() -> TestResult {
    if !require_root("the_demo_names_its_pods_and_judges_them") {
        return Ok(());
    }
    let here = Namespace::new("here")?;
    let demo = flowmon(&here, &["demo", "--duration", "3s", "--output", "json"]);
    assert_eq!(demo.code, Some(0), "{}", demo.stderr);
    let lines: Vec<String> = demo.stdout.lines().map(str::to_owned).collect();
    let said = Said::parse(&lines);
    said.assert_complete();
    let mut denied = 0;
    for flow in said.flows() {
        let at = |pointer| flow.pointer(pointer).unwrap_or(&Value::Null);
        assert_eq!(at("/endpoint/namespace"), "demo", "{flow}");
        assert_eq!(at("/endpoint/labels/app"), at("/endpoint/name"), "{flow}");
        let ports = [at("/local/port"), at("/remote/port")];
        let is_mistake = at("/protocol") == "tcp" && ports.contains(&&json!(6380));
        let is_open = at("/direction") == "unknown"
            || ["icmp", "icmpv6"]
                .map(|name| json!(name))
                .contains(at("/protocol"));
        let outcome = at("/verdict/outcome");
        if outcome.is_null() {
            continue; // ARP, neighbour discovery
        }
        assert_eq!(outcome == "denied", is_mistake, "{flow}");
        assert!(outcome != "undecided" || is_open, "{flow}");
        denied += u32::from(is_mistake);
    }
    assert!(denied > 0, "the mistake is seen: {}", demo.stdout);
    Ok(())
}

#[expect(
    clippy::print_stderr,
    reason = "a measurement is part of a test's output"
)]
fn report(measured: &str) {
    eprintln!("{measured}");
}
