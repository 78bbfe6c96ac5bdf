//! Nanoseconds per packet (`BPF_PROG_TEST_RUN`), beside a minimal counter that does no more than count.

use aya::{
    Ebpf, EbpfLoader,
    programs::{SchedClassifier, TestRun as _, TestRunOptions},
};
use flowmon::kernel::{Datapath, Frame};

use crate::{may, row::Row};

const ROUNDS: usize = 25;
const REPEAT: u32 = 40_000;
/// Packets and flows, where each packet is of another flow.
const FLOWS: u32 = 100_000;
const PASSES: usize = 5;
/// The loopback interface.
const IFINDEX: u32 = 1;

/// flowmon and what it is measured against, with room for so many flows each.
struct Contenders {
    floor: Ebpf,
    ours: Datapath,
}

impl Contenders {
    fn new(max_flows: u32) -> Self {
        let object = may(std::env::var("FLOWMON_FLOOR_OBJECT"));
        let mut floor = may(EbpfLoader::new()
            .map_max_entries("COUNTS", max_flows)
            .load_file(object));
        for name in ["floor_empty", "floor_counter"] {
            may(floor_program(&mut floor, name).load());
        }
        let mut ours = may(Datapath::load(max_flows));
        may(ours.register(IFINDEX, 0));
        Self { floor, ours }
    }

    fn floor(&mut self, program: &str, frame: &[u8], repeat: u32) -> f64 {
        let run = floor_program(&mut self.floor, program).test_run(TestRunOptions {
            data_in: Some(frame),
            repeat,
            ..TestRunOptions::new()
        });
        may(run).duration.as_nanos() as f64
    }

    fn ours(&mut self, frame: &[u8], repeat: u32) -> f64 {
        let frame = Frame {
            bytes: frame,
            ifindex: IFINDEX,
            gso_segments: 0,
            repeat,
        };
        may(self.ours.run("flowmon_tx", &frame)).duration.as_nanos() as f64
    }

    /// Mean time of one packet each of all these flows: the minimal counter's and ours, less what an
    /// empty program takes when it runs but once.
    fn pass(&mut self, flows: impl Iterator<Item = u32>) -> (f64, f64) {
        let (mut empty, mut floor, mut ours, mut packets) = (0.0, 0.0, 0.0, 0.0);
        for flow in flows {
            let frame = datagram(flow);
            empty += self.floor("floor_empty", &frame, 1);
            floor += self.floor("floor_counter", &frame, 1);
            ours += self.ours(&frame, 1);
            packets += 1.0;
        }
        ((floor - empty) / packets, (ours - empty) / packets)
    }
}

fn floor_program<'a>(floor: &'a mut Ebpf, name: &str) -> &'a mut SchedClassifier {
    let program = floor
        .program_mut(name)
        .unwrap_or_else(|| panic!("no program {name}"));
    may(program.try_into())
}

/// Packets of one flow that is there, in the cache.
pub(crate) fn hot() {
    for (measure, frames) in [
        ("UDP, one flow, hot", vec![datagram(0)]),
        ("TCP, one flow, hot", tcp()),
    ] {
        let mut contenders = Contenders::new(65_536);
        // All but the last open the flow and bring it to where the last is just another packet.
        for frame in &frames {
            contenders.ours(frame, 1);
        }
        let Some(frame) = frames.last() else { return };
        let (mut floor, mut ours) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            floor.push(contenders.floor("floor_counter", frame, REPEAT));
            ours.push(contenders.ours(frame, REPEAT));
        }
        Row {
            measure,
            unit: "ns a packet",
            floor: &floor,
            ours: &ours,
            goal: "≤ 1.0 × a minimal counter",
        }
        .print();
    }
}

/// Packets of a hundred thousand flows that are there, no two in a row of the same.
pub(crate) fn random() {
    let mut contenders = Contenders::new(FLOWS * 4 / 3);
    contenders.pass(0..FLOWS);
    let (floor, ours): (Vec<_>, Vec<_>) = (0..PASSES)
        // A stride without a common divisor meets every flow once, far from the one before.
        .map(|_| contenders.pass((0..FLOWS).map(|step| step * 7919 % FLOWS)))
        .unzip();
    Row {
        measure: "UDP, 100,000 flows in turn",
        unit: "ns a packet",
        floor: &floor,
        ours: &ours,
        goal: "≤ 1.2 × a minimal counter",
    }
    .print();
}

/// First packets, when the map is full: each takes the entry of an older flow.
pub(crate) fn new() {
    let mut contenders = Contenders::new(65_536);
    contenders.pass(0..65_536);
    let (floor, ours): (Vec<_>, Vec<_>) = (1..=5)
        .map(|part| contenders.pass(part * 65_536..(part + 1) * 65_536))
        .unzip();
    Row {
        measure: "new flow into a full map",
        unit: "ns a packet",
        floor: &floor,
        ours: &ours,
        goal: "≤ 1.4 × a bare insertion",
    }
    .print();
}

/// A datagram of a flow of its own.
fn datagram(flow: u32) -> Vec<u8> {
    let [_, high, port @ ..] = flow.to_be_bytes();
    packet(
        17,
        &[port[0], port[1], 0x13, 0x88, 0, 26, 0, 0],
        18,
        [10, 77, high, 2],
    )
}

/// A connection that is up, and the acknowledgement that is sent most.
fn tcp() -> Vec<Vec<u8>> {
    let segment = |sequence: u32, acknowledgement: u32, flags: u8| {
        let mut header = vec![0x9c, 0x40, 0x14, 0x51];
        header.extend(sequence.to_be_bytes());
        header.extend(acknowledgement.to_be_bytes());
        header.extend([0x50, flags, 1, 0, 0, 0, 0, 0]);
        packet(6, &header, 0, [10, 77, 0, 2])
    };
    vec![
        segment(1000, 0, 0x02),
        segment(1001, 5001, 0x10),
        segment(1001, 5001, 0x10),
    ]
}

fn packet(protocol: u8, transport: &[u8], payload: usize, source: [u8; 4]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0];
    let length = u16::try_from(20 + transport.len() + payload).unwrap_or(u16::MAX);
    frame.extend([0x45, 0]);
    frame.extend(length.to_be_bytes());
    frame.extend([0, 0, 0x40, 0, 64, protocol, 0, 0]);
    frame.extend(source);
    frame.extend([10, 77, 0, 3]);
    frame.extend(transport);
    frame.resize(frame.len() + payload, 0);
    frame
}

/// Fills a flow map.
pub(crate) fn fill(datapath: &mut Datapath, flows: u32) {
    may(datapath.register(IFINDEX, 0));
    for flow in 0..flows {
        let bytes = datagram(flow);
        let frame = Frame {
            bytes: &bytes,
            ifindex: IFINDEX,
            gso_segments: 0,
            repeat: 1,
        };
        may(datapath.run("flowmon_tx", &frame));
    }
}
