//! When flowmon can't keep every flow it loses detail, never totals, and says how much.

use std::error::Error;
use std::ffi::OsStr;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::unix::ffi::OsStrExt as _;
use std::process::Command;
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::thread;
use std::time::Duration;

use flowmon::lab::traffic::ping;
use flowmon::lab::{Lab, Pod};
use flowmon_common::{Totals, Traffic};
use netns_tests::{Said, Watch, counted, finish, require_root};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use serde_json::{Value, json};

type TestResult = Result<(), Box<dyn Error>>;

const FLOWS: u16 = 10_000;
const PACKETS_EACH: u64 = 2;
const SIZE: usize = 100;
const ROOM: usize = 64;

/// What crosses the veth of a, worked out by hand.
const TRUTH: Totals = Totals {
    tx: Traffic {
        packets: PACKETS_EACH * FLOWS as u64,
        bytes: PACKETS_EACH * FLOWS as u64 * (14 + 20 + 8 + SIZE as u64),
    },
    rx: Traffic {
        packets: 0,
        bytes: 0,
    },
};

/// Two pods that know each other's Ethernet addresses, so that nothing but datagrams will cross.
struct Network {
    lab: Lab,
    a: Pod,
    b: Pod,
}

impl Network {
    fn new() -> Result<Self, Box<dyn Error>> {
        let lab = Lab::with_gateways("cni0", &["10.77.0.1/24".parse()?])?;
        let a = lab.add_pod("a", &lab.host(2))?;
        let b = lab.add_pod("b", &lab.host(3))?;
        for pod in [&a, &b] {
            pod.namespace
                .set_sysctl("net/ipv4/neigh/eth0/delay_first_probe_time", "3600")?;
        }
        let target = b.ipv4().ok_or("it has one")?;
        assert_eq!(ping(&a.namespace, target.into(), 1, 1, 0)?, 1);
        Ok(Self { lab, a, b })
    }

    fn watch(&self, more: &[&str]) -> Watch {
        let mut args = vec!["--iface", &self.a.interface];
        args.extend(more);
        Watch::start(self.lab.node(), &args)
    }

    /// All the flows, one after the other, each from a port of its own. Every datagram arrives
    /// before the next one is sent.
    fn talk(&self) -> TestResult {
        const FIRST_PORT: u16 = 20_000;
        let (from, to) = (self.a.ipv4(), self.b.ipv4());
        let (from, to) = (from.ok_or("it has one")?, to.ok_or("it has one")?);
        let bind = || UdpSocket::bind(SocketAddr::new(to.into(), 53));
        let far = self.b.namespace.run(bind)??;
        far.set_read_timeout(Some(Duration::from_secs(5)))?;
        let server = far.local_addr()?;
        let send_all = || -> io::Result<()> {
            for port in FIRST_PORT..FIRST_PORT + FLOWS {
                let near = UdpSocket::bind(SocketAddr::new(from.into(), port))?;
                for _ in 0..PACKETS_EACH {
                    near.send_to(&[b'.'; SIZE], server)?;
                    far.recv(&mut [0; SIZE])?;
                }
            }
            Ok(())
        };
        Ok(self.a.namespace.run(send_all)??)
    }
}

#[test]
fn ten_thousand_flows_are_all_reported_with_every_packet() -> TestResult {
    if !require_root("ten_thousand_flows_are_all_reported_with_every_packet") {
        return Ok(());
    }
    let network = Network::new()?;
    let watch = network.watch(&[]);
    network.talk()?;
    let said = end(watch);
    said.assert_complete();
    assert_eq!(said.sum("totals"), TRUTH);
    let flows = said.flows();
    assert_eq!(flows.len(), usize::from(FLOWS));
    assert_eq!(with_packets(&flows, PACKETS_EACH), usize::from(FLOWS));
    Ok(())
}

#[test]
fn too_small_a_map_costs_detail_and_the_summary_says_how_much() -> TestResult {
    if !require_root("too_small_a_map_costs_detail_and_the_summary_says_how_much") {
        return Ok(());
    }
    let network = Network::new()?;
    let watch = network.watch(&["--max-flows", &ROOM.to_string()]);
    network.talk()?;
    let said = end(watch);
    assert_detail_is_lost_and_nothing_else(&said);
    Ok(())
}

