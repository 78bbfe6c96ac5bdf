//! What reading, keeping and attaching take.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use flowmon::{
    flow::FlowTable,
    kernel::Datapath,
    lab::{Lab, Namespace},
    netlink::{self, Configure, Veth},
};
use netns_tests::Watch;
use nix::time::{ClockId, clock_gettime};

use crate::{frames, may, row::Row};

const FLOWS: u32 = 65_536;

/// Readings of a full map into the flow table, all of whose flows are known.
pub(crate) fn drains() {
    let mut datapath = may(Datapath::load(FLOWS));
    frames::fill(&mut datapath, FLOWS);
    let mut table = FlowTable::with_capacity(FLOWS as usize * 3 / 2);
    let (mut wall, mut cpu) = (Vec::new(), Vec::new());
    for pass in 0..21 {
        let (began, before) = (Instant::now(), cpu_seconds());
        table.begin_drain(pass);
        may(datapath.drain(|flow| table.update(flow, &mut |_| {})));
        table.end_drain(&mut |_| {});
        wall.push(began.elapsed().as_secs_f64() * 1e3);
        cpu.push((cpu_seconds() - before) * 1e3);
    }
    assert!(table.len() > FLOWS as usize * 99 / 100, "{}", table.len());
    let (wall, cpu) = (wall.get(1..).unwrap_or(&[]), cpu.get(1..).unwrap_or(&[]));
    for (measure, unit, ours, goal) in [
        ("reading 65,536 flows", "ms", wall, "≤ 60"),
        (
            "the same",
            "ms of processor time",
            cpu,
            "≤ 100: 2 % of a core every 5 s",
        ),
    ] {
        Row {
            measure,
            unit,
            floor: &[],
            ours,
            goal,
        }
        .print();
    }
}

fn cpu_seconds() -> f64 {
    Duration::from(may(clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID))).as_secs_f64()
}

/// Locked memory of all maps, by what the kernel says of their descriptors (`bpf_map_show_fdinfo`).
pub(crate) fn memory() {
    let lab = may(Lab::new("cni0"));
    let watch = Watch::start(lab.node(), &["--iface", "cni0"]);
    let mut maps = BTreeMap::new();
    for entry in may(std::fs::read_dir(format!("/proc/{}/fdinfo", watch.pid()))) {
        let said = std::fs::read_to_string(may(entry).path()).unwrap_or_default();
        let field = |name: &str| {
            said.lines()
                .find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok())
        };
        if let (Some(id), Some(bytes)) = (field("map_id:"), field("memlock:")) {
            maps.insert(id, bytes);
        }
    }
    watch.stop().assert_clean();
    Row {
        measure: "memory of all maps at the defaults",
        unit: "MB",
        floor: &[],
        ours: &[maps.values().sum::<u64>() as f64 / 1e6],
        goal: "≤ 32",
    }
    .print();
}

/// From the start of the process until it watches 250 veths, less what it takes with none.
pub(crate) fn attaching() {
    let namespace = may(Namespace::new("node"));
    may(may(namespace.block_on(
        async || -> Result<(), netlink::Error> {
            let configure = Configure::open()?;
            for number in 0..250 {
                let veth = Veth {
                    name: &format!("veth{number}"),
                    ifindex: None,
                    peer: &format!("peer{number}"),
                    peer_netns: None,
                };
                configure.create_veth(&veth).await?;
            }
            Ok(())
        },
    )));
    for (measure, hook) in [
        ("attaching to 250 veths by tcx", "tcx"),
        ("the same by clsact", "clsact"),
    ] {
        let seconds: Vec<f64> = (0..3)
            .map(|_| {
                let start = |interface: &str| {
                    let began = Instant::now();
                    let args = ["--iface", interface, "--xdp", "off", "--hook", hook];
                    let watch = Watch::start(&namespace, &args);
                    let took = began.elapsed().as_secs_f64();
                    watch.stop().assert_clean();
                    took
                };
                let nothing = start("nothing*");
                start("veth*") - nothing
            })
            .collect();
        Row {
            measure,
            unit: "s",
            floor: &[],
            ours: &seconds,
            goal: "≤ 3",
        }
        .print();
    }
}
