//! What comes out: lists, tables, and what happens when nobody takes it.

use std::error::Error;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use flowmon::lab::{Lab, Namespace, traffic};
use flowmon::netlink::{Configure, Veth};
use netns_tests::{Finished, command, finish, flowmon, flowmon_binary, require_root};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

type TestResult = Result<(), Box<dyn Error>>;

#[test]
fn the_end_of_the_pipe_is_the_end() -> TestResult {
    if !require_root("the_end_of_the_pipe_is_the_end") {
        return Ok(());
    }
    let node = Namespace::new("node")?;
    for lines_read in [0, 1] {
        let mut command = command(flowmon_binary(), &["watch", "--iface", "lo"]);
        let mut child = node.spawn_command(&mut command)?;
        let mut errors = BufReader::new(child.stderr.take().ok_or("no stderr")?).lines();
        let watching = errors.next().ok_or("no line")??;
        assert!(watching.contains("watching"), "{watching}");
        let mut records = BufReader::new(child.stdout.take().ok_or("no stdout")?).lines();
        for _ in 0..lines_read {
            traffic::ping(&node, "127.0.0.1".parse()?, 1, 1, 0)?;
            records.next().ok_or("no record")??;
        }
        drop(records);
        let begin = Instant::now();
        let code = child.wait()?.code();
        let took = begin.elapsed();
        assert_eq!(code, Some(0));
        assert_eq!(errors.collect::<Result<Vec<_>, _>>()?, Vec::<String>::new());
        assert!(took < Duration::from_secs(2), "after {took:?}");
    }
    Ok(())
}

#[test]
fn a_full_disk_is_an_error() -> TestResult {
    if !require_root("a_full_disk_is_an_error") {
        return Ok(());
    }
    let node = Namespace::new("node")?;
    for args in [
        &["watch", "--iface", "lo", "--duration", "50ms"][..],
        &[
            "watch",
            "--iface",
            "lo",
            "--duration",
            "50ms",
            "--output",
            "table",
        ],
        &["interfaces"],
        &["doctor"],
    ] {
        let mut command = command(flowmon_binary(), args);
        command.stdout(File::options().write(true).open("/dev/full")?);
        let finished = finish(&node, &mut command);
        assert_eq!(finished.code, Some(2), "{args:?}");
        let said = finished.stderr.lines().last().unwrap_or_default();
        assert_eq!(
            said, "ERROR cannot write the output: No space left on device (os error 28)",
            "{args:?}"
        );
    }
    Ok(())
}

#[test]
fn interfaces_are_listed_with_the_evidence() -> TestResult {
    if !require_root("interfaces_are_listed_with_the_evidence") {
        return Ok(());
    }
    let lab = Lab::new("cni0")?;
    let pod = lab.add_pod_at("a", "vetha", &lab.host(2))?;
    let listed = flowmon(lab.node(), &["interfaces", "--output", "json"]);
    assert_eq!((listed.code, listed.stderr.as_str()), (Some(0), ""));
    let lines: Result<Vec<Value>, _> = listed.stdout.lines().map(serde_json::from_str).collect();
    let evidence = "other end is interface 2 of network namespace 0";
    assert_eq!(
        lines?,
        [
            json!({
                "name": "lo", "ifindex": 1, "up": true, "kind": "host",
                "evidence": "this host's own", "watched": false,
            }),
            json!({
                "name": "cni0", "ifindex": lab.bridge_ifindex(), "link": "bridge", "up": true,
                "kind": "host", "evidence": "a bridge: watched through its ports",
                "watched": false,
            }),
            json!({
                "name": "vetha", "ifindex": pod.ifindex, "link": "veth", "master": "cni0",
                "up": true, "kind": "unknown", "evidence": evidence, "watched": true,
                "addresses": ["10.77.0.2", "fd77::2"],
            }),
        ]
    );
    let table = flowmon(lab.node(), &["interfaces"]).stdout;
    let row = table
        .lines()
        .find(|line| line.starts_with("vetha "))
        .ok_or("no row")?;
    let words: Vec<&str> = row.split_whitespace().collect();
    let ifindex = pod.ifindex.to_string();
    let expected = ["vetha", &ifindex, "veth", "cni0", "up", "yes", "unknown"];
    assert_eq!(words.get(..7), Some(&expected[..]));
    assert!(row.ends_with(evidence), "{row}");
    Ok(())
}

#[test]
fn names_do_not_move_the_cursor() -> TestResult {
    if !require_root("names_do_not_move_the_cursor") {
        return Ok(());
    }
    let node = Namespace::new("node")?;
    node.block_on(async || {
        let veth = Veth {
            name: "a\x1b[2J\x07b",
            ifindex: None,
            peer: "c\u{9b}31md",
            peer_netns: None,
        };
        Configure::open()?.create_veth(&veth).await
    })??;
    // JSON escapes what it must itself, and is not for people.
    for args in [
        &["interfaces"][..],
        &["watch", "--iface", "a*", "c*", "--duration", "50ms", "-v"],
        &[
            "watch",
            "--iface",
            "all",
            "--duration",
            "50ms",
            "--output",
            "table",
        ],
    ] {
        let Finished { stdout, stderr, .. } = flowmon(&node, args);
        for text in [stdout, stderr] {
            let control = text.chars().find(|char| char.is_control() && *char != '\n');
            assert_eq!(control, None, "{args:?}: {text:?}");
        }
    }
    Ok(())
}

