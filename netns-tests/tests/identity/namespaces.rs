//! What the kernel alone tells: network namespaces and the names that `ip netns` gives them.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use flowmon::{
    lab::{Lab, traffic},
    netlink::{Configure, Veth},
};
use netns_tests::{PrivateMounts, Watch, flowmon, require_root, tool};
use serde_json::{Value, json};

use crate::TestResult;

fn name_of<'a>(record: &'a Value, end: &str) -> Option<&'a str> {
    record
        .pointer(&format!("/{end}/name"))
        .and_then(Value::as_str)
}

#[test]
fn named_namespaces_the_host_and_the_world() -> TestResult {
    if !require_root("named_namespaces_the_host_and_the_world") {
        return Ok(());
    }
    let mounts = PrivateMounts::enter();
    let lab = Lab::new("cni0")?;
    let blue = lab.add_pod("blue", &lab.host(2))?;
    let green = lab.add_pod("green", &lab.host(3))?;
    mounts.name("blue", &blue.namespace);
    mounts.name("green", &green.namespace);
    let watch = Watch::start(lab.node(), &["--iface", "cni0"]);
    let (near, far) = (
        blue.ipv4().ok_or("no address")?,
        green.ipv4().ok_or("no address")?,
    );
    traffic::udp_exchange(
        &blue.namespace,
        &green.namespace,
        (far, 7000).into(),
        3,
        100,
        true,
    )?;
    let v6 = green.ipv6().ok_or("no address")?;
    traffic::ping(&blue.namespace, v6.into(), 7, 1, 0)?;
    let gateway = Ipv4Addr::new(10, 77, 0, 1);
    traffic::ping(&blue.namespace, gateway.into(), 8, 1, 0)?;
    let others = [
        (Ipv4Addr::new(8, 8, 8, 8), "external"),
        (Ipv4Addr::new(10, 99, 0, 1), "unknown"),
        (Ipv4Addr::new(224, 0, 0, 251), "unknown"),
    ];
    blue.namespace.run(|| {
        let socket = UdpSocket::bind((near, 0))?;
        for (address, _) in others {
            socket.send_to(b"?", (address, 9))?;
        }
        Ok::<_, std::io::Error>(())
    })??;
    let ended = watch.stop();
    ended.assert_clean();
    let end = |name: &str| json!({"kind": "netns", "namespace": "default", "name": name, "source": "netns"});
    for (local, remote, side) in [("blue", "green", "remote"), ("green", "blue", "local")] {
        let flow = ended.said.one(&json!({
            "protocol": "udp", "endpoint": end(local), "remote": end(remote), side: {"port": 7000},
        }));
        assert_eq!(flow.pointer("/endpoint/labels"), None, "nobody knows any");
    }
    ended.said.one(&json!({
        "endpoint": end("blue"), "remote": {"ip": v6, "name": "green"}, "protocol": "icmpv6",
        "icmp": {"type": 128},
    }));
    ended.said.one(&json!({
        "endpoint": end("blue"), "protocol": "icmp", "remote": {"ip": gateway, "kind": "host"},
    }));
    for (address, kind) in others {
        let flow = ended
            .said
            .one(&json!({"endpoint": end("blue"), "remote": {"ip": address}}));
        assert_eq!(flow.pointer("/remote/kind"), Some(&json!(kind)), "{flow}");
        assert_eq!(name_of(flow, "remote"), None);
    }
    let first = ended
        .said
        .records
        .iter()
        .find(|record| record.pointer("/protocol") == Some(&json!("udp")));
    let name = first.and_then(|record| name_of(record, "endpoint"));
    assert!(name.is_some(), "from the first record on");
    Ok(())
}

#[test]
fn a_flow_is_told_again_when_its_ends_get_names() -> TestResult {
    if !require_root("a_flow_is_told_again_when_its_ends_get_names") {
        return Ok(());
    }
    let mounts = PrivateMounts::enter();
    let lab = Lab::new("cni0")?;
    let blue = lab.add_pod("blue", &lab.host(2))?;
    let green = lab.add_pod("green", &lab.host(3))?;
    // No reading of counters in between.
    let mut watch = Watch::start(lab.node(), &["--iface", "cni0", "--interval", "1h"]);
    let server = SocketAddr::from((green.ipv4().ok_or("no address")?, 7000));
    traffic::udp_exchange(&blue.namespace, &green.namespace, server, 1, 100, false)?;
    let unnamed =
        watch.wait_for_record(|record| record.pointer("/remote/port") == Some(&json!(7000)));
    assert_eq!(unnamed.pointer("/endpoint/kind"), Some(&json!("unknown")));
    mounts.name("blue", &blue.namespace);
    mounts.name("green", &green.namespace);
    let named = watch.wait_for_record(|record| {
        record.pointer("/remote/port") == Some(&json!(7000))
            && name_of(record, "endpoint") == Some("blue")
            && name_of(record, "remote") == Some("green")
    });
    assert_eq!(named.pointer("/event"), Some(&json!("update")));
    assert_eq!(named.pointer("/tx"), unnamed.pointer("/tx"));
    watch.stop().assert_clean();
    Ok(())
}

