//! Interfaces come, go, and change while they are watched.

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;

use flowmon::lab::{self, Lab, Pod, traffic};
use flowmon::netlink::{Configure, Veth};
use flowmon_common::{Totals, Traffic};
use netns_tests::{Said, Watch, counted, interface_counters, require_root};
use serde_json::{Value, json};

type TestResult = Result<(), Box<dyn Error>>;

/// An echo request without payload: Ethernet, IPv4 and ICMP headers.
const ECHO: u64 = 14 + 20 + 8;

fn pings(count: u64) -> Totals {
    let traffic = Traffic {
        packets: count,
        bytes: count * ECHO,
    };
    Totals {
        tx: traffic,
        rx: traffic,
    }
}

/// Pings the bridge: nothing but the pod's own port sees it.
fn ping(pod: &Pod, count: u16) -> Result<(), lab::Error> {
    let bridge = Ipv4Addr::new(10, 77, 0, 1);
    let answered = traffic::ping(&pod.namespace, bridge.into(), 7, count, 0)?;
    assert_eq!(answered, count);
    Ok(())
}

/// What was counted of the pings at this interface, flow by flow, in order.
fn pinged(said: &Said, interface: &str, ifindex: u32) -> Vec<Totals> {
    let endpoint = json!({"interface": interface, "ifindex": ifindex});
    let pattern = json!({"protocol": "icmp", "endpoint": endpoint});
    let mut flows = said.matching(&pattern);
    flows.sort_by_key(|flow| flow.pointer("/first_seen").map(Value::to_string));
    flows.into_iter().map(counted).collect()
}

fn attached(interface: &str) -> String {
    format!("attached interface=\"{interface}\"")
}

fn detached(interface: &str) -> String {
    format!("detached interface=\"{interface}\"")
}

/// Changes the node's interfaces.
fn configure(
    lab: &Lab,
    change: impl AsyncFnOnce(&Configure) -> Result<(), flowmon::netlink::Error> + Send,
) -> TestResult {
    Ok(lab
        .node()
        .block_on(async || change(&Configure::open()?).await)??)
}

#[test]
fn a_new_port_is_watched_from_its_first_packet() -> TestResult {
    if !require_root("a_new_port_is_watched_from_its_first_packet") {
        return Ok(());
    }
    // IPv4 only: nobody speaks unasked.
    let lab = Lab::with_gateways("cni0", &["10.77.0.1/16".parse()?])?;
    let mut watch = Watch::start(lab.node(), &["--iface", "cni0"]);
    let pod = lab.add_pod_at("a", "vetha", &lab.host(2))?;
    watch.wait_for_stderr(&attached("vetha"));
    ping(&pod, 3)?;
    let counters = interface_counters(lab.node(), &pod);
    let ended = watch.stop();
    ended.assert_clean();
    assert_eq!(pinged(&ended.said, "vetha", pod.ifindex), [pings(3)]);
    assert_eq!(ended.said.sum("totals"), counters, "since it was made");
    Ok(())
}

/// While programs are attached and detached, one after the other, a datagram may pass unseen: the answer
/// to it must not be taken for a question.
#[test]
fn answers_are_no_questions_when_the_watch_begins_and_ends() -> TestResult {
    if !require_root("answers_are_no_questions_when_the_watch_begins_and_ends") {
        return Ok(());
    }
    let lab = Lab::new("cni0")?;
    let client = lab.add_pod_at("a", "vetha", &lab.host(2))?;
    let server = lab.add_pod_at("b", "vethb", &lab.host(3))?;
    let address = server.ipv4().ok_or("no address")?;
    let over = AtomicBool::new(false);
    let runs: Vec<_> = thread::scope(|scope| {
        for _ in 0..2 {
            let (client, server, over) = (&client.namespace, &server.namespace, &over);
            scope.spawn(move || {
                while !over.load(Relaxed) {
                    let to = SocketAddr::new(address.into(), 0);
                    let passed = traffic::udp_exchange(client, server, to, 1, 10, true);
                    assert!(passed.is_ok(), "{passed:?}");
                }
            });
        }
        let runs: Vec<_> = (0..2)
            .map(|_| {
                let mut watch = Watch::start(lab.node(), &["--iface", "cni0"]);
                // Known is who asked, when it has been attached for a while.
                watch.wait_for_record(|record| {
                    let at = |pointer| record.pointer(pointer);
                    (at("/protocol"), at("/direction"))
                        == (Some(&json!("udp")), Some(&json!("egress")))
                });
                watch.stop()
            })
            .collect();
        over.store(true, Relaxed);
        runs
    });
    for ended in runs {
        ended.assert_clean();
        for (interface, wrong) in [("vetha", "ingress"), ("vethb", "egress")] {
            let endpoint = json!({"interface": interface});
            let pattern = json!({"protocol": "udp", "endpoint": endpoint, "direction": wrong});
            assert_eq!(ended.said.matching(&pattern), Vec::<&Value>::new());
        }
    }
    Ok(())
}

