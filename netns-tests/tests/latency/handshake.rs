//! The handshake's two halves, against the timestamps of a capture on the same veth.

use std::collections::BTreeMap;
use std::error::Error;

use flowmon::lab::Pod;
use flowmon::lab::traffic::{Exchange, tcp_connections};
use netns_tests::{Capture, Frame, Frames, Said, Segment, interface_counters, require_root};
use serde_json::{Value, json};

use crate::{Pair, TestResult, crossed, end, number, port_of};

const CONNECTIONS: usize = 200;

/// How far flowmon may be from the capture, which the kernel hands its packets at another point:
/// before the hook those that come, after it those that go.
const LIMIT_US: f64 = 10.0;

#[test]
fn timing_handshakes_are_those_of_the_capture() -> TestResult {
    if !require_root("timing_handshakes_are_those_of_the_capture") {
        return Ok(());
    }
    let pair = Pair::close()?;
    let server = port_of(&pair.far, 0)?;
    for (pod, name) in [(&pair.near, "client"), (&pair.far, "server")] {
        let capture = Capture::start(pair.lab.node(), pod);
        let before = interface_counters(pair.lab.node(), pod);
        let watch = pair.watch();
        let (near, far) = (&pair.near.namespace, &pair.far.namespace);
        let exchanges = tcp_connections(near, far, server, CONNECTIONS, 100, 100)?;
        let frames = capture.stop_with_frames(&crossed(&pair.lab, pod, before));
        let said = end(watch);
        let captured = handshakes(&frames);
        assert_eq!(captured.len(), CONNECTIONS);
        let flows = flows_at(&said, pod);
        for half in [Half::First, Half::Second] {
            let measured = of_all(&flows, half, name == "client", &exchanges, &captured)?;
            compare(
                &format!("the {half:?} half at the {name}'s veth"),
                &measured,
            );
        }
    }
    Ok(())
}

/// Of a handshake: SYN to SYN+ACK, SYN+ACK to ACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Half {
    First,
    Second,
}

/// A pod's flows by their ports, the pod's first.
fn flows_at<'a>(said: &'a Said, pod: &Pod) -> BTreeMap<(u64, u64), &'a Value> {
    let here = said.matching(&json!({"endpoint": {"ifindex": pod.ifindex}, "protocol": "tcp"}));
    let port = |flow: &Value, side| flow.pointer(side).and_then(Value::as_u64);
    let ports = |flow| Some((port(flow, "/local/port")?, port(flow, "/remote/port")?));
    here.into_iter()
        .filter_map(|flow| Some((ports(flow)?, flow)))
        .collect()
}

/// What flowmon says of each connection, and the capture, in µs.
fn of_all(
    flows: &BTreeMap<(u64, u64), &Value>,
    half: Half,
    is_client: bool,
    exchanges: &[Exchange],
    captured: &BTreeMap<u16, [f64; 2]>,
) -> Result<Vec<(f64, f64)>, Box<dyn Error>> {
    // The peer answers the client's SYN and the server's SYN+ACK.
    let by_network = is_client == (half == Half::First);
    let side = if by_network { "network" } else { "container" };
    let pair = |exchange: &Exchange| {
        let (client, server) = (exchange.client.port().into(), exchange.server.port().into());
        let (ports, direction) = if is_client {
            ((client, server), "egress")
        } else {
            ((server, client), "ingress")
        };
        let flow = flows.get(&ports).ok_or("no flow")?;
        assert_eq!(flow.pointer("/direction"), Some(&json!(direction)));
        let [first, second] = captured
            .get(&exchange.client.port())
            .ok_or("not captured")?;
        let capture = if half == Half::First { first } else { second };
        let flowmon = number(flow, &format!("/rtt/{side}/handshake_us"))?;
        Ok((flowmon, *capture))
    };
    exchanges.iter().map(pair).collect()
}

fn compare(what: &str, measured: &[(f64, f64)]) {
    let off = sorted(
        measured
            .iter()
            .map(|(flowmon, capture)| (flowmon - capture).abs()),
    );
    let flowmon = median(&sorted(measured.iter().map(|(flowmon, _)| *flowmon)));
    let capture = median(&sorted(measured.iter().map(|(_, capture)| *capture)));
    let within = off.iter().filter(|&&off| off <= LIMIT_US).count();
    let said = format!(
        "{what}: flowmon's median {flowmon:.1} µs, the capture's {capture:.1} µs; {within} of {} \
         within {LIMIT_US} µs, half within {:.1} µs, worst {:.1} µs",
        off.len(),
        median(&off),
        off.last().copied().unwrap_or_default(),
    );
    #[expect(clippy::print_stderr, reason = "a test's diagnostics are its output")]
    {
        eprintln!("{said}");
    }
    // The rest was interrupted between the capture and the hook, which on a machine that is itself a
    // guest can be one in ten. What is timed wrongly is wrong for all.
    assert!(within * 100 >= off.len() * 75, "{said}");
    // A tenth of what takes so little is less than the way between the two points.
    assert!(
        (flowmon - capture).abs() <= (capture * 0.1).max(5.0),
        "{said}"
    );
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

fn median(sorted: &[f64]) -> f64 {
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The halves of each captured handshake (µs), by the client's port.
fn handshakes(frames: &Frames) -> BTreeMap<u16, [f64; 2]> {
    let mut all: Vec<&Frame> = frames.tx.iter().chain(&frames.rx).collect();
    all.sort_by_key(|frame| frame.time_ns);
    let mut times: BTreeMap<u16, Vec<u64>> = BTreeMap::new();
    for frame in all {
        let Some(segment) = Segment::parse(&frame.headers) else {
            continue;
        };
        let opens = segment.has(Segment::SYN);
        let answers = opens && segment.has(Segment::ACK);
        let client = if answers {
            segment.destination
        } else {
            segment.source
        };
        let step = match (opens, answers) {
            (true, false) => 0,
            (true, true) => 1,
            _ => 2,
        };
        // What the server sends later has its own port for a client's, where nothing began.
        let is_next = times.get(&client).map_or(0, Vec::len) == step;
        if is_next {
            times.entry(client).or_default().push(frame.time_ns);
        }
    }
    let halves = |times: &Vec<u64>| match times.as_slice() {
        &[syn, answer, ack] => {
            Some([answer - syn, ack - answer].map(|nanoseconds| nanoseconds as f64 / 1000.0))
        }
        _ => None,
    };
    times
        .iter()
        .filter_map(|(client, times)| Some((*client, halves(times)?)))
        .collect()
}
