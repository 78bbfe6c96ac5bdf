//! What is lost on a wire that loses what it is told to, against a capture and the sender's TCP.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::time::Duration;

use flowmon::lab::{Namespace, traffic::tcp_transfer};
use netns_tests::{Capture, Frame, Heading, Segment, counted, interface_counters, require_root};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::{Pair, TestResult, count, crossed, end, flow_at, number, port_of};

/// Enough for more than a hundred segments.
const BYTES: u64 = 200_000;

/// Each after another one that arrives.
const LOST: [usize; 5] = [20, 22, 40, 70, 71];

/// Segments that follow one another are one gap.
const GAPS: u64 = 4;

#[test]
fn what_is_lost_on_the_way_out_is_sent_again_exactly() -> TestResult {
    if !require_root("what_is_lost_on_the_way_out_is_sent_again_exactly") {
        return Ok(());
    }
    on_one_cpu()?;
    let pair = Pair::apart(Duration::ZERO, loses_data(Heading::ToPod, &LOST))?;
    let (near, far) = (&pair.near, &pair.far);
    let again_before = sent_again(&near.namespace)?;
    let capture = Capture::start(pair.lab.node(), near);
    let before = interface_counters(pair.lab.node(), near);
    let watch = pair.watch();
    let server = port_of(far, 0)?;
    let exchange = tcp_transfer(&near.namespace, &far.namespace, server, BYTES, 10)?;
    let frames = capture.stop_with_frames(&crossed(&pair.lab, near, before));
    let said = end(watch);

    let lost = LOST.len() as u64;
    let sender = sent_again(&near.namespace)? - again_before;
    let seen = (repeated(&frames.tx), sender);
    assert_eq!(seen, (lost, lost), "the capture, and the sender's TCP");
    let flow = flow_at(&said, near, "tcp", exchange.client, exchange.server);
    assert_eq!(retransmits_and_gaps(flow), json!([[lost, 0], [0, 0]]));
    // Beyond the node's veth the segments are missing: there they have been seen all the same.
    let flow = flow_at(&said, far, "tcp", exchange.server, exchange.client);
    assert_eq!(retransmits_and_gaps(flow), json!([[0, 0], [lost, 0]]));
    Ok(())
}

#[test]
fn what_is_lost_before_the_veth_is_a_gap_there() -> TestResult {
    if !require_root("what_is_lost_before_the_veth_is_a_gap_there") {
        return Ok(());
    }
    on_one_cpu()?;
    let pair = Pair::apart(Duration::ZERO, loses_data(Heading::FromPod, &LOST))?;
    let (near, far) = (&pair.near, &pair.far);
    let again_before = sent_again(&far.namespace)?;
    let capture = Capture::start(pair.lab.node(), near);
    let before = interface_counters(pair.lab.node(), near);
    let watch = pair.watch();
    let server = port_of(far, 0)?;
    let exchange = tcp_transfer(&near.namespace, &far.namespace, server, 10, BYTES)?;
    let frames = capture.stop_with_frames(&crossed(&pair.lab, near, before));
    let said = end(watch);

    let lost = LOST.len() as u64;
    assert_eq!(sent_again(&far.namespace)? - again_before, lost);
    // What was the last of its flight leaves no gap, and is new here when it is sent again.
    let (late, gaps) = late_and_gaps(&frames.rx);
    assert!((1..=lost).contains(&late) && (1..=GAPS).contains(&gaps));
    let flow = flow_at(&said, near, "tcp", exchange.client, exchange.server);
    assert_eq!(retransmits_and_gaps(flow), json!([[0, 0], [late, gaps]]));
    let flow = flow_at(&said, far, "tcp", exchange.server, exchange.client);
    assert_eq!(retransmits_and_gaps(flow), json!([[late, gaps], [0, 0]]));
    Ok(())
}

#[test]
fn nothing_lost_is_nothing_sent_again() -> TestResult {
    if !require_root("nothing_lost_is_nothing_sent_again") {
        return Ok(());
    }
    on_one_cpu()?;
    let pair = Pair::apart(Duration::ZERO, |_, _| false)?;
    let watch = pair.watch();
    let (near, far) = (&pair.near.namespace, &pair.far.namespace);
    let again_before = (sent_again(near)?, sent_again(far)?);
    let exchange = tcp_transfer(near, far, port_of(&pair.far, 0)?, BYTES, BYTES)?;
    let said = end(watch);
    assert_eq!((sent_again(near)?, sent_again(far)?), again_before);
    for (pod, local, remote) in [
        (&pair.near, exchange.client, exchange.server),
        (&pair.far, exchange.server, exchange.client),
    ] {
        let flow = flow_at(&said, pod, "tcp", local, remote);
        assert_eq!(retransmits_and_gaps(flow), json!([[0, 0], [0, 0]]));
    }
    Ok(())
}