#[test]
fn a_removed_port_is_settled_at_once() -> TestResult {
    if !require_root("a_removed_port_is_settled_at_once") {
        return Ok(());
    }
    let lab = Lab::new("cni0")?;
    let going = lab.add_pod_at("a", "vetha", &lab.host(2))?;
    let staying = lab.add_pod_at("b", "vethb", &lab.host(3))?;
    let mut watch = Watch::start(lab.node(), &["--iface", "cni0"]);
    ping(&going, 3)?;
    ping(&staying, 1)?;
    let ifindex = going.ifindex;
    lab.remove_pod(going)?;
    let last = watch.wait_for_record(|record| {
        record.pointer("/event") == Some(&json!("end"))
            && record.pointer("/endpoint/interface") == Some(&json!("vetha"))
            && record.pointer("/protocol") == Some(&json!("icmp"))
    });
    assert_eq!(counted(&last), pings(3));
    watch.wait_for_stderr(&detached("vetha"));
    ping(&staying, 1)?;
    let ended = watch.stop();
    ended.assert_clean();
    assert_eq!(pinged(&ended.said, "vetha", ifindex), [pings(3)]);
    assert_eq!(pinged(&ended.said, "vethb", staying.ifindex), [pings(2)]);
    assert_eq!(ended.said.summary.pointer("/interfaces"), Some(&json!(2)));
    Ok(())
}

#[test]
fn a_reused_name_or_index_is_a_new_endpoint() -> TestResult {
    if !require_root("a_reused_name_or_index_is_a_new_endpoint") {
        return Ok(());
    }
    let lab = Lab::new("cni0")?;
    let mut watch = Watch::start(lab.node(), &["--iface", "cni0"]);
    let mut add = |name, ifindex, count| -> Result<Pod, Box<dyn Error>> {
        let pod = lab.add_pod_as("a", name, ifindex, &lab.host(2))?;
        watch.wait_for_stderr(&attached(name));
        ping(&pod, count)?;
        Ok(pod)
    };
    let first = add("vetha", None, 1)?;
    let first_index = first.ifindex;
    lab.remove_pod(first)?;
    let second = add("vetha", None, 2)?;
    let second_index = second.ifindex;
    assert_ne!(second_index, first_index);
    lab.remove_pod(second)?;
    let third = add("vethb", Some(second_index), 4)?;
    assert_eq!(third.ifindex, second_index);
    lab.remove_pod(third)?;
    let fourth = add("vethb", Some(second_index), 8)?;
    assert_eq!(fourth.ifindex, second_index);
    let ended = watch.stop();
    ended.assert_clean();
    assert_eq!(pinged(&ended.said, "vetha", first_index), [pings(1)]);
    assert_eq!(pinged(&ended.said, "vetha", second_index), [pings(2)]);
    assert_eq!(
        pinged(&ended.said, "vethb", second_index),
        [pings(4), pings(8)]
    );
    assert_eq!(ended.said.summary.pointer("/interfaces"), Some(&json!(4)));
    Ok(())
}