#[test]
fn an_address_that_is_used_again_names_who_had_it_then() -> TestResult {
    if !require_root("an_address_that_is_used_again_names_who_had_it_then") {
        return Ok(());
    }
    let mounts = PrivateMounts::enter();
    let lab = Lab::new("cni0")?;
    let client = lab.add_pod("client", &lab.host(9))?;
    mounts.name("client", &client.namespace);
    let mut watch = Watch::start(lab.node(), &["--iface", "cni0"]);
    for (name, port) in [("first", 7001), ("second", 7002), ("third", 7003)] {
        let pod = lab.add_pod(name, &lab.host(2))?;
        mounts.name(name, &pod.namespace);
        let server = SocketAddr::from((pod.ipv4().ok_or("no address")?, port));
        // Who was there before is in the client's neighbour table.
        tool(&client.namespace, "ip", &["neigh", "flush", "dev", "eth0"]);
        traffic::udp_exchange(&client.namespace, &pod.namespace, server, 2, 100, true)?;
        watch.wait_for_record(|record| {
            record.pointer("/remote/port") == Some(&json!(port))
                && name_of(record, "remote") == Some(name)
        });
        lab.remove_pod(pod)?;
    }
    let ended = watch.stop();
    ended.assert_clean();
    for (name, port) in [("first", 7001), ("second", 7002), ("third", 7003)] {
        let flow = ended.said.one(&json!({
            "endpoint": {"name": "client"}, "remote": {"port": port}, "protocol": "udp",
        }));
        assert_eq!(name_of(flow, "remote"), Some(name), "{flow}");
        // And nobody else at any time.
        let others = ended.said.records.iter().filter(|record| {
            record.pointer("/remote/port") == Some(&json!(port))
                && name_of(record, "remote").is_some_and(|other| other != name)
        });
        assert_eq!(others.count(), 0, "flows to {name}");
    }
    Ok(())
}

/// As with Docker, while it makes a container and for a moment at its end.
#[test]
fn a_pair_with_both_ends_on_the_host_is_nobody() -> TestResult {
    if !require_root("a_pair_with_both_ends_on_the_host_is_nobody") {
        return Ok(());
    }
    let lab = Lab::new("cni0")?;
    lab.node().block_on(async || {
        let configure = Configure::open()?;
        let veth = Veth {
            name: "near",
            ifindex: None,
            peer: "far",
            peer_netns: None,
        };
        let near = configure.create_veth(&veth).await?;
        let far = configure.ifindex_of("far").await?;
        let address = "10.78.0.1/24"
            .parse()
            .map_err(|_| flowmon::netlink::Error::Open(std::io::ErrorKind::InvalidInput.into()))?;
        configure.add_address(near, address).await?;
        configure.set_up(near).await?;
        configure.set_up(far).await
    })??;
    let watch = Watch::start(lab.node(), &["--iface", "near", "far"]);
    lab.node().run(|| {
        let socket = UdpSocket::bind((Ipv4Addr::new(10, 78, 0, 1), 0))?;
        socket.set_broadcast(true)?;
        socket.send_to(b"?", (Ipv4Addr::new(10, 78, 0, 255), 9))
    })??;
    let ended = watch.stop();
    ended.assert_clean();
    assert!(!ended.said.flows().is_empty());
    for flow in ended.said.flows() {
        assert_eq!(
            flow.pointer("/endpoint/kind"),
            Some(&json!("unknown")),
            "{flow}"
        );
        assert_eq!(flow.pointer("/endpoint/source"), None, "{flow}");
    }
    let host: IpAddr = Ipv4Addr::new(10, 78, 0, 1).into();
    ended
        .said
        .one(&json!({"endpoint": {"interface": "far"}, "protocol": "udp", "local": {"ip": host}}));
    Ok(())
}

/// From the start of the process to its last line. The machine may be busy: it is measured several
/// times, and the quickest counts.
#[test]
fn timing_250_veths_are_resolved_within_a_second() -> TestResult {
    if !require_root("timing_250_veths_are_resolved_within_a_second") {
        return Ok(());
    }
    let mounts = PrivateMounts::enter();
    let lab = Lab::with_gateways("cni0", &["10.77.0.1/16".parse()?])?;
    let mut pods = Vec::new();
    for number in 0..250_u16 {
        let name = format!("pod-{number}");
        let pod = lab.add_pod(&name, &lab.host(number + 2))?;
        mounts.name(&name, &pod.namespace);
        pods.push((name, pod));
    }
    let mut quickest = Duration::MAX;
    for _ in 0..5 {
        let began = Instant::now();
        let said = flowmon(lab.node(), &["interfaces", "--output", "json"]);
        quickest = quickest.min(began.elapsed());
        let lines = said.stdout.lines().map(serde_json::from_str);
        let lines: Vec<Value> = lines.collect::<Result<_, _>>()?;
        for (name, pod) in &pods {
            let line = lines
                .iter()
                .find(|line| line.pointer("/name") == Some(&json!(pod.interface)));
            let found = line.and_then(|line| name_of(line, "endpoint"));
            assert_eq!(found, Some(&**name), "{line:?}");
        }
    }
    assert!(quickest.as_secs_f64() < 1.0, "{quickest:?}");
    Ok(())
}
