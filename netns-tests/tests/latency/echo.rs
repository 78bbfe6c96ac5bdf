//! ICMP echo, against `ping` and a delay that is known.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use flowmon::lab::Pod;
use flowmon::lab::traffic::ping;
use netns_tests::{Heading, Said, command, require_root, tool};
use serde_json::{Value, json};

use crate::{Pair, TestResult, count, end, number};

#[test]
fn timing_round_trips_are_those_of_ping() -> TestResult {
    const COUNT: u32 = 200;
    if !require_root("timing_round_trips_are_those_of_ping") {
        return Ok(());
    }
    let pair = Pair::close()?;
    for (from, to) in pair.near.addresses.iter().zip(&pair.far.addresses) {
        // Neighbours are known when it begins.
        assert_eq!(ping(&pair.near.namespace, to.ip(), 1, 1, 56)?, 1);
        let watch = pair.watch();
        let (packets, target) = (COUNT.to_string(), to.ip().to_string());
        let args = ["-n", "-q", "-i", "0.002", "-c", &packets, &target];
        let said_by_ping = tool(&pair.near.namespace, "ping", &args);
        let said = end(watch);

        // rtt min/avg/max/mdev = 0.021/0.029/0.060/0.005 ms
        let times = said_by_ping.split(" = ").nth(1);
        let times = times.ok_or_else(|| format!("no times: {said_by_ping}"))?;
        let mut times = times.split('/').map(str::parse::<f64>);
        let (least, average) = (times.next().ok_or("min")??, times.next().ok_or("avg")??);
        let ping = [least * 1000.0, average * 1000.0];
        let flow = echo_at(&said, &pair.near, from.ip(), to.ip());
        let seen = [
            number(flow, "/rtt/network/min_us")?,
            number(flow, "/rtt/network/avg_us")?,
        ];
        let compared = format!("least and average (µs): ping {ping:.1?}, flowmon {seen:.1?}");
        #[expect(clippy::print_stderr, reason = "a test's diagnostics are its output")]
        {
            eprintln!("{compared}");
        }
        // ping's times have the way from the application to the veth on top, and back.
        // It is no more than the rest: twice through IP, and ping woken.
        for (ping, seen) in ping.into_iter().zip(seen) {
            assert!(seen <= ping && seen >= 0.25 * ping, "{compared}");
        }
        all_are_timed(&said, &pair, from.ip(), to.ip(), COUNT)?;
    }
    Ok(())
}

#[test]
fn timing_a_delay_shows_in_echoes() -> TestResult {
    const DELAY: Duration = Duration::from_millis(20);
    const COUNT: u16 = 10;
    if !require_root("timing_a_delay_shows_in_echoes") {
        return Ok(());
    }
    let pair = Pair::apart(DELAY, |_, _| false)?;
    for (from, to) in pair.near.addresses.iter().zip(&pair.far.addresses) {
        assert_eq!(ping(&pair.near.namespace, to.ip(), 1, 1, 56)?, 1);
        let watch = pair.watch();
        let begun = Instant::now();
        let answered = ping(&pair.near.namespace, to.ip(), 2, COUNT, 56)?;
        let whole = begun.elapsed();
        let said = end(watch);
        assert_eq!(answered, COUNT);
        let average = whole.as_secs_f64() * 1e6 / f64::from(COUNT);
        let flow = echo_at(&said, &pair.near, from.ip(), to.ip());
        let seen = number(flow, "/rtt/network/avg_us")?;
        assert!(seen <= average && seen >= 0.9 * average, "{average} {flow}");
        assert!(number(flow, "/rtt/network/min_us")? >= 40_000.0, "{flow}");
        all_are_timed(&said, &pair, from.ip(), to.ip(), COUNT.into())?;
    }
    Ok(())
}

#[test]
fn what_nobody_answers_is_not_timed() -> TestResult {
    if !require_root("what_nobody_answers_is_not_timed") {
        return Ok(());
    }
    let loses_echoes = |heading, frame: &[u8]| {
        let is_icmp = frame.get(12..14) == Some(&[8, 0]) && frame.get(23) == Some(&1);
        heading == Heading::ToPod && is_icmp
    };
    let pair = Pair::apart(Duration::ZERO, loses_echoes)?;
    let (from, to) = (
        pair.near.ipv4().ok_or("it has one")?.into(),
        pair.far.ipv4().ok_or("it has one")?.into(),
    );
    let target = IpAddr::to_string(&to);
    let mut watch = pair.watch();
    let args = ["-n", "-q", "-i", "0.002", "-c", "5", "-W", "10", &target];
    let mut pinging = pair
        .near
        .namespace
        .spawn_command(&mut command("ping", &args))?;
    watch.wait_for_record(|record| {
        record.pointer("/protocol") == Some(&json!("icmp"))
            && record.pointer("/tx/packets") == Some(&json!(5))
    });
    pinging.kill()?;
    pinging.wait()?;
    let said = end(watch);
    for (pod, local, remote) in [(&pair.near, from, to), (&pair.far, to, from)] {
        let flow = echo_at(&said, pod, local, remote);
        assert_eq!(flow.pointer("/rtt"), None, "{flow}");
    }
    Ok(())
}

/// Every echo is timed, on the side of who answers.
fn all_are_timed(said: &Said, pair: &Pair, from: IpAddr, to: IpAddr, times: u32) -> TestResult {
    let at_near = echo_at(said, &pair.near, from, to);
    let at_far = echo_at(said, &pair.far, to, from);
    for (flow, side, other) in [
        (at_near, "network", "container"),
        (at_far, "container", "network"),
    ] {
        let samples = count(flow, &format!("/rtt/{side}/samples"));
        assert_eq!(samples, Some(times.into()), "{flow}");
        assert_eq!(flow.pointer(&format!("/rtt/{other}")), None, "{flow}");
    }
    // The way from the client's veth contains that from the server's.
    let whole = number(at_near, "/rtt/network/avg_us")?;
    let part = number(at_far, "/rtt/container/avg_us")?;
    assert!(part <= whole, "{part} µs of {whole} µs");
    Ok(())
}

fn echo_at<'a>(said: &'a Said, pod: &Pod, local: IpAddr, remote: IpAddr) -> &'a Value {
    let (protocol, kind) = if local.is_ipv4() {
        ("icmp", 8)
    } else {
        ("icmpv6", 128)
    };
    said.one(&json!({
        "endpoint": {"ifindex": pod.ifindex},
        "protocol": protocol,
        "local": {"ip": local},
        "remote": {"ip": remote},
        "icmp": {"type": kind, "code": 0},
    }))
}