#[test]
fn a_lost_syn_is_sent_again_and_times_no_handshake() -> TestResult {
    if !require_root("a_lost_syn_is_sent_again_and_times_no_handshake") {
        return Ok(());
    }
    let mut is_first = true;
    let loses = move |heading, frame: &[u8]| {
        let opens = Segment::parse(frame).is_some_and(|segment| segment.has(Segment::SYN));
        let is_it = heading == Heading::ToPod && opens && is_first;
        is_first &= !is_it;
        is_it
    };
    on_one_cpu()?;
    let pair = Pair::apart(Duration::ZERO, loses)?;
    let watch = pair.watch();
    let (near, far) = (&pair.near.namespace, &pair.far.namespace);
    let again_before = sent_again(near)?;
    let exchange = tcp_transfer(near, far, port_of(&pair.far, 0)?, 100, 100)?;
    let said = end(watch);
    assert_eq!(sent_again(near)? - again_before, 1);
    let flow = flow_at(&said, &pair.near, "tcp", exchange.client, exchange.server);
    assert_eq!(retransmits_and_gaps(flow), json!([[1, 0], [0, 0]]));
    assert_eq!(flow.pointer("/rtt/network/handshake_us"), None, "{flow}");
    // The other half of it was not spoiled, nor what came later.
    assert!(number(flow, "/rtt/container/handshake_us")? > 0.0);
    assert!(number(flow, "/rtt/network/samples")? > 0.0);
    assert!(counted(flow).tx.packets >= 5, "{flow}");
    Ok(())
}

/// Segments that are sent on different CPUs can overtake one another on a veth, which looks like a
/// loss there. What this thread starts stays on its CPU.
fn on_one_cpu() -> TestResult {
    const THIS_THREAD: Pid = Pid::from_raw(0);
    let allowed = sched_getaffinity(THIS_THREAD)?;
    let usable = (0..CpuSet::count()).find(|&cpu| allowed.is_set(cpu) == Ok(true));
    let mut one = CpuSet::new();
    one.set(usable.ok_or("no CPU")?)?;
    Ok(sched_setaffinity(THIS_THREAD, &one)?)
}

/// Loses the n-th data segment that goes that way, for these n from 1, when it is sent first.
fn loses_data(
    way: Heading,
    lost: &'static [usize],
) -> impl FnMut(Heading, &[u8]) -> bool + Send + 'static {
    let mut number = 0;
    let mut sent = None;
    move |heading, frame| {
        let segment = Segment::parse(frame).filter(|segment| segment.payload > 0);
        let Some(segment) = segment.filter(|_| heading == way) else {
            return false;
        };
        if sent.is_some_and(|sent| segment.is_before(sent)) {
            return false;
        }
        sent = Some(segment.end());
        number += 1;
        lost.contains(&number)
    }
}

/// Segments that begin where one of their connection's did before.
fn repeated(frames: &[Frame]) -> u64 {
    let mut begun: BTreeMap<(u16, u32), u64> = BTreeMap::new();
    let segments = frames
        .iter()
        .filter_map(|frame| Segment::parse(&frame.headers));
    for segment in segments.filter(|segment| segment.end() != segment.sequence) {
        *begun.entry((segment.source, segment.sequence)).or_default() += 1;
    }
    begun.values().map(|times| times - 1).sum()
}

/// Segments of a connection that begin before what has been seen, and those that begin after it.
fn late_and_gaps(frames: &[Frame]) -> (u64, u64) {
    let segments = frames.iter().map(|frame| Segment::parse(&frame.headers));
    let (mut late, mut gaps, mut next) = (0, 0, None);
    for segment in segments.flatten() {
        if segment.end() == segment.sequence {
            continue;
        }
        if next.is_some_and(|next| segment.is_before(next)) {
            late += 1;
            continue;
        }
        gaps += u64::from(next.is_some_and(|next| next != segment.sequence));
        next = Some(segment.end());
    }
    (late, gaps)
}

/// `[[retransmits, gaps]; 2]` of a record: what the pod sent, what it received.
fn retransmits_and_gaps(flow: &Value) -> Value {
    let half = |half| {
        let counts = ["retransmits", "gaps"].map(|what| count(flow, &format!("/{half}/{what}")));
        json!(counts)
    };
    json!([half("tx"), half("rx")])
}

/// Segments that the namespace's TCP sent again.
fn sent_again(namespace: &Namespace) -> Result<u64, Box<dyn Error>> {
    let text = namespace.run(|| fs::read_to_string("/proc/thread-self/net/snmp"))??;
    let mut lines = text.lines().filter(|line| line.starts_with("Tcp:"));
    let (names, values) = (lines.next().ok_or("names")?, lines.next().ok_or("values")?);
    let mut both = names.split(' ').zip(values.split(' '));
    let found = both.find_map(|(name, value)| (name == "RetransSegs").then_some(value));
    Ok(found.ok_or("RetransSegs")?.parse()?)
}
