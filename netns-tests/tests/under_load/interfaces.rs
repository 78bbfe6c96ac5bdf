//! Interfaces are renamed, moved and deleted in the middle of a TCP transfer.

use std::io;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use flowmon::lab::Namespace;
use flowmon::lab::traffic::ping;
use flowmon_common::{Totals, Traffic};
use netns_tests::{TcpCounters, counted, interface_counters, require_root};
use serde_json::{Value, json};

use crate::{
    HEADERS, Pair, STRETCH, Seen, TestResult, WAYS, assert_clean, configure, packets, payload,
    seen_of,
};

#[test]
fn renamed() -> TestResult {
    if !require_root("renamed") {
        return Ok(());
    }
    for way in WAYS {
        let pair = Pair::with_options(way)?;
        let seen = Seen::while_it_runs(&pair, Pair::load, |load| {
            for name in ["moved", "vetha", "moved"] {
                configure(pair.lab.node(), async |configure| {
                    configure.rename(pair.a.ifindex, name).await
                })?;
                load.wait_for(STRETCH);
            }
            Ok(())
        })?;
        seen.assert_carries(HEADERS);
    }
    Ok(())
}

/// Nothing passes an interface that is down, and it is moved down and watched again before it is up.
/// So what it has counted itself passed while it was watched.
#[test]
fn moved_to_another_namespace_and_back() -> TestResult {
    if !require_root("moved_to_another_namespace_and_back") {
        return Ok(());
    }
    for way in WAYS {
        let pair = Pair::with_options(way)?;
        let (node, vetha) = (pair.lab.node(), pair.a.ifindex);
        // Each frame is one buffer.
        pair.switch(&["tso", "gso", "gro"], "off");
        let elsewhere = Namespace::new("elsewhere")?;
        let before = interface_counters(node, &pair.a);
        let mut watch = pair.watch();
        let load = pair.load()?;
        for _ in 0..3 {
            configure(node, async |configure| {
                configure.set_namespace(vetha, elsewhere.fd()).await
            })?;
            watch.wait_for_stderr("detached interface=\"vetha\"");
            configure(&elsewhere, async |configure| {
                configure.set_namespace(vetha, node.fd()).await
            })?;
            configure(node, async |configure| {
                let bridge = pair.lab.bridge_ifindex();
                configure.set_master(vetha, Some(bridge)).await
            })?;
            watch.wait_for_stderr("attached interface=\"vetha\"");
            configure(node, async |configure| configure.set_up(vetha).await)?;
            load.wait_for(STRETCH / 4);
        }
        let exchange = load.end();
        let ended = watch.stop();
        assert_clean(&ended);
        let after = interface_counters(node, &pair.a);
        let flows = ended
            .said
            .matching(&json!({"endpoint": {"ifindex": vetha}}));
        let at_a = sum(&flows);
        let transfer = json!({"local": {"port": exchange.client.port()}});
        let stretches = ended.said.matching(&transfer);
        assert_eq!(stretches.len(), 4, "{stretches:#?}");
        assert_eq!(at_a.tx, since(before.tx, after.tx), "{way:?}");
        // An acknowledgement may be lost between the hook and an interface that is going down.
        let passed = since(before.rx, after.rx).packets;
        let at_b = sum(&ended
            .said
            .matching(&json!({"endpoint": {"ifindex": pair.b.ifindex}})));
        assert!(
            (passed..=at_b.tx.packets).contains(&at_a.rx.packets),
            "{way:?}: {passed} {at_a:?} {at_b:?}"
        );
    }
    Ok(())
}