#[test]
fn ports_that_come_and_go_faster_than_can_be_followed() -> TestResult {
    if !require_root("ports_that_come_and_go_faster_than_can_be_followed") {
        return Ok(());
    }
    let lab = Lab::new("cni0")?;
    let mut watch = Watch::start(lab.node(), &["--iface", "cni0"]);
    configure(&lab, async |configure| {
        for round in 0..50 {
            let veth = Veth {
                name: "vetha",
                // The same index every other time, and the name always.
                ifindex: (round % 2 == 0).then_some(1000),
                peer: "peera",
                peer_netns: None,
            };
            let ifindex = configure.create_veth(&veth).await?;
            let bridge = lab.bridge_ifindex();
            configure.set_master(ifindex, Some(bridge)).await?;
            configure.set_up(ifindex).await?;
            configure.delete(ifindex).await?;
        }
        Ok(())
    })?;
    let pod = lab.add_pod_as("a", "vethb", Some(1000), &lab.host(2))?;
    watch.wait_for_stderr(&attached("vethb"));
    ping(&pod, 3)?;
    let ended = watch.stop();
    ended.assert_clean();
    assert_eq!(pinged(&ended.said, "vethb", 1000), [pings(3)]);
    Ok(())
}

#[test]
fn a_port_leaves_and_comes_back() -> TestResult {
    if !require_root("a_port_leaves_and_comes_back") {
        return Ok(());
    }
    let lab = Lab::new("cni0")?;
    let pod = lab.add_pod_at("a", "vetha", &lab.host(2))?;
    let mut watch = Watch::start(lab.node(), &["--iface", "cni0"]);
    ping(&pod, 2)?;
    configure(&lab, async |configure| {
        configure.set_master(pod.ifindex, None).await
    })?;
    watch.wait_for_stderr(&detached("vetha"));
    configure(&lab, async |configure| {
        configure
            .set_master(pod.ifindex, Some(lab.bridge_ifindex()))
            .await?;
        configure.carries_frames(pod.ifindex).await
    })?;
    watch.wait_for_stderr(&attached("vetha"));
    ping(&pod, 5)?;
    let ended = watch.stop();
    ended.assert_clean();
    assert_eq!(
        pinged(&ended.said, "vetha", pod.ifindex),
        [pings(2), pings(5)]
    );
    Ok(())
}

#[test]
fn a_renamed_port_keeps_its_flows() -> TestResult {
    if !require_root("a_renamed_port_keeps_its_flows") {
        return Ok(());
    }
    let lab = Lab::new("cni0")?;
    let pod = lab.add_pod_at("a", "vetha", &lab.host(2))?;
    let mut watch = Watch::start(lab.node(), &["--iface", "cni0", "--interval", "100ms"]);
    ping(&pod, 2)?;
    let about = |name| {
        move |record: &Value| {
            record.pointer("/endpoint/interface") == Some(&json!(name))
                && record.pointer("/protocol") == Some(&json!("icmp"))
        }
    };
    watch.wait_for_record(about("vetha"));
    configure(&lab, async |configure| {
        configure.rename(pod.ifindex, "moved").await
    })?;
    ping(&pod, 3)?;
    watch.wait_for_record(about("moved"));
    let ended = watch.stop();
    ended.assert_clean();
    assert_eq!(pinged(&ended.said, "moved", pod.ifindex), [pings(5)]);
    assert_eq!(ended.said.summary.pointer("/interfaces"), Some(&json!(1)));
    Ok(())
}

#[test]
fn a_bridge_goes_and_another_comes() -> TestResult {
    if !require_root("a_bridge_goes_and_another_comes") {
        return Ok(());
    }
    let lab = Lab::new("cni0")?;
    let pod = lab.add_pod_at("a", "vetha", &lab.host(2))?;
    let mut watch = Watch::start(lab.node(), &["--iface", "cni0"]);
    ping(&pod, 2)?;
    configure(&lab, async |configure| {
        configure.delete(lab.bridge_ifindex()).await
    })?;
    watch.wait_for_stderr(&detached("vetha"));
    configure(&lab, async |configure| {
        let bridge = configure.create_bridge("cni0").await?;
        configure.set_master(pod.ifindex, Some(bridge)).await
    })?;
    watch.wait_for_stderr(&attached("vetha"));
    let ended = watch.stop();
    ended.assert_clean();
    assert_eq!(pinged(&ended.said, "vetha", pod.ifindex), [pings(2)]);
    Ok(())
}
