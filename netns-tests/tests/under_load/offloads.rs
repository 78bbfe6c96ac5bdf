//! Segmentation, merging and packet sizes change in the middle of a TCP transfer.

use std::fs::OpenOptions;
use std::io::{self, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;

use flowmon::lab::traffic::ping;
use flowmon_common::Traffic;
use netns_tests::{Capture, Frame, Load, interface_counters, require_root, tool};
use nix::libc;
use nix::sys::sendfile::sendfile;

use crate::{HEADERS, Pair, STRETCH, Seen, TestResult, configure, packets, seen_of};

/// The payload of a full segment at an MTU of 1500.
const SEGMENT: u64 = 1500 - 20 - 32;

/// Where IPv4's protocol is in a frame.
const PROTOCOL: usize = 14 + 9;

#[test]
fn segmentation_switched_off_and_on() -> TestResult {
    if !require_root("segmentation_switched_off_and_on") {
        return Ok(());
    }
    let pair = Pair::new()?;
    let seen = Seen::while_it_runs(&pair, Pair::load, |load| {
        for features in [&["tso"][..], &["gso"], &["tso", "gso"]] {
            for state in ["off", "on"] {
                pair.switch(features, state);
                load.wait_for(STRETCH);
            }
        }
        Ok(())
    })?;
    seen.assert_carries(HEADERS);
    Ok(())
}

/// A veth that merges gets a queue of its own, and loses what is in it when it ceases to: which
/// no counter tells. So the buffers that pass the hook are counted out themselves.
#[test]
fn merging_switched_on_and_off() -> TestResult {
    if !require_root("merging_switched_on_and_off") {
        return Ok(());
    }
    let pair = Pair::new()?;
    // Single segments leave a, so that there is something to merge before the hook.
    tool(
        &pair.a.namespace,
        "ethtool",
        &["-K", "eth0", "tso", "off", "gso", "off"],
    );
    let capture = Capture::start(pair.lab.node(), &pair.a);
    let watch = pair.watch();
    let load = pair.load()?;
    for _ in 0..3 {
        for state in ["on", "off"] {
            pair.switch(&["gro"], state);
            load.wait_for(STRETCH / 2);
        }
    }
    let exchange = load.end();
    // The last frames of all are an echo.
    ping(&pair.a.namespace, exchange.server.ip(), 1, 1, 0)?;
    let ended = watch.stop();
    ended.assert_clean();
    let frames = capture.stop_behind(|frame| frame.headers.get(PROTOCOL) == Some(&1));
    let (at_a, at_b) = seen_of(&ended.said, &pair, &exchange);
    let (sent, buffers) = segments(&frames.tx);
    assert_eq!(at_a.tx, sent, "the segments in the buffers that passed");
    assert_eq!(at_a.rx, segments(&frames.rx).0, "and the answers");
    assert_eq!(at_a, at_b, "both ends of the wire");
    assert!(buffers < sent.packets, "nothing was merged");
    Ok(())
}

/// What TCP over IPv4 these buffers are on the wire, and how many buffers.
fn segments(frames: &[Frame]) -> (Traffic, u64) {
    let mut sum = Traffic::default();
    let mut buffers = 0;
    for frame in frames {
        if frame.headers.get(PROTOCOL) != Some(&6) {
            continue;
        }
        let options = frame
            .headers
            .get(46)
            .map_or(0, |offset| u64::from(offset >> 4) * 4);
        let headers = 14 + 20 + options;
        let payload = u64::from(frame.length) - headers;
        let segments = payload.div_ceil(SEGMENT).max(1);
        sum += packets(segments, headers);
        sum.bytes += payload;
        buffers += 1;
    }
    (sum, buffers)
}

#[test]
fn packets_become_jumbo_frames_and_back() -> TestResult {
    if !require_root("packets_become_jumbo_frames_and_back") {
        return Ok(());
    }
    let pair = Pair::new()?;
    let seen = Seen::while_it_runs(&pair, Pair::load, |load| {
        for mtu in [9000, 1500, 4000, 9000, 1280, 1500] {
            for (namespace, interface) in pair.ends() {
                configure(namespace, async |configure| {
                    let ifindex = configure.ifindex_of(interface).await?;
                    configure.set_mtu(ifindex, mtu).await
                })?;
            }
            load.wait_for(STRETCH);
        }
        Ok(())
    })?;
    seen.assert_carries(HEADERS);
    Ok(())
}

#[test]
fn a_transfer_of_jumbo_frames() -> TestResult {
    if !require_root("a_transfer_of_jumbo_frames") {
        return Ok(());
    }
    let pair = Pair::new()?;
    for (namespace, interface) in pair.ends() {
        tool(namespace, "ip", &["link", "set", interface, "mtu", "9000"]);
    }
    // So that each frame is one buffer, and the kernel's count is of frames.
    pair.switch(&["tso", "gso", "gro"], "off");
    let before = interface_counters(pair.lab.node(), &pair.a);
    let seen = Seen::while_it_runs(&pair, Pair::load, |load| {
        load.wait_for(10 * STRETCH);
        Ok(())
    })?;
    seen.assert_carries(HEADERS);
    let counters = interface_counters(pair.lab.node(), &pair.a);
    let (frames, bytes) = (
        counters.tx.packets - before.tx.packets,
        counters.tx.bytes - before.tx.bytes,
    );
    assert!(bytes / frames > 8000, "{bytes} bytes in {frames} frames");
    Ok(())
}

/// The pages of the file are what the buffers are made of: nothing but headers is in their linear
/// part.
#[test]
fn what_sendfile_sends() -> TestResult {
    if !require_root("what_sendfile_sends") {
        return Ok(());
    }
    let pair = Pair::new()?;
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_TMPFILE)
        .open("/dev/shm")?;
    // Not whole pages.
    file.write_all(&vec![b'.'; 1_000_003])?;
    let before = interface_counters(pair.lab.node(), &pair.a);
    let start = move |pair: &Pair| {
        let (a, b) = (&pair.a.namespace, &pair.b.namespace);
        let load = Load::start_with(a, b, pair.server()?, move |stream| {
            let sent = sendfile(stream, &file, None, 1_000_003)?;
            if sent == 0 {
                file.rewind()?;
            }
            Ok::<_, io::Error>(sent)
        });
        Ok(load)
    };
    let seen = Seen::while_it_runs(&pair, start, |load| {
        load.wait_for(10 * STRETCH);
        // Single segments out of the file's pages, too.
        for feature in ["tso", "gso"] {
            pair.switch(&[feature], "off");
            load.wait_for(STRETCH);
        }
        Ok(())
    })?;
    seen.assert_carries(HEADERS);
    let buffers = interface_counters(pair.lab.node(), &pair.a).tx.packets - before.tx.packets;
    assert!(buffers < seen.at_a.tx.packets, "no super-packets");
    Ok(())
}