/// What b was sent is known only within bounds, as some of it was on its way.
#[test]
fn deleted() -> TestResult {
    if !require_root("deleted") {
        return Ok(());
    }
    for way in WAYS {
        let pair = Pair::with_options(way)?;
        let before = [&pair.a, &pair.b].map(|pod| TcpCounters::of(&pod.namespace));
        let mut watch = pair.watch();
        let load = pair.load()?;
        load.wait_for(STRETCH);
        configure(pair.lab.node(), async |configure| {
            configure.delete(pair.b.ifindex).await
        })?;
        watch.wait_for_stderr("detached interface=\"vethb\"");
        let arrived = load.abandon();
        let sent = TcpCounters::of(&pair.a.namespace).since(&before[0]);
        let answered = TcpCounters::of(&pair.b.namespace).since(&before[1]);
        let ended = watch.stop();
        assert_clean(&ended);
        let (at_a, at_b) = seen_of(&ended.said, &pair, &arrived);
        assert_eq!(
            at_a.tx.packets, sent.segments,
            "what TCP says it sent: {way:?}"
        );
        let (at_a, at_b, answers) = (
            (payload(at_a.tx, HEADERS), at_a.rx.packets),
            (payload(at_b.tx, HEADERS), at_b.rx.packets),
            answered.segments,
        );
        assert!(
            arrived.sent <= at_b.0 && at_b.0 <= at_a.0 && at_a.1 <= at_b.1 && at_b.1 <= answers,
            "{way:?}: {arrived:?}, then {at_b:?} of {at_a:?}, {answers} answers"
        );
    }
    Ok(())
}

/// More flows than there is room for: what can't be told of them is counted.
#[test]
fn deleted_in_a_flood() -> TestResult {
    const LENGTH: u64 = 14 + 20 + 8 + 100;
    const ENOUGH: u64 = 3000;
    if !require_root("deleted_in_a_flood") {
        return Ok(());
    }
    let pair = Pair::with_options(&["--max-flows", "1024"])?;
    let (a, b) = (pair.a.ipv4().ok_or("an address")?, pair.server()?.ip());
    ping(&pair.a.namespace, b, 1, 1, 0)?;
    let far = pair.b.namespace.run(|| UdpSocket::bind((b, 53)))??;
    far.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut watch = pair.watch();
    let over = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&over);
    let flood = move || -> io::Result<u64> {
        let mut sent = 0;
        for port in (10_000..60_000).cycle() {
            if stop.load(Relaxed) {
                break;
            }
            UdpSocket::bind((a, port))?.send_to(&[b'.'; 100], (b, 53))?;
            sent += 1;
        }
        Ok(sent)
    };
    let flood = pair.a.namespace.spawn(flood)?;
    let mut arrived = 0;
    let mut take = || far.recv(&mut [0; 100]).map(|_| arrived += 1);
    for _ in 0..ENOUGH {
        take()?;
    }
    configure(pair.lab.node(), async |configure| {
        configure.delete(pair.b.ifindex).await
    })?;
    watch.wait_for_stderr("detached interface=\"vethb\"");
    over.store(true, Relaxed);
    let sent = flood.join().map_err(|_| "it panicked")??;
    far.set_nonblocking(true)?;
    while take().is_ok() {}
    let ended = watch.stop();
    ended.said.assert_reconciles();
    let summary = &ended.said.summary;
    let totals = ended.said.sum("totals");
    // a's veth sees all of it, b's what passed until it went.
    let everything = packets(sent, LENGTH);
    assert_eq!(totals.tx, everything);
    assert_eq!(totals.rx.bytes, totals.rx.packets * LENGTH);
    assert!(
        (arrived..=sent).contains(&totals.rx.packets),
        "{arrived} of {sent} arrived: {summary}"
    );
    let unattributed = ended.said.sum("unattributed");
    let lost = summary.pointer("/lost").and_then(Value::as_object);
    let lost = lost.ok_or("no losses")?.values().filter_map(Value::as_u64);
    let is_complete = unattributed == Totals::default() && lost.sum::<u64>() == 0;
    assert_eq!(summary.pointer("/complete"), Some(&json!(is_complete)));
    Ok(())
}

fn sum(flows: &[&Value]) -> Totals {
    let mut sum = Totals::default();
    for flow in flows {
        sum += counted(flow);
    }
    sum
}

const fn since(before: Traffic, now: Traffic) -> Traffic {
    Traffic {
        packets: now.packets - before.packets,
        bytes: now.bytes - before.bytes,
    }
}