/// Nobody reads the map while the flows come: only the first packet of each is announced, and
/// what the others amounted to is known of the few flows that are there at the end.
#[test]
fn what_nobody_read_in_time_is_in_the_totals_to_the_byte() -> TestResult {
    if !require_root("what_nobody_read_in_time_is_in_the_totals_to_the_byte") {
        return Ok(());
    }
    let network = Network::new()?;
    let watch = network.watch(&["--max-flows", &ROOM.to_string()]);
    halt(&watch)?;
    network.talk()?;
    watch.signal(Signal::SIGCONT);
    let said = end(watch);
    assert_detail_is_lost_and_nothing_else(&said);

    let flows = said.flows();
    let whole = with_packets(&flows, PACKETS_EACH);
    assert!(whole <= ROOM, "{whole} flows were in a map of {ROOM}");
    assert_eq!(with_packets(&flows, 1), usize::from(FLOWS) - whole);
    let missed = u64::from(FLOWS) - whole as u64;
    let expected = Traffic {
        packets: missed,
        bytes: missed * (TRUTH.tx.bytes / TRUTH.tx.packets),
    };
    assert_eq!(said.sum("unattributed").tx, expected);
    Ok(())
}

/// New flows come faster than they can be told, for as long as it takes.
#[test]
fn a_flood_of_new_flows_does_not_keep_it_from_ending() -> TestResult {
    if !require_root("a_flood_of_new_flows_does_not_keep_it_from_ending") {
        return Ok(());
    }
    let network = Network::new()?;
    let target = network.b.ipv4().ok_or("it has one")?;
    let bind = || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0));
    let socket = network.a.namespace.run(bind)??;
    let mut watch = network.watch(&["--max-flows", "4000"]);
    let (open, closed) = mpsc::channel();
    let flood = thread::spawn(move || flood(&socket, target, &closed));
    watch.wait_for_record(|record| record.pointer("/protocol") == Some(&json!("udp")));
    let said = end(watch);
    assert!(!flood.is_finished());
    drop(open);
    flood.join().map_err(|_| "the flood panicked")??;
    let mut parts = said.sum("attributed");
    parts += said.sum("unattributed");
    assert_eq!(said.sum("totals"), parts);
    Ok(())
}

/// Datagrams to one port after the other, until the channel is closed.
fn flood(socket: &UdpSocket, target: Ipv4Addr, closed: &Receiver<()>) -> io::Result<()> {
    let mut ports = (1..=u16::MAX).cycle();
    while closed.try_recv() == Err(TryRecvError::Empty) {
        let port = ports.next().unwrap_or_default();
        match socket.send_to(b"?", (target, port)) {
            // The answer from a closed port is an error of a later sending.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            result => _ = result?,
        }
    }
    Ok(())
}

fn end(watch: Watch) -> Said {
    let ended = watch.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    ended.said
}

fn assert_detail_is_lost_and_nothing_else(said: &Said) {
    said.assert_reconciles();
    assert_eq!(said.sum("totals"), TRUTH);
    assert_ne!(said.sum("unattributed"), Totals::default());
    assert_eq!(said.summary.pointer("/complete"), Some(&json!(false)));
}

/// How many flows have that many packets.
fn with_packets(flows: &[&Value], packets: u64) -> usize {
    let has_them = |flow: &&&Value| counted(flow).tx.packets == packets;
    flows.iter().filter(has_them).count()
}

/// Stops flowmon where it is, and returns when it stands still.
fn halt(watch: &Watch) -> TestResult {
    let pid = Pid::from_raw(i32::try_from(watch.pid())?);
    watch.signal(Signal::SIGSTOP);
    let status = waitpid(pid, Some(WaitPidFlag::WUNTRACED))?;
    assert_eq!(status, WaitStatus::Stopped(pid, Signal::SIGSTOP));
    Ok(())
}

/// Its name is no UTF-8: nobody can tell whether it should be watched.
#[test]
fn an_interface_that_cannot_be_read_is_lost() -> TestResult {
    if !require_root("an_interface_that_cannot_be_read_is_lost") {
        return Ok(());
    }
    let network = Network::new()?;
    let mut ip = Command::new("ip");
    ip.args(["link", "add", "name"]);
    ip.arg(OsStr::from_bytes(b"v\xff"));
    ip.args(["type", "bridge"]);
    let added = finish(network.lab.node(), &mut ip);
    assert_eq!(added.code, Some(0), "{}", added.stderr);
    let ended = network.watch(&[]).stop();
    let summary = &ended.said.summary;
    assert_eq!(summary.pointer("/lost/interfaces"), Some(&json!(1)));
    assert_eq!(summary.pointer("/complete"), Some(&json!(false)));
    Ok(())
}