/// `1.5k` and the like.
fn number(text: &str) -> Result<f64, Box<dyn Error>> {
    let digits = text.trim_end_matches(char::is_alphabetic);
    let scale = match text.get(digits.len()..) {
        Some("") => 1.0,
        Some("k") => 1e3,
        Some("M") => 1e6,
        Some("G") => 1e9,
        _ => return Err(format!("not a number: {text}").into()),
    };
    Ok(digits.parse::<f64>()? * scale)
}

/// The rows of a snapshot.
fn rows(snapshot: &str) -> impl Iterator<Item = &str> {
    let lines = snapshot
        .lines()
        .skip_while(|line| !line.starts_with("ENDPOINT"));
    lines
        .skip(1)
        .take_while(|line| !line.starts_with('!') && !line.starts_with("… and"))
}

/// Bytes a second, both ways together, of each row of a snapshot.
fn rates(snapshot: &str) -> Result<Vec<f64>, Box<dyn Error>> {
    const SENT: usize = 58;
    const RECEIVED: usize = 66;
    const WIDTH: usize = 7;
    let column = |row: &str, from| row.chars().skip(from).take(WIDTH).collect::<String>();
    rows(snapshot)
        .map(|row| {
            let [sent, received] = [SENT, RECEIVED].map(|from| column(row, from));
            Ok(number(sent.trim())? + number(received.trim())?)
        })
        .collect()
}

#[test]
fn a_table_fits_and_begins_with_whoever_talks_most() -> TestResult {
    if !require_root("a_table_fits_and_begins_with_whoever_talks_most") {
        return Ok(());
    }
    // Nothing is longer than these.
    let address = |last: u16| format!("fd77:1111:2222:3333:4444:5555:6666:{last:x}/64").parse();
    let lab = Lab::with_gateways("cni0", &[address(0x7771)?])?;
    let a = lab.add_pod_at("a", "veth12345678901", &[address(0x7772)?])?;
    let b = lab.add_pod_at("b", "veth12345678902", &[address(0x7773)?])?;
    let server: IpAddr = b.ipv6().ok_or("no address")?.into();
    let at = |port| SocketAddr::from((server, port));

    let args = [
        "watch",
        "--iface",
        "cni0",
        "--output",
        "table",
        "--interval",
        "500ms",
    ];
    let mut child = lab
        .node()
        .spawn_command(&mut command(flowmon_binary(), &args))?;
    let mut errors = BufReader::new(child.stderr.take().ok_or("no stderr")?).lines();
    let watching = errors.next().ok_or("no line")??;
    assert!(watching.contains("watching"), "{watching}");
    traffic::udp_exchange(&a.namespace, &b.namespace, at(53), 3, 100, true)?;
    traffic::tcp_transfer(&a.namespace, &b.namespace, at(443), 10_000_000, 100)?;
    traffic::tcp_refused(&a.namespace, at(65_535))?;
    traffic::udp_exchange(&a.namespace, &b.namespace, at(54), 20, 100, true)?;

    let mut lines = BufReader::new(child.stdout.take().ok_or("no stdout")?).lines();
    let mut said = String::new();
    for sign in ["  443 ", "! refused"] {
        while !said.contains(sign) {
            said += &lines.next().ok_or_else(|| format!("no {sign}: {said}"))??;
            said.push('\n');
        }
    }
    kill(Pid::from_raw(child.id().try_into()?), Signal::SIGTERM)?;
    for line in lines {
        said += &line?;
        said.push('\n');
    }
    assert_eq!(child.wait()?.code(), Some(0));
    for line in said.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    let mut widest_first = false;
    for snapshot in said.split("\n\n") {
        let rates = rates(snapshot)?;
        // The numbers are rounded to one digit after the point.
        let descending = rates.windows(2).all(|pair| match pair {
            [more, less] => *more >= less * 0.9,
            _ => true,
        });
        assert!(descending, "{snapshot}");
        let first = rows(snapshot).next();
        widest_first |= first.is_some_and(|row| row.contains("  443 "));
    }
    assert!(widest_first, "{said}");
    assert!(
        said.contains(":6666:7773"),
        "an address keeps its end: {said}"
    );
    let refused = said.lines().find(|line| line.starts_with("! refused"));
    assert!(refused.is_some_and(|line| line.contains("65535")), "{said}");
    assert!(said.ends_with("\ncomplete\n"), "{said}");
    Ok(())
}
