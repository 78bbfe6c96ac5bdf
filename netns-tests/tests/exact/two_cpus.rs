//! One flow whose packets are counted on several CPUs at the same time.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Barrier;
use std::thread;

use flowmon::lab::Pod;
use flowmon::lab::traffic::ping;
use flowmon_common::Totals;
use netns_tests::{counted, require_root};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use crate::{Pair, TestResult, datagram_headers, flow_at, packets};

const THIS_THREAD: Pid = Pid::from_raw(0);

#[test]
fn one_flow_on_two_cpus_and_both_ways_at_once_loses_nothing() -> TestResult {
    const COUNT: u64 = 100_000;
    const SIZE: usize = 100;
    if !require_root("one_flow_on_two_cpus_and_both_ways_at_once_loses_nothing") {
        return Ok(());
    }
    let pair = Pair::silent()?;
    let (near, far) = (bound(&pair.a)?, bound(&pair.b)?);
    let (client, server) = (near.local_addr()?, far.local_addr()?);
    near.connect(server)?;
    far.connect(client)?;
    // What waits for an answer to ARP is dropped when there is too much of it.
    assert_eq!(ping(&pair.a.namespace, server.ip(), 1, 1, 0)?, 1);

    let watch = pair.watch();
    let cpus = two_cpus()?;
    let all_at_once = Barrier::new(2 * cpus.len());
    let send = |socket: &UdpSocket, cpu: CpuSet| -> io::Result<()> {
        let pinned = sched_setaffinity(THIS_THREAD, &cpu);
        all_at_once.wait();
        pinned?;
        (0..COUNT).try_for_each(|_| socket.send(&[b'.'; SIZE]).map(drop))
    };
    thread::scope(|scope| -> TestResult {
        // Nobody receives: what the sockets have no room for has crossed the wire all the same.
        let senders: Vec<_> = [&near, &far]
            .into_iter()
            .flat_map(|socket| cpus.map(|cpu| (socket, cpu)))
            .map(|(socket, cpu)| scope.spawn(move || send(socket, cpu)))
            .collect();
        for sender in senders {
            sender.join().map_err(|_| "a sender panicked")??;
        }
        Ok(())
    })?;
    let said = pair.end(watch);

    let each_way = packets(2 * COUNT, datagram_headers(client.ip()) + SIZE as u64);
    let expected = Totals {
        tx: each_way,
        rx: each_way,
    };
    for (pod, local, remote) in [(&pair.a, client, server), (&pair.b, server, client)] {
        let flow = flow_at(&said, pod, "udp", local, remote);
        assert_eq!(counted(&flow), expected, "{}", pod.name);
    }
    let mut both_ends = expected;
    both_ends += expected;
    assert_eq!(said.sum("totals"), both_ends);
    Ok(())
}

fn bound(pod: &Pod) -> Result<UdpSocket, Box<dyn std::error::Error>> {
    let address = pod.ipv4().unwrap_or(Ipv4Addr::UNSPECIFIED);
    let bind = || UdpSocket::bind(SocketAddr::new(address.into(), 0));
    Ok(pod.namespace.run(bind)??)
}

/// Two CPUs this process may use; twice the same one where there is only one.
fn two_cpus() -> Result<[CpuSet; 2], Box<dyn std::error::Error>> {
    let allowed = sched_getaffinity(THIS_THREAD)?;
    let usable = (0..CpuSet::count()).filter(|&cpu| allowed.is_set(cpu) == Ok(true));
    let mut usable = usable.cycle();
    let mut one = || -> Result<CpuSet, Box<dyn std::error::Error>> {
        let mut set = CpuSet::new();
        set.set(usable.next().ok_or("no CPU")?)?;
        Ok(set)
    };
    Ok([one()?, one()?])
}
